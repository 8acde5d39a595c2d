"""Test images that a model was trained on: an error, or reported with the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_training.data.frames import FrameSet, picture_digests
from model_training.training.experiment import Experiment


class LeakageError(ValueError):
    """The model was trained on images of the test set."""


@dataclass(frozen=True)
class Overlap:
    """Ids of test images that the model was trained on, under the same id or as equal pixels under another id."""

    same_id: tuple[str, ...]
    same_pixels: tuple[str, ...]

    def as_sentences(self, name: str, num_pictures: int) -> list[str]:
        """The overlap as sentences for a report on the set ``name`` of ``num_pictures``."""
        return overlap_sentences(name, num_pictures, same_id=len(self.same_id), same_pixels=len(self.same_pixels))


def overlap_sentences(name: str, num_pictures: int, *, same_id: int, same_pixels: int) -> list[str]:
    """One sentence for each kind of overlap of the set ``name`` with the training images; empty without any."""
    sentences = []
    for num, what in (
        (same_id, "trained on: figures on them mean nothing"),
        (same_pixels, "trained on, pixel for pixel, under other ids"),
    ):
        if num:
            sentences.append(f"{num} of the {num_pictures} images of {name} {'was' if num == 1 else 'were'} {what}.")
    return sentences


def seen_by(experiment: Experiment) -> dict[str, str]:
    """Every image that a stage or its pretrained weights were trained on: ids to pixel digests.

    The digest is empty where only the id is known.
    """
    seen = experiment.recognition_run.read_pictures()
    if experiment.config.network.lesion_area_attention:
        # The networks of ``area.cross_fit`` were trained on no other images.
        seen = experiment.area_run.read_pictures() | seen
    return seen


def overlap(experiment: Experiment, test: FrameSet) -> Overlap:
    """The images of ``test`` that the experiment's model was trained on."""
    seen = seen_by(experiment)
    digests = set(seen.values())
    same_id = tuple(id for id in test.ids if id in seen)
    by_pixels = zip(test.ids, picture_digests(test.frames), strict=True)
    return Overlap(same_id, tuple(id for id, digest in by_pixels if digest in digests and id not in seen))


def refuse_seen_pictures(found: Overlap, test: FrameSet) -> None:
    """Raise :class:`LeakageError` when test images were trained on under their own id.

    The official sets contain a few copies under other ids; those are reported only.
    """
    refuse_seen_ids(found.same_id, test.name, len(test))


def refuse_seen_ids(seen: Sequence[str], name: str, num_pictures: int) -> None:
    """Raise :class:`LeakageError` when any of the ``num_pictures`` images of the test set ``name`` were ``seen``."""
    if seen:
        shown = ", ".join(seen[:5]) + (", ..." if len(seen) > 5 else "")
        raise LeakageError(
            f"{len(seen)} of the {num_pictures} images of {name} were trained on ({shown}): figures on them would "
            "mean nothing. Train without them, or let evaluate --force write the overlap into the report"
        )
