"""The folder of one stage of one run.

``config.json``: the whole configuration. ``run.json``: provenance, and every resumption. ``pictures.csv``: the
training images. ``metrics.jsonl``: one line per epoch. ``checkpoint.pt``: the state to resume from.
``weights.safetensors``: the finished weights. Every file is replaced atomically, so a killed run leaves its last
complete state.
"""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model_training.config import Config
from model_training.files import read_json, replace_atomically, write_json, write_table, write_text
from model_training.training.command_line import command_line
from model_training.training.revision import git_commit
from service.bundle import file_sha256


class RunError(ValueError):
    """The request does not fit the run's folder; the text says what to do instead."""


class RunFolder:
    """The files of one stage of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.pt"
        self.weights = path / "weights.safetensors"
        self.metrics = path / "metrics.jsonl"
        self.pictures = path / "pictures.csv"

    def open(self, config: Config, stage: str, provenance: Mapping[str, Any]) -> None:
        """Start a run, or check that the folder has the same run and record its resumption.

        A run may be given more epochs, unless its schedule depends on their number. Raises :class:`RunError` when the
        folder holds a run with another configuration or other ``provenance``: data, pretrained weights, first stage or
        precision.
        """
        resolved = stage_config(config, stage)
        self.path.mkdir(parents=True, exist_ok=True)
        if (self.path / "config.json").is_file():
            before, begun_with = self.read_json("run.json"), self._config(stage)
            extended = _has_more_epochs(begun_with, resolved, stage)
            if not extended:
                self._check_unchanged("configuration", begun_with, resolved)
            for what in sorted(provenance.keys() - {"start"}):
                # The file name of the pretrained weights may change; "start_sha256" identifies them.
                value = provenance[what]
                begun = before.get(what, value)
                hint = f"set precision={begun} to resume it, " if what == "precision" else ""
                self._check_unchanged(_CALLED.get(what, what), {what: begun}, {what: value}, hint)
            if extended:
                # First, because they are not the weights of the new configuration.
                self.weights.unlink(missing_ok=True)
                self.write_json("config.json", config.model_dump(mode="json"))
            if not self.weights.is_file():
                resumed = [*before.get("resumed", []), environment()]
                self.write_json("run.json", {**before, "resumed": resumed})
            return
        self.write_json("run.json", {**provenance, **environment(), "resumed": []})
        self.write_json("config.json", config.model_dump(mode="json"))

    def _config(self, stage: str) -> dict[str, Any]:
        """What the run recorded of ``stage``, with defaults for keys that were added later."""
        return stage_config(Config.model_validate(self.read_json("config.json")), stage)

    def surroundings(self, key: str) -> list[str]:
        """The distinct values of ``key`` in :func:`environment`, over the start and all resumptions."""
        about = self.read_json("run.json")
        return list(dict.fromkeys(part[key] for part in (about, *about.get("resumed", []))))

    def _check_unchanged(self, what: str, old: Mapping[str, Any], new: Mapping[str, Any], hint: str = "") -> None:
        if changed := differences(old, new):
            raise RunError(
                f"{self.path} holds a run with another {what} ({', '.join(changed)} differ); "
                f"{hint}choose another --run folder, or delete this one to start again"
            )

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in the run's file ``name``. Raises :class:`RunError` when there is none."""
        path = self.path / name
        if not path.is_file():
            raise RunError(f"{path} does not exist; {_HOW_TO_MAKE.get(name, 'run the stage that writes it first')}")
        return read_json(path, mend=f"restore it, or delete {self.path} and run the stage again")

    def write_json(self, name: str, fields: Mapping[str, Any]) -> None:
        """Write a JSON object into the run's file ``name``."""
        write_json(self.path / name, fields)

    def write_pictures(self, digests: Mapping[str, str]) -> None:
        """Write the training images: ids to the SHA-256 of the pixels, empty if only the id is known."""
        write_table(self.pictures, ["id", "sha256"], digests.items())

    def read_pictures(self) -> dict[str, str]:
        """The training images. Raises :class:`RunError` when the run has not begun."""
        if not self.pictures.is_file():
            raise RunError(f"{self.pictures} does not exist; {_HOW_TO_MAKE[self.pictures.name]}")
        with self.pictures.open(newline="", encoding="utf-8") as file:
            return {row["id"]: row["sha256"] for row in csv.DictReader(file)}

    def read_metrics(self) -> list[dict[str, float]]:
        """One object for each finished epoch."""
        if not self.metrics.is_file():
            return []
        return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    def training_seconds(self) -> float:
        """The duration of the finished epochs, in seconds."""
        return sum(line["seconds"] for line in self.read_metrics())

    def append_metrics(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Append the line of ``epoch`` to ``metrics.jsonl``; removes lines of the same and later epochs."""
        kept = [line for line in self.read_metrics() if line["epoch"] < epoch]
        text = "".join(json.dumps(line) + "\n" for line in [*kept, {"epoch": epoch, **metrics}])
        write_text(self.metrics, text)

    def save_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write the finished weights."""
        # Shared branches are two names for one tensor, which the format refuses.
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
        replace_atomically(self.weights, lambda path: save_file(tensors, path))

    def load_weights(self, config: Config, stage: str) -> dict[str, Tensor]:
        """The finished weights of ``stage``.

        Raises :class:`RunError` before the stage has finished, and when it was trained with another configuration.
        """
        self._check_finished()
        changed = differences(self._config(stage), stage_config(config, stage))
        if changed := [key for key in changed if key not in NOT_TRAINING]:
            raise RunError(
                f"{self.path} was trained with another configuration ({', '.join(changed)} differ); "
                "give the --config and --set that it was trained with"
            )
        try:
            return load_file(self.weights)
        except SafetensorError as error:
            raise RunError(
                f"{self.weights} is damaged ({error}); restore it, or delete it to train again from the checkpoint"
            ) from error

    def weights_sha256(self) -> str:
        """SHA-256 of the finished weights. Raises :class:`RunError` when the stage has not finished."""
        self._check_finished()
        return file_sha256(self.weights)

    def _check_finished(self) -> None:
        if not self.weights.is_file():
            raise RunError(f"{self.weights} does not exist; finish this stage first: cin-train {self.path.name}")


def recorded_config(folder: Path) -> dict[str, Any] | None:
    """The configuration that the stages in ``folder`` recorded.

    None when none has begun, and for runs of earlier versions, which recorded less than the whole.
    """
    runs = {stage: RunFolder(folder / stage) for stage in _STAGE_SECTIONS}
    recorded = {
        stage: run.read_json("config.json") for stage, run in runs.items() if (run.path / "config.json").is_file()
    }
    last = recorded.get("recognition", recorded.get("area"))
    if last is None or "evaluation" not in last:
        return None
    # The first stage may have been given more epochs since the second one began.
    return {**last, "area": recorded.get("area", last)["area"]}


def _has_more_epochs(old: Mapping[str, Any], new: Mapping[str, Any], stage: str) -> bool:
    """Whether ``new`` asks for more epochs, and for nothing else that matters to ``stage``."""
    if differences(old, new) != [f"{stage}.epochs"] or new[stage]["schedule"] == "cosine":
        return False
    return bool(new[stage]["epochs"] > old[stage]["epochs"])


# Names of the ``provenance`` fields in error messages.
_CALLED = {"area_weights": "first stage", "start_sha256": "start"}

_HOW_TO_MAKE = {
    "pictures.csv": "train this stage first: cin-train area or cin-train recognition",
}

# Keys that do not affect training, so they may differ when the weights are used.
NOT_TRAINING = frozenset({"data.test", "data.allow_missing"})

# The parts of the configuration that a stage's result depends on. The precision is recorded separately, since "auto"
# depends on the machine.
_STAGE_SECTIONS = {
    "area": ("seed", "deterministic", "data", "network.area_size", "area"),
    "recognition": ("seed", "deterministic", "data", "network", "recognition"),
}


def stage_config(config: Config, stage: str) -> dict[str, Any]:
    """The part of the configuration that determines the result of ``stage``."""
    fields = config.model_dump(mode="json")
    chosen: dict[str, Any] = {}
    for name in _STAGE_SECTIONS[stage]:
        section, _, key = name.partition(".")
        chosen[section] = {key: fields[section][key]} if key else fields[section]
    return chosen


def environment() -> dict[str, Any]:
    """Command, time, code, libraries and machine of this process."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "command": command_line(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "torch": version("torch"),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {', '.join(devices) or 'no GPU'}",
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The keys, ``section.key``, whose values differ."""
    before, now = _flatten(old), _flatten(json.loads(json.dumps(new)))
    return [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]


def _flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
