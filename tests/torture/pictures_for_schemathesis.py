"""Lets schemathesis send pictures where the schema asks for a file, so that there are predictions to ask for."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

from tests.service.tiny_bundle import dark_square, picture_bytes

PICTURES = st.sampled_from([picture_bytes(dark_square(), kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF")])

schemathesis.openapi.format("binary", PICTURES | st.binary(max_size=100))
for kind in ("jpeg", "png", "webp", "tiff"):
    schemathesis.openapi.media_type(f"image/{kind}", PICTURES)
