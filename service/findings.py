"""One picture's way through the network, told in the words of the wire; shared by HTTP and the command line."""

from __future__ import annotations

from service.bundle import OperatingPoint
from service.diagnosis import decide, diagnosis, pixel_box
from service.engine import Answer, Engine
from service.imaging import Picture
from service.overlay import AttentionMaps
from service.schemas import BranchProbabilities, CropBox, DecisionBody, Findings, ImageBody, Lesion, ModelBody


def describe(picture: Picture, answer: Answer, engine: Engine, point: OperatingPoint) -> Findings:
    """Put the network's answer into words: diagnosis, decision at ``point``, lesion."""
    manifest = engine.bundle.manifest
    names = [c.name for c in manifest.classes]
    decision = decide(answer, manifest, point, width=picture.width, height=picture.height)
    box = pixel_box(answer, width=picture.width, height=picture.height)
    return Findings(
        diagnosis=diagnosis(answer, manifest),
        probabilities=_named(names, answer.probabilities.tolist()),
        branches=[BranchProbabilities(probabilities=_named(names, b.tolist())) for b in answer.branch_probabilities],
        decision=DecisionBody(
            operating_point=point.name,
            malignant_probability=_rounded(decision.malignancy),
            threshold=point.threshold,
            refer=decision.refer,
            status=decision.status,
            reasons=list(decision.reasons),
        ),
        lesion=Lesion(
            found=answer.lesion_fraction > 0.0,
            fraction=_rounded(answer.lesion_fraction),
            crop_box=CropBox(x0=box.x0, y0=box.y0, x1=box.x1, y1=box.y1),
        ),
        image=ImageBody(width=picture.width, height=picture.height, format=picture.format, sha256=picture.sha256),
        model=ModelBody(
            name=manifest.name,
            version=manifest.version,
            sha256=engine.bundle.sha256,
            variant=engine.variant.name,
            provider=engine.provider,
        ),
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
    return {name: _rounded(value) for name, value in zip(names, values, strict=True)}


def _rounded(share: float) -> float:
    """To the digits that float32 really has; a sum of softmax values may exceed one by the last of them."""
    return min(1.0, round(share, 6))
