"""The tiny bundle in pieces: to damage it, and to write it again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from service.bundle import CANARY_OUTPUTS_NAME, CANARY_PICTURE_NAME, MANIFEST_NAME, MODEL_CARD_NAME, Bundle

Fields = dict[str, Any]

FILES = ("tiny.onnx", CANARY_PICTURE_NAME, CANARY_OUTPUTS_NAME, MODEL_CARD_NAME)


def sha256(path: Path) -> str:
    """The digest of a file, by other code than the bundle's."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest_fields(folder: Path) -> Fields:
    """The manifest of a bundle as JSON, valid or not."""
    fields: Fields = json.loads((folder / MANIFEST_NAME).read_bytes())
    return fields


def parts(bundle: Bundle, **changes: Any) -> dict[str, Any]:
    """The arguments of ``write_bundle`` that write the bundle again, its manifest changed."""
    fields = bundle.manifest.model_dump(exclude={"schema_version", "files"})
    return {"files": {name: bundle.path(name) for name in FILES}, "manifest": {**fields, **changes}}
