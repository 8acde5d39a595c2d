"""The bundle's model card, written from the manifest's figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model_training.config import Config, NetworkConfig
from model_training.evaluation.calibration import DEFAULT_POINT
from model_training.evaluation.statistics import NUM_RESAMPLES
from model_training.network.backbones import BACKBONES
from model_training.reporting.card_tables import (
    calibration_table,
    class_pairs_table,
    discrimination_table,
    error_prediction_note,
    figures_table,
    gate_list,
    group_notes,
    groups_table,
    operating_point_notes,
    operating_points_table,
    predictive_values_table,
    prevalence_note,
    rare_class_note,
    referred_table,
    specificities_table,
)
from model_training.reporting.origin import origin_texts
from model_training.reporting.text import partitions
from service.bundle import NotSure

LICENCE = "Apache-2.0"
INTENDED_USE = (
    "Research on dermoscopic still images of one pigmented skin lesion. Not a medical device: not for diagnosis, "
    "triage or treatment decisions."
)

_CARD = """\
# {name} {version}

{network} {licence}.

**Intended use.** {intended_use}

**Not covered.** Clinical (non-dermoscopic) photographs, several lesions in one image, mucosa and nails, diagnoses
other than {classes}. Every image that gets advice is judged as one of these, also one that shows none of them.
Performance by skin tone, age, sex or site was not measured.
{mix}

## Data

{partitions}
Input source: {source}
Start of the weights: {start}.

## Training

{training} Seed {seed}. Code at commit `{commit}`, exported at `{exported_at}`.

## Figures

{answer}, temperature {temperature}. `argmax`: the class of highest probability;
`half`: probability above 0.5, as the challenge scores it. Measured in PyTorch with the weights as trained; the gate
below says how little their rounding to float16 for this bundle changes. `mean_box_iou` is about the boxes that are
cropped, the margin around the lesion included. Figures on a test set flatter as far as earlier ones were known when
the configuration was chosen: {readings}

{figures}
{rare}
With 95 % intervals ({resamples:,} stratified bootstrap resamples):

{discrimination}

Of two classes alone, by the first one's share of both probabilities:

{class_pairs}

![ROC curves](roc.png)
![Precision-recall curves](precision-recall.png)
![Confusion matrices](confusion.png)

## Operating points

An image is referred when the summed probability of the malignant classes reaches the threshold{not_sure}.
`balanced` has the highest sum of sensitivity and specificity, `high-sensitivity` a sensitivity of at least 0.95,
`dermatologist` one of at least 0.82, the mean of eight dermatologists on images of ISBI 2016 (Marchetti et al.,
2018). All thresholds were chosen on `{chosen_on}`, so the figures there flatter. Thresholds and rates are
float32's: a variant of less precision refers some images near a threshold otherwise, which its gate does not count.
Intervals are 95 % (Wilson).

{points}
{point_notes}
{rarer} Positive / negative predictive value by prevalence, with the
rates measured on `{measured_on}`:

{predictive_values}

By diagnosis, share of the images that `{default}` refers:

{referred}

Highest specificity of any threshold that reaches a sensitivity, by set:

{specificities}

## By what the image shows

AUC of the malignant probability, and the rates of `{default}`. Lesions by their true outlines; hair is found by a
filter for thin, long, dark lines, which also finds some rulers. Groups differ in their lesions too, so a difference
need not come from what names the group.

{groups}
{group_notes}
## Calibration

{prevalence}

ECE: mean distance between the highest probability and the accuracy, 15 bins of equal width; by class: between a class's
probability and its frequency, mean over the classes. Brier score: 0 is best, 2 worst. Before and after the
calibration. Its temperature was fitted on `{chosen_on}`. Intervals are 95 % (bootstrap over the images);
resampling makes an ECE larger, so its interval may lie above it.

{calibration}

![Reliability diagrams](reliability.png)

## When not to trust an answer

{error_prediction}

![Risk-coverage curves](risk-coverage.png)

## Export gate

