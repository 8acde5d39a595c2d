"""The audit, on synthetic sets with planted findings and on the facts about the real ones."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from rich.console import Console
from typer.testing import CliRunner

from model_training.cli.main import app
from model_training.data.audit import examine
from model_training.data.audit.audit import AuditError, AuditReport, audit_sets, overlap, pairs_of_sets
from model_training.data.audit.near_duplicates import (
    MAX_HASH_DISTANCE,
    perceptual_hash,
    similar_pairs,
    small_grey,
    turned,
)
from model_training.data.download.official import CLASS_COUNTS, OFFICIAL_FILES, SHARED_IDS
from model_training.data.isic import read_set
from tests.synthetic import synthesise, write_isic2016, write_isic2017

TRAIN = "isic2017/ISIC-2017_Training"
TEST = "isic2017/ISIC-2017_Test_v2"


def run_audit(root: Path, *only: str) -> AuditReport:
    return audit_sets(root, only, console=Console(file=io.StringIO()))


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


def literal_hash(frame: np.ndarray) -> int:
    """Each bit by the sum that defines its cosine frequency."""
    grey = np.asarray(Image.fromarray(frame).convert("L").resize((32, 32), Image.Resampling.BILINEAR), dtype=float)
    bits = 1
    for u in range(8):
        for v in range(8):
            rows = np.cos(np.pi * u * (2 * np.arange(32) + 1) / 64)
            columns = np.cos(np.pi * v * (2 * np.arange(32) + 1) / 64)
            bits |= int((grey * rows[:, None] * columns[None, :]).sum() > 0) << (8 * u + v)
    return bits


def test_the_hash_is_what_its_definition_says() -> None:
    rng = np.random.default_rng(0)
    for diagnosis in ("melanoma", "nevus"):
        frame = synthesise(diagnosis, 80, rng).pixels
        assert perceptual_hash(frame) == literal_hash(frame)
        assert 0 < perceptual_hash(frame) < 2**64


def test_the_eight_turns_are_all_there() -> None:
    square = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    expected = {np.rot90(g, k).tobytes() for g in (square[0], square[0].T) for k in range(4)}
    assert {np.ascontiguousarray(g).tobytes() for g in turned(square)[0]} == expected
    assert (turned(square)[0, 0] == square[0]).all()


def test_pairs_are_found_whichever_of_the_two_was_turned() -> None:
    rng = np.random.default_rng(0)
    greys = np.stack([small_grey(synthesise("melanoma", 96, rng).pixels) for _ in range(4)])
    greys = np.concatenate([greys, np.rot90(greys[1:2], 1, axes=(1, 2))])
    for order in (np.arange(5), np.arange(5)[::-1]):
        [pair] = similar_pairs(greys[order])
        assert {int(order[pair.first]), int(order[pair.second])} == {1, 4}
        assert (pair.distance, pair.correlation) == (0, 1.0)


def test_blank_pictures_are_like_nothing() -> None:
    assert similar_pairs(np.full((3, 32, 32), 200, dtype=np.float32)) == []
    assert similar_pairs(np.zeros((0, 32, 32), dtype=np.float32)) == []


def test_pairs_across_blocks_are_found_once() -> None:
    greys = np.random.default_rng(0).uniform(0, 255, (5, 32, 32)).astype(np.float32)
    greys[4] = greys[0]
    assert [(pair.first, pair.second) for pair in similar_pairs(greys, block_size=2)] == [(0, 4)]


def test_official_counts_agree_with_the_official_files() -> None:
    words = {"train": "_Training_", "validation": "_Validation_", "test": "_Test_"}
    for name, counts in CLASS_COUNTS.items():
        challenge, _, split = name.partition("-")
        for file in OFFICIAL_FILES[challenge]:
            if words[split] in file.name:
                assert file.num_items == sum(counts), file.name


# Facts about the real sets


@pytest.fixture(scope="module")
def real(data_root: Path) -> AuditReport:
    """All real sets; half the frame size keeps the tests fast and finds the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examine, "FRAME_SIZE", 128)
        return run_audit(data_root)


@pytest.mark.data
def test_the_ids_that_the_years_share(real: AuditReport) -> None:
    shared = {frozenset({each.first, each.second}): len(each.ids) for each in real.shared_ids}
    assert shared == dict(SHARED_IDS)
    assert shared[frozenset({"isic2016-test", "isic2017-train"})] == 305


@pytest.mark.data
def test_the_files_that_lie_there_twice(real: AuditReport) -> None:
    twice = {frozenset(place[-7:] for place in copies.places) for copies in real.copies if copies.same_bytes}
    assert twice == {
        frozenset(pair)
        for pair in (
            ("0012152", "0015979"),
            ("0016001", "0012216"),
            ("0016002", "0012221"),
            ("0012175", "0015982"),
            ("0012271", "0016018"),
            ("0012127", "0012970"),
            ("0000279", "0000280"),
            ("0001442", "0001742"),
        )
    }


@pytest.mark.data
def test_the_labels_that_contradict_each_other(real: AuditReport) -> None:
    by_id = {(c.first[-12:], c.first_diagnosis, c.second_diagnosis) for c in real.conflicts if c.by == "id"}
    ids = ("ISIC_0000077", "ISIC_0000511", "ISIC_0010094")
    assert by_id == {(id, "benign", "melanoma") for id in ids}


@pytest.mark.data
def test_real_pictures_that_look_alike(real: AuditReport) -> None:
    """Seen to be one photograph: as it was, with other colours, sharper, and upside down."""
    alike = {frozenset(place[-7:] for place in copies.places) for copies in real.copies if not copies.same_bytes}
    for pair in (("0012887", "0012989"), ("0000519", "0011295"), ("0000222", "0014846"), ("0000189", "0015161")):
        assert frozenset(pair) in alike
    # Seen to be two lesions.
    assert not alike & {frozenset({"0000080", "0000501"}), frozenset({"0000013", "0000126"})}
    assert 25 <= len(alike) <= 35


@pytest.mark.data
def test_originals_are_recognised_as_their_copies(data_root: Path) -> None:
    originals = sorted(path for path in (data_root / "samples").iterdir() if path.stem.startswith("ISIC_"))
    copies = {s.id: s.picture for n in CLASS_COUNTS for s in read_set(data_root, n, allow_missing=True).samples}
    compared = 0
    for path in originals:
        if path.stem in copies:
            original, copy = (
                np.asarray(Image.open(p).convert("RGB").resize((256, 256))) for p in (path, copies[path.stem])
            )
            [pair] = similar_pairs(np.stack([small_grey(original), small_grey(copy)]))
            assert pair.distance == (perceptual_hash(original) ^ perceptual_hash(copy)).bit_count() <= 4
            compared += 1
    assert compared >= 5
