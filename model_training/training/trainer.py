"""The training loop of both stages, on one device or, started by torchrun, on several.

Nothing random is carried from step to step: batches, augmentation and dropout are functions of (seed, epoch, step), so
a run that was interrupted, killed or resumed ends in the same weights: bit for bit on the same CPU, and on the same GPU
with ``deterministic = true``. Batches and augmentation are drawn for all processes together, and each takes its share.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from model_training.arrays import Indices
from model_training.config import Config, StageConfig
from model_training.files import Interrupted, replace_atomically
from model_training.training.distributed import synchronise_batch_norms
from model_training.training.run_folder import RunFolder
from model_training.training.throughput import Throughput

# Steps between two looks at the loss: each look waits for the device.
LOOK_EVERY = 10


class TrainingError(RuntimeError):
    """Training cannot go on; the text says where and what to change."""


@dataclass(frozen=True)
class Batch:
    """One step's pictures: of all processes' batch this process's share, loaded onto its device."""

    indices: Indices  # [1 or 2, share]
    loaded: list[Tensor]
    # How many pictures each side has over all processes, and which of them are these.
    num_whole: int
    share: slice


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

    def load(self, indices: Indices) -> list[Tensor]:
        """What ``losses`` needs of these pictures, read from the prepared frames, on the CPU."""

    def losses(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses on this process's share; ``loss`` is the one to minimise. Draws are for the whole batch."""

    def validate(self) -> dict[str, float]:
        """Figures on the validation set, in float32."""


def make_fabric(config: Config) -> Fabric:
    """The devices and precision to train with: one GPU or the CPU, or what torchrun has started this process for."""
    precision: Any = training_precision(config)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    on_this_node = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=on_this_node,
        num_nodes=num_processes // on_this_node,
        strategy="ddp" if num_processes > 1 else "auto",
        precision=precision,
    )


def training_precision(config: Config) -> str:
    """``32-true`` or ``bf16-mixed``: what ``config.precision`` comes to on this machine."""
    if config.precision != "auto":
        return config.precision
    return "bf16-mixed" if _multiplies_bfloat16() else "32-true"


def _multiplies_bfloat16() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # AVX-512's own instruction suffices: ResNet18 is nearly twice as fast with it.
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


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
    fused = torch.cuda.is_available()
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            parameters,
            settings.learning_rate,
            momentum=0.9,
            weight_decay=settings.weight_decay,
            nesterov=True,
            fused=fused,
        )
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay, fused=fused)


def train(
    stage: Stage, run: RunFolder, fabric: Fabric, *, seed: int, console: Console, deadline: float | None = None
) -> None:
    """Train ``stage`` in ``run`` from its checkpoint, or from the start, to the end, and write its weights.

    Raises :class:`Interrupted` once the checkpoint is written: after SIGINT or SIGTERM, and at ``deadline``
    (``time.monotonic``); :class:`TrainingError` when a loss is not finite.
    """
    # A set that is smaller than the batch size makes one smaller batch.
    if any(indices.shape[1] % fabric.world_size for indices in stage.batches(0)):
        raise TrainingError(
            f"batches of {stage.batches(0)[0].shape[1]} cannot be shared evenly by {fabric.world_size} processes; "
            f"set {stage.name}.batch_size to a multiple of {fabric.world_size}, and not above the number of pictures"
        )
    if fabric.world_size > 1:
        synchronise_batch_norms(stage.module)
    stage.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module, optimiser = fabric.setup(stage.module, make_optimiser(stage.module, stage.settings))
    state: dict[str, Any] = {
        "module": module,
        "optimiser": optimiser,
        "epoch": 0,
        "step": 0,
        "totals": {},
        "seconds": 0.0,
    }
    if run.checkpoint.is_file():
        state |= _load_checkpoint(run, fabric, {"module": module, "optimiser": optimiser})
    if fabric.is_global_zero and state["epoch"] < stage.settings.epochs:
        where = f"{fabric.world_size} x {fabric.device.type}" if fabric.world_size > 1 else fabric.device.type
        console.print(f"{stage.name}: trains in {fabric._precision.precision} on {where}", highlight=False)
    throughput = Throughput(fabric.device, half_precision="32" not in str(fabric._precision.precision))
    with (
        _stop_requests() as stop,
        _progress_bar(console, fabric) as bar,
        _scalars(run, fabric, state["epoch"]) as scalars,
    ):
        for epoch in range(state["epoch"], stage.settings.epochs):
            batches, first_step = stage.batches(epoch), state["step"]
            totals = {name: total.to(fabric.device) for name, total in state["totals"].items()}
            task = bar.add_task(f"{stage.name} {epoch + 1}/{stage.settings.epochs}", total=len(batches), note="")
            throughput.begin()
            earlier = state["seconds"]
            module.train()
            for step, batch in enumerate(_loaded(stage, batches[first_step:], fabric, throughput), start=first_step):
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(stage.settings, epoch, step / len(batches))
                with throughput.counting_first_step():
                    losses = _step(stage, module, optimiser, fabric, batch, seed, epoch, step)
                for name, loss in losses.items():
                    totals[name] = totals.get(name, 0.0) + loss.detach().double()
                throughput.add(batches[step].size)
                state |= {"epoch": epoch, "step": step + 1, "totals": totals}
                if (step + 1) % LOOK_EVERY == 0:
                    mean = _finite_mean(totals["loss"], epoch, step)
                    left = (stage.settings.epochs - epoch) * len(batches) - step - 1
                    note = f"loss {mean:.4f}  {throughput.note(left * batches[step].size)}"
                    bar.update(task, completed=step + 1, note=note)
                if deadline is not None and time.monotonic() >= deadline:
                    stop.append(0)
                if _asked_to_stop(stop, fabric):
                    _finite_mean(totals["loss"], epoch, step)
                    state |= {"totals": _over_processes(totals, fabric), "seconds": earlier + throughput.seconds()}
                    _save_checkpoint(state, run, fabric)
                    raise Interrupted(f"stopped in epoch {epoch + 1}; run the same command again to resume")
            _finite_mean(totals["loss"], epoch, len(batches) - 1)
            metrics = {name: float(total) / len(batches) for name, total in _over_processes(totals, fabric).items()}
            metrics |= throughput.figures()
            metrics |= {"learning_rate": optimiser.param_groups[0]["lr"], **_validate(stage)}
            metrics["seconds"] = earlier + throughput.seconds()
            bar.remove_task(task)
            if fabric.is_global_zero:
                # Before the checkpoint: a run that is killed in between writes this line once more.
                run.append_metrics(epoch, metrics)
            state |= {"epoch": epoch + 1, "step": 0, "totals": {}, "seconds": 0.0}
            _save_checkpoint(state, run, fabric)
            if fabric.is_global_zero:
                for name, value in metrics.items():
                    scalars.add_scalar(name, value, epoch + 1)
                console.print(_epoch_line(stage, epoch, metrics), highlight=False)
    if fabric.is_global_zero:
        run.save_weights(stage.module.state_dict())
    fabric.barrier()


