"""``service.bundle``: what is read is exactly what was written, and writing replaces all or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
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
    check_target,
    load_bundle,
    write_bundle,
)
from service.imaging import PictureLimits, PictureTooLarge, read_picture
from tests.service.tiny_bundle import CLASSES, FRAME, THRESHOLD, expected_outputs, picture_bytes

Fields = dict[str, Any]

FILES = ("tiny.onnx", CANARY_PICTURE_NAME, CANARY_OUTPUTS_NAME, MODEL_CARD_NAME)


@pytest.fixture
def folder(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that may be damaged, alone in its parent folder."""
    return shutil.copytree(tiny_bundle.folder, tmp_path / "here" / "tiny")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest_fields(folder: Path) -> Fields:
    fields: Fields = json.loads((folder / MANIFEST_NAME).read_bytes())
    return fields


def parts(bundle: Bundle, **changes: Any) -> dict[str, Any]:
    """The arguments of ``write_bundle`` that write the bundle again, its manifest changed."""
    fields = bundle.manifest.model_dump(exclude={"schema_version", "files"})
    return {"files": {name: bundle.path(name) for name in FILES}, "manifest": {**fields, **changes}}


# What is read


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


# What is refused


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


# Manifests


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"weights", b"\xff\xfe\x00", b'{"schema_version": 1} {}', b"[" * 100_000],
    ids=["empty", "cut", "text", "bytes", "two", "deep"],
)
def test_a_manifest_that_is_not_json(folder: Path, text: bytes) -> None:
    (folder / MANIFEST_NAME).write_bytes(text)
    with pytest.raises(BundleError, match=r"bundle\.json is not JSON"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["{}", "[]", "null", "1", '"bundle"'])
def test_json_that_is_no_manifest(folder: Path, text: str) -> None:
    (folder / MANIFEST_NAME).write_text(text)
    with pytest.raises(BundleError, match="not a valid manifest"):
        load_bundle(folder)


def test_every_field_is_needed_and_no_other_is_known(folder: Path) -> None:
    fields = manifest_fields(folder)
    optional = {"frame_jpeg_quality", "prevalence", "reference", "abstention"}
    changed = [{k: v for k, v in fields.items() if k != name} for name in fields.keys() - optional]
    for wrong in (*changed, {**fields, "weights": "tiny.onnx"}):
        (folder / MANIFEST_NAME).write_text(json.dumps(wrong))
        with pytest.raises(BundleError, match="not a valid manifest"):
            load_bundle(folder)


def test_a_manifest_of_today_says_what_its_canary_must_get(folder: Path) -> None:
    """Otherwise the classes could be in another order, and still every sum would be right."""
    fields = manifest_fields(folder)
    for variant in fields["variants"]:
        del variant["canary_prediction"]
    (folder / MANIFEST_NAME).write_text(json.dumps(fields))
    with pytest.raises(BundleError, match="which prediction fp32 makes of the canary picture"):
        load_bundle(folder)
    (folder / MANIFEST_NAME).write_text(json.dumps({**fields, "schema_version": 4}))
    assert load_bundle(folder).manifest.variants[0].canary_prediction is None


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99])
def test_a_newer_schema_asks_for_an_upgrade_whatever_else_it_holds(folder: Path, version: int) -> None:
    (folder / MANIFEST_NAME).write_text(json.dumps({"schema_version": version, "networks": []}))
    with pytest.raises(BundleError, match=f"schema {version}, this software reads up to {SCHEMA_VERSION}; upgrade it"):
        load_bundle(folder)


def set_(*path: str | int, to: Any) -> Callable[[Fields], None]:
    """A change of one field, deep in the manifest."""

    def change(fields: Fields) -> None:
        at: Any = fields
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = to

    return change


def repeat(name: str, index: int = 0) -> Callable[[Fields], None]:
    """The entry of a list once more."""
    return lambda fields: fields[name].append(fields[name][index])


def only(name: str, *indices: int) -> Callable[[Fields], None]:
    """Some entries of a list, not the others."""
    return lambda fields: fields.update({name: [fields[name][index] for index in indices]})


