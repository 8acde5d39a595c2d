"""``cin predict s3://bucket/prefix``, against a server of the same protocol."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from service.bundle import Bundle
from service.cli import s3
from service.cli.archive import find_pictures, list_pictures
from service.cli.ray_actor import ERROR, INDEX, PATH, PREDICTION, Actor
from service.cli.s3 import S3Error, S3Location, locate
from service.cli.shards import Shard
from tests.service.cli.conftest import BUCKET, Bucket, cin
from tests.service.cli.results import rows_of
from tests.service.cli.test_ray import task_of

# What of a key has a meaning in paths, addresses, tables or spreadsheets.
ODD_KEYS = ("a//b.png", "/c.png", "ü é.png", "#?%41&=+.png", "=1+1.PNG", "a;=1.png", "100%.png", "b.png/c.png")
LEFT_OUT = {
    ".hidden/a.png": "hidden and system folders",
    "__MACOSX/a.png": "hidden and system folders",
    "a/../up.png": "hidden and system folders",
    "._a.png": "hidden files",
    "a.gif": "GIF",
    "notes.txt": "other files",
    "IM0001": "files without suffix",
}


def listed(text: str) -> tuple[list[str], Counter[str]]:
    """Addresses, and what is left out."""
    left_out: Counter[str] = Counter()
    pictures = list_pictures([locate(text)], left_out)
    return [str(picture) for picture in pictures], left_out


def test_a_bucket_is_predicted_like_the_folder_that_it_is_a_copy_of(
    copied: str, bucket: Bucket, environment: dict[str, str], archive: Path, tmp_path: Path
) -> None:
    folder = cin("predict", archive, "--out", tmp_path / "folder.csv", **environment)
    done = cin("predict", copied, "--out", tmp_path / "s3.csv", **environment)
    assert (folder.exit_code, done.exit_code) == (0, 0), done.stderr
    assert "left out: other files: 1" in done.stderr
    expected = {
        f"{copied}/{Path(row['picture']).relative_to(archive)}": {**row, "picture": ""}
        for row in rows_of(tmp_path / "folder.csv")
    }
    assert {row["picture"]: {**row, "picture": ""} for row in rows_of(tmp_path / "s3.csv")} == expected
    bucket.put("copy/new.png", (archive / "0.png").read_bytes())
    bucket.delete("copy/2.png")  # its answer stays
    again = cin("predict", f"{copied}/", "--out", tmp_path / "s3.csv", **environment)
    assert "6 of 7 images have an answer already" in again.stderr
    assert sorted(row["picture"] for row in rows_of(tmp_path / "s3.csv")) == sorted([*expected, f"{copied}/new.png"])


def test_parts_are_those_of_the_folder_and_are_merged_and_checked(
    copied: str, environment: dict[str, str], archive: Path, tmp_path: Path
) -> None:
    parts = []
    for shard in ("1/2", "2/2"):
        parts.append(tmp_path / f"part-{shard[0]}.jsonl")
        assert cin("predict", copied, "--shard", shard, "--out", parts[-1], **environment).exit_code == 0
        here = [f"{copied}/{p.relative_to(archive)}" for p in find_pictures([archive]).pictures]
        own = list_pictures([archive], Counter(), shard=Shard.parse(shard))
        assert {row["picture"] for row in rows_of(parts[-1])} == {
            f"{copied}/{os.path.relpath(p, archive)}" for p in own
        }
    assert cin("results", "check", *parts, "--archive", copied).exit_code == 0
    assert cin("results", "merge", *parts, "--out", tmp_path / "all.csv").exit_code == 0
    assert sorted(row["picture"] for row in rows_of(tmp_path / "all.csv")) == sorted(here)
    lacking = cin("results", "check", parts[0], "--archive", copied)
    assert lacking.exit_code == 1
    assert f"{rows_of(parts[1])[0]['picture']}: no answer" in lacking.stderr


def test_keys_are_taken_as_they_are(bucket: Bucket, environment: dict[str, str], archive: Path, tmp_path: Path) -> None:
    for key in (*ODD_KEYS, *LEFT_OUT):
        bucket.put(f"odd/{key}", (archive / "0.png").read_bytes())
    names, left_out = listed(f"s3://{BUCKET}/odd/")
    assert sorted(names) == sorted(f"s3://{BUCKET}/odd/{key}" for key in ODD_KEYS)
    assert left_out == Counter(LEFT_OUT.values())
    out = tmp_path / "odd.csv"
    assert cin("predict", f"s3://{BUCKET}", "--out", out, **environment).exit_code == 0
    before = out.read_bytes()
    assert len(rows_of(out)) == len(ODD_KEYS)
    assert cin("predict", f"s3://{BUCKET}", "--out", out, **environment).exit_code == 0
    assert out.read_bytes() == before
    assert cin("results", "check", out, "--archive", f"s3://{BUCKET}").exit_code == 0


def test_a_large_bucket_is_listed_by_the_page_and_what_fails_is_not_its_end(bucket: Bucket) -> None:
    for i in range(1100):
        bucket.put(f"many/{i:04}.jpg")
    assert len(listed(f"s3://{BUCKET}/many")[0]) == 1100
    pictures = list_pictures([locate(f"s3://{BUCKET}/many")], Counter())
    found = [next(pictures)]
    bucket.deny()
    with pytest.raises(S3Error):
        found.extend(pictures)
    assert len(found) == 1000


def test_a_list_may_name_objects_and_one_that_is_gone_is_repeated(
    copied: str, bucket: Bucket, environment: dict[str, str], archive: Path, tmp_path: Path
) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(f"{copied}/0.png\n{copied}/gone.png\n{archive / '2.png'}\n")
    out = tmp_path / "out.jsonl"
    assert cin("predict", listing, "--out", out, **environment).exit_code == 1
    errors = {row["picture"]: row.get("error") for row in rows_of(out)}
    assert errors.pop(f"{copied}/gone.png") == "The specified key does not exist. (NoSuchKey)"
    assert errors == {f"{copied}/0.png": None, str(archive / "2.png"): None}
    bucket.put("copy/gone.png", (archive / "4.png").read_bytes())
    assert cin("predict", listing, "--out", out, **environment).exit_code == 0
    small = cin("predict", f"{copied}/0.png", **environment, CIN_MAX_UPLOAD_BYTES="10")
    assert "the limit is 10 (CIN_MAX_UPLOAD_BYTES)" in small.stderr


def test_an_actor_reads_objects(
    copied: str, tiny_bundle: Bundle, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(tiny_bundle, archive, archive=[copied])
    actor = Actor(task)
    try:
        answer = actor({INDEX: [0, 1], PATH: [f"{copied}/0.png".encode(), f"{copied}/gone.png".encode()]})
    finally:
        actor.close()
    assert json.loads(answer[PREDICTION][0])["image"]["width"] > 0
    assert answer[ERROR] == [None, "The specified key does not exist. (NoSuchKey)"]
    monkeypatch.setattr(s3, "READS_S3", False)
    with pytest.raises(Exception, match=r"^node .*install the service with its extra \[s3\]"):
        Actor(task)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("s3://", 2, "name a bucket: s3://bucket/prefix"),
        ("s3://nowhere-to-be-found/a", 1, "s3://nowhere-to-be-found/a: The specified bucket does not exist"),
        ("s3://A_B/a", 1, "s3://A_B/a: "),
        (f"s3://{BUCKET}/empty", 1, f"s3://{BUCKET}/empty holds no images"),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_what_cannot_be_listed_is_said(
    environment: dict[str, str], tmp_path: Path, text: str, code: int, said: str
) -> None:
    done = cin("predict", text, "--out", tmp_path / "out.csv", **environment)
    assert done.exit_code == code
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "out.csv").exists()


def test_a_bucket_that_refuses_and_overlays_write_nothing(
    copied: str, bucket: Bucket, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = cin("predict", copied, "--overlay", tmp_path / "maps", **environment)
    assert (drawn.exit_code, list((tmp_path / "maps").rglob("*.png"))) == (1, [])
    assert "leave --overlay out" in drawn.stderr
    bucket.deny()
    done = cin("predict", copied, "--out", tmp_path / "out.csv", **environment)
    assert done.exit_code == 1
    assert f"{copied}: " in done.stderr
    assert "(InvalidAccessKeyId)" in done.stderr
    assert not (tmp_path / "out.csv").exists()
    monkeypatch.setattr(s3, "READS_S3", False)
    done = cin("predict", copied, "--out", tmp_path / "out.csv", **environment)
    assert (done.exit_code, "[s3]" in done.stderr) == (2, True)


def test_an_address_is_its_own_text() -> None:
    for key in ("", "a", "a//b", "/", "..", "a/../b"):
        place: Any = S3Location(BUCKET, key)
        assert locate(os.fsdecode(os.fsencode(place)), "/elsewhere") == place
    assert locate("s3:/a", "/folder") == Path("/folder/s3:/a")
