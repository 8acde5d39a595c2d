"""The audit, on synthetic sets with planted findings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance
from rich.console import Console
from typer.testing import CliRunner

from model_training.cli.main import app
from model_training.data.audit.audit import AuditError, AuditReport, audit_sets, overlap, pairs_of_sets
from model_training.data.audit.near_duplicates import MAX_HASH_DISTANCE
from model_training.data.isic import read_set
from tests.synthetic import write_isic2016, write_isic2017

TRAIN = "isic2017/ISIC-2017_Training"
TEST = "isic2017/ISIC-2017_Test_v2"


def run_audit(root: Path, *only: str) -> AuditReport:
    return audit_sets(root, only, console=Console(quiet=True))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both challenges; the ids of 2016 begin at 0 like those of 2017, so those of 2016 train are in 2017 train."""
    root = tmp_path_factory.mktemp("clean")
    write_isic2017(root, size=96, train=6, validation=3, test=3, seed=0)
    write_isic2016(root, size=96, train=4, test=2, seed=1)
    return root


@pytest.fixture
def root(clean: Path, tmp_path: Path) -> Path:
    """A copy to plant findings in."""
    return Path(shutil.copytree(clean, tmp_path / "data"))


def picture(root: Path, folder: str, number: int) -> Path:
    return root / f"{folder}_Data" / f"ISIC_{number:07d}.jpg"


def test_counts_and_official_counts(clean: Path) -> None:
    report = run_audit(clean)
    found = {each.name: each for each in report.sets}
    assert found["isic2017-train"].class_counts == (2, 2, 2)
    assert found["isic2017-train"].classes == ("melanoma", "seborrheic_keratosis", "nevus")
    assert found["isic2017-train"].official_class_counts == (374, 254, 1372)
    assert found["isic2016-test"].class_counts == (1, 1)
    assert all(each.status == "read" and each.pictures == each.masks for each in report.sets)
    assert all(each.problems == () for each in report.sets)


def test_different_pictures_are_no_copies(clean: Path) -> None:
    assert run_audit(clean, "isic2017").copies == ()
    assert run_audit(clean, "isic2017").conflicts == ()


def test_shared_ids_beside_the_official_number(clean: Path) -> None:
    shared = {(each.first, each.second): each for each in run_audit(clean).shared_ids}
    train = shared["isic2016-train", "isic2017-train"]
    assert train.ids == tuple(f"ISIC_{i:07d}" for i in range(4))
    assert train.official == 746
    assert shared["isic2016-test", "isic2017-train"].ids == ("ISIC_0000004", "ISIC_0000005")


def test_ids_are_shared_without_their_pictures(root: Path) -> None:
    picture(root, TRAIN, 0).unlink()
    shared = {(each.first, each.second): each for each in run_audit(root).shared_ids}
    assert "ISIC_0000000" in shared["isic2016-train", "isic2017-train"].ids


def test_contradicting_labels_under_one_id(clean: Path) -> None:
    labels = {
        name: {s.id: s.label == (1 if name == "isic2016-train" else 0) for s in read_set(clean, name).samples}
        for name in ("isic2016-train", "isic2017-train")
    }
    expected = {id for id, melanoma in labels["isic2016-train"].items() if labels["isic2017-train"][id] != melanoma}
    assert expected, "the synthetic classes take turns differently in the two years"
    conflicts = [c for c in run_audit(clean, "isic2016-train", "isic2017-train").conflicts if c.by == "id"]
    assert {c.first.partition("/")[2] for c in conflicts} == expected
    for conflict in conflicts:
        assert (conflict.first_diagnosis == "malignant") != (conflict.second_diagnosis == "melanoma")


def test_the_same_bytes_under_two_ids(root: Path) -> None:
    shutil.copy(picture(root, TRAIN, 0), picture(root, TEST, 10))
    report = run_audit(root, "isic2017")
    [copies] = report.copies
    assert copies.same_bytes
    assert copies.places == ("isic2017-train/ISIC_0000000", "isic2017-test/ISIC_0000010")
    assert pairs_of_sets(report) == [("isic2017-train", "isic2017-test", 0, 1, 0)]
    [conflict] = report.conflicts
    assert (conflict.first_diagnosis, conflict.second_diagnosis) == ("melanoma", "seborrheic_keratosis")
    assert conflict.by == "bytes"


