"""Pictures made to harm: refused with a reason or answered, in bounded time and memory, by no reader but six."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from service.app import create_app
from service.bundle import Bundle
from service.imaging import read_picture
from service.problems import PROBLEM_TYPES
from service.settings import Settings
from tests.paths import REPOSITORY, find_data
from tests.service import hostile
from tests.service.imaging.pictures import STORED
from tests.service.profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    SRGB_FROM_XYZ,
    chain_of_matrices,
    icc_profile,
    rgb_profile,
    srgb_encoded,
)
from tests.service.tiny_bundle import picture_bytes
from tests.service.wire import check_problem, post

pytestmark = pytest.mark.filterwarnings("ignore")  # pytest shows what the service does not

REFUSED = hostile.refused()
ACCEPTED = hostile.accepted()

# Of one picture at a time, on top of the process itself.
MOST_MEGABYTES = 430


@pytest.fixture(scope="module")
def client(tiny_bundle: Bundle) -> Iterator[TestClient]:
    """A service with default limits, for the whole module."""
    with TestClient(create_app(Settings(bundle=tiny_bundle.folder, provider="cpu", inference_threads=1))) as running:
        yield running


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(client: TestClient, kind: str) -> None:
    status, examples = REFUSED[kind]
    for data in examples:
        check_problem(post(client, data, "image/jpeg"), status)
    if status == 415:
        assert "this is " in post(client, examples[0]).json()["detail"]


@pytest.mark.parametrize("kind", ["text and pages", "other pictures", "documents", "DICOM data sets", "archives"])
def test_another_type_is_told_what_is_accepted(client: TestClient, kind: str) -> None:
    for data in REFUSED[kind][1]:
        check_problem(post(client, data), 415, "JPEG, PNG, WebP, TIFF, BMP, AVIF or DICOM")


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_a_picture_all_the_same(client: TestClient, name: str) -> None:
    response = post(client, ACCEPTED[name])
    assert response.status_code == 200, response.text
    answer = response.json()
    for link in filter(None, answer["attention"].values()):
        overlay = client.get(link)
        assert overlay.headers["content-type"] == "image/png"
        assert overlay.headers["x-content-type-options"] == "nosniff"
        assert b"script" not in overlay.content
        assert b"PK\x03\x04" not in overlay.content


_READ = """
import json, resource, sys
from pathlib import Path
from service.imaging import PictureError, read_picture
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    picture = read_picture(Path(sys.argv[1]).read_bytes(), 256)
    result = [picture.width, picture.height]
except PictureError as error:
    result = str(error)
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, result]))
"""


@pytest.mark.parametrize("name", ["PNG, alpha", "JPEG, progressive and turned", "WebP", "AVIF"])
def test_the_largest_pictures_take_bounded_memory(name: str, tmp_path: Path) -> None:
    """In a process of its own, because its peak counts."""
    (tmp_path / "picture").write_bytes(hostile.LARGEST_PICTURES[name]())
    assert (tmp_path / "picture").stat().st_size < 1_000_000
    command = [sys.executable, "-c", _READ, str(tmp_path / "picture")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, timeout=60)
    kilobytes, result = json.loads(done.stdout)
    assert sorted(result) in (sorted(hostile.LARGEST), sorted(hostile.LARGEST_WEBP))
    assert kilobytes / 1024 < MOST_MEGABYTES


_READERS = """
import sys
from pathlib import Path
import service.cli.main
from PIL import Image
from service.imaging import PictureError, read_picture
for path in Path(sys.argv[1]).iterdir():
    try:
        read_picture(path.read_bytes(), 64)
    except PictureError:
        pass
