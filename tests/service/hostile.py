"""Images made to harm: small files that ask for much memory or time, files that are two things at once."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from tests.service.imaging import avif_bombs
from tests.service.imaging.avifs import avif, grid
from tests.service.profiles import chain_of_matrices, icc_profile
from tests.service.tiny_bundle import dark_square, picture_bytes

LARGEST = (8000, 5000)  # 40 million pixels, the default limit
LARGEST_WEBP = (6500, 4000)  # WebP takes four times the memory for a pixel
LARGEST_AVIF = (6500, 5000)  # with alpha
BEYOND = (13_000, 13_000)

_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}

TiffEntry = tuple[int, int, int, int]


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(size: tuple[int, int], colour_type: int = 2, *, bits: int = 8, extra: bytes = b"") -> bytes:
    """A black PNG of any size in a small file."""
    width, height = size
    row = b"\0" + bytes((width * _CHANNELS[colour_type] * bits + 7) // 8)
    compressor = zlib.compressobj(9)
    rows = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def segment(marker: int, content: bytes = b"") -> bytes:
    """A segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def tiff(entries: Sequence[TiffEntry], pixels: bytes = b"", *, following: int = 0) -> bytes:
    """A little-endian TIFF of these entries (tag, type, count, value); ``pixels`` begin at byte 8."""
    data = b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + struct.pack("<H", len(entries))
    return data + b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries)) + struct.pack("<I", following)


def grey_tiff(*entries: TiffEntry, pixels: bytes = b"", following: int = 0, side: int = 64) -> bytes:
    """A deflated grey TIFF; ``entries`` say where its pixels are."""
    common = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    return tiff([*common, *entries], pixels, following=following)


def jpeg() -> bytes:
    """A harmless image."""
    return picture_bytes(dark_square(), "JPEG")


def large(image_format: str, **options: object) -> bytes:
    """An image of the largest size in a small file."""
    return picture_bytes(Image.new("RGB", LARGEST, (120, 60, 50)), image_format, **options)


def with_many_scans(num: int, mode: str = "RGB", **options: object) -> bytes:
    """A progressive JPEG whose last scan comes ``num`` times more."""
    data = picture_bytes(dark_square().convert(mode), "JPEG", progressive=True, **options)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + num * scan + data[-2:]


def with_restarts(side: int) -> bytes:
    """A grey progressive JPEG of ``side`` x ``side`` blocks, each of which is an interval in each of 64 scans."""
    frame = segment(0xC2, struct.pack(">BHHB", 8, 8 * side, 8 * side, 1) + b"\1\x11\0")
    # Both tables have one code of one bit: no difference, or the end of the block.
    tables = segment(0xC4, bytes((0x00, 1, *bytes(16)))) + segment(0xC4, bytes((0x10, 1, *bytes(16))))
    blocks = b"".join(b"\x7f\xff%c" % (0xD0 + number % 8) for number in range(side**2 - 1)) + b"\x7f"
    headers = (segment(0xDA, bytes((1, 1, 0, place, place, 0))) for place in range(64))
    start = b"\xff\xd8" + segment(0xDB, bytes((0, *[1] * 64))) + frame + tables + segment(0xDD, b"\0\1")
    return start + b"".join(header + blocks for header in headers) + b"\xff\xd9"


def claiming(data: bytes, size: tuple[int, int]) -> bytes:
    """A progressive JPEG or a lossy WebP whose header states another size."""
    width, height = size
    if data.startswith(b"RIFF"):
        return data[:26] + struct.pack("<HH", width, height) + data[30:]
    place = data.index(b"\xff\xc2") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def animation() -> bytes:
    """A WebP of two frames."""
    return picture_bytes(dark_square(), "WEBP", save_all=True, append_images=[dark_square(start=32)])


