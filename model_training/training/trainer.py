"""The training loop of both stages, on one device or, started by torchrun, on several.

No random state is carried over between steps: batches, augmentation and dropout are functions of (seed, epoch, step).
So a run that was interrupted or killed and resumed ends with the same weights, bit for bit on the same CPU, and on the
same GPU with ``deterministic = true``. Batches and augmentation are drawn for all processes together; each takes its
share.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import Tensor

from model_training.arrays import Indices
from model_training.files import Interrupted, replace_atomically
from model_training.training.distributed import synchronise_batch_norms
from model_training.training.optimisation import learning_rate, make_optimiser
from model_training.training.run_folder import RunFolder
from model_training.training.stage import Batch, Stage
from model_training.training.throughput import Throughput

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Steps between readings of the loss, each of which waits for the device.
LOSS_INTERVAL = 10


class TrainingError(RuntimeError):
    """Training cannot continue; the text says where it failed and what to change."""


def train(
    stage: Stage, run: RunFolder, fabric: Fabric, *, seed: int, console: Console, deadline: float | None = None
) -> None:
    """Train ``stage`` to its last epoch, from the checkpoint in ``run`` if there is one, and write its weights.

    Raises :class:`Interrupted` after SIGINT or SIGTERM and at ``deadline`` (``time.monotonic``), when the checkpoint is
    written; :class:`TrainingError` when a loss is not finite, or the batches cannot be shared by the processes.
    """
    _check_shares(stage, fabric)
    loop = _Loop(stage, run, fabric, seed)
    if fabric.is_global_zero and loop.position.epoch < stage.settings.epochs:
        devices = f"{fabric.world_size} x {fabric.device.type}" if fabric.world_size > 1 else fabric.device.type
        console.print(f"{stage.name}: trains in {fabric._precision.precision} on {devices}", highlight=False)
    with (
        _stop_requests(deadline) as stop,
        _progress_bar(console, fabric) as bar,
        _tensorboard(run, fabric, loop.position.epoch) as scalars,
    ):
        for epoch in range(loop.position.epoch, stage.settings.epochs):
            metrics = loop.train_epoch(bar, stop)
            if fabric.is_global_zero:
                # Before the checkpoint: a run that is killed between the two writes this line again.
                run.append_metrics(epoch, metrics)
            loop.finish_epoch()
            if fabric.is_global_zero:
                for name, value in metrics.items():
                    scalars.add_scalar(name, value, epoch + 1)
                console.print(_epoch_line(stage, epoch, metrics), highlight=False)
    stage.finish()
    if fabric.is_global_zero:
        run.save_weights(stage.module.state_dict())
    fabric.barrier()


def _check_shares(stage: Stage, fabric: Fabric) -> None:
    # A set smaller than the batch size gives one smaller batch.
    batches = stage.batches(0)
    if any(indices.shape[1] % fabric.world_size for indices in batches):
        raise TrainingError(
            f"batches of {batches[0].shape[1]} cannot be shared evenly by {fabric.world_size} processes; "
            f"set {stage.name}.batch_size to a multiple of {fabric.world_size}, and not above the number of images"
        )


@dataclass
class _Position:
    """The progress of training; a checkpoint has this, the module and the optimiser."""

    epoch: int = 0
    # Steps done in this epoch, the sum of each loss over them, and the time they took.
    step: int = 0
    totals: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


class _Loop:
    """The state of one training run, and its steps."""

    def __init__(self, stage: Stage, run: RunFolder, fabric: Fabric, seed: int) -> None:
        self.stage, self.run, self.fabric, self.seed = stage, run, fabric, seed
        if fabric.world_size > 1:
            synchronise_batch_norms(stage.module)
        stage.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if not run.checkpoint.is_file():
            with fabric.autocast():
                stage.start()
        self.module: Any
        self.optimiser: Any
        self.module, self.optimiser = fabric.setup(stage.module, make_optimiser(stage.module, stage.settings))
        self.position = self._load_checkpoint() if run.checkpoint.is_file() else _Position()
        self.throughput = Throughput(fabric.device, half_precision="32" not in str(fabric._precision.precision))

    def train_epoch(self, bar: Progress, stop: Callable[[], bool]) -> dict[str, float]:
        """Train the rest of the current epoch, validate, and return the epoch's figures."""
        at, stage = self.position, self.stage
        batches = stage.batches(at.epoch)
        task = bar.add_task(f"{stage.name} {at.epoch + 1}/{stage.settings.epochs}", total=len(batches), note="")
        at.totals = {name: total.to(self.fabric.device) for name, total in at.totals.items()}
        self.throughput.begin()
        self.module.train()
        for batch in self._loaded(batches[at.step :]):
            self._step(batch, len(batches))
            if at.step % LOSS_INTERVAL == 0:
                left = (stage.settings.epochs - at.epoch) * len(batches) - at.step
                note = f"loss {self._mean_loss():.4f}  {self.throughput.note(left * batch.num_pictures)}"
                bar.update(task, completed=at.step, note=note)
            # Several processes ask each other, for which all wait: not in every step.
            asks = self.fabric.world_size == 1 or at.step % LOSS_INTERVAL == 0 or at.step == len(batches)
            if asks and _any_process(stop(), self.fabric):
                self._interrupt()
        self._mean_loss()
        metrics = {name: float(total) / len(batches) for name, total in self._totals_of_all().items()}
        metrics |= self.throughput.figures()
        metrics |= {"learning_rate": self.optimiser.param_groups[0]["lr"], **self._validate()}
        metrics["seconds"] = at.seconds + self.throughput.seconds()
        bar.remove_task(task)
        return metrics

    def finish_epoch(self) -> None:
        """Move to the next epoch, and write the checkpoint."""
        self.position = _Position(self.position.epoch + 1)
        self._save_checkpoint()

    def _step(self, batch: Batch, num_batches: int) -> None:
        at = self.position
        for group in self.optimiser.param_groups:
            rate = group.get("rate", 1.0)  # checkpoints from before groups had rates
            group["lr"] = rate * learning_rate(self.stage.settings, at.epoch, at.step / num_batches)
        # Dropout draws from the process's global generator, augmentation from one that is the same in all processes.
        torch.manual_seed(_mix([self.seed, at.epoch, at.step, self.fabric.global_rank]))
        generator = torch.Generator().manual_seed(_mix([self.seed, at.epoch, at.step, 0, 1]))
        with self.throughput.counting_first_step():
            losses = self.stage.losses(self.module, batch, generator)
            self.optimiser.zero_grad(set_to_none=True)
            self.fabric.backward(losses["loss"])
            self.optimiser.step()
        for name, loss in losses.items():
            at.totals[name] = at.totals.get(name, 0.0) + loss.detach().double()
        at.step += 1
        self.throughput.add(batch.num_pictures)

    def _loaded(self, batches: Sequence[Indices]) -> Iterator[Batch]:
        """This process's share of every batch; a thread reads ahead by one."""
        fabric = self.fabric
        share = slice(fabric.global_rank, None, fabric.world_size)
        epoch = self.position.epoch

        def read(indices: Indices) -> list[Tensor]:
            loaded = self.stage.load(indices[:, share], epoch)
            return [tensor.pin_memory() for tensor in loaded] if fabric.device.type == "cuda" else loaded

        with ThreadPoolExecutor(1) as reader:
            waiting = [reader.submit(read, batches[0])] if len(batches) else []
            for step, indices in enumerate(batches):
                with self.throughput.waiting():
                    loaded = waiting.pop().result()
                if step + 1 < len(batches):
                    waiting.append(reader.submit(read, batches[step + 1]))
                on_device = [tensor.to(fabric.device, non_blocking=True) for tensor in loaded]
                yield Batch(indices[:, share], on_device, indices.shape[1], share)

    def _mean_loss(self) -> float:
        """The mean loss of the epoch so far. Raises :class:`TrainingError` when it is not finite."""
        at = self.position
        mean = float(at.totals["loss"]) / at.step
        if not math.isfinite(mean):
            raise TrainingError(f"the loss is {mean} in epoch {at.epoch + 1}, by step {at.step}; lower learning_rate")
        return mean

    def _totals_of_all(self) -> dict[str, Tensor]:
        """The mean of the totals over the processes, whose shares have equal size."""
        reduced = {
            name: self.fabric.all_reduce(total, reduce_op="mean") for name, total in self.position.totals.items()
        }
        return {name: total for name, total in reduced.items() if isinstance(total, Tensor)}

    def _validate(self) -> dict[str, float]:
        self.stage.module.eval()
        with torch.no_grad():
            return self.stage.validate()

    def _interrupt(self) -> None:
        """Write the checkpoint and raise :class:`Interrupted`."""
        at = self.position
        self._mean_loss()
        at.totals, at.seconds = self._totals_of_all(), at.seconds + self.throughput.seconds()
        self._save_checkpoint()
        raise Interrupted(f"stopped in epoch {at.epoch + 1}; run the same command again to resume")

    def _load_checkpoint(self) -> _Position:
        """Restore module and optimiser. Raises :class:`TrainingError` for a file that is not a whole checkpoint."""
        checkpoint = self.run.checkpoint
        try:
            return _Position(**self.fabric.load(checkpoint, {"module": self.module, "optimiser": self.optimiser}))
        except (RuntimeError, EOFError, UnpicklingError) as error:
            why = str(error).partition("\n")[0]
            raise TrainingError(
                f"{checkpoint} cannot be read ({why}); restore it, or delete {self.run.path} to train this stage again"
            ) from error

    def _save_checkpoint(self) -> None:
        # Every process takes part in saving; the first one writes.
        scratch = self.run.checkpoint.with_suffix(".writing")
        self.fabric.save(scratch, {"module": self.module, "optimiser": self.optimiser, **vars(self.position)})
        if self.fabric.is_global_zero:
            replace_atomically(self.run.checkpoint, lambda path: scratch.replace(path))