@pytest.mark.parametrize("turn", list(Image.Transpose), ids=lambda t: t.name)
def test_a_copy_that_was_turned_scaled_recompressed_and_brightened(root: Path, turn: Image.Transpose) -> None:
    with Image.open(picture(root, TRAIN, 3)) as image:
        copy = ImageEnhance.Brightness(image.transpose(turn).resize((150, 120))).enhance(0.9)
    copy.save(picture(root, TEST, 9), quality=60)
    (root / f"{TEST}_Part1_GroundTruth" / "ISIC_0000009_segmentation.png").unlink()
    report = run_audit(root, "isic2017")
    [copies] = report.copies
    assert copies.places == ("isic2017-train/ISIC_0000003", "isic2017-test/ISIC_0000009")
    assert not copies.same_bytes
    assert copies.distance <= MAX_HASH_DISTANCE
    assert 0.97 <= copies.correlation <= 1
    assert pairs_of_sets(report) == [("isic2017-train", "isic2017-test", 0, 0, 1)]
    assert report.conflicts == (), "both are melanomas"


def test_files_that_cannot_be_used(root: Path) -> None:
    broken = picture(root, TRAIN, 1)
    broken.write_bytes(broken.read_bytes()[:300])
    masks = root / f"{TRAIN}_Part1_GroundTruth"
    (masks / "ISIC_0000002_segmentation.png").write_bytes(b"no mask")
    Image.new("L", (96, 95), 255).save(masks / "ISIC_0000003_segmentation.png")
    Image.new("L", (96, 96), 0).save(masks / "ISIC_0000004_segmentation.png")
    [report] = run_audit(root, "isic2017-train").sets
    assert [problem.partition(":")[0] for problem in report.problems] == [
        "ISIC_0000001.jpg",
        "ISIC_0000002_segmentation.png",
        "ISIC_0000003_segmentation.png",
        "ISIC_0000004_segmentation.png",
    ]
    assert "truncated or corrupt" in report.problems[0]
    assert "96 x 95" in report.problems[2]
    assert "no lesion" in report.problems[3]


def test_what_is_missing_is_named(root: Path) -> None:
    picture(root, TRAIN, 2).unlink()
    (root / f"{TRAIN}_Part1_GroundTruth" / "ISIC_0000003_segmentation.png").unlink()
    [report] = run_audit(root, "isic2017-train").sets
    assert report.missing_pictures == ("ISIC_0000002",)
    assert report.missing_masks == ("ISIC_0000003",)
    assert (report.pictures, report.masks) == (5, 4)


def test_absent_and_unreadable_sets_are_said_so(root: Path) -> None:
    shutil.rmtree(root / "isic2016")
    (root / f"{TEST}_Part3_GroundTruth.csv").write_text("hello\n")
    status = {each.name: each.status for each in run_audit(root).sets}
    assert status == {
        "isic2016-train": "absent",
        "isic2016-test": "absent",
        "isic2017-train": "read",
        "isic2017-validation": "read",
        "isic2017-test": "unreadable",
    }


@pytest.mark.parametrize("only", [(), ("isic2017-test",), ("isic2017",)])
def test_nothing_that_can_be_read(tmp_path: Path, only: tuple[str, ...]) -> None:
    with pytest.raises(AuditError, match=r"can be read: .* point CIN_DATA at the folder"):
        run_audit(tmp_path, *only)


def test_the_command(root: Path, tmp_path: Path) -> None:
    shutil.copy(picture(root, TRAIN, 0), picture(root, TRAIN, 3))
    shutil.rmtree(root / "isic2016")
    out = tmp_path / "audit.json"
    result = CliRunner().invoke(app, ["audit", "--data", str(root), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "isic2016-train is absent" in result.output
    assert "isic2017-train/ISIC_0000000 = isic2017-train/ISIC_0000003" in result.output
    written = json.loads(out.read_text())
    assert written["copies"][0]["places"] == ["isic2017-train/ISIC_0000000", "isic2017-train/ISIC_0000003"]
    assert [each["status"] for each in written["sets"]] == ["absent", "absent", "read", "read", "read"]


def test_the_command_on_an_empty_folder_and_an_unknown_set(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["audit", "--data", str(tmp_path)])
    assert (result.exit_code, "can be read" in result.output) == (1, True)
    result = CliRunner().invoke(app, ["audit", "--data", str(tmp_path), "--only", "isic2018"])
    assert (result.exit_code, "there is no set 'isic2018'" in result.output) == (1, True)


def test_overlap() -> None:
    assert overlap(["c", "a", "b"], ["b", "c", "d"]) == ("b", "c")
    assert overlap([], ["a"]) == ()
