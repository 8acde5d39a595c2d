"""``make corpus`` tells a right frame from a wrong one."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from tests.corpus.__main__ import MOST_DIFFERENCE, main
from tests.service.hostile import exif_of
from tests.service.imaging.avifs import avif, coded, encoded, irot, nclx
from tests.service.imaging.pictures import scene
from tests.service.imaging.test_oracle import with_chunks
from tests.service.profiles import ADOBE_RGB, DISPLAY_P3, black_only_profile, rgb_profile
from tests.service.tiny_bundle import picture_bytes
from tests.torture.served import PROGRAM

SCENE = Image.fromarray(scene(400, 300))
NOISE = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
LINEAR = (b"gAMA", (100_000).to_bytes(4))

RIGHT = {
    "plain.jpg": picture_bytes(SCENE, "JPEG", quality=95),
    "turned.jpg": picture_bytes(SCENE, "JPEG", quality=95, exif=exif_of(6)),
    "adobe.tif": picture_bytes(SCENE, "TIFF", icc_profile=rgb_profile(ADOBE_RGB, 2.2)),
    "linear.png": with_chunks(picture_bytes(SCENE, "PNG"), [LINEAR]),
    "inks.jpg": picture_bytes(SCENE.convert("CMYK"), "JPEG", quality=95, icc_profile=black_only_profile()),
    "ignored.png": picture_bytes(SCENE, "PNG", icc_profile=b"not a profile"),
    "wide.avif": avif([coded(encoded(scene(400, 300)), nclx(12, 8, 6), irot(1))]),
    "edges.png": picture_bytes(Image.fromarray(NOISE), "PNG"),
}
FOREIGN = {"notes.txt": b"no picture", "cut.png": picture_bytes(SCENE, "PNG")[:2000]}
# A service that answers pictures of these widths with other frames: mirrored, darker, and as if they had no profile.
WRONG = {
    "mirrored.png": picture_bytes(SCENE.resize((401, 300)), "PNG"),
    "darker.png": picture_bytes(SCENE.resize((402, 300)), "PNG"),
    "unconverted.png": picture_bytes(SCENE.resize((403, 300)), "PNG", icc_profile=rgb_profile(DISPLAY_P3, 1.8)),
}
BENT = f"""
import io
from dataclasses import replace
import numpy as np
from PIL import Image
from service.imaging import decoder, read_picture
decode = decoder.Decoder.decode
def bent(self, data):
    picture = decode(self, data)
    frame = picture.frame
    if picture.width == 401:
        frame = frame[:, ::-1]
    elif picture.width == 402:
        frame = np.where(frame > 5, frame - 5, 0).astype(np.uint8)
    elif picture.width == 403:
        plain = io.BytesIO()
        with Image.open(io.BytesIO(data)) as image:
            image.save(plain, "PNG", icc_profile=None)
        frame = read_picture(plain.getvalue(), frame.shape[0], jpeg_quality=self._work.jpeg_quality).frame
    return replace(picture, frame=np.ascontiguousarray(frame))
decoder.Decoder.decode = bent
{PROGRAM}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    for name, data in {**RIGHT, **FOREIGN}.items():
        (tmp_path / "below" / name).write_bytes(data)
    return tmp_path


def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit status, and the rows by the names of their files."""
    with pytest.raises(typer.Exit) as ended:
        main(folder)
    rows = csv.DictReader(capsys.readouterr().out.splitlines())
    return ended.value.exit_code, {Path(row["name"]).name: row for row in rows}


def test_right_frames_and_foreign_files_pass(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, rows = run(folder, capsys)
    assert rows.keys() == {*RIGHT, *FOREIGN}
    assert {name: rows[name]["status"] for name in FOREIGN} == {"notes.txt": "415", "cut.png": "422"}
    assert all(rows[name]["difference"] == "" and rows[name]["detail"] for name in FOREIGN)
    differences = {name: float(rows[name]["difference"]) for name in RIGHT}
    assert max(differences.values()) < MOST_DIFFERENCE, differences
    assert rows["ignored.png"]["detail"] == "profile_ignored"
    assert status == 0


def test_wrong_frames_fail(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in WRONG.items():
        (folder / name).write_bytes(data)
    monkeypatch.setattr("tests.corpus.__main__.PROGRAM", BENT)
    status, rows = run(folder, capsys)
    differences = {name: float(row["difference"]) for name, row in rows.items() if row["difference"]}
    assert {name for name, difference in differences.items() if difference > MOST_DIFFERENCE} == set(WRONG), differences
    assert status == 1
