"""Send every file of a folder to a service, and compare with an independent decoder: ``python -m tests.corpus FOLDER``.

Prints a line for each file, as CSV: name, bytes, status, seconds, memory of the service and its decoders in MB above
that before, format, difference to the independent decoder and colour engine (of 255, on average over the pixels of the
frame as it is shown), and what was wrong with the file. Exits with 1 when the service failed, or answered another
image.
"""

from __future__ import annotations

import csv
import io
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import httpx
import numpy as np
import typer
from PIL import Image, ImageOps
from rich.console import Console

from service.imaging.frame import RESIZE_FILTER
from tests.corpus.colours import profile_of
from tests.service.imaging import oracle
from tests.torture.served import PROGRAM, Served

# That of the tests of every layout.
MOST_DIFFERENCE = 2.0
# Neither EXIF's nor HEIF's orientation.
_NO_ORIENTATION = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type xmp")


class Compression(NamedTuple):
    """What the bundle does to images."""

    frame_size: int
    quality: int | None  # of the JPEG compression of frames


class Row(NamedTuple):
    """What became of one file."""

    name: str
    bytes: int
    status: int  # 0: no answer
    seconds: float
    megabytes: float
    format: str
    difference: float | None  # None where the independent decoder does not read the file
    detail: str

    @property
    def failed(self) -> bool:
        """Whether the service is at fault."""
        return not 200 <= self.status < 500 or (self.difference or 0.0) > MOST_DIFFERENCE


def main(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="searched with its subfolders")],
) -> None:
    """Send every file of FOLDER to a service of its own."""
    writer = csv.writer(sys.stdout)
    writer.writerow(Row._fields)
    rows: list[Row] = []
    num_lines = 0
    for row, in_log in send(folder, PROGRAM):
        writer.writerow(row)
        rows.append(row)
        num_lines = in_log
    _summarise(rows, num_lines)
    raise typer.Exit(any(row.failed for row in rows))


def send(folder: Path, program: str) -> Iterator[tuple[Row, int]]:
    """What became of each file, and how many lines are in the service's log so far."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    settings = {"CIN_CALLER_RATE": "100000", "CIN_DEADLINE_SECONDS": "60"}
    with Served(settings, program=program) as served, httpx.Client(base_url=served.url, timeout=90.0) as client:
        manifest = client.get("/model").json()["manifest"]
        compression = Compression(manifest["frame_size"], manifest["frame_jpeg_quality"])
        for row in _rows(served, client, compression, folder, files):
            yield row, len(served.log)


def _rows(
    served: Served, client: httpx.Client, compression: Compression, folder: Path, files: Iterable[Path]
) -> Iterator[Row]:
    for path in files:
        data, before, began = path.read_bytes(), served.all_megabytes(), time.monotonic()
        status, body = 0, {}
        with served.watching_memory() as megabytes:
            try:
                response = client.post("/predict", content=data, headers={"Content-Type": "image/jpeg"})
                status, body = response.status_code, response.json()
            except (httpx.TransportError, ValueError) as error:
                body = {"detail": type(error).__name__}
        seconds = time.monotonic() - began
        difference = _difference(client, body, data, compression) if status == 200 else None
        yield Row(
            str(path.relative_to(folder)),
            len(data),
            status,
            round(seconds, 3),
            round(max(megabytes) - before, 1),
            body.get("image", {}).get("format", ""),
            None if difference is None else round(difference, 2),
            body.get("detail", " ".join(body.get("image", {}).get("notes", []))),
        )


def _difference(client: httpx.Client, answer: dict[str, Any], data: bytes, compression: Compression) -> float | None:
    """Between the frame that the network received and that of the independent decoder, both as they are shown: enlarged
    by the same filter, so that sharp edges differ by nothing."""
    png = client.get(f"/attention/{answer['id']}?map=lesion&layer=picture").content
    shown = Image.open(io.BytesIO(png)).convert("RGB")
    try:
        stored, profile = oracle.read(data), profile_of(data)
        # What is noted is documented: such a profile is not applied.
        is_applied = profile is not None and "profile_ignored" not in answer["image"]["notes"]
        pixels = stored.converted(profile) if profile is not None and is_applied else stored.in_rgb()
        orientation = _orientation(data)
    except Exception:  # foreign files fail in any way
        return None
    frame = _frame(Image.fromarray(pixels), orientation, compression)
    expected = frame.resize(shown.size, Image.Resampling.BICUBIC)
    return float(np.abs(np.asarray(shown).astype(int) - np.asarray(expected)).mean())


def _orientation(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        for name in _NO_ORIENTATION:
            image.info.pop(name, None)
        return int(image.getexif().get(0x0112, 1))


def _frame(stored: Image.Image, orientation: int, compression: Compression) -> Image.Image:
    """What the network should have received."""
    stored.getexif()[0x0112] = orientation
    size = (compression.frame_size, compression.frame_size)
    frame = ImageOps.exif_transpose(stored).resize(size, RESIZE_FILTER)
    if compression.quality is None or stored.size == size:
        return frame
    compressed = io.BytesIO()
    frame.save(compressed, "JPEG", quality=compression.quality)
    return Image.open(compressed)


def _summarise(rows: list[Row], log_lines: int) -> None:
    console = Console(stderr=True)
    statuses = ", ".join(f"{status}: {num}" for status, num in sorted(Counter(row.status for row in rows).items()))
    compared = [row.difference for row in rows if row.difference is not None]
    console.print(f"{len(rows)} files; {statuses}; {log_lines} lines in the log")
    console.print(
        f"slowest {max(row.seconds for row in rows):.2f} s, most memory {max(row.megabytes for row in rows):.0f} MB"
    )
    console.print(f"{len(compared)} compared, largest difference {max(compared, default=0):.2f} of 255")
    for row in rows:
        if row.failed:
            console.print(f"failed: {row.name}: {row.status} {row.difference} {row.detail}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