def _loaded(stage: Stage, batches: Sequence[Indices], fabric: Fabric, throughput: Throughput) -> Iterator[Batch]:
    """This process's share of every batch; the next one is read while the current one is computed on."""
    share = slice(fabric.global_rank, None, fabric.world_size)
    on_gpu = fabric.device.type == "cuda"

    def read(indices: Indices) -> list[Tensor]:
        loaded = stage.load(indices[:, share])
        return [tensor.pin_memory() for tensor in loaded] if on_gpu else loaded

    with ThreadPoolExecutor(1) as reader:
        waiting = [reader.submit(read, batches[0])] if len(batches) else []
        for step, indices in enumerate(batches):
            with throughput.waiting():
                loaded = waiting.pop().result()
            if step + 1 < len(batches):
                waiting.append(reader.submit(read, batches[step + 1]))
            on_device = [tensor.to(fabric.device, non_blocking=True) for tensor in loaded]
            yield Batch(indices[:, share], on_device, indices.shape[1], share)


def _step(
    stage: Stage,
    module: Any,
    optimiser: Any,
    fabric: Fabric,
    batch: Batch,
    seed: int,
    epoch: int,
    step: int,
) -> Mapping[str, Tensor]:
    # Dropout draws from the process's global generator, augmentation from one that all processes have alike.
    torch.manual_seed(_mix([seed, epoch, step, fabric.global_rank]))
    generator = torch.Generator().manual_seed(_mix([seed, epoch, step, 0, 1]))
    losses = stage.losses(module, batch, generator)
    optimiser.zero_grad(set_to_none=True)
    fabric.backward(losses["loss"])
    optimiser.step()
    return losses


def _finite_mean(total: Tensor, epoch: int, step: int) -> float:
    mean = float(total) / (step + 1)
    if not math.isfinite(mean):
        raise TrainingError(f"the loss is {mean} in epoch {epoch + 1}, by step {step + 1}; lower learning_rate")
    return mean


def _over_processes(totals: Mapping[str, Tensor], fabric: Fabric) -> dict[str, Tensor]:
    """The mean over the processes, which have seen equal shares."""
    reduced = {name: fabric.all_reduce(total, reduce_op="mean") for name, total in totals.items()}
    return {name: total for name, total in reduced.items() if isinstance(total, Tensor)}


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


def _load_checkpoint(run: RunFolder, fabric: Fabric, objects: dict[str, Any]) -> dict[str, Any]:
    """Fill ``objects`` and return the rest. Raises :class:`TrainingError` for a file that is no whole checkpoint."""
    try:
        return fabric.load(run.checkpoint, objects)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        why = str(error).partition("\n")[0]
        raise TrainingError(
            f"{run.checkpoint} cannot be read ({why}); restore it, or delete {run.path} to train this stage anew"
        ) from error


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
def _scalars(run: RunFolder, fabric: Fabric, epoch: int) -> Iterator[Any]:
    """The run's TensorBoard; what an interrupted run had written from ``epoch`` on is taken back."""
    if not fabric.is_global_zero:
        yield None
        return
    writer = SummaryWriter(str(run.path / "tensorboard"), purge_step=epoch + 1)
    try:
        yield writer
    finally:
        writer.close()


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
