"""A prediction in a file: the fields of a JSON object, or the cells of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from service.prediction.schemas import Prediction

# These mean something only where a service keeps the prediction.
_NOT_WRITTEN = {"id", "created_at", "expires_at", "attention", "follow_up", "timings_ms"}


def to_fields(prediction: Prediction) -> dict[str, Any]:
    """The fields of a prediction that are written to files: those that mean something without a service."""
    return prediction.model_dump(mode="json", exclude=_NOT_WRITTEN)


def columns(classes: Sequence[str]) -> list[str]:
    """The columns of a table."""
    return [
        "picture",
        "diagnosis",
        *classes,
        *("malignant_probability", "operating_point", "prevalence", "threshold", "refer"),
        *("status", "reasons", "abstained_because", "abstains"),
        *("lesion_found", "lesion_fraction", "crop_x0", "crop_y0", "crop_x1", "crop_y1"),
        *("sharpness", "dark_share", "bright_share", "colour", "unfamiliarity"),
        *("width", "height", "format", "sha256", "notes"),
        *("model", "model_version", "model_sha256", "variant", "provider", "error"),
    ]


def to_cells(prediction: Prediction) -> dict[str, Any]:
    """The cells of a prediction by their columns."""
    decision, lesion, image, model = prediction.decision, prediction.lesion, prediction.image, prediction.model
    return {
        "diagnosis": prediction.diagnosis,
        **(prediction.probabilities or {}),
        **decision.model_dump(mode="json", exclude_none=True),
        "reasons": " ".join(decision.reasons),
        "abstained_because": " ".join(decision.abstained_because),
        "lesion_found": lesion.found,
        "lesion_fraction": lesion.fraction,
        **{f"crop_{edge}": value for edge, value in lesion.crop_box.model_dump().items()},
        **(prediction.quality.model_dump() if prediction.quality is not None else {}),
        **image.model_dump(),
        "notes": " ".join(image.notes),
        "model": model.name,
        "model_version": model.version,
        "model_sha256": model.sha256,
        "variant": model.variant,
        "provider": model.provider,
    }


def csv_line(cells: Sequence[object]) -> str:
    """One line of a table."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
