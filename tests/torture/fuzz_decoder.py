"""Coverage-guided fuzzing of the decoder: ``python -m tests.torture.fuzz_decoder PICTURE [libFuzzer's options]``.

Anything but a picture or a ``PictureError`` ends it with an error.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["PIL", "service.imaging", "service.imaging.structure"]):
    from service.imaging import PictureError, PictureLimits, read_picture

LIMITS = PictureLimits(max_pixels=1_000_000)


def try_one(data: bytes) -> None:
    """Decode whatever came."""
    try:
        picture = read_picture(data, 32, LIMITS)
    except PictureError:
        return
    assert picture.frame.shape == (32, 32, 3)


def main() -> None:
    """Fuzz, beginning with a picture in every format."""
    from tests.torture.inputs import in_every_format

    picture, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(in_every_format(Path(picture))):
            (Path(folder) / str(number)).write_bytes(data)
        os.chdir(folder)  # where what ended it would be written
        atheris.Setup([sys.argv[0], *options, folder], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