DIGEST = hashlib.sha256(b"").hexdigest()
WRONG: dict[str, tuple[Callable[[Fields], None], str]] = {
    "older schema": (set_("schema_version", to=0), "schema_version"),
    "schema as text": (set_("schema_version", to="2"), "schema_version"),
    "digest of another kind": (set_("files", "tiny.onnx", to="0" * 40), "[0-9a-f]{64}"),
    "digest in capitals": (set_("files", "tiny.onnx", to=DIGEST.upper()), "[0-9a-f]{64}"),
    "file in the parent": (set_("files", "../outside", to=DIGEST), "not plain file names"),
    "file at the root": (set_("files", "/outside", to=DIGEST), "not plain file names"),
    "file in a subfolder": (set_("files", "sub/inside", to=DIGEST), "not plain file names"),
    "the folder itself": (set_("files", ".", to=DIGEST), "not plain file names"),
    "the manifest itself": (set_("files", MANIFEST_NAME, to=DIGEST), "not plain file names"),
    "graph without digest": (set_("variants", 0, "file", to="other.onnx"), "without a SHA-256: other.onnx"),
    "canary without digest": (set_("canary", "picture", to="other.jpg"), "without a SHA-256: other.jpg"),
    "outputs without digest": (set_("canary", "outputs", to="../x.npz"), "without a SHA-256: ../x.npz"),
    "no card": (lambda fields: fields["files"].pop(MODEL_CARD_NAME), f"without a SHA-256: {MODEL_CARD_NAME}"),
    "unknown default": (set_("default_operating_point", to="best"), "unknown default operating point 'best'"),
    "no operating point": (only("operating_points"), "operating_points"),
    "threshold above 1": (set_("operating_points", 0, "threshold", to=1.01), "operating_points.0.threshold"),
    "threshold not a number": (set_("operating_points", 0, "threshold", to=float("nan")), "threshold"),
    "two points of one name": (repeat("operating_points"), "two operating points share a name"),
    "reference of other classes": (
        lambda fields: fields["reference"]["probabilities"].pop(CLASSES[0]),
        "not about the same classes",
    ),
    "reference off the grid": (
        set_("reference", "probabilities", CLASSES[0], "edges", to=[0.0, 0.33, 1.0]),
        "steps of a multiple of 0.05",
    ),
    "reference without an end": (
        set_("reference", "probabilities", CLASSES[0], "edges", to=[0.0, 0.3, 0.9]),
        "from 0 to 1",
    ),
    "reference of more than all": (
        set_("reference", "probabilities", CLASSES[0], "shares", to=[0.7, 0.4]),
        "sum to 1",
    ),
    "reference with nothing in an interval": (
        set_("reference", "probabilities", CLASSES[0], "shares", to=[0.0, 1.0]),
        "above 0",
    ),
    "one class": (only("classes", 0), "classes"),
    "two classes of one name": (repeat("classes", 2), "two classes share a name"),
    "nothing malignant": (set_("classes", 0, "malignant", to=False), "no class is marked malignant"),
    "class with a space": (set_("classes", 0, "name", to="malignant melanoma"), "classes.0.name"),
    "no variant": (only("variants"), "variants"),
    "unknown variant": (set_("variants", 0, "name", to="int4"), "variants.0.name"),
    "two variants of one name": (repeat("variants"), "two variants share a name"),
    "frame without size": (set_("frame_size", to=0), "frame_size"),
    "quality of no JPEG": (set_("frame_jpeg_quality", to=96), "frame_jpeg_quality"),
    "canary always right": (set_("canary", "tolerance", to=float("inf")), "canary.tolerance"),
    "canary never right": (set_("canary", "tolerance", to=0.0), "canary.tolerance"),
    "unknown field inside": (set_("provenance", "author", to="somebody"), "provenance.author"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_inconsistent_manifest(folder: Path, kind: str) -> None:
    change, word = WRONG[kind]
    fields = manifest_fields(folder)
    change(fields)
    (folder / MANIFEST_NAME).write_text(json.dumps(fields))
    with pytest.raises(BundleError, match="not a valid manifest") as refusal:
        load_bundle(folder)
    assert word in str(refusal.value)


# Writing


def test_a_bundle_is_written_alone_and_readable_by_all(tiny_bundle: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "models" / "new"
    written = write_bundle(target, **parts(tiny_bundle, version="1.0"))
    assert written.folder == target
    assert written == load_bundle(target)
    assert written.manifest == tiny_bundle.manifest.model_copy(update={"version": "1.0"})
    assert [path.name for path in target.parent.iterdir()] == ["new"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_the_same_parts_give_the_same_bytes(tiny_bundle: Bundle, tmp_path: Path) -> None:
    first, second = (write_bundle(tmp_path / name, **parts(tiny_bundle)) for name in ("first", "second"))
    assert contents(first.folder) == contents(second.folder) == contents(tiny_bundle.folder)


def test_a_bundle_is_replaced_whole(folder: Path, tiny_bundle: Bundle) -> None:
    renamed = parts(tiny_bundle, version="2.0")
    renamed["files"]["second.onnx"] = renamed["files"].pop("tiny.onnx")
    renamed["manifest"]["variants"][0]["file"] = "second.onnx"
    written = write_bundle(folder, **renamed)
    assert written.manifest.version == "2.0"
    assert not (folder / "tiny.onnx").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def missing_source(bundle: Bundle) -> dict[str, Any]:
    """The last file to be copied is not there."""
    pieces = parts(bundle)
    pieces["files"][MODEL_CARD_NAME] = bundle.folder / "nowhere.md"
    return pieces


def unused_file(bundle: Bundle) -> dict[str, Any]:
    """The graph has another name than the manifest says."""
    pieces = parts(bundle)
    pieces["files"]["other.onnx"] = pieces["files"].pop("tiny.onnx")
    return pieces


BROKEN = {
    "missing source": (missing_source, FileNotFoundError),
    "unused file": (unused_file, ValueError),
    "wrong manifest": (lambda bundle: parts(bundle, default_operating_point="best"), ValueError),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("exists", [True, False])
def test_what_cannot_be_written_leaves_all_as_it_was(
    folder: Path, tiny_bundle: Bundle, kind: str, exists: bool
) -> None:
    make, error = BROKEN[kind]
    target = folder if exists else folder.with_name("new")
    before = contents(folder.parent)
    with pytest.raises(error):
        write_bundle(target, **make(tiny_bundle))
    assert contents(folder.parent) == before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


@pytest.fixture
def copies_until_interrupted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The third file is cut off half-way, and the user gives up."""
    copied: list[Path] = []

    def copy(source: Path, target: Path) -> None:
        copied.append(target)
        data = source.read_bytes()
        target.write_bytes(data if len(copied) < 3 else data[: len(data) // 2])
        if len(copied) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copyfile", copy)
    return copied


def test_an_interruption_while_copying(folder: Path, tiny_bundle: Bundle, copies_until_interrupted: list[Path]) -> None:
    before = contents(folder.parent)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(folder, **parts(tiny_bundle, version="2.0"))
    assert len(copies_until_interrupted) == 3
    assert contents(folder.parent) == before


def test_a_copy_that_went_wrong_is_not_put_in_place(
    folder: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk gives back other bytes when they are read for the second time."""
    reads: list[Path] = []

    def digest(path: Path) -> str:
        reads.append(path)
        return sha256(path) if len(reads) <= len(FILES) else DIGEST

    monkeypatch.setattr("service.bundle.bundle.file_sha256", digest)
    before = contents(folder.parent)
    with pytest.raises(BundleError, match="SHA-256 differs"):
        write_bundle(folder, **parts(tiny_bundle, version="2.0"))
    assert contents(folder.parent) == before


def test_the_old_bundle_comes_back_when_the_new_one_cannot_take_its_place(
    folder: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename
    refused: list[Path] = []

    def rename_once(path: Path, target: Path) -> Path:
        if target == folder and not refused:
            refused.append(path)
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_once)
    before = contents(folder.parent)
    with pytest.raises(OSError, match="no"):
        write_bundle(folder, **parts(tiny_bundle, version="2.0"))
    assert refused
    assert contents(folder.parent) == before


def test_a_file_that_cannot_be_read_is_named(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("service.bundle.bundle.file_sha256", refuse)
    name = next(iter(tiny_bundle.manifest.files))
    with pytest.raises(BundleError, match=f"^{re.escape(name)} in .* cannot be read .*permissions$"):
        load_bundle(tiny_bundle.folder)


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    check_target(thesis)
    (thesis / "chapter1.txt").write_text("years of work")
    with pytest.raises(BundleError, match="not a bundle; it was left alone"):
        check_target(thesis)
    with pytest.raises(BundleError, match="not a bundle; it was left alone"):
        write_bundle(thesis, files={}, manifest={})
    assert (thesis / "chapter1.txt").read_text() == "years of work"
    check_target(tmp_path / "new")
