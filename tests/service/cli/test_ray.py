"""``cin predict --engine ray``: an actor in this process, and once a real Ray."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from service.bundle import Bundle
from service.cli.archive import find_pictures
from service.cli.ray_actor import ERROR, INDEX, PATH, PREDICTION, Actor, Task, sent
from service.inference.answers import EngineError
from service.inference.engine import Engine
from service.prediction.schemas import Prediction
from service.settings import SHIPPED_BUNDLE, Settings
from tests.service.cli.conftest import cin


def task_of(bundle: Bundle, folder: Path, **changes: Any) -> Task:
    settings = Settings(bundle=bundle.folder, variant="fp32")
    of = sent(settings, threads=1, gpu=False)
    own = version("clinical-inspired-network")
    return Task(of, own, bundle.sha256, "fp32", str(folder.parent), [folder.name])._replace(**changes)


@contextmanager
def started(task: Task) -> Iterator[Actor]:
    actor = Actor(task)
    try:
        yield actor
    finally:
        actor.close()


def test_an_actor_answers_a_block_like_one_process(
    tiny_bundle: Bundle, environment: dict[str, str], archive: Path, tmp_path: Path
) -> None:
    (archive / "torn.png").write_bytes((archive / "0.png").read_bytes()[:100])
    paths = [path.relative_to(tmp_path) for path in find_pictures([archive]).pictures]
    with started(task_of(tiny_bundle, archive)) as actor:
        blocks = [actor({INDEX: [5 + i], PATH: [os.fsencode(path)]}) for i, path in enumerate(paths)]
    out = tmp_path / "results.jsonl"
    assert cin("predict", archive, "--out", out, **environment, CIN_VARIANT="fp32").exit_code == 1
    rows = {row["picture"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert len(rows) == len(blocks) == 8
    for i, (path, block) in enumerate(zip(paths, blocks, strict=True)):
        assert block[INDEX] == [5 + i]
        row = rows[str(tmp_path / path)]
        assert block[ERROR] == [row.get("error")]
        if block[PREDICTION] != [None]:
            prediction = Prediction.model_validate_json(block[PREDICTION][0])
            assert prediction.model_dump(mode="json")["probabilities"] == row["probabilities"]
            assert prediction.model_dump(mode="json")["decision"] == row["decision"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "0.1"}, "is installed, not 0.1"),
        ({"bundle_sha256": "0" * 64}, "is another"),
        ({"variant": "int8"}, "this machine takes the variant fp32, not int8; set CIN_VARIANT for all"),
        ({"archive": ["not there"]}, "not there is not there; mount the archive at the same place on every node"),
    ],
)
def test_an_actor_that_would_answer_otherwise_does_not_start(
    tiny_bundle: Bundle, archive: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(EngineError, match=f"^node .*{said}"):
        Actor(task_of(tiny_bundle, archive, **changes))


def test_an_actor_with_a_wrong_canary_does_not_start(
    tiny_bundle: Bundle, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "canary_difference", lambda _: 0.5)
    with pytest.raises(EngineError, match=r"^node .*the canary image's probabilities differ by 0\.5"):
        Actor(task_of(tiny_bundle, archive))


def test_an_actor_gets_no_secret_and_its_own_copy_of_the_shipped_model() -> None:
    settings = Settings(records_url="redis://:secret@host/0")
    assert settings.bundle == SHIPPED_BUNDLE
    of = sent(settings, threads=3, gpu=True)
    assert (of["provider"], of["require_gpu"], of["inference_threads"]) == ("cuda", True, 3)
    assert not {"bundle", "records_url", "keys", "audit", "ledger"} & set(of)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "ray"], "--engine ray writes its answers into a file"),
        (["--engine", "ray", "--out", "o.csv", "--overlay", "maps"], "it draws no overlays"),
        (["--engine", "ray", "--out", "o.csv", "--actors", "1", "--gpus", "1"], "set only one"),
        (["--actors", "1"], "--actors and --gpus are of --engine ray"),
    ],
)
def test_options_that_do_not_go_together(
    environment: dict[str, str], picture: Path, options: list[str], said: str
) -> None:
    result = cin("predict", picture, *options, **environment)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.integration
@pytest.mark.alone
@pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra [ray]")
def test_a_real_ray_answers_like_one_process_and_resumes(
    environment: dict[str, str], archive: Path, copied: str, tmp_path: Path
) -> None:
    """Of files and of objects: actors reach a bucket by themselves."""
    alone, cluster = tmp_path / "alone.jsonl", tmp_path / "cluster.jsonl"
    assert cin("predict", archive, copied, "--out", alone, **environment).exit_code == 0
    expected = sorted(alone.read_bytes().splitlines())
    assert len(expected) == 14
    cluster.write_bytes(expected[0] + b"\n" + expected[1][:40])  # as when the command was killed
    result = cin("predict", archive, copied, "--engine", "ray", "--actors", "1", "--out", cluster, **environment)
    if "timed out during startup" in result.stderr:
        pytest.skip("Ray gives its agents 15 s to start, and this machine is too busy for that")
    assert result.exit_code == 0, result.stderr
    assert sorted(cluster.read_bytes().splitlines()) == expected
    assert json.loads(result.stderr.splitlines()[-1])["summary"]["answered_before"] == 1
