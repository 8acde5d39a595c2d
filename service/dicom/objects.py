"""A prediction as DICOM objects of the study that its image is from; pure functions.

Loading this module loads pydicom: half a second, which only those wait for who ask for DICOM.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from service.attention.overlay import AttentionMaps
from service.bundle import DiagnosisClass
from service.dicom.capture import capture
from service.dicom.identity import Kind, instance_uids
from service.dicom.presentation import presentation
from service.dicom.report import report
from service.dicom.segmentation import segmentation
from service.dicom.source import Source
from service.prediction.schemas import Prediction
from service.prediction.views import without_unfit_figures


def build(
    kinds: Collection[Kind],
    source: Source,
    prediction: Prediction,
    maps: AttentionMaps,
    classes: Sequence[DiagnosisClass],
    *,
    prevalence: float | None = None,
) -> list[Dataset]:
    """The objects of these kinds about one prediction, in the order of :data:`service.dicom.identity.KINDS`.

    ``source`` is what :func:`service.dicom.source.read_source` read of the file that was judged, ``maps`` what the
    prediction's overlays are drawn from, ``classes`` those of its model. ``prevalence`` is the one that the prediction
    is shown for, None: as calibrated. Their UIDs are those of :func:`service.dicom.identity.instance_uids`; the same
    arguments give the same bytes.

    It takes up to some hundred milliseconds of CPU for large images. Figures without advice are left out here, also
    where the prediction still has them.
    """
    prediction = without_unfit_figures(prediction)
    uids = instance_uids(
        kinds,
        source.instance,
        prediction.model.sha256,
        operating_point=prediction.decision.operating_point,
        prevalence=prevalence,
    )
    makers: dict[Kind, Callable[[str], Dataset]] = {
        "sr": lambda uid: report(uid, source, prediction, classes, uids.get("sc")),
        "seg": lambda uid: segmentation(uid, source, prediction, maps),
        "sc": lambda uid: capture(uid, source, prediction, maps),
        "pr": lambda uid: presentation(uid, source, prediction, maps),
    }
    return [makers[kind](uid) for kind, uid in uids.items()]


def encode(item: Dataset) -> bytes:
    """An object as a DICOM file (PS3.10)."""
    file = io.BytesIO()
    dcmwrite(file, item, enforce_file_format=True)
    return file.getvalue()
