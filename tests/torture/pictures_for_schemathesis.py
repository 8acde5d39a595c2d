"""Lets schemathesis send pictures where the schema asks for a file, so that there are predictions to ask for."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import strategies as st

from tests.service.tiny_bundle import dark_square, picture_bytes

PICTURES = st.sampled_from([picture_bytes(dark_square(), kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")])

schemathesis.openapi.format("binary", PICTURES | st.binary(max_size=100))
for kind in ("jpeg", "png", "webp", "tiff", "avif"):
    schemathesis.openapi.media_type(f"image/{kind}", PICTURES)


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """A form has text alone: another type of ``reference`` is a text there, and valid."""
    return not isinstance(case.body, dict) or isinstance(case.body.get("reference", []), list)
