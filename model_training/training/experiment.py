"""An experiment: one configuration, its data, and the folder with both training stages and their results."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import Progress

from model_training.config import NUM_FOLDS, Config
from model_training.data.frames import FrameSet, picture_digests, prepare_frames
from model_training.data.sets import Sets
from model_training.data.splits import training_parts, without_pictures_of
from model_training.files import folder_lock
from model_training.network.cin import ClinicalInspiredNetwork
from model_training.network.lesion_area_attention import (
    LesionArea,
    LesionAreaAttention,
    LesionLocator,
    whole_images,
)
from model_training.training.area import AreaStage, lesion_areas
from model_training.training.devices import make_fabric
from model_training.training.pretrained import Pretrained, load_pretrained
from model_training.training.recognition import RecognitionStage, build_network
from model_training.training.run_folder import RunFolder
from model_training.training.stage import Stage
from model_training.training.trainer import train
from service.bundle import DiagnosisClass

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Experiment:
    """One configuration with its folders: ``data`` has the sets, ``cache`` the prepared frames.

    What reads a run raises :class:`~model_training.training.run_folder.RunError` if it does not exist.
    """

    config: Config
    data: Path
    cache: Path
    folder: Path
    console: Console
    # Folders of the first stage, of the first stages of all folds (``area.cross_fit``), and of the evaluations, for
    # experiments that share one of them; default: in ``folder``.
    area_folder: Path | None = None
    folds_folder: Path | None = None
    evaluation_folder: Path | None = None

    @property
    def area_run(self) -> RunFolder:
        """The run folder of the first stage."""
        fold = self.config.data.fold
        if self.config.area.cross_fit and fold is not None:
            return RunFolder(self._folds / f"fold-{fold + 1}" / "area")
        return RunFolder((self.area_folder or self.folder) / "area")

    @property
    def recognition_run(self) -> RunFolder:
        """The run folder of the second stage."""
        return RunFolder(self.folder / "recognition")

    def evaluation(self, split: str) -> Path:
        """The folder of the evaluation on ``split``."""
        return (self.evaluation_folder or self.folder / "evaluation") / split

    @property
    def _folds(self) -> Path:
        return self.folds_folder or self.folder / "folds"

    def without_fold(self, fold: int) -> Experiment:
        """The same experiment without ``fold`` (from 0) of its training set, in a folder below its own.

        Raises ``ValueError`` for an experiment that already holds out a part of the training set.
        """
        data = self.config.data
        if data.fold is not None or data.holdout is not None:
            raise ValueError("data.fold and data.holdout hold out a part of the training set: leave both out")
        return replace(
            self._with_fold(fold),
            folder=self._folds / f"fold-{fold + 1}",
            area_folder=None,
            evaluation_folder=None,
        )

    def first_stages(self) -> list[Experiment]:
        """The experiments whose first stages this one uses: itself, and with ``area.cross_fit`` that of every fold."""
        if not self.config.area.cross_fit:
            return [self]
        folds = [self._with_fold(fold) for fold in range(NUM_FOLDS)]
        return folds if self.config.data.fold is not None else [*folds, self]

    def _with_fold(self, fold: int) -> Experiment:
        data = self.config.data.model_copy(update={"fold": fold})
        return replace(self, config=self.config.model_copy(update={"data": data}), folds_folder=self._folds)

    def answered_by(self) -> dict[str, Any]:
        """What determines the finished network's answers: its weights and the evaluation settings."""
        stages = {"recognition": self.recognition_run}
        if self.config.network.lesion_area_attention:
            stages["area"] = self.area_run
        settings = self.config.evaluation.model_dump(mode="json")
        return settings | {name: run.weights_sha256() for name, run in stages.items()}

    @property
    def sets(self) -> Sets:
        """Every set that the configuration may name."""
        return Sets(self.data, self.config.data)

    def frames(self, name: str) -> FrameSet:
        """The prepared frames of the set ``name``; prepares them on first use."""
        pictures = self.sets.read(name)
        if pictures.missing_pictures or pictures.missing_masks:
            self.console.print(
                f"{name}: continues without {len(pictures.missing_pictures)} missing images "
                f"and {len(pictures.missing_masks)} missing masks"
            )
        with Progress(console=self.console, transient=True) as bar:
            task = bar.add_task(f"preparing {name}", total=len(pictures.samples))
            return prepare_frames(
                pictures,
                self.cache,
                self.config.data.frame_size,
                canonical=self.config.network.canonical_orientation,
                progress=lambda done, _: bar.update(task, completed=done),
            )

    @cached_property
    def area_pretrained(self) -> Pretrained | None:
        """The pretrained weights of the first stage, whose encoder is always a ResNet18."""
        return load_pretrained(self.config.area_start or self.config.start)

    @cached_property
    def recognition_pretrained(self) -> Pretrained | None:
        """The pretrained weights of the feature extraction."""
        return load_pretrained(self.config.start, self.config.network.features)

    def training_sets(self) -> tuple[FrameSet, FrameSet]:
        """The training set and the validation set (:func:`~model_training.data.splits.training_parts`)."""
        return training_parts(self.sets, self.frames, seed=self.config.seed)

    def diagnoses(self) -> tuple[DiagnosisClass, ...]:
        """The network's classes with their roles, in the order of its outputs."""
        return self.sets.classes(self.config.data.train)

    def classes(self) -> tuple[str, ...]:
        """The names of the network's classes, in the order of its outputs."""
        return tuple(each.name for each in self.diagnoses())

    def dermoscopy_names(self) -> set[str]:
        """The names of the sets that are evaluated, all of dermoscopy."""
        return {self.validation_set().name, self.config.data.test}

    def validation_set(self) -> FrameSet:
        """The set on which thresholds and temperatures are chosen."""
        return self.training_sets()[1]

    def area_sets(self) -> tuple[FrameSet, FrameSet]:
        """Training and validation set of the first stage."""
        train, validation = self.training_sets()
        if (name := self.config.data.area_train) is not None:
            return without_pictures_of(self.frames(name), validation), validation
        return train, validation

    def train_area(self, *, deadline: float | None = None) -> None:
        """Run or resume the first stage, at most until ``deadline`` (``time.monotonic``).

        With ``area.cross_fit`` also the networks that crop the training images.
        """
        # Its own first: the run's folder then has its configuration from the start.
        for experiment in reversed(self.first_stages()):
            experiment._train_area(deadline)

    def _train_area(self, deadline: float | None) -> None:
        run = self.area_run
        with self._locked(run, deadline):
            fabric, train_set, validation_set = self._begin(run, "area", self.area_pretrained, self.area_sets)
            stage = AreaStage(
                settings=self.config.area,
                network=self.config.network,
                pretrained=self.area_pretrained.weights if self.area_pretrained else None,
                train=train_set,
                validation=validation_set,
                seed=self.config.seed,
                device=fabric.device,
            )
            self._train(stage, run, fabric, deadline)

    def train_recognition(self, *, deadline: float | None = None) -> None:
        """Run or resume the second stage on the first stage's crops, at most until ``deadline``."""
        with self._locked(self.recognition_run, deadline):
            pretrained = self.recognition_pretrained
            fabric, train_set, validation_set = self._begin(
                self.recognition_run, "recognition", pretrained, self.training_sets
            )
            stage = RecognitionStage(
                settings=self.config.recognition,
                network=self.config.network,
                pretrained=pretrained.weights if pretrained else None,
                train=train_set,
                validation=validation_set,
                train_areas=self.training_areas(train_set, fabric.device),
                validation_areas=self.locate(validation_set, fabric.device),
                seed=self.config.seed,
                device=fabric.device,
            )
            self._train(stage, self.recognition_run, fabric, deadline)

    def _locked(self, run: RunFolder, deadline: float | None) -> AbstractContextManager[None]:
        """The lock of a run's folder, held by the command's first process.

        Commands that share a first stage may run at the same time: the later one waits until it is finished.
        """
        if int(os.environ.get("RANK", "0")) != 0:
            return nullcontext()
        notice = f"waiting for another command that trains in {run.path}"
        return folder_lock(run.path, waiting=lambda: self.console.print(notice, highlight=False), deadline=deadline)

    def _begin(
        self,
        run: RunFolder,
        stage: str,
        pretrained: Pretrained | None,
        sets: Callable[[], tuple[FrameSet, FrameSet]],
    ) -> tuple[Fabric, FrameSet, FrameSet]:
        """Set up the devices and both sets of images, and record the run's provenance in its folder."""
        fabric = make_fabric(self.config)
        fabric.launch()
        # One process prepares the frames and starts the run; the others use them.
        with fabric.rank_zero_first():
            train_set, validation_set = sets()
            provenance: dict[str, Any] = {
                "start": pretrained.name if pretrained else "none (random weights)",
                "start_sha256": pretrained.sha256 if pretrained else None,
                "precision": fabric._precision.precision,
                "data": {frames.name: frames.digest for frames in (train_set, validation_set)},
            }
            if stage == "recognition" and self.config.network.lesion_area_attention:
                provenance["area_weights"] = self.area_run.weights_sha256()
                if self.config.area.cross_fit:
                    runs = [experiment.area_run for experiment in self.first_stages()]
                    provenance["cross_fit_weights"] = [run.weights_sha256() for run in runs]
            if fabric.is_global_zero:
                run.open(self.config, stage, provenance)
                digests = dict(zip(train_set.ids, picture_digests(train_set.frames), strict=True))
                run.write_pictures({**(pretrained.seen if pretrained else {}), **digests})
        return fabric, train_set, validation_set

    def _train(self, stage: Stage, run: RunFolder, fabric: Fabric, deadline: float | None) -> None:
        train(stage, run, fabric, seed=self.config.seed, console=self.console, deadline=deadline)

    def locator(self) -> LesionLocator | None:
        """The first stage's finished network with the crop; None without lesion area attention."""
        network = self.config.network
        if not network.lesion_area_attention:
            return None
        area = LesionAreaAttention(input_size=network.area_size)
        area.load_state_dict(self.area_run.load_weights(self.config, "area"))
        locator = LesionLocator(
            area,
            size=network.size,
            threshold=network.crop_threshold,
            opening=network.crop_opening,
            margin=network.crop_margin,
        )
        return locator.eval()

    def recognition_network(self, num_classes: int) -> ClinicalInspiredNetwork:
        """The second stage's finished network."""
        network = build_network(self.config.network, num_classes)
        network.load_state_dict(self.recognition_run.load_weights(self.config, "recognition"))
        return network.eval()

    def training_areas(self, pictures: FrameSet, device: torch.device) -> LesionArea:
        """The lesion areas of the training set, each by the network that has not seen the image, if any."""
        if not self.config.network.lesion_area_attention or not self.config.area.cross_fit:
            return self.locate(pictures, device)
        folds = [self._with_fold(fold) for fold in range(NUM_FOLDS)]
        held_out = [fold.validation_set() for fold in folds]
        areas = [fold.locate(images, device) for fold, images in zip(folds, held_out, strict=True)]
        place = {id: n for n, id in enumerate(id for images in held_out for id in images.ids)}
        order_N = torch.tensor([place[id] for id in pictures.ids])
        return LesionArea(*(torch.cat(each)[order_N] for each in zip(*areas, strict=True)))

    def locate(self, pictures: FrameSet, device: torch.device) -> LesionArea:
        """The lesion area of every image, on the CPU; the whole image without lesion area attention."""
        locator = self.locator()
        if locator is None:
            return whole_images(len(pictures))
        return lesion_areas(locator, pictures, device)