def archive() -> bytes:
    """A ZIP of a megabyte of nothing."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("lesion.jpg", bytes(2**20))
    return buffer.getvalue()


def fax() -> bytes:
    """A TIFF of 40 megapixels for each of whose rows a decoder writes a line to its standard error."""
    entries = [(256, 4, 1, 33), (257, 4, 1, 1_200_000), (258, 3, 1, 1), (259, 3, 1, 3), (262, 3, 1, 0)]
    noise = np.random.default_rng(0).bytes(3_000_000)
    return tiff([*entries, (273, 4, 1, 8), (278, 4, 1, 1_200_000), (279, 4, 1, len(noise))], noise)


def refused() -> dict[str, tuple[int, list[bytes]]]:
    """What must be refused, by kind: with which status, and examples."""
    grey, deflated = Image.new("L", (64, 64)), zlib.compress(bytes(64 * 64))
    strip = [(278, 4, 1, 64), (273, 4, 1, 8), (279, 4, 1, len(deflated))]
    ones = np.ones((40, 40))
    data, heic = jpeg(), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)
    half = [picture_bytes(dark_square(), kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")]
    return {
        "nothing": (400, [b""]),
        "more than 40 million pixels": (
            413,
            [
                png(BEYOND, 0, bits=1),
                png((40_000_001, 1), 0, bits=1),
                avif([avif_bombs.claiming((65_536, 65_536))]),
                avif([grid(1, 1, (64, 64), [2]), avif_bombs.claiming((65_536, 65_536))]),
            ],
        ),
        "sides of more than 30,000 pixels": (413, [png((1_250_000, 32), 0), png((32, 1_250_000), 0)]),
        "black and white": (415, [png((64, 64), 0, bits=1), picture_bytes(Image.new("1", (64, 64)), "TIFF"), fax()]),
        "text and pages": (415, [b"hello", b"<html><img src=x></html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]),
        "other pictures": (415, [picture_bytes(grey, kind) for kind in ("GIF", "PPM", "ICO", "TGA")] + [heic]),
        "documents": (415, [b"%PDF-1.7\n" + bytes(99), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]),
        "DICOM data sets": (415, [b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + bytes(99)]),
        "archives": (415, [archive(), archive() + data, b"\x1f\x8b\x08" + bytes(99)]),
        "animations and pages": (
            415,
            [
                animation(),
                picture_bytes(dark_square(), "PNG", save_all=True, append_images=[dark_square(start=9)]),
                picture_bytes(dark_square(), "TIFF", save_all=True, append_images=[dark_square()]),
                picture_bytes(dark_square(), "AVIF", save_all=True, append_images=[dark_square(start=9)]),
            ],
        ),
        "grey of unknown range": (
            415,
            [picture_bytes(Image.fromarray(ones.astype(kind)), "TIFF") for kind in (np.float32, np.int32)],
        ),
        "cut off": (422, [part[: len(part) * share // 8] for part in half for share in (1, 4, 7)]),
        "smaller than 32 pixels": (422, [png((31, 100)), png((100, 31))]),
        "bombs of text and profiles": (
            422,
            [
                png((64, 64), extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000), 9))),
                png((64, 64), extra=chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(50_000_000), 9))),
                png((64, 64), extra=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000), 9))),
            ],
        ),
        "too many parts": (
            422,
            [
                with_many_scans(200),
                data[:2] + segment(0xFE) * 100_000 + data[2:],
                data[:2] + segment(0xE3) * 100_000 + data[2:],
                data[:2] + b"\xff" * 100_000 + data[2:],
                png((64, 64), extra=chunk(b"abCd", b"") * 60_000),
                grey_tiff((278, 4, 1, 1), (273, 4, 60_000, 8), (279, 4, 60_000, 8), pixels=bytes(240_000)),
                *avif_bombs.too_many().values(),
            ],
        ),
        "more memory or passes than decoding may take": (
            422,
            [
                claiming(picture_bytes(dark_square(), "WEBP"), LARGEST),
                claiming(with_many_scans(0, "CMYK", subsampling=0), LARGEST),
                claiming(with_many_scans(80), (6000, 4000)),
                avif([avif_bombs.claiming(LARGEST)]),
                *(avif_bombs.with_larger_frame(side) for side in (8_000, 16_000, 65_536)),
            ],
        ),
        "a JPEG of one marker": (422, [data[:4] + bytes(2**21)]),
        "tiles and strips that are not there": (
            422,
            [
                grey_tiff((322, 4, 1, 30_000), (323, 4, 1, 30_000), (324, 4, 1, 8), (325, 4, 1, 9), pixels=deflated),
                grey_tiff(*strip[:2], (279, 4, 1, 2**31), pixels=deflated),
                grey_tiff((278, 4, 1, 64), (273, 4, 1, 2**31), (279, 4, 1, 99), pixels=deflated),
            ],
        ),
    }


def accepted() -> dict[str, bytes]:
    """What looks like harm and is an image all the same: answered, and nothing of it comes back."""
    data, deflated = jpeg(), zlib.compress(bytes(64 * 64))
    strip = [(278, 4, 1, 64), (273, 4, 1, 8), (279, 4, 1, len(deflated))]
    start = 8 + len(deflated)
    exif = (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", 60_000)
        + b"".join(struct.pack("<HHII", tag, 2, 200_000, 8) for tag in range(60_000))
    )
    return {
        "JPEG and ZIP": data + archive(),
        "JPEG and page": data + b"<html><script>alert(1)</script></html>",
        "JPEG and JPEG": data + data,
        "PNG and page": png((64, 64)) + b"<html><script>alert(1)</script></html>",
        "page in a comment": data[:2] + segment(0xFE, b"<html><script>alert(1)</script></html>") + data[2:],
        "100 scans": with_many_scans(85),
        "262,144 intervals in 64 scans": with_restarts(64),
        "huge EXIF": png((64, 64), extra=chunk(b"eXIf", bytes(5_000_000))),
        "60,000 EXIF entries": png((64, 64), extra=chunk(b"eXIf", exif + bytes(300_000))),
        "huge XMP": png((64, 64), extra=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x:x>" * 500_000)),
        "pages in a loop": grey_tiff(*strip, pixels=deflated, following=start),
        "a strip that unpacks to 100 MB": grey_tiff(
            *strip[:2],
            (279, 4, 1, len(zlib.compress(bytes(100_000_000), 9))),
            pixels=zlib.compress(bytes(100_000_000), 9),
        ),
    }


def exif_of(orientation: int) -> Image.Exif:
    """EXIF that states an orientation; 6 is to be turned by 90 degrees clockwise."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# Small files of the largest allowed images, of every format and mode; made on demand.
