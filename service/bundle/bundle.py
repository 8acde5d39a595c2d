"""The model bundle: the one contract between training and serving.

A bundle is a folder holding ``bundle.json`` (the manifest), the ONNX file of every precision variant, a canary
image with the outputs expected for it, and ``MODEL_CARD.md``. Training writes it with :func:`write_bundle`,
the service reads it with :func:`load_bundle`, which refuses anything that is not exactly what was written.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from service.bundle.base import BundleError, Record
from service.bundle.canary import interpret
from service.bundle.feature_distance import FeatureDistance, read_arrays, read_feature_distance
from service.bundle.manifest import (
    FEATURES,
    MANIFEST_NAME,
    MODEL_CARD_NAME,
    SCHEMA_VERSION,
    Manifest,
    Sha256,
    Variant,
)
from service.imaging import DEFAULT_LIMITS, Picture, PictureLimits, read_picture

# The first schema with the canary's expected prediction in every variant.
_EXPECTS_PREDICTIONS = 5


class Bundle(Record):
    """A bundle on disk whose every file was checked against the manifest."""

    folder: Path
    manifest: Manifest
    sha256: Sha256 = Field(description="SHA-256 of the manifest, which in turn fixes every other file")

    def path(self, file: str) -> Path:
        """The path of a file of the bundle."""
        return self.folder / file

    def variant(self, name: str) -> Variant:
        """The variant called ``name``. Raises :class:`BundleError` when the bundle has none."""
        for variant in self.manifest.variants:
            if variant.name == name:
                return variant
        raise BundleError(f"the bundle has no variant {name!r}; it has: {[v.name for v in self.manifest.variants]}")

    def read_picture(self, data: bytes, limits: PictureLimits = DEFAULT_LIMITS) -> Picture:
        """Decode an image to the frame this bundle's graph takes. Raises a ``PictureError``."""
        manifest = self.manifest
        return read_picture(data, manifest.frame_size, limits, jpeg_quality=manifest.frame_jpeg_quality)

    def model_card(self) -> str:
        """The text of ``MODEL_CARD.md``."""
        return self.path(MODEL_CARD_NAME).read_text(encoding="utf-8")

    def feature_distance(self) -> FeatureDistance | None:
        """The distance from the training images' features; None for a bundle without abstention.

        Raises :class:`BundleError` for a damaged file, and when its number of features is not the graphs'.
        """
        abstention = self.manifest.abstention
        if abstention is None:
            return None
        path = self.path(abstention.familiarity)
        distance = read_feature_distance(path)
        (features,) = (output for output in self.manifest.outputs if output.name == FEATURES)
        num_features = math.prod(int(size) for size in features.shape[1:])
        if len(distance.mean_D) != num_features:
            raise BundleError(f"{path.name} is about {len(distance.mean_D)} features, the graphs have {num_features}")
        return distance

    def canary_outputs(self, variant: str = "fp32") -> dict[str, NDArray[Any]]:
        """The outputs that ``variant`` must give for the canary image, by tensor name, each a batch of one.

        Raises :class:`BundleError` for a damaged file, and for probabilities of other classes.
        """
        file = self.variant(variant).canary_outputs or self.manifest.canary.outputs
        outputs = read_arrays(self.path(file))
        num_classes = len(self.manifest.classes)
        for name, shape in {"probabilities": (1, num_classes), "branch_probabilities": (1, 2, num_classes)}.items():
            if name not in outputs or outputs[name].shape != shape:
                raise BundleError(f"{file} has no {name} of {num_classes} classes; copy or export the bundle again")
        return outputs

    def canary_tolerance(self, variant: str = "fp32") -> float:
        """The largest difference allowed in a probability of ``variant`` for the canary image."""
        return self.variant(variant).canary_tolerance or self.manifest.canary.tolerance

    def canary_picture(self) -> Picture:
        """The canary, decoded."""
        return self.read_picture(self.path(self.manifest.canary.picture).read_bytes())

    def check_arrays(self) -> None:
        """Raise :class:`BundleError` when a file of limits or of expected outputs is damaged."""
        self.feature_distance()
        for variant in self.manifest.variants:
            self.canary_outputs(variant.name)