def _mix(numbers: Sequence[int]) -> int:
    """One 63-bit seed from several numbers."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 1_000_003 + number + 1) % (2**63 - 25)
    return mixed


def _any_process(asked: bool, fabric: Fabric) -> bool:
    """Whether ``asked`` is true in any process, so that all stop at the same step."""
    if fabric.world_size == 1:
        return asked
    num_asked = fabric.all_reduce(torch.tensor(float(asked), device=fabric.device), reduce_op="sum")
    assert isinstance(num_asked, Tensor)
    return bool(num_asked > 0)


def _epoch_line(stage: Stage, epoch: int, metrics: Mapping[str, float]) -> str:
    figures = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    return f"{stage.name} {epoch + 1}/{stage.settings.epochs}  {figures}"


def _progress_bar(console: Console, fabric: Fabric) -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[note]}")]
    return Progress(*columns, console=console, disable=not (fabric.is_global_zero and console.is_terminal))


@contextmanager
def _tensorboard(run: RunFolder, fabric: Fabric, epoch: int) -> Iterator[Any]:
    """TensorBoard's writer in the first process, else None; removes what an interrupted run wrote from ``epoch`` on."""
    if not fabric.is_global_zero:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter  # takes a second to import

    writer = SummaryWriter(str(run.path / "tensorboard"), purge_step=epoch + 1)
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def _stop_requests(deadline: float | None) -> Iterator[Callable[[], bool]]:
    """Whether to stop, because of SIGINT or SIGTERM (which no longer end the process) or of the deadline."""
    received: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM)
    previous = {name: signal.signal(name, lambda number, _: received.append(number)) for name in names}
    try:
        yield lambda: bool(received) or (deadline is not None and time.monotonic() >= deadline)
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
