"""The CLEAR Derm checklist (Daneshjou et al., JAMA Dermatology 2022), filled from a run.

Items without information in the run are answered "not recorded".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_training.config import Config
from model_training.data.augment import AUGMENTATIONS
from model_training.reporting.origin import origin_texts
from model_training.reporting.text import partitions

_CHECKLIST = """\
# CLEAR Derm checklist

The 25 items of Daneshjou et al. (JAMA Dermatology 2022), answered from the run. Figures are those of `figures.json`.

## Data

1. **Image types.** {image_types}
2. **Image artefacts.** {artefacts}
3. **Technical acquisition details.** {devices}
4. **Pre-processing.** Turned upright, converted to sRGB, squashed to {frame_size} x {frame_size} pixels. {copies}
   {augmentation}
5. **Synthetic images.** None, neither for training nor for the figures.
6. **Public images referenced.** {references}
7. **Patient-level metadata.** Not recorded in the labels used; nothing but pixels goes into the network.
8. **Skin colour.** {skin}
9. **Biases from patient information.** None enters through metadata. Which patients and clinics the sets hold is a
   bias of its own, of unknown size.
10. **Dataset partitions.** {partitions} A test set that shares an id with the training set is refused, equal pixels are
    reported. {patients}
11. **Sample sizes.** {sizes}.
12. **External test set.** {external}
13. **Multivendor images.** {vendors}
14. **Class distribution and balance.** {balance}.
15. **Out-of-distribution images.** None in these sets. Every image that gets advice gets one of the classes, also
    one that shows none; the model card says which get none, and how many of other kinds were told apart, where some
    were counted.

## Technique

16. **Labelling.** {labelling}
17. **Accepted diagnostic labels.** {labels}: {classes}.
18. **Histopathological review of malignancies.** {histology}
19. **Algorithm development.** Clinical-Inspired Network (Liu et al., MICCAI 2020), start: {start}, input of
    {size} x {size} pixels. The configuration is in the bundle's manifest, the decisions are in `docs/paper.md`.

## Technical assessment

20. **Public evaluation.** {openness} `POST /predict` takes any image. `cin-train evaluate`
    gave the figures, which need the run's own weights to be repeated; these are rounded to float16 in the bundle.
21. **Performance measures.** AUC with 95 % bootstrap interval: {aucs}. Operating points, predictive values, calibration
    and risk-coverage curves are in the model card.
22. **Benchmarking and novelty.** {benchmark} The network is the
    paper's; no novelty is claimed.
23. **Bias assessment.** Not possible without patient metadata; not done.

## Application

24. **Use cases and target conditions.** Research on dermoscopic images of one pigmented lesion. Not a medical device;
    not for mucosa, nails, clinical photographs or other diagnoses.
25. **Impact on the health-care team and patients.** Not studied. Thresholds were chosen on `{chosen_on}`, {enriched};
    the model card gives predictive values for lower prevalences.
"""


def clear_derm(
    config: Config, *, start: str, counts: Mapping[str, Mapping[str, int]], judgement: Mapping[str, Any]
) -> str:
    """The filled checklist as Markdown.

    ``counts`` has the images of each class by set, the training set first; ``judgement`` is that of
    :func:`model_training.reporting.judgement.judge`.
    """
    data, words = config.data, {c: c.replace("_", " ") for classes in counts.values() for c in classes}
    copies = (
        f"Training used copies stored as JPEG of quality {data.copies_jpeg_quality} at that size."
        if data.copies_jpeg_quality is not None
        else "Training read the originals."
    )
    return _CHECKLIST.format(
        **origin_texts(config),
        frame_size=data.frame_size,
        copies=copies,
        augmentation=_augmentation(config),
        partitions=partitions(next(iter(counts)), next(iter(judgement)), judgement),
        sizes="; ".join(f"`{name}` {sum(classes.values())}" for name, classes in counts.items()),
        balance="; ".join(
            f"`{name}`: " + ", ".join(f"{words[c]} {n}" for c, n in classes.items()) for name, classes in counts.items()
        ),
        classes=", ".join(words.values()),
        start=start,
        size=config.network.size,
        aucs="; ".join(f"`{name}` {_aucs(figures)}" for name, figures in judgement.items()),
        chosen_on=next(iter(judgement)),
    )


def _augmentation(config: Config) -> str:
    limits = AUGMENTATIONS[config.recognition.augmentation]
    tint = f", red, green and blue by up to {limits.tint:.0%}" if limits.tint else ""
    return (
        "The second stage is trained on images turned and mirrored at random,\n   scaled by up to "
        f"{limits.scale:g} times, shifted by up to {limits.shift / 2:.1%} of the side, with brightness, contrast and\n"
        f"   saturation changed by up to {limits.colour:.0%} each{tint}."
    )


def _aucs(figures: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{task.replace('_', ' ')} {f['auc']['value']:.3f} ({f['auc']['low']:.3f} to {f['auc']['high']:.3f})"
        for task, f in figures["discrimination"].items()
    )
