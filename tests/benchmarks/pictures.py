"""The pictures that are sent: what a camera of the clinic and one of a phone give, as JPEG."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from service.bundle import load_bundle
from service.settings import Settings
from tests.paths import find_data

# Long and short side in pixels.
SIZES = {"1024x768": (1024, 768), "12 megapixels": (4000, 3000)}


def workloads() -> dict[str, list[bytes]]:
    """Three pictures of every size: real originals where there are any, else the bundle's canary."""
    data, bundle = find_data(), load_bundle(Settings().bundle)
    found = sorted((data / "samples").glob("*.jpg"))[:3] if data else []
    sources: list[Path] = found or [bundle.path(bundle.manifest.canary.picture)]
    return {name: [_jpeg(source, size) for source in sources] for name, size in SIZES.items()}


def _jpeg(source: Path, size: tuple[int, int]) -> bytes:
    with Image.open(source) as image:
        file = io.BytesIO()
        image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()
