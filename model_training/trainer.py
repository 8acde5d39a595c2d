"""The training loop of both stages.

Nothing random is carried from step to step: batches, augmentation and dropout are functions of (seed, epoch, step,
process), so a run that was interrupted, killed or resumed ends in the same weights, bit for bit on the same hardware.
"""

from __future__ import annotations

import math
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import Tensor, nn

from model_training.config import Config, StageConfig
from model_training.data.pairs import Indices
from model_training.run_folder import RunFolder, replace_atomically


class TrainingError(RuntimeError):
    """Training cannot go on; the text says where and what to change."""


class Interrupted(Exception):  # noqa: N818 - not an error
    """The run was asked to stop; its state is in the checkpoint."""


class Stage(Protocol):
    """One of the paper's two training stages, as the loop sees it."""

    name: str

    @property
    def settings(self) -> StageConfig:
        """How to optimise."""

    @property
    def module(self) -> nn.Module:
        """What is optimised."""

    def batches(self, epoch: int) -> Sequence[Indices]:
        """The batches of an epoch, over all processes: indices ``[1 or 2, batch]``."""

    def losses(self, module: nn.Module, indices: Indices, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses on one batch; ``loss`` is the one to minimise."""

    def validate(self) -> dict[str, float]:
        """Figures on the validation set, in float32."""


def make_fabric(config: Config) -> Fabric:
    """The devices and precision to train with: all GPUs there are, or the CPU."""
    on_gpu = torch.cuda.is_available()
    precision: Any = config.precision
    if precision == "auto":
        fast_bfloat16 = torch.cuda.is_bf16_supported() if on_gpu else torch.cpu._is_amx_tile_supported()
        precision = "bf16-mixed" if fast_bfloat16 else "32-true"
    return Fabric(accelerator="cuda" if on_gpu else "cpu", devices="auto" if on_gpu else 1, precision=precision)


def learning_rate(settings: StageConfig, epoch: int, done: float) -> float:
    """The learning rate at share ``done`` (0..1) of ``epoch``."""
    if settings.schedule == "step":
        return settings.learning_rate * 0.1 ** (epoch // settings.decay_every)
    position = (epoch + done) / settings.epochs
    warm_up = 0.1
    if position < warm_up:
        return settings.learning_rate * max(position / warm_up, 0.01)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (position - warm_up) / (1 - warm_up)))


def make_optimiser(module: nn.Module, settings: StageConfig) -> torch.optim.Optimizer:
    """SGD with momentum 0.9, or AdamW, over the parameters that learn."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            parameters,
            settings.learning_rate,
            momentum=0.9,
            weight_decay=settings.weight_decay,
            nesterov=True,
        )
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)


