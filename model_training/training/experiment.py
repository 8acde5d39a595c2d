"""An experiment: one configuration, its data, and the folder that both stages and their results live in."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from model_training.arrays import Indices
from model_training.config import NUM_FOLDS, Config
from model_training.data.frames import FrameSet, picture_digests, prepare_frames
from model_training.data.isic import classes_of, read_set
from model_training.data.splits import hold_out_fold, hold_out_share
from model_training.data.tensors import picture_tensor
from model_training.files import folder_lock
from model_training.network.cin import ClinicalInspiredNetwork
from model_training.network.lesion_area_attention import LesionArea, LesionAreaAttention, LesionLocator
from model_training.training.area import AreaStage
from model_training.training.pretrained import Start, load_start
from model_training.training.recognition import RecognitionStage, build_network
from model_training.training.run_folder import RunFolder
from model_training.training.trainer import Stage, make_fabric, train

LOCATE_BATCH = 32


def inference_device() -> torch.device:
    """Where finished networks run: a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Experiment:
    """Everything the commands of ``cin-train`` share. ``data`` holds the official sets, ``cache`` prepared frames."""

    config: Config
    data: Path
    cache: Path
    folder: Path
    console: Console
    # Where the first stage, and what evaluations leave, live when experiments share the rest; else below ``folder``.
    area_folder: Path | None = None
    evaluation_folder: Path | None = None

    @property
    def area_run(self) -> RunFolder:
        """The first stage."""
        return RunFolder((self.area_folder or self.folder) / "area")

    @property
    def recognition_run(self) -> RunFolder:
        """The second stage."""
        return RunFolder(self.folder / "recognition")

    def evaluation(self, split: str) -> Path:
        """What the evaluation on that split leaves."""
        return (self.evaluation_folder or self.folder / "evaluation") / split

    def answered_by(self) -> dict[str, Any]:
        """What decides the answers of the finished network: the weights of its stages, and how it is asked."""
        stages = {"recognition": self.recognition_run}
        if self.config.network.lesion_area_attention:
            stages["area"] = self.area_run
        asked = self.config.evaluation.model_dump(mode="json")
        return asked | {name: run.weights_sha256() for name, run in stages.items()}

    def log_prevalence(self, labels_N: Indices | None = None) -> Tensor:
        """The shift of the logits ``[K]`` from the mix of classes that the loss has made to that of these labels.

        By default those of the training set. No shift with ``evaluation.prevalence = "balanced"``.
        """
        train, _ = self.training_sets()
        num_classes = len(train.classes)
        if self.config.evaluation.prevalence == "balanced":
            return torch.zeros(num_classes)

        def log_shares(labels: Indices) -> Tensor:
            return (torch.bincount(torch.from_numpy(labels), minlength=num_classes) / len(labels)).log()

        learnt = log_shares(train.labels) if self.config.recognition.class_weights == "none" else 0.0
        return log_shares(train.labels if labels_N is None else labels_N) - learnt

    def frames(self, name: str) -> FrameSet:
        """The prepared frames of an official set, prepared now if they are not yet."""
        pictures = read_set(self.data, name, allow_missing=self.config.data.allow_missing)
        if pictures.missing_pictures or pictures.missing_masks:
            self.console.print(
                f"{name}: going on without {len(pictures.missing_pictures)} missing pictures "
                f"and {len(pictures.missing_masks)} missing masks"
            )
        with Progress(console=self.console, transient=True) as bar:
            task = bar.add_task(f"preparing {name}", total=len(pictures.samples))
            size = self.config.data.frame_size
            return prepare_frames(pictures, self.cache, size, progress=lambda done, _: bar.update(task, completed=done))

    @cached_property
    def area_start(self) -> Start | None:
        """The pre-trained weights that the first stage starts from; its encoder is always a ResNet18."""
        return load_start(self.config.start)

    @cached_property
    def recognition_start(self) -> Start | None:
        """The pre-trained weights that the feature extraction starts from."""
        return load_start(self.config.start, self.config.network.features)

    def training_sets(self) -> tuple[FrameSet, FrameSet]:
        """What is trained on, and what is validated on: a set of its own, or a part held out."""
        data = self.config.data
        train = self.frames(data.train)
        if data.fold is not None:
            return hold_out_fold(train, data.fold)
        if data.holdout is not None:
            return hold_out_share(train, data.holdout, seed=self.config.seed)
        return train, self.frames(data.validation)

    def training_set_names(self) -> list[str]:
        """The official sets that training and validation take their pictures from."""
        data = self.config.data
        held_out = data.fold is not None or data.holdout is not None
        return [data.train] if held_out else [data.train, data.validation]

    def num_training_pictures(self) -> int:
        """About how many pictures are trained on, without reading any."""
        data = self.config.data
        num = len(read_set(self.data, data.train, allow_missing=data.allow_missing).samples)
        return round(num * (1 - (1 / NUM_FOLDS if data.fold is not None else data.holdout or 0)))

    def classes(self) -> tuple[str, ...]:
        """What the network tells apart, in the order of its answers."""
        return classes_of(self.config.data.train)

    def validation_set(self) -> FrameSet:
        """What thresholds and temperatures are chosen on."""
        return self.training_sets()[1]

    def train_area(self, *, deadline: float | None = None) -> None:
        """Run or resume the first stage, until ``deadline`` (``time.monotonic``) at most."""
        with self._locked(self.area_run, deadline):
            fabric, train_set, validation_set = self._begin(self.area_run, "area", self.area_start)
            stage = AreaStage(
                settings=self.config.area,
                network=self.config.network,
                start=self.area_start.weights if self.area_start else None,
                train=train_set,
                validation=validation_set,
                seed=self.config.seed,
                device=fabric.device,
            )
            self._train(stage, self.area_run, fabric, deadline)

    def train_recognition(self, *, deadline: float | None = None) -> None:
        """Run or resume the second stage, on the crops that the first stage's weights give, until ``deadline``."""
        with self._locked(self.recognition_run, deadline):
            fabric, train_set, validation_set = self._begin(self.recognition_run, "recognition", self.recognition_start)
            stage = RecognitionStage(
                settings=self.config.recognition,
                network=self.config.network,
                start=self.recognition_start.weights if self.recognition_start else None,
                train=train_set,
                validation=validation_set,
                train_boxes=self.locate(train_set, fabric.device).box_B4,
                validation_boxes=self.locate(validation_set, fabric.device).box_B4,
                seed=self.config.seed,
                device=fabric.device,
            )
            self._train(stage, self.recognition_run, fabric, deadline)

    def _locked(self, run: RunFolder, deadline: float | None) -> AbstractContextManager[None]:
        """One command at a time in a run's folder; of the processes of one command the first holds the lock.

        Commands that share a first stage may run side by side: the later one finds it finished.
        """
        if int(os.environ.get("RANK", "0")) != 0:
            return nullcontext()
        said = f"waiting for another command that trains in {run.path}"
        return folder_lock(run.path, waiting=lambda: self.console.print(said, highlight=False), deadline=deadline)

    def _begin(self, run: RunFolder, stage: str, start: Start | None) -> tuple[Fabric, FrameSet, FrameSet]:
        """The devices, the pictures, and a run folder that says what is done with them."""
        fabric = make_fabric(self.config)
        fabric.launch()
        # One process prepares the frames and begins the run; the others find both.
        with fabric.rank_zero_first():
            train_set, validation_set = self.training_sets()
            provenance: dict[str, Any] = {
                "start": start.name if start else "none (random weights)",
                "start_sha256": start.sha256 if start else None,
                "precision": fabric._precision.precision,
                "data": {frames.name: frames.digest for frames in (train_set, validation_set)},
            }
            if stage == "recognition" and self.config.network.lesion_area_attention:
                provenance["area_weights"] = self.area_run.weights_sha256()
            if fabric.is_global_zero:
                run.open(self.config, stage, provenance)
                digests = dict(zip(train_set.ids, picture_digests(train_set.frames), strict=True))
                run.write_pictures({**(start.seen if start else {}), **digests})
        return fabric, train_set, validation_set

    def _train(self, stage: Stage, run: RunFolder, fabric: Fabric, deadline: float | None) -> None:
        train(stage, run, fabric, seed=self.config.seed, console=self.console, deadline=deadline)

    def locator(self) -> LesionLocator | None:
        """The first stage's finished network with the crop behind it; None when the experiment does without."""
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

    def locate(self, pictures: FrameSet, device: torch.device) -> LesionArea:
        """Where the lesion is in every picture, on the CPU; the whole picture when the experiment does without A."""
        locator = self.locator()
        if locator is None:
            whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(len(pictures), 1)
            return LesionArea(torch.ones(len(pictures), 1, 1), whole, torch.zeros(len(pictures)))
        locator.to(device)
        parts: list[tuple[Tensor, ...]] = []
        with torch.inference_mode():
            for first in range(0, len(pictures), LOCATE_BATCH):
                indices = np.arange(first, min(first + LOCATE_BATCH, len(pictures)))
                found = locator(picture_tensor(pictures.frames, indices, device))
                parts.append(tuple(part.cpu() for part in found))
        return LesionArea(*(torch.cat(part) for part in zip(*parts, strict=True)))