print(*sorted(Image.OPEN))
print(*sorted(Image.ID))
print(*(name for name in sys.modules if name.startswith("PIL.") and name.endswith("ImagePlugin")))
"""


def test_no_reader_is_there_but_those_of_the_accepted_types(tmp_path: Path) -> None:
    """In a process of its own, because tests write other formats, which brings their readers back."""
    within_limits = [name for name in REFUSED if name != "more memory or passes than decoding may take"]
    corpus = [data for name in within_limits for data in REFUSED[name][1] if len(data) < 2**20]
    for number, data in enumerate([*corpus, *(data for data in ACCEPTED.values() if len(data) < 2**20)]):
        (tmp_path / str(number)).write_bytes(data)
    command = [sys.executable, "-c", _READERS, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    readers, order, modules = (line.split() for line in done.stdout.splitlines()[-3:])
    assert sorted(readers) == sorted(order) == ["AVIF", "BMP", "JPEG", "PNG", "TIFF", "WEBP"]
    # Pillow loads three more by itself, without which it cannot be used; nothing finds their way to them. That of
    # JPEG 2000 is for the pixels of DICOM files alone.
    allowed = {"Avif", "Bmp", "Gif", "Ppm", "Jpeg", "Jpeg2K", "Mpo", "Png", "Tiff", "WebP"}
    assert {name.removeprefix("PIL.").removesuffix("ImagePlugin") for name in modules} <= allowed


def test_a_bad_picture_writes_no_line_for_each_of_its_tags(tmp_path: Path) -> None:
    entries = [(tag, 2, 200_000, 8) for tag in range(1000, 6000)]
    (tmp_path / "picture").write_bytes(hostile.tiff([(256, 4, 1, 64), (257, 4, 1, 64), *entries], bytes(99)))
    command = [sys.executable, "-c", _READ, str(tmp_path / "picture")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    assert len(done.stderr.splitlines()) < 20


@pytest.mark.parametrize(
    "entries",
    [
        [(tag, 7, 60_000, 400) for tag in range(40_000, 43_900)],
        [(tag, 12, 7_500, 400) for tag in range(40_000, 43_900)],
        [(270, 2, 70_000, 8)],
        [(tag, 7, 1, 0) for tag in range(40_000, 45_000)],
    ],
    ids=["tags that share their bytes", "of eight bytes", "one longer than the file", "many"],
)
def test_tags_are_counted_before_a_decoder_copies_them(client: TestClient, entries: list[hostile.TiffEntry]) -> None:
    layout: list[hostile.TiffEntry] = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    data = hostile.tiff([*layout, (278, 4, 1, 64), (279, 4, 1, 4096), *entries], bytes(65_000))
    response = post(client, data)
    check_problem(response, 422)
    assert "tags" in response.json()["detail"]


def test_a_bmp_whose_header_is_its_pixels_is_refused(client: TestClient) -> None:
    data = picture_bytes(Image.new("RGB", (64, 64), "brown"), "BMP")
    check_problem(post(client, data[:10] + bytes(4) + data[14:]), 415, "header")


@cache
def real_pictures() -> list[bytes]:
    """A real picture in every accepted format, as small as their faults allow."""
    data = find_data()
    if data is None:
        return []
    with Image.open(next(iter(sorted((data / "samples").glob("*.jpg"))))) as original:
        small = original.convert("RGB").resize((160, 120))
    turned = hostile.exif_of(6)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return [
        picture_bytes(small, "JPEG", exif=turned, icc_profile=profile),
        picture_bytes(small, "JPEG", progressive=True),
        picture_bytes(small.convert("CMYK"), "JPEG"),
        picture_bytes(small, "PNG", icc_profile=profile),
        picture_bytes(small.convert("P"), "PNG", transparency=3),
        picture_bytes(small.convert("RGBA"), "WEBP", lossless=True),
        picture_bytes(small, "WEBP"),
        picture_bytes(small, "TIFF", compression="tiff_lzw"),
        picture_bytes(small, "TIFF", compression="jpeg"),
        picture_bytes(small, "AVIF"),
        picture_bytes(small.convert("L"), "TIFF", compression="tiff_adobe_deflate"),
    ]


@pytest.mark.data
@given(draw=st.data())
@settings(max_examples=300)
@pytest.mark.filterwarnings("ignore")
def test_real_pictures_cut_and_flipped(client: TestClient, draw: st.DataObject) -> None:
    pictures = real_pictures()
    if not pictures:
        pytest.skip("real dermoscopy pictures are not there; set CIN_DATA")
    data = bytearray(draw.draw(st.sampled_from(pictures)))
    for position in draw.draw(st.lists(st.integers(0, 500) | st.integers(0, len(data) - 1), max_size=6)):
        data[position % len(data)] ^= draw.draw(st.integers(1, 255))
    response = post(client, bytes(data[: draw.draw(st.just(len(data)) | st.integers(1, len(data)))]))
    # A few flipped bits may make a picture a large one, or one of several pages.
    assert response.status_code in (200, 413, 415, 422), response.text


@pytest.mark.parametrize("primaries", [ADOBE_RGB, DISPLAY_P3], ids=["Adobe RGB (1998)", "Display P3"])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_wide_colours_become_srgb(primaries: dict[bytes, tuple[float, float, float]], image_format: str) -> None:
    profile = rgb_profile(primaries, 2.2)
    colour = (150, 110, 90)  # skin, which lies within sRGB
    lossless: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = lossless.get(image_format, {})
    data = picture_bytes(Image.new("RGB", (40, 40), colour), image_format, icc_profile=profile, **options)
    linear = (np.array(colour) / 255) ** 2.2
    xyz = np.array([primaries[name] for name in (b"rXYZ", b"gXYZ", b"bXYZ")]).T @ linear
    expected = [srgb_encoded(float(value)) for value in SRGB_FROM_XYZ @ xyz]
    shown = read_picture(data, 40).frame.reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(shown, expected, atol=3 if image_format == "JPEG" else 1.5)
    assert np.abs(np.array(expected) - colour).max() > 5, "the profile matters"


def test_hidden_colours_of_transparent_pixels_stay_hidden() -> None:
    hidden = Image.new("RGBA", (40, 40), (200, 10, 10, 0))
    assert (read_picture(picture_bytes(hidden, "PNG"), 40).frame == 255).all()
    assert (read_picture(picture_bytes(hidden, "WEBP", lossless=True, exact=True), 40).frame == 255).all()


# Orientation, through the service


@pytest.mark.data
def test_every_orientation_gets_the_same_answer(client: TestClient, sample_picture: Path) -> None:
    with Image.open(sample_picture) as original:
        upright = np.asarray(original.convert("RGB").resize((300, 225)))
    answers = []
    for orientation, store in STORED.items():
        stored = np.ascontiguousarray(store(upright))
        answer = post(client, picture_bytes(Image.fromarray(stored), "PNG", exif=hostile.exif_of(orientation))).json()
        answers.append((answer["probabilities"], answer["image"], answer["lesion"]["crop_box"]))
        # The box, taken back to how the picture is stored, frames the same pixels.
        box = answer["lesion"]["crop_box"]
        marked = np.zeros(upright.shape[:2], dtype=bool)
        marked[box["y0"] : box["y1"], box["x0"] : box["x1"]] = True
        inside = stored[np.ascontiguousarray(store(marked))]
        assert sorted(map(tuple, inside)) == sorted(map(tuple, upright[marked]))
    for probabilities, image, box in answers:
        assert (image["width"], image["height"]) == (300, 225)
        assert (probabilities, box) == (answers[0][0], answers[0][2])


def test_every_problem_of_a_picture_is_one_of_the_closed_set() -> None:
    assert {status for status, _ in REFUSED.values()} <= {problem.status for problem in PROBLEM_TYPES}


def _table(grid: int) -> bytes:
    """The head of a table of ``grid`` x ``grid`` x ``grid`` nodes, whatever follows."""
    return b"mft2" + bytes(4) + bytes([3, 3, grid, 0])


COSTLY_PROFILES = {
    "chain": {b"D2B0": chain_of_matrices(50_000)},
    "chain in another tag": {b"B2D1": chain_of_matrices(50_000)},
    "many tags": {b"%04d" % number: b"text" + bytes(4) for number in range(101)},
    "large table": {b"A2B0": _table(255)},
}


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("name", COSTLY_PROFILES)
def test_a_profile_that_costs_minutes_never_reaches_the_colour_engine(
    monkeypatch: pytest.MonkeyPatch, name: str, image_format: str
) -> None:
    plain, tagged = (
        picture_bytes(Image.new("RGB", (40, 40), (180, 120, 100)), image_format, icc_profile=profile)
        for profile in (None, icc_profile(b"RGB ", b"XYZ ", COSTLY_PROFILES[name]))
    )
    monkeypatch.setattr(ImageCms, "buildTransform", lambda *_, **__: pytest.fail("the colour engine was asked"))
    picture = read_picture(tagged, 32)
    assert np.array_equal(picture.frame, read_picture(plain, 32).frame)
    assert picture.notes == ("profile_ignored",)
