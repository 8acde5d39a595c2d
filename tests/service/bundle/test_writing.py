"""A bundle is written whole or not at all."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from service.bundle import MODEL_CARD_NAME, Bundle, BundleError, check_target, load_bundle, write_bundle
from tests.service.bundle.pieces import FILES, parts, sha256


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
        return sha256(path) if len(reads) <= len(FILES) else "0" * 64

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
