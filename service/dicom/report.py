"""A prediction as a structured report: Comprehensive SR, a measurement report (PS3.16, TID 1500).

The advice is its conclusion and the first evaluation. Probabilities are measurements named by this software, which
the class modifies: a finding "melanoma" of 3 % would be taken for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from service.bundle import DiagnosisClass
from service.dicom.coding import Code, ours
from service.dicom.common import (
    ARTIFICIAL_INTELLIGENCE,
    MAKER,
    SKIN_LESION,
    begin,
    lesion_tracking,
    our_scheme,
    reference,
)
from service.dicom.content import code, container, image, percentage, polyline, text, uid_reference
from service.dicom.identity import uid_of
from service.dicom.source import Source
from service.prediction.decision import Reason
from service.prediction.schemas import CropBox, DecisionBody, ModelBody, Prediction
from service.prediction.words import advice, conclusion, risk_name

_TITLE = Code("126000", "DCM", "Imaging Measurement Report")
_LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
_ENGLISH = Code("en", "RFC5646", "English")
_OBSERVER_TYPE, _DEVICE = Code("121005", "DCM", "Observer Type"), Code("121007", "DCM", "Device")
_OBSERVER_UID = Code("121012", "DCM", "Device Observer UID")
_OBSERVER_NAME = Code("121013", "DCM", "Device Observer Name")
_OBSERVER_MAKER = Code("121014", "DCM", "Device Observer Manufacturer")
_OBSERVER_MODEL = Code("121015", "DCM", "Device Observer Model Name")
_OBSERVER_SERIAL = Code("121016", "DCM", "Device Observer Serial Number")
_PROCEDURE, _DERMOSCOPY = Code("121058", "DCM", "Procedure reported"), Code("446078004", "SCT", "Dermoscopy")
_CONCLUSION = Code("121077", "DCM", "Conclusion")
_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
_GROUP = Code("125007", "DCM", "Measurement Group")
_TRACKING, _TRACKING_UID = (
    Code("112039", "DCM", "Tracking Identifier"),
    Code("112040", "DCM", "Tracking Unique Identifier"),
)
_FINDING = Code("121071", "DCM", "Finding")
_SITE, _LATERALITY = Code("363698007", "SCT", "Finding Site"), Code("272741003", "SCT", "Laterality")
_ALGORITHM_NAME, _ALGORITHM_VERSION = (
    Code("111001", "DCM", "Algorithm Name"),
    Code("111003", "DCM", "Algorithm Version"),
)
_ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
_ALGORITHM_FAMILY = Code("111000", "DCM", "Algorithm Family")
_REGION, _SOURCE = Code("111030", "DCM", "Image Region"), Code("260753009", "SCT", "Source")
_MEASURED_IMAGE = Code("121112", "DCM", "Source of Measurement")
_THRESHOLD = Code("122411", "DCM", "Threshold Value")
_PREVALENCE = ours("prevalence", "Share of malignant lesions for which the figures hold")
_CLASS = ours("class", "Class of the model")
_ADVICE = ours("advice", "Referral advice")
_EXPLANATION = Code("130401", "DCM", "Visual explanation")


def report(
    uid: str,
    source: Source,
    prediction: Prediction,
    classes: Sequence[DiagnosisClass],
    capture: str | None,
) -> Dataset:
    """The report; ``capture`` is the UID of the secondary capture that explains it, None: there is none.

    Figures without advice must have been left out of ``prediction``.
    """
    made = begin("sr", ComprehensiveSRStorage, uid, source, prediction, ExplicitVRLittleEndian)
    made.CodingSchemeIdentificationSequence = Items([our_scheme()])
    made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    made.ReferencedPerformedProcedureStepSequence = Items([])
    made.PerformedProcedureCodeSequence = Items([])
    made.CurrentRequestedProcedureEvidenceSequence = Items([_evidence(source, prediction.model, capture)])
    root = container(_TITLE, _content(source, prediction, classes, capture), "1500")
    del root.RelationshipType
    made.update(root)
    return made


def _content(
    source: Source, prediction: Prediction, classes: Sequence[DiagnosisClass], capture: str | None
) -> Iterator[Dataset]:
    model = prediction.model
    yield code("HAS CONCEPT MOD", _LANGUAGE, _ENGLISH)
    yield code("HAS OBS CONTEXT", _OBSERVER_TYPE, _DEVICE)
    yield uid_reference("HAS OBS CONTEXT", _OBSERVER_UID, uid_of(model.sha256, "device"))
    yield text("HAS OBS CONTEXT", _OBSERVER_NAME, model.name)
    yield text("HAS OBS CONTEXT", _OBSERVER_MAKER, MAKER)
    yield text("HAS OBS CONTEXT", _OBSERVER_MODEL, f"{model.name} {model.version}")
    yield text("HAS OBS CONTEXT", _OBSERVER_SERIAL, model.sha256)
    yield code("HAS CONCEPT MOD", _PROCEDURE, _DERMOSCOPY)
    yield text("CONTAINS", _CONCLUSION, conclusion(prediction, classes))
    # A region is measured (TID 1410) only where there is advice; else the image is evaluated (TID 1501).
    template = "1501" if prediction.decision.refer is None else "1410"
    yield container(_MEASUREMENTS, [container(_GROUP, _group(source, prediction, classes, capture), template)])


def _group(
    source: Source, prediction: Prediction, classes: Sequence[DiagnosisClass], capture: str | None
) -> Iterator[Dataset]:
    decision, photograph = prediction.decision, reference(source.sop_class, source.instance)
    identifier, tracked = lesion_tracking(source)
    yield text("HAS OBS CONTEXT", _TRACKING, identifier)
    yield uid_reference("HAS OBS CONTEXT", _TRACKING_UID, tracked)
    yield code("CONTAINS", _FINDING, SKIN_LESION)
    if source.site is not None:
        side = source.site_laterality
        yield code("HAS CONCEPT MOD", _SITE, source.site, [code("HAS CONCEPT MOD", _LATERALITY, side)] if side else ())
    yield from _algorithm(prediction)
    yield code("CONTAINS", _ADVICE, _advice(decision, classes))
    for reason in decision.reasons:
        yield code("CONTAINS", _reason_for(reason, decision), ours(reason, reason.replace("_", " ")))
    if decision.refer is None:
        yield image("CONTAINS", _MEASURED_IMAGE, photograph)
    else:
        yield from _figures(prediction, classes)
        yield polyline(_REGION, corners(prediction.lesion.crop_box), image("SELECTED FROM", _SOURCE, photograph))
    if capture is not None:
        yield image("CONTAINS", _EXPLANATION, reference(SecondaryCaptureImageStorage, capture))


def _algorithm(prediction: Prediction) -> Iterator[Dataset]:
    model = prediction.model
    yield text("HAS CONCEPT MOD", _ALGORITHM_NAME, model.name)
    yield text("HAS CONCEPT MOD", _ALGORITHM_VERSION, model.version)
    parameters = {
        "sha256": model.sha256,
        "variant": model.variant,
        "provider": model.provider,
        "operating point": prediction.decision.operating_point,
    }
    for name, value in parameters.items():
        yield text("HAS CONCEPT MOD", _ALGORITHM_PARAMETERS, f"{name}={value}")
    yield code("HAS CONCEPT MOD", _ALGORITHM_FAMILY, ARTIFICIAL_INTELLIGENCE)


def _advice(decision: DecisionBody, classes: Sequence[DiagnosisClass]) -> Code:
    if decision.refer is None:
        return ours("no-assessment", "No assessment, because the image is not suitable")
    return ours("refer" if decision.refer else "no-referral", advice(decision.refer, classes))


def _reason_for(reason: Reason, decision: DecisionBody) -> Code:
    if reason in decision.abstained_because:
        return ours("no-assessment-because", "Reason for no assessment")
    return ours("caution-because", "Reason for caution")


def _figures(prediction: Prediction, classes: Sequence[DiagnosisClass]) -> Iterator[Dataset]:
    decision = prediction.decision
    assert decision.malignant_probability is not None
    assert prediction.probabilities is not None
    # Not "Probability of cancer" (111047, DCM): there are cancers that the model does not know.
    yield percentage(ours("risk", risk_name(classes)), decision.malignant_probability)
    yield percentage(_THRESHOLD, decision.threshold)
    if decision.prevalence is not None:
        yield percentage(_PREVALENCE, decision.prevalence)
    for each in classes:
        name = ours(f"probability-of-{each.name}", f"Probability of {each.label}")
        yield percentage(name, prediction.probabilities[each.name], [code("HAS CONCEPT MOD", _CLASS, _class(each))])


def _class(diagnosis: DiagnosisClass) -> Code:
    if diagnosis.snomed_ct is None:
        return ours(diagnosis.name, diagnosis.label)
    return Code(diagnosis.snomed_ct, "SCT", diagnosis.label)


def corners(box: CropBox) -> list[float]:
    """A box as a closed line: column and row of each corner."""
    return [float(edge) for x, y in _clockwise(box) for edge in (x, y)]


def _clockwise(box: CropBox) -> list[tuple[int, int]]:
    return [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1), (box.x0, box.y0)]


def _evidence(source: Source, model: ModelBody, capture: str | None) -> Dataset:
    """Every instance that the report refers to, by its series."""
    by_series = [(source.series, reference(source.sop_class, source.instance))]
    if capture is not None:
        by_series.append(
            (uid_of(source.series, model.sha256, "sc", "series"), reference(SecondaryCaptureImageStorage, capture))
        )
    study = Dataset()
    study.StudyInstanceUID = source.study
    study.ReferencedSeriesSequence = Items([_series(uid, referred) for uid, referred in by_series])
    return study


def _series(uid: str, referred: Dataset) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = uid, Items([referred])
    return series
