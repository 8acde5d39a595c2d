"""From the network's outputs for one image to the prediction that is sent; pure functions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter

from service.attention.overlay import AttentionMaps
from service.bundle import Bundle, FeatureDistance, OperatingPoint, Quality, measure_quality
from service.imaging import Picture
from service.inference.answers import Answer
from service.inference.engine import Engine
from service.ledger.entries import FollowUp
from service.prediction.decision import decide, diagnosis, pixel_box, rounded
from service.prediction.schemas import (
    AbstainChoice,
    Abstains,
    AttentionLinks,
    BranchProbabilities,
    CropBox,
    DecisionBody,
    ImageBody,
    Lesion,
    ModelBody,
    Performance,
    Prediction,
    QualityBody,
    Timings,
    maps_of,
)


@dataclass(frozen=True)
class Examiner:
    """Measures an image's quality for the bundle's limits; says whether to abstain beyond them or only to caution."""

    distance: FeatureDistance
    may_abstain: bool

    def quality(self, picture: Picture, answer: Answer) -> Quality:
        """The quality of an image, with the network's answer to it."""
        assert answer.features is not None  # a bundle with limits has them among its outputs
        return measure_quality(picture.frame, answer.features, self.distance)


def make_examiner(bundle: Bundle, choice: AbstainChoice) -> Examiner | None:
    """The examiner for a bundle; None when it has no limits or they are switched off."""
    distance = bundle.feature_distance() if choice != "off" else None
    return None if distance is None else Examiner(distance, may_abstain=choice == "on")


def how_it_abstains(bundle: Bundle, choice: AbstainChoice) -> Abstains:
    """How the service treats images beyond the bundle's limits."""
    return "no limits" if bundle.manifest.abstention is None else choice


@dataclass(frozen=True)
class Stages:
    """Seconds that one image took in each stage, and when (by ``perf_counter``) its request arrived."""

    began: float
    decode: float
    queue: float
    inference: float

    def timings(self) -> Timings:
        """The stages in milliseconds, and the total until now."""
        return Timings(
            decode=_milliseconds(self.decode),
            queue=_milliseconds(self.queue),
            inference=_milliseconds(self.inference),
            total=_milliseconds(perf_counter() - self.began),
        )


def describe(
    id: str,
    picture: Picture,
    answer: Answer,
    engine: Engine,
    point: OperatingPoint,
    examiner: Examiner | None,
    stages: Stages,
    lifetime: timedelta | None,
    follow_up: FollowUp | None,
) -> Prediction:
    """The prediction ``id``: diagnosis, decision at ``point``, lesion, quality; it expires after ``lifetime``."""
    manifest = engine.bundle.manifest
    names = [c.name for c in manifest.classes]
    now = datetime.now(UTC)
    quality = None if examiner is None else examiner.quality(picture, answer)
    box = pixel_box(answer, width=picture.width, height=picture.height)
    return Prediction(
        id=id,
        created_at=now,
        expires_at=None if lifetime is None else now + lifetime,
        diagnosis=diagnosis(answer, manifest),
        probabilities=_named(names, answer.probabilities.tolist()),
        branches=[BranchProbabilities(probabilities=_named(names, b.tolist())) for b in answer.branch_probabilities],
        decision=_decision(picture, answer, engine.bundle, point, examiner, quality),
        lesion=Lesion(
            found=answer.lesion_fraction > 0.0,
            fraction=rounded(answer.lesion_fraction),
            crop_box=CropBox(x0=box.x0, y0=box.y0, x1=box.x1, y1=box.y1),
        ),
        quality=None
        if quality is None
        else QualityBody(**{name: round(value, 4) for name, value in asdict(quality).items()}),
        image=ImageBody(
            width=picture.width,
            height=picture.height,
            format=picture.format,
            sha256=picture.sha256,
            notes=list(picture.notes),
            millimetres_per_pixel=picture.millimetres_per_pixel,
        ),
        model=ModelBody(
            name=manifest.name,
            version=manifest.version,
            sha256=engine.bundle.sha256,
            variant=engine.variant.name,
            provider=engine.provider,
        ),
        follow_up=follow_up,
        attention=_links(id, has_feature_attention=answer.spatial_attention is not None),
        timings_ms=stages.timings(),
    )


def _decision(
    picture: Picture,
    answer: Answer,
    bundle: Bundle,
    point: OperatingPoint,
    examiner: Examiner | None,
    quality: Quality | None,
) -> DecisionBody:
    may_abstain = examiner is not None and examiner.may_abstain
    decision = decide(
        answer,
        bundle.manifest,
        point,
        width=picture.width,
        height=picture.height,
        quality=quality,
        may_abstain=may_abstain,
        cautions=picture.cautions,
    )
    return DecisionBody(
        operating_point=point.name,
        performance=Performance.of(point),
        prevalence=bundle.manifest.malignant_prevalence,
        malignant_probability=decision.malignancy,
        threshold=point.threshold,
        refer=decision.refer,
        status=decision.status,
        reasons=list(decision.reasons),
        abstained_because=list(decision.abstained_because),
        abstains=how_it_abstains(bundle, "off" if examiner is None else "on" if may_abstain else "caution"),
    )


def _links(id: str, *, has_feature_attention: bool) -> AttentionLinks:
    return AttentionLinks(
        lesion=f"{maps_of(id)}lesion",
        spatial=f"{maps_of(id)}spatial" if has_feature_attention else None,
        correlation=f"{maps_of(id)}correlation" if has_feature_attention else None,
    )


def attention_maps(picture: Picture, answer: Answer) -> AttentionMaps:
    """What overlays of this answer are drawn from."""
    return AttentionMaps(
        frame=picture.frame,
        width=picture.width,
        height=picture.height,
        crop_box=answer.crop_box,
        lesion=answer.lesion_attention,
        spatial=answer.spatial_attention,
        correlation=answer.correlation_attention,
    )


def _named(names: list[str], values: list[float]) -> dict[str, float]:
    return {name: rounded(value) for name, value in zip(names, values, strict=True)}


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 2)
