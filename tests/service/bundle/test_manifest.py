"""Manifests that are no JSON, of another schema, or contradict themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.bundle import MANIFEST_NAME, MODEL_CARD_NAME, SCHEMA_VERSION, BundleError, load_bundle
from tests.service.bundle.pieces import Fields, manifest_fields
from tests.service.tiny_bundle import CLASSES


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"weights", b"\xff\xfe\x00", b'{"schema_version": 1} {}', b"[" * 100_000],
    ids=["empty", "cut", "text", "bytes", "two", "deep"],
)
def test_a_manifest_that_is_not_json(folder: Path, text: bytes) -> None:
    (folder / MANIFEST_NAME).write_bytes(text)
    with pytest.raises(BundleError, match=r"bundle\.json is not JSON"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["{}", "[]", "null", "1", '"bundle"'])
def test_json_that_is_no_manifest(folder: Path, text: str) -> None:
    (folder / MANIFEST_NAME).write_text(text)
    with pytest.raises(BundleError, match="not a valid manifest"):
        load_bundle(folder)


def test_every_field_is_needed_and_no_other_is_known(folder: Path) -> None:
    fields = manifest_fields(folder)
    optional = {"frame_jpeg_quality", "prevalence", "reference", "abstention", "not_sure", "repeatability"}
    optional |= {"attention_influence", "outside", "robustness"}
    changed = [{k: v for k, v in fields.items() if k != name} for name in fields.keys() - optional]
    for wrong in (*changed, {**fields, "weights": "tiny.onnx"}):
        (folder / MANIFEST_NAME).write_text(json.dumps(wrong))
        with pytest.raises(BundleError, match="not a valid manifest"):
            load_bundle(folder)


def test_a_manifest_of_today_says_what_its_canary_must_get(folder: Path) -> None:
    """Otherwise the classes could be in another order, and still every sum would be right."""
    fields = manifest_fields(folder)
    for variant in fields["variants"]:
        del variant["canary_prediction"]
    (folder / MANIFEST_NAME).write_text(json.dumps(fields))
    with pytest.raises(BundleError, match="which prediction fp32 makes of the canary image"):
        load_bundle(folder)
    (folder / MANIFEST_NAME).write_text(json.dumps({**fields, "schema_version": 4}))
    assert load_bundle(folder).manifest.variants[0].canary_prediction is None


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99])
def test_a_newer_schema_asks_for_an_upgrade_whatever_else_it_holds(folder: Path, version: int) -> None:
    (folder / MANIFEST_NAME).write_text(json.dumps({"schema_version": version, "networks": []}))
    with pytest.raises(BundleError, match=f"schema {version}, this software reads up to {SCHEMA_VERSION}; upgrade it"):
        load_bundle(folder)


def set_(*path: str | int, to: Any) -> Callable[[Fields], None]:
    """A change of one field, deep in the manifest."""

    def change(fields: Fields) -> None:
        at: Any = fields
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = to

    return change


def repeat(name: str, index: int = 0) -> Callable[[Fields], None]:
    """The entry of a list once more."""
    return lambda fields: fields[name].append(fields[name][index])


def only(name: str, *indices: int) -> Callable[[Fields], None]:
    """Some entries of a list, not the others."""
    return lambda fields: fields.update({name: [fields[name][index] for index in indices]})


DIGEST = hashlib.sha256(b"").hexdigest()
WRONG: dict[str, tuple[Callable[[Fields], None], str]] = {
    "older schema": (set_("schema_version", to=0), "schema_version"),
    "schema as text": (set_("schema_version", to="2"), "schema_version"),
    "digest of another kind": (set_("files", "tiny.onnx", to="0" * 40), "[0-9a-f]{64}"),
    "digest in capitals": (set_("files", "tiny.onnx", to=DIGEST.upper()), "[0-9a-f]{64}"),
    "file in the parent": (set_("files", "../outside", to=DIGEST), "not plain file names"),
    "file at the root": (set_("files", "/outside", to=DIGEST), "not plain file names"),
    "file in a subfolder": (set_("files", "sub/inside", to=DIGEST), "not plain file names"),
    "the folder itself": (set_("files", ".", to=DIGEST), "not plain file names"),
    "the manifest itself": (set_("files", MANIFEST_NAME, to=DIGEST), "not plain file names"),
    "graph without digest": (set_("variants", 0, "file", to="other.onnx"), "without a SHA-256: other.onnx"),
    "canary without digest": (set_("canary", "picture", to="other.jpg"), "without a SHA-256: other.jpg"),
    "outputs without digest": (set_("canary", "outputs", to="../x.npz"), "without a SHA-256: ../x.npz"),
    "no card": (lambda fields: fields["files"].pop(MODEL_CARD_NAME), f"without a SHA-256: {MODEL_CARD_NAME}"),
    "unknown default": (set_("default_operating_point", to="best"), "unknown default operating point 'best'"),
    "no operating point": (only("operating_points"), "operating_points"),
    "threshold above 1": (set_("operating_points", 0, "threshold", to=1.01), "operating_points.0.threshold"),
    "threshold not a number": (set_("operating_points", 0, "threshold", to=float("nan")), "threshold"),
    "two points of one name": (repeat("operating_points"), "two operating points share a name"),
    "reference of other classes": (
        lambda fields: fields["reference"]["probabilities"].pop(CLASSES[0]),
        "not about the same classes",
    ),
    "reference off the grid": (
        set_("reference", "probabilities", CLASSES[0], "edges", to=[0.0, 0.33, 1.0]),
        "steps of a multiple of 0.05",
    ),
    "reference without an end": (
        set_("reference", "probabilities", CLASSES[0], "edges", to=[0.0, 0.3, 0.9]),
        "from 0 to 1",
    ),
    "reference of more than all": (
        set_("reference", "probabilities", CLASSES[0], "shares", to=[0.7, 0.4]),
        "sum to 1",
    ),
    "reference with nothing in an interval": (
        set_("reference", "probabilities", CLASSES[0], "shares", to=[0.0, 1.0]),
        "above 0",
    ),
    "one class": (only("classes", 0), "classes"),
    "two classes of one name": (repeat("classes", 2), "two classes share a name"),
    "nothing malignant": (
        lambda fields: fields["classes"][0].update(malignant=False, role="benign"),
        "no class is marked malignant",
    ),
    "nothing benign": (
        lambda fields: fields.update(
            classes=[{**c, "role": "malignant", "malignant": True} for c in fields["classes"]]
        ),
        "no class is marked benign",
    ),
    "malignant by one field alone": (
        set_("classes", 0, "malignant", to=False),
        "has the role malignant, but malignant",
    ),
    "another role": (set_("classes", 0, "role", to="harmless"), "classes.0.role"),
    "class with a space": (set_("classes", 0, "name", to="malignant melanoma"), "classes.0.name"),
    "no variant": (only("variants"), "variants"),
    "unknown variant": (set_("variants", 0, "name", to="int4"), "variants.0.name"),
    "two variants of one name": (repeat("variants"), "two variants share a name"),
    "frame without size": (set_("frame_size", to=0), "frame_size"),
    "quality of no JPEG": (set_("frame_jpeg_quality", to=96), "frame_jpeg_quality"),
    "canary always right": (set_("canary", "tolerance", to=float("inf")), "canary.tolerance"),
    "canary never right": (set_("canary", "tolerance", to=0.0), "canary.tolerance"),
    "unknown field inside": (set_("provenance", "author", to="somebody"), "provenance.author"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_inconsistent_manifest(folder: Path, kind: str) -> None:
    change, word = WRONG[kind]
    fields = manifest_fields(folder)
    change(fields)
    (folder / MANIFEST_NAME).write_text(json.dumps(fields))
    with pytest.raises(BundleError, match="not a valid manifest") as refusal:
        load_bundle(folder)
    assert word in str(refusal.value)
