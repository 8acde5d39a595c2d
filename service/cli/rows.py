"""A prediction in a file: the fields of a JSON object, or the cells of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
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
        # The advice first; the most probable class is none.
        *("picture", "refer", "status", "reasons", "abstained_because", "malignant_probability", "threshold"),
        *("operating_point", "prevalence", "abstains", "diagnosis", *classes),
        *("lesion_found", "lesion_fraction", "crop_x0", "crop_y0", "crop_x1", "crop_y1"),
        *("sharpness", "dark_share", "bright_share", "colour", "unfamiliarity"),
        *("width", "height", "format", "sha256", "notes"),
        *("model", "model_version", "model_sha256", "variant", "provider", "error"),
    ]


def classes_of(head: Sequence[str]) -> list[str]:
    """The classes in the columns of a table; raises ValueError for those of another."""
    before, after = columns([]).index("diagnosis") + 1, len(columns([]))
    classes = list(head[before : len(head) - after + before])
    if columns(classes) != list(head):
        raise ValueError(f"its columns are {', '.join(head):.60}")
    return classes


def to_cells(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of a prediction's fields by their columns; None where there is nothing."""
    decision, lesion, image, model = (fields[part] for part in ("decision", "lesion", "image", "model"))
    return {
        "diagnosis": fields["diagnosis"],
        **(fields["probabilities"] or {}),
        **decision,
        "reasons": " ".join(decision["reasons"]),
        "abstained_because": " ".join(decision["abstained_because"]),
        "lesion_found": lesion["found"],
        "lesion_fraction": lesion["fraction"],
        **{f"crop_{edge}": value for edge, value in lesion["crop_box"].items()},
        **(fields["quality"] or {}),
        **image,
        "notes": " ".join(image["notes"]),
        "model": model["name"],
        "model_version": model["version"],
        "model_sha256": model["sha256"],
        "variant": model["variant"],
        "provider": model["provider"],
    }


def kinds(classes: Sequence[str]) -> dict[str, type]:
    """The columns of a table by what is in them: float, int, bool or str."""
    floats = {*classes, "malignant_probability", "prevalence", "threshold", "lesion_fraction"}
    floats |= {"sharpness", "dark_share", "bright_share", "colour", "unfamiliarity"}
    ints = {"crop_x0", "crop_y0", "crop_x1", "crop_y1", "width", "height"}
    of = {**dict.fromkeys(floats, float), **dict.fromkeys(ints, int), **dict.fromkeys(("refer", "lesion_found"), bool)}
    return {column: of.get(column, str) for column in columns(classes)}


def csv_line(cells: Sequence[object]) -> str:
    """One line of a table."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