def load_bundle(folder: Path) -> Bundle:
    """Read and verify the bundle in ``folder``.

    Refused with :class:`BundleError`: a missing or malformed manifest, a schema newer than this software, a missing
    file, one that cannot be read, one the manifest does not name, a link or folder inside, a SHA-256 that differs, a
    damaged file of limits or expected outputs.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder; name one that holds a model bundle")
    try:
        return _load(folder, folder / MANIFEST_NAME)
    except OSError as error:
        where = Path(error.filename or folder).name
        raise BundleError(f"{where} in {folder} cannot be read ({error.strerror}); see its permissions") from error


def _load(folder: Path, manifest_path: Path) -> Bundle:
    for entry in folder.iterdir():
        if entry.is_symlink() or not entry.is_file():
            raise BundleError(f"{entry.name} in {folder} is not a plain file; a bundle holds plain files only")
    if not manifest_path.is_file():
        raise BundleError(f"{folder} has no {MANIFEST_NAME}; name a folder that holds a model bundle")
    text = manifest_path.read_bytes()
    manifest = _parse_manifest(text)
    present = {entry.name for entry in folder.iterdir()} - {MANIFEST_NAME}
    if unknown := present - set(manifest.files):
        raise BundleError(f"{folder} holds files its manifest does not name: {', '.join(sorted(unknown))}")
    for name, expected in manifest.files.items():
        if name not in present:
            raise BundleError(f"{name} is missing from {folder}; copy the bundle again")
        if file_sha256(folder / name) != expected:
            raise BundleError(
                f"{name} in {folder} is not the file the manifest describes (SHA-256 differs); copy the bundle again"
            )
    bundle = Bundle(folder=folder, manifest=manifest, sha256=hashlib.sha256(text).hexdigest())
    bundle.check_arrays()
    return bundle


def _parse_manifest(text: bytes) -> Manifest:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST_NAME} is not JSON: {error}") from error
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(f"the bundle has schema {version}, this software reads up to {SCHEMA_VERSION}; upgrade it")
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(": ".join(filter(None, (_field(wrong), wrong["msg"]))) for wrong in error.errors())
        raise BundleError(
            f"{MANIFEST_NAME} is not a valid manifest: {faults}; copy the bundle again from where it was exported"
        ) from error
    missing = [variant.name for variant in manifest.variants if variant.canary_prediction is None]
    if missing and manifest.schema_version >= _EXPECTS_PREDICTIONS:
        raise BundleError(
            f"{MANIFEST_NAME} does not say which prediction {missing[0]} makes of the canary image; "
            "copy the bundle again from where it was exported"
        )
    return manifest


def _field(wrong: ErrorDetails) -> str:
    return ".".join(map(str, wrong["loc"]))


def write_bundle(folder: Path, *, files: Mapping[str, Path], manifest: Mapping[str, Any]) -> Bundle:
    """Write a bundle atomically: ``folder`` appears complete and verified, or not at all.

    ``files`` maps each name in the bundle to the file to copy; ``manifest`` holds every field of :class:`Manifest`
    but ``schema_version`` and ``files``. The canary's expected predictions are computed from its outputs. An existing
    bundle at ``folder`` is replaced. Raises :class:`BundleError` when ``folder`` is something else or a file is
    damaged, ``ValueError`` for fields that make no valid manifest.
    """
    folder = Path(folder).absolute()
    check_target(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, source in files.items():
            shutil.copyfile(source, scratch / name)
        digests = {name: file_sha256(scratch / name) for name in sorted(files)}
        checked = Manifest(**{**manifest, "schema_version": SCHEMA_VERSION, "files": digests})
        checked = _with_canary_predictions(Bundle(folder=scratch, manifest=checked, sha256="0" * 64))
        (scratch / MANIFEST_NAME).write_text(checked.model_dump_json(indent=2) + "\n", encoding="utf-8")
        scratch.chmod(0o755)
        load_bundle(scratch)
        _replace_folder(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return load_bundle(folder)


def _with_canary_predictions(bundle: Bundle) -> Manifest:
    """The manifest with the canary's expected prediction for every variant."""
    frame, distance = bundle.canary_picture().frame, bundle.feature_distance()

    def predicted(variant: Variant) -> Variant:
        outputs = bundle.canary_outputs(variant.name)
        prediction = interpret(
            bundle.manifest,
            frame=frame,
            probabilities_K=outputs["probabilities"][0],
            features=outputs[FEATURES][0] if FEATURES in outputs else None,
            distance=distance,
        )
        return variant.model_copy(update={"canary_prediction": prediction})

    return bundle.manifest.model_copy(update={"variants": [predicted(v) for v in bundle.manifest.variants]})


def check_target(folder: Path) -> None:
    """Raise :class:`BundleError` unless a bundle may be written to ``folder``: nothing there, or an older bundle."""
    if folder.is_dir() and (not any(folder.iterdir()) or (folder / MANIFEST_NAME).is_file()):
        return
    if folder.exists() or folder.is_symlink():
        raise BundleError(f"{folder} is there already and is not a bundle; it was left alone, choose another folder")


def _replace_folder(source: Path, target: Path) -> None:
    """Move ``source`` to ``target``; an old folder there is deleted once the new one is in place."""
    old = target.with_name(f".{target.name}-old-{os.getpid()}")
    if target.exists():
        target.rename(old)
    try:
        source.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
