"""``service.bundle``: what is read is what was written, and files that were changed are refused."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.bundle import (
    CANARY_OUTPUTS_NAME,
    CANARY_PICTURE_NAME,
    MANIFEST_NAME,
    MODEL_CARD_NAME,
    SCHEMA_VERSION,
    Bundle,
    BundleError,
    load_bundle,
    write_bundle,
)
from service.imaging import PictureLimits, PictureTooLarge, read_picture
from tests.service.bundle.pieces import FILES, manifest_fields, parts, sha256
from tests.service.tiny_bundle import FRAME, THRESHOLD, expected_outputs, picture_bytes


def test_a_bundle_is_what_was_written(tiny_bundle: Bundle) -> None:
    folder = tiny_bundle.folder
    assert {path.name for path in folder.iterdir()} == {MANIFEST_NAME, *FILES}
    assert tiny_bundle.manifest.files == {name: sha256(folder / name) for name in FILES}
    assert tiny_bundle.manifest.schema_version == SCHEMA_VERSION
    assert tiny_bundle.sha256 == sha256(folder / MANIFEST_NAME)
    assert tiny_bundle.model_card() == "# Tiny\n\nFor tests only.\n"
    expected = expected_outputs(read_picture((folder / CANARY_PICTURE_NAME).read_bytes(), FRAME).frame)
    outputs = tiny_bundle.canary_outputs()
    assert outputs.keys() == expected.keys() - {"features"}
    for name, array in outputs.items():
        np.testing.assert_array_equal(array, expected[name])


def test_a_bundle_may_lie_anywhere(folder: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    bundle = load_bundle(Path("tiny"))
    monkeypatch.chdir("/")
    assert bundle.sha256 == tiny_bundle.sha256
    assert bundle.path("tiny.onnx").read_bytes() == tiny_bundle.path("tiny.onnx").read_bytes()


def test_the_digest_of_the_bundle_covers_the_manifest(folder: Path, tiny_bundle: Bundle) -> None:
    (folder / MANIFEST_NAME).write_text(json.dumps({**manifest_fields(folder), "version": "0.0.2"}))
    assert load_bundle(folder).sha256 != tiny_bundle.sha256


def test_operating_points(tiny_bundle: Bundle) -> None:
    manifest = tiny_bundle.manifest
    assert manifest.operating_point().threshold == THRESHOLD
    assert manifest.operating_point("balanced") == manifest.operating_point()
    assert manifest.operating_point("high-sensitivity").threshold == 0.1
    with pytest.raises(BundleError, match="no operating point 'best'; it has: balanced, high-sensitivity"):
        manifest.operating_point("best")


def test_variants(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.variant("fp32").file == "tiny.onnx"
    with pytest.raises(BundleError, match=r"no variant 'int8'; it has: \['fp32'\]"):
        tiny_bundle.variant("int8")


@pytest.mark.parametrize("quality", [None, 40])
def test_pictures_are_read_as_the_manifest_says(tiny_bundle: Bundle, tmp_path: Path, quality: int | None) -> None:
    bundle = write_bundle(tmp_path / "other", **parts(tiny_bundle, frame_size=48, frame_jpeg_quality=quality))
    noise = np.random.default_rng(0).integers(0, 256, (96, 120, 3), dtype=np.uint8)
    data = picture_bytes(Image.fromarray(noise))
    expected = {q: read_picture(data, 48, jpeg_quality=q).frame for q in (None, 40)}
    np.testing.assert_array_equal(bundle.read_picture(data).frame, expected[quality])
    assert (expected[None] != expected[40]).any()
    with pytest.raises(PictureTooLarge):
        bundle.read_picture(data, PictureLimits(max_pixels=1000))


class Intruder:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, int]]:
        return os.open, ("intruder", os.O_CREAT)


def test_no_code_comes_with_the_canary(tiny_bundle: Bundle, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.npz"
    np.savez(hostile, probabilities=np.array([Intruder()], dtype=object))
    pieces = parts(tiny_bundle)
    pieces["files"][CANARY_OUTPUTS_NAME] = hostile
    with pytest.raises(ValueError, match="pickle"):
        write_bundle(tmp_path / "bundle", **pieces).canary_outputs()
    assert not Path("intruder").exists()


def test_no_folder(tmp_path: Path, folder: Path) -> None:
    for path in (tmp_path / "nowhere", folder / "tiny.onnx"):
        with pytest.raises(BundleError, match="is not a folder; name one"):
            load_bundle(path)


def test_no_manifest(folder: Path) -> None:
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(BundleError, match=r"has no bundle\.json; name a folder"):
        load_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["other.onnx", ".hidden", "tiny.onnx.data", "TINY.ONNX"])
def test_an_unknown_file(folder: Path, name: str) -> None:
    (folder / name).touch()
    with pytest.raises(BundleError, match=f"does not name: {name}"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["tiny.onnx", MANIFEST_NAME, "another"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_even_to_the_right_bytes(folder: Path, name: str, dangling: bool) -> None:
    original = folder.parent / "original"
    if not dangling:
        shutil.copyfile(folder / ("tiny.onnx" if name == "another" else name), original)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(original)
    with pytest.raises(BundleError, match=f"{name} .* is not a plain file"):
        load_bundle(folder)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["tiny.onnx", MANIFEST_NAME, "another"])
def test_a_subfolder_or_a_pipe(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    with pytest.raises(BundleError, match=f"{name} .* is not a plain file"):
        load_bundle(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_a_flipped_bit(folder: Path, name: str, where: float) -> None:
    data = bytearray((folder / name).read_bytes())
    data[int(where * (len(data) - 1))] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} .*SHA-256 differs"):
        load_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_or_grown(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    for changed in (b"", data[:-1], data + b"\n"):
        (folder / name).write_bytes(changed)
        with pytest.raises(BundleError, match=f"{name} .*SHA-256 differs"):
            load_bundle(folder)


def test_files_that_changed_places(folder: Path) -> None:
    swapped = (folder / CANARY_PICTURE_NAME).read_bytes(), (folder / MODEL_CARD_NAME).read_bytes()
    for name, data in zip((MODEL_CARD_NAME, CANARY_PICTURE_NAME), swapped, strict=True):
        (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256 differs"):
        load_bundle(folder)


def test_a_file_that_cannot_be_read_is_named(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("service.bundle.bundle.file_sha256", refuse)
    name = next(iter(tiny_bundle.manifest.files))
    with pytest.raises(BundleError, match=f"^{re.escape(name)} in .* cannot be read .*permissions$"):
        load_bundle(tiny_bundle.folder)