{gate}
"""


def model_card(manifest: Mapping[str, Any], config: Config, judgement: Mapping[str, Any]) -> str:
    """The text of ``MODEL_CARD.md`` for a bundle with these manifest fields and this judgement of its run."""
    provenance = manifest["provenance"]
    train, chosen_on = next(iter(provenance.data)), next(iter(judgement))
    return _CARD.format(
        **origin_texts(config),
        name=manifest["name"],
        version=manifest["version"],
        licence=manifest["licence"],
        intended_use=manifest["intended_use"],
        classes=", ".join(c.label.lower() for c in manifest["classes"]),
        network=_network(config.network),
        partitions=partitions(train, chosen_on, judgement),
        chosen_on=chosen_on,
        source=_input_source(config),
        start=provenance.start,
        training=_training(config),
        seed=config.seed,
        answer=_answer(config.network),
        not_sure=_not_sure(manifest.get("not_sure")),
        resamples=NUM_RESAMPLES,
        commit=provenance.git_commit,
        exported_at=provenance.config["export"]["git_commit"],
        temperature=", ".join(f"{t:.3f}" for t in manifest["temperature"]),
        figures=figures_table(provenance.metrics),
        rare=rare_class_note(provenance.metrics, [c.name for c in manifest["classes"] if c.malignant]),
        discrimination=discrimination_table(judgement),
        class_pairs=class_pairs_table(judgement),
        default=DEFAULT_POINT,
        referred=referred_table(judgement),
        groups=groups_table(judgement),
        group_notes=group_notes(judgement),
        points=operating_points_table(judgement),
        point_notes=operating_point_notes(judgement),
        measured_on=list(judgement)[-1],
        predictive_values=predictive_values_table(list(judgement.values())[-1]),
        specificities=specificities_table(judgement),
        calibration=calibration_table(judgement),
        prevalence=prevalence_note(manifest["prevalence"]),
        error_prediction=error_prediction_note(judgement),
        gate=gate_list(manifest["variants"]),
    )


def _network(network: NetworkConfig) -> str:
    """The kind of network; only the complete one gets the paper's name."""
    modules = []
    if network.lesion_area_attention:
        modules.append("lesion area attention")
    if network.lesion_feature_attention:
        modules.append(f"lesion feature attention ({network.attention})")
    if network.distinguish:
        of_sdl = network.distinguish_form == "synergic"
        modules.append("three linear layers that compare pairs" if of_sdl else "distinguish module")
    whole = len(modules) == 3 and network.distinguish_form == "convolutional"
    name = "The Clinical-Inspired Network (Liu et al., MICCAI 2020)"
    if len(modules) == 2 and not network.distinguish and network.branches == "separate":
        name += ", trained without its distinguish module"
    elif not whole:
        name = f"A classifier from the experiments on {name[0].lower()}{name[1:]}"
    branches = {"separate": "two branches", "shared": "two branches with shared weights", "single": "one branch"}
    return f"{name}: {BACKBONES[network.features].title} features in {branches[network.branches]}; modules: " + (
        f"{', '.join(modules) or 'none'}."
    )


def _training(config: Config) -> str:
    network, first, second = config.network, config.area, config.recognition
    text = (
        f"Network input {network.size} x {network.size} pixels, cut from frames of {config.data.frame_size} x "
        f"{config.data.frame_size}"
    )
    if network.lesion_area_attention:
        text += (
            f"; lesion area attention at {network.area_size} x {network.area_size}, trained for {first.epochs} epochs"
        )
        text += f"; crops of the lesion with {network.crop_margin:g} of its width and height added on each side"
    examples = "images" if network.branches == "single" else f"{second.pairs} pairs"
    if network.branches != "single" and not network.distinguish:
        examples += " (an image for each branch, never compared)"
    text += (
        f". {second.epochs} epochs of batches of {second.batch_size} {examples} under {second.augmentation} "
        f"augmentation ({second.optimiser}, learning rate {second.learning_rate:g}, {second.schedule}"
        f"{_PRECISIONS[config.precision]})"
    )
    text += f", lambda {second.distinguish_weight:g}." if network.distinguish else "."
    return " ".join((text, *_departures(config)))


def _departures(config: Config) -> Iterator[str]:
    """Differences between this training and the paper's, one sentence each."""
    network, second = config.network, config.recognition
    if network.canonical_orientation:
        yield "Every image is turned and mirrored to one orientation first."
    if config.area.cross_fit:
        yield "Training images are cropped by networks that have not seen them."
    if network.second_view == "whole":
        yield "The second branch sees the whole image instead of the crop."
    if network.classifier_features == "all":
        yield "The classifier sees the means of all residual layers."
    if network.lesion_pooling:
        yield "It also sees their means over the lesion, weighted by its attention map."
    if network.classifier_start == "regression":
        yield "It starts as a ridge logistic regression on the features of the training images."
    if second.variation_penalty:
        yield "It is also penalised for what artefacts, light and movement do to its logits."
    if second.frozen_blocks:
        yield f"The stem and the first {second.frozen_blocks} residual blocks keep the weights of their start."
    if second.frozen_branch:
        yield "The second branch keeps all features of its start."
    if second.new_module_rate != 1:
        yield f"New modules learn at {second.new_module_rate:g} times the rate."
    if second.artefacts:
        yield f"{second.artefacts:.0%} of the training images have artificial hairs, pen marks, rims or compression."


_PRECISIONS = {"auto": "", "32-true": ", float32", "bf16-mixed": ", bfloat16 mixed with float32"}


def _not_sure(rule: NotSure | None) -> str:
    if rule is None:
        return ""
    return f", also when no class has a probability of {rule.least_probability:.3f} or more"


def _answer(network: NetworkConfig) -> str:
    return "Probability of the one branch" if network.branches == "single" else "Summed probability of both branches"


def _input_source(config: Config) -> str:
    size, quality = config.data.frame_size, config.data.copies_jpeg_quality
    detail = "Detail finer than that was never seen, in training or in use, however large the original."
    if quality is None:
        return f"the originals, squashed to {size} x {size} pixels when read. {detail}"
    return (
        f"copies of the images squashed to {size} x {size} pixels and stored as JPEG of quality {quality}, not the "
        f"originals. {detail} The service squashes and compresses larger images likewise."
    )
