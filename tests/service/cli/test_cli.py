"""The ``cin`` command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from service.bundle import Bundle
from service.cli.main import app
from service.imaging import read_picture
from tests.service.tiny_bundle import CLASSES, FRAME, dark_square, expected_outputs, picture_bytes, write_tiny_bundle


@pytest.fixture
def environment(tiny_bundle: Bundle) -> dict[str, str]:
    return {"CIN_BUNDLE": str(tiny_bundle.folder), "CIN_PROVIDER": "cpu"}


def _cin(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env=environment)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "lesion.png"
    path.write_bytes(picture_bytes(dark_square()))
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.jpg"
    path.write_bytes(picture_bytes(dark_square(), "JPEG")[:1000])
    return path


def test_json_lines_of_real_pictures(environment: dict[str, str], data_root: Path) -> None:
    pictures = sorted((data_root / "samples").glob("*.jpg"))[:2]
    result = _cin("predict", "--json", *pictures, **environment)
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["picture"] for line in lines] == [str(path) for path in pictures]
    for path, line in zip(pictures, lines, strict=True):
        expected = expected_outputs(read_picture(path.read_bytes(), FRAME).frame)["probabilities"][0]
        assert [line["probabilities"][name] for name in CLASSES] == pytest.approx(expected, abs=1e-3)
        assert set(line["decision"]) >= {"refer", "status", "reasons"}


def test_a_table_for_people(environment: dict[str, str], picture: Path) -> None:
    result = _cin("predict", picture, **environment)
    assert result.exit_code == 0
    header, row = result.stdout.splitlines()
    assert header.split() == ["picture", "diagnosis", "malignant", "balanced", "reasons"]
    assert row.startswith(str(picture))
    assert "melanoma" in row
    assert "refer" in row
    column = header.index("malignant")
    assert 0.4 < float(row[column : column + len("malignant")]) < 1.0


def test_one_bad_picture_does_not_stop_the_others(environment: dict[str, str], picture: Path, broken: Path) -> None:
    missing = picture.with_name("missing.jpg")
    result = _cin("predict", broken, missing, picture, **environment)
    assert result.exit_code == 1
    assert "melanoma" in result.stdout
    assert "truncated" in result.stderr
    assert "No such file" in result.stderr
    assert "Traceback" not in result.output
    as_json = _cin("predict", "--json", broken, picture, **environment)
    assert as_json.exit_code == 1
    assert [set(json.loads(line)) & {"error", "diagnosis"} for line in as_json.stdout.splitlines()] == [
        {"error"},
        {"diagnosis"},
    ]


def test_overlays_are_written(environment: dict[str, str], picture: Path, tmp_path: Path) -> None:
    result = _cin("predict", picture, "--overlay", tmp_path / "out", **environment)
    assert result.exit_code == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"lesion-{kind}.png" for kind in ("lesion", "spatial", "correlation")}
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            image.load()


def test_a_model_without_feature_attention_has_one_overlay(plain_bundle: Bundle, picture: Path, tmp_path: Path) -> None:
    environment = {"CIN_BUNDLE": str(plain_bundle.folder), "CIN_PROVIDER": "cpu"}
    assert _cin("predict", picture, "--overlay", tmp_path / "out", **environment).exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["lesion-lesion.png"]


def test_overlays_never_overwrite_each_other(environment: dict[str, str], picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / picture.name
    other.parent.mkdir()
    other.write_bytes(picture.read_bytes())
    result = _cin("predict", picture, other, "--overlay", tmp_path / "out", **environment)
    assert result.exit_code == 1
    assert "same name" in result.stderr


def test_verify(tiny_bundle: Bundle, tmp_path: Path) -> None:
    good = _cin("bundle", "verify", tiny_bundle.folder)
    assert good.exit_code == 0
    assert tiny_bundle.sha256 in good.stdout
    wrong = _cin("bundle", "verify", write_tiny_bundle(tmp_path / "wrong", wrong_canary=True).folder)
    assert wrong.exit_code == 1
    assert "canary" in wrong.stderr


def test_verify_finds_a_flipped_byte(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny").folder
    graph = bytearray((folder / "tiny.onnx").read_bytes())
    graph[100] ^= 1
    (folder / "tiny.onnx").write_bytes(graph)
    result = _cin("bundle", "verify", folder)
    assert result.exit_code == 1
    assert "SHA-256 differs" in result.stderr


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"CIN_BUNDLE": "/nowhere"}, "not a folder"),
        ({"CIN_PORT": "http"}, "CIN_PORT"),
        ({"CIN_OPERATING_POINT": "perfect"}, "perfect"),
        ({"CIN_VARIANT": "int8"}, "int8"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "serve"])
def test_what_is_wrong_is_said_in_one_line(
    tiny_bundle: Bundle, picture: Path, command: str, environment: dict[str, str], word: str
) -> None:
    chosen = {"CIN_BUNDLE": str(tiny_bundle.folder), "CIN_PORT": "0", "CIN_PROVIDER": "cpu", **environment}
    arguments = [command, str(picture)] if command == "predict" else [command]
    process = subprocess.run(
        [sys.executable, "-c", "from service.cli.main import main; main()", *arguments],
        env={**chosen, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("cin: ")
    assert word in line
    assert process.stdout == ""


def test_a_misspelt_setting_is_noticed(environment: dict[str, str], picture: Path) -> None:
    result = _cin("predict", picture, **environment, CIN_PROT="9000")
    assert result.exit_code == 0
    assert "CIN_PROT is no setting" in result.stderr
