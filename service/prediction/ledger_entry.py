"""What the ledger keeps of a prediction; pure functions."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

import numpy as np
from pydantic import ValidationError

from service.attention.outline import contours, diameters, signed_area
from service.attention.overlay import EVIDENCE_LEVEL, AttentionMaps
from service.bundle import Manifest
from service.imaging import Picture
from service.ledger.entries import Answer, Extent, FollowUp, Repeats
from service.prediction.schemas import Prediction
from service.prediction.views import without_unfit_figures


def ledger_entry(prediction: Prediction, maps: AttentionMaps, manifest: Manifest, client: str) -> Answer:
    """The client's entry for a prediction; without figures where nothing is advised."""
    seen = without_unfit_figures(prediction)
    decision, model, image, follow_up = seen.decision, seen.model, seen.image, seen.follow_up
    repeats = manifest.repeatability
    return Answer(
        at=seen.created_at,
        client=client,
        id=seen.id,
        lesion=None if follow_up is None else follow_up.lesion,
        visit=None if follow_up is None else follow_up.visit,
        image_sha256=image.sha256,
        model=model.name,
        model_version=model.version,
        model_sha256=model.sha256,
        variant=model.variant,
        operating_point=decision.operating_point,
        threshold=decision.threshold,
        refer=decision.refer,
        malignant_probability=decision.malignant_probability,
        diagnosis=seen.diagnosis,
        reasons=list(decision.reasons),
        abstained_because=list(decision.abstained_because),
        extent=extent(maps),
        millimetres_per_pixel=image.millimetres_per_pixel,
        repeatability=None
        if repeats is None
        else Repeats(median_change=repeats.median_change, percentile_95_change=repeats.percentile_95_change),
    )


def followed_by_file(picture: Picture, today: date) -> FollowUp | None:
    """Which lesion the image's file says that it shows, at the visit of its study; None where it does not say.

    A date that no visit can have counts as not stated, and the visit is ``today``.
    """
    if picture.tracking is None:
        return None
    uid, day = picture.tracking
    with suppress(ValidationError):
        return FollowUp.model_validate({"lesion": uid, "visit": day})
    return FollowUp(lesion=uid, visit=today)


def extent(maps: AttentionMaps) -> Extent | None:
    """How large the largest region is that the lesion map outlines; None: it outlines none."""
    rings = contours(maps.lesion / 255.0, EVIDENCE_LEVEL["lesion"])
    upright = [ring * np.array([maps.width, maps.height]) for ring in rings]
    largest = max(upright, key=signed_area, default=None)
    if largest is None:
        return None
    along, across = diameters(largest)
    return Extent(along=round(along, 2), across=round(across, 2))