def train(
    stage: Stage, run: RunFolder, fabric: Fabric, *, seed: int, console: Console, deadline: float | None = None
) -> None:
    """Train ``stage`` in ``run`` from its checkpoint, or from the start, to the end, and write its weights.

    Raises :class:`Interrupted` once the checkpoint is written: after SIGINT or SIGTERM, and at ``deadline``
    (``time.monotonic``); :class:`TrainingError` when a loss is not finite.
    """
    stage.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module, optimiser = fabric.setup(stage.module, make_optimiser(stage.module, stage.settings))
    state: dict[str, Any] = {"module": module, "optimiser": optimiser, "epoch": 0, "step": 0, "totals": {}}
    if run.checkpoint.is_file():
        state |= fabric.load(run.checkpoint, {"module": module, "optimiser": optimiser})
    with _stop_requests() as stop, _progress_bar(console, fabric) as bar:
        for epoch in range(state["epoch"], stage.settings.epochs):
            batches = stage.batches(epoch)
            task = bar.add_task(f"{stage.name} {epoch + 1}/{stage.settings.epochs}", total=len(batches), note="")
            began, first_step, totals = time.monotonic(), state["step"], Counter(state["totals"])
            module.train()
            for step in range(first_step, len(batches)):
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(stage.settings, epoch, step / len(batches))
                totals.update(_step(stage, module, optimiser, fabric, batches[step], seed, epoch, step))
                state |= {"epoch": epoch, "step": step + 1, "totals": dict(totals)}
                per_second = (step + 1 - first_step) * batches[step].size / (time.monotonic() - began)
                left = ((stage.settings.epochs - epoch) * len(batches) - step - 1) * batches[step].size / per_second
                note = f"loss {totals['loss'] / (step + 1):.4f}  {per_second:.1f} pictures/s  ETA {left / 60:.0f} min"
                bar.update(task, completed=step + 1, note=note)
                if deadline is not None and time.monotonic() >= deadline:
                    stop.append(0)
                if _asked_to_stop(stop, fabric):
                    _save_checkpoint(state, run, fabric)
                    raise Interrupted(f"stopped in epoch {epoch + 1}; the same command goes on from there")
            metrics = {name: total / len(batches) for name, total in totals.items()}
            metrics |= {"learning_rate": optimiser.param_groups[0]["lr"], **_validate(stage)}
            metrics |= {"pictures_per_second": per_second, "seconds": time.monotonic() - began}
            bar.remove_task(task)
            state |= {"epoch": epoch + 1, "step": 0, "totals": {}}
            _save_checkpoint(state, run, fabric)
            if fabric.is_global_zero:
                run.append_metrics(epoch, metrics)
                console.print(_epoch_line(stage, epoch, metrics), highlight=False)
    if fabric.is_global_zero:
        run.save_weights(stage.module.state_dict())


def _step(
    stage: Stage,
    module: Any,
    optimiser: Any,
    fabric: Fabric,
    batch: Indices,
    seed: int,
    epoch: int,
    step: int,
) -> Mapping[str, float]:
    # Dropout draws from the global generator, augmentation from its own.
    draws = [seed, epoch, step, fabric.global_rank]
    torch.manual_seed(_mix(draws))
    generator = torch.Generator().manual_seed(_mix([*draws, 1]))
    mine = batch[:, fabric.global_rank :: fabric.world_size]
    losses = stage.losses(module, mine, generator)
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    if not math.isfinite(values["loss"]):
        raise TrainingError(f"the loss is {values['loss']} in epoch {epoch + 1}, step {step + 1}; lower learning_rate")
    optimiser.zero_grad(set_to_none=True)
    fabric.backward(losses["loss"])
    optimiser.step()
    return values


def _mix(numbers: Sequence[int]) -> int:
    """One 63-bit seed from several numbers."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 1_000_003 + number + 1) % (2**63 - 25)
    return mixed


def _validate(stage: Stage) -> dict[str, float]:
    stage.module.eval()
    with torch.no_grad():
        return stage.validate()


def _asked_to_stop(received: Sequence[int], fabric: Fabric) -> bool:
    """Whether any process was asked to stop, so that all of them stop at the same step."""
    if fabric.world_size == 1:
        return bool(received)
    asked = fabric.all_reduce(torch.tensor(float(len(received)), device=fabric.device), reduce_op="sum")
    assert isinstance(asked, Tensor)
    return bool(asked > 0)


def _save_checkpoint(state: dict[str, Any], run: RunFolder, fabric: Fabric) -> None:
    # All processes take part in saving; the first one writes.
    scratch = run.checkpoint.with_suffix(".writing")
    fabric.save(scratch, state)
    if fabric.is_global_zero:
        replace_atomically(run.checkpoint, lambda path: scratch.replace(path))


def _epoch_line(stage: Stage, epoch: int, metrics: Mapping[str, float]) -> str:
    figures = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    return f"{stage.name} {epoch + 1}/{stage.settings.epochs}  {figures}"


def _progress_bar(console: Console, fabric: Fabric) -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[note]}")]
    return Progress(*columns, console=console, disable=not (fabric.is_global_zero and console.is_terminal))


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; the list is empty until one arrives."""
    received: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM)
    previous = {name: signal.signal(name, lambda number, _: received.append(number)) for name in names}
    try:
        yield received
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
