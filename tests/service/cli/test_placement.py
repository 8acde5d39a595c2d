"""How many actors a cluster takes."""

from __future__ import annotations

import pytest

from service.cli.placement import ClusterError, Pool, Resources, place

NODES = [Resources(8, 0), Resources(2.5, 0)]
WITH_GPUS = [Resources(16, 4), Resources(64, 0), Resources(12, 2)]


def total(nodes: list[Resources]) -> Resources:
    return Resources(*map(sum, zip(*nodes, strict=True)))


def test_every_whole_cpu_gets_an_actor_that_reserves_half_of_it() -> None:
    pool = place(NODES, total(NODES), actors=None, gpus=None)
    assert pool == Pool(actors=10, threads=1, cpus=0.5, gpus=0)
    # The actors of the larger node fit on a third one of its size, beside its own.
    assert 2 * 8 * pool.cpus <= 8


def test_fewer_actors_are_as_asked_for() -> None:
    assert place(NODES, total(NODES), actors=3, gpus=None).actors == 3


def test_a_gpu_actor_has_its_share_of_the_smallest_nodes_cpus() -> None:
    assert place(WITH_GPUS, total(WITH_GPUS), actors=None, gpus=6) == Pool(actors=6, threads=4, cpus=2.0, gpus=1)


@pytest.mark.parametrize(
    ("nodes", "actors", "gpus", "said"),
    [
        (NODES, 11, None, "11 actors need a CPU each, and the nodes have 8 + 2 = 10"),
        ([Resources(0.5, 0)], None, None, "1 actors need a CPU each, and the nodes have 0"),
        (WITH_GPUS, None, 7, "7 actors need a GPU each, and the nodes have 4 + 0 + 2 = 6"),
    ],
)
def test_what_would_wait_for_ever_is_refused(
    nodes: list[Resources], actors: int | None, gpus: int | None, said: str
) -> None:
    with pytest.raises(ClusterError) as refusal:
        place(nodes, total(nodes), actors=actors, gpus=gpus)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("free", "actors", "gpus", "said"),
    [
        (Resources(6, 6), 13, None, "13 actors reserve 0.5 CPU each, 6.5 in all, and other jobs leave 6 of 92"),
        (Resources(92, 2), None, 3, "3 actors reserve 1 GPU each, 3 in all, and other jobs leave 2 of 6"),
    ],
)
def test_what_other_jobs_have_reserved_is_not_waited_for(
    free: Resources, actors: int | None, gpus: int | None, said: str
) -> None:
    with pytest.raises(ClusterError) as refusal:
        place(WITH_GPUS, free, actors=actors, gpus=gpus)
    assert said in str(refusal.value)


def test_as_many_as_are_free_do_fit() -> None:
    assert place(WITH_GPUS, Resources(6, 0), actors=12, gpus=None).actors == 12