LARGEST_PICTURES: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: png(LARGEST),
    "PNG, 16 bits": lambda: png(LARGEST, bits=16),
    "PNG, alpha": lambda: png(LARGEST, 6),
    "PNG, grey and alpha": lambda: png(LARGEST, 4),
    "PNG, grey of 16 bits": lambda: png(LARGEST, 0, bits=16),
    "JPEG": lambda: large("JPEG"),
    "JPEG, progressive and turned": lambda: large("JPEG", progressive=True, exif=exif_of(6)),
    "WebP": lambda: picture_bytes(Image.new("RGB", LARGEST_WEBP, (120, 60, 50)), "WEBP"),
    "TIFF": lambda: large("TIFF", compression="tiff_adobe_deflate"),
    "AVIF": lambda: large("AVIF", speed=10, max_threads=1),
}


def costly_profile() -> bytes:
    """A profile that costs the colour engine a minute and a half, and compresses to nothing."""
    return icc_profile(b"RGB ", b"XYZ ", {b"D2B0": chain_of_matrices(125_000)})


def costly_pictures() -> dict[str, bytes]:
    """The largest image of every kind that takes more than its pixels: alpha, palettes, profiles, turned ones."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rgb = Image.new("RGB", LARGEST, (180, 120, 100))
    rgba = rgb.convert("RGBA")
    rgba.putalpha(200)
    tagged: dict[str, Any] = {"exif": exif_of(6), "icc_profile": profile}
    return {
        "WebP, alpha": picture_bytes(rgba.resize(LARGEST_WEBP), "WEBP", lossless=True, quality=0, method=0, **tagged),
        "PNG, alpha": picture_bytes(rgba, "PNG", **tagged),
        "PNG, palette": picture_bytes(rgb.quantize(8), "PNG", transparency=bytes([200] * 8), **tagged),
        "JPEG": picture_bytes(rgb, "JPEG", quality=50, **tagged),
        "JPEG, progressive": picture_bytes(rgb, "JPEG", quality=50, progressive=True, **tagged),
        "JPEG, CMYK": picture_bytes(rgb.convert("CMYK"), "JPEG", quality=50, exif=exif_of(6)),
        "AVIF, alpha": picture_bytes(rgba.resize(LARGEST_AVIF), "AVIF", speed=10, max_threads=1, **tagged),
        "TIFF, alpha": picture_bytes(rgba, "TIFF", compression="tiff_deflate", icc_profile=profile),
    }
