"""Referrals of each variant of a bundle at each operating point, compared with float32; on validation.

The gate of :mod:`~model_training.release.variants` checks AUC, diagnoses and boxes, but not thresholds: where many
images are near one, a small error moves some of them across.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from model_training.data.frames import FrameSet
from model_training.evaluation.calibration import measure, proportion
from model_training.release.parity import run_onnx, usable
from model_training.release.variants import provider_of
from service.bundle import Bundle, is_unsure


def compare_referrals(bundle: Bundle, pictures: FrameSet) -> list[dict[str, Any]]:
    """Sensitivity, specificity, and the share of images that only one of variant and float32 refers.

    One row for every operating point and every variant whose provider is available here: a CPU would compute an fp16
    graph in float32.
    """
    manifest = bundle.manifest
    malignant_K = np.array([c.malignant for c in manifest.classes])
    known_N = np.array([c.role != "unknown" for c in manifest.classes])[pictures.labels]
    specs = [spec for spec in manifest.outputs if spec.name == "probabilities"]
    frames, scores, unsure = np.asarray(pictures.frames), {}, {}
    for variant in sorted(manifest.variants, key=lambda v: v.name != "fp32"):
        graph, provider = bundle.path(variant.file), provider_of(variant.name)
        if usable(provider, graph):
            found = run_onnx(graph, frames, specs, batch=1, provider=provider)["probabilities"]
            scores[variant.name] = found[:, malignant_K].sum(axis=1)
            unsure[variant.name] = is_unsure(found, manifest.not_sure, manifest.classes)
    rows = []
    for point in manifest.operating_points:
        for name, scores_N in scores.items():
            rates = measure(
                point.name,
                point.threshold,
                malignant_K[pictures.labels][known_N],
                scores_N[known_N],
                measured_on=pictures.name,
                unsure_N=unsure[name][known_N],
            )
            refers_N, float32_N = (unsure[which] | (scores[which] >= point.threshold) for which in (name, "fp32"))
            changed_N = refers_N != float32_N
            rows.append(
                {
                    "operating_point": point.name,
                    "variant": name,
                    "sensitivity": rates.sensitivity.model_dump(),
                    "specificity": rates.specificity.model_dump(),
                    "changed": proportion(int(changed_N.sum()), len(pictures)).model_dump(),
                }
            )
    return rows
