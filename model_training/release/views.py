"""Does the mean over several views of an image steady a bundle's advice? Measured with its graph, without training.

The graph turns every image to one orientation, so turns are no views. These are moved and enlarged a little instead;
the first is the image itself. What a graph with the mean inside would answer is the mean of its answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from model_training.arrays import Flags, Frames, Scores
from model_training.data.artefacts import ARTEFACTS, STORAGE, Change, changed_frames, moved
from model_training.data.frames import FrameSet
from model_training.evaluation.calibration import measure, proportion
from model_training.evaluation.statistics import NUM_RESAMPLES
from model_training.release.parity import run_onnx
from service.bundle import Bundle, is_unsure

_STEP = 2 / 256

VIEWS: Mapping[str, Change] = MappingProxyType(
    {
        "shifted to the right and down": moved(shift=(_STEP, _STEP)),
        "shifted to the left and up": moved(shift=(-_STEP, -_STEP)),
        "enlarged by 3 %": moved(zoom=1.03),
        "reduced by 3 %": moved(zoom=0.97),
    }
)

CHANGES = ("JPEG 95", "JPEG 60", "WebP 80", "light -5 %", "light +5 %", "4 hairs")


class _Advice(NamedTuple):
    """Of one image, and of the mean over all views: the malignant probability, and whether a referral is advised."""

    malignancy_2N: Scores
    refers_2N: Flags


def measure_views(bundle: Bundle, images: FrameSet) -> dict[str, Any]:
    """For each change, how often the advice changes with one view and with all, and the difference with its interval.

    The difference is paired by image; its 95 % interval is a bootstrap over the images. Nothing is withheld here: the
    limits would see the first view in both cases.
    """
    manifest = bundle.manifest
    graph, point = bundle.path(bundle.variant("fp32").file), manifest.operating_point()
    specs = [spec for spec in manifest.outputs if spec.name == "probabilities"]
    malignant_K = np.array([each.malignant for each in manifest.classes])

    def advise(frames: Frames) -> _Advice:
        views = [frames, *(changed_frames(frames, view, jpeg_quality=None) for view in VIEWS.values())]
        found_VNK = np.stack([run_onnx(graph, view, specs, batch=1)["probabilities"] for view in views])
        answers_2NK = np.stack([found_VNK[0], found_VNK.mean(axis=0)])
        malignancy_2N = answers_2NK[:, :, malignant_K].sum(axis=2)
        unsure = [is_unsure(answers_NK, manifest.not_sure, manifest.classes) for answers_NK in answers_2NK]
        return _Advice(malignancy_2N, np.stack(unsure) | (malignancy_2N >= point.threshold))

    clean, truth_N = advise(np.asarray(images.frames)), malignant_K[images.labels]
    rows = []
    for name in CHANGES:
        quality = None if name in STORAGE else manifest.frame_jpeg_quality
        found = advise(changed_frames(images.frames, {**STORAGE, **ARTEFACTS}[name], jpeg_quality=quality))
        changed_2N = found.refers_2N != clean.refers_2N
        moves = np.abs(found.malignancy_2N - clean.malignancy_2N).mean(axis=1)
        rows.append(
            {
                "change": name,
                "one_view": proportion(int(changed_2N[0].sum()), len(images)).model_dump(),
                "all_views": proportion(int(changed_2N[1].sum()), len(images)).model_dump(),
                "difference": paired_difference(changed_2N[0], changed_2N[1]),
                "mean_move_one_view": float(moves[0]),
                "mean_move_all_views": float(moves[1]),
            }
        )
    rates = [
        measure(point.name, point.threshold, truth_N, scores_N, measured_on=images.name, unsure_N=refers_N)
        for scores_N, refers_N in zip(clean.malignancy_2N, clean.refers_2N, strict=True)
    ]
    return {
        "views": ["the image", *VIEWS],
        "rates": {
            name: of.model_dump(mode="json", include={"sensitivity", "specificity"})
            for name, of in zip(("one_view", "all_views"), rates, strict=True)
        },
        "changes": rows,
    }


def paired_difference(before_N: Flags, after_N: Flags, *, seed: int = 0) -> dict[str, float]:
    """The share of ``after_N`` minus that of ``before_N`` on the same images, with its 95 % interval (bootstrap)."""
    difference_N = after_N.astype(float) - before_N
    rng = np.random.default_rng(seed)
    resampled = difference_N[rng.integers(len(difference_N), size=(NUM_RESAMPLES, len(difference_N)))].mean(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"value": float(difference_N.mean()), "low": float(low), "high": float(high)}
