"""How many actors a Ray cluster takes, and what each reserves; pure functions.

An actor has its CPUs to itself by the number of its threads, but reserves only half of them. So Ray's own tasks always
find a place, and when half of the nodes are lost, their actors find one on the others. Actors that reserve every CPU
would wait for one for ever, without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_RESERVED = 0.5  # of an actor's CPUs


class ClusterError(ValueError):
    """The cluster cannot do what is asked for; the text says what to change."""


class Resources(NamedTuple):
    """CPUs and GPUs, of a node or in all."""

    cpus: float
    gpus: float


class Pool(NamedTuple):
    """Actors: how many, the threads of each, and the CPUs and GPUs that each reserves."""

    actors: int
    threads: int
    cpus: float
    gpus: int


def place(nodes: Sequence[Resources], free: Resources, *, actors: int | None, gpus: int | None) -> Pool:
    """The pool of ``actors`` with a CPU each (None: as many as there are CPUs), or of ``gpus`` with a GPU each and the
    CPUs of their share; ``free`` is what no other job has reserved.

    Raises :class:`ClusterError` with the arithmetic when they do not fit.
    """
    pool = _with_gpus(nodes, gpus) if gpus else _on_cpus(nodes, actors)
    for what, needed, left in (("CPU", pool.cpus, free.cpus), ("GPU", pool.gpus, free.gpus)):
        if pool.actors * needed > left:
            raise ClusterError(
                f"{pool.actors} actors reserve {needed:g} {what} each, {pool.actors * needed:g} in all, and other jobs "
                f"leave {left:g} of {sum(node[what == 'GPU'] for node in nodes):g}; ask for fewer, or wait"
            )
    return pool


def _on_cpus(nodes: Sequence[Resources], actors: int | None) -> Pool:
    places = [int(node.cpus) for node in nodes]
    actors = sum(places) if actors is None else actors
    if not 0 < actors <= sum(places):
        raise ClusterError(
            f"{actors or 1} actors need a CPU each, and the nodes have {_sum_of(places)}; "
            "Ray would wait for the others for ever: ask for fewer (--actors), or add nodes"
        )
    return Pool(actors, 1, _RESERVED, 0)


def _with_gpus(nodes: Sequence[Resources], gpus: int) -> Pool:
    places = [int(node.gpus) for node in nodes]
    if gpus > sum(places):
        raise ClusterError(
            f"{gpus} actors need a GPU each, and the nodes have {_sum_of(places)}; "
            "Ray would wait for the others for ever: ask for fewer (--gpus), or add nodes"
        )
    threads = max(1, min(int(node.cpus / num) for node, num in zip(nodes, places, strict=True) if num))
    return Pool(gpus, threads, threads * _RESERVED, 1)


def _sum_of(places: Sequence[int]) -> str:
    return f"{' + '.join(map(str, places))} = {sum(places)}" if len(places) > 1 else str(sum(places))
