"""The devices and the precision of training."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from model_training.config import Config

if TYPE_CHECKING:  # takes seconds to import, which only training needs
    from lightning_fabric import Fabric


class DeviceError(ValueError):
    """The device that was asked for is not there; the text says what to change."""


def make_fabric(config: Config) -> Fabric:
    """Devices and precision for training: one GPU, the CPU, or this process's device under torchrun.

    Raises :class:`DeviceError` as :func:`uses_gpu` does.
    """
    from lightning_fabric import Fabric

    precision: Any = training_precision(config)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    on_this_node = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return Fabric(
        accelerator="cuda" if uses_gpu(config) else "cpu",
        devices=on_this_node,
        num_nodes=num_processes // on_this_node,
        strategy="ddp" if num_processes > 1 else "auto",
        precision=precision,
    )


def uses_gpu(config: Config) -> bool:
    """Whether a GPU is used. Raises :class:`DeviceError` when there is none and ``accelerator`` is cuda."""
    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "accelerator is cuda, but PyTorch finds no GPU here: install a driver and a PyTorch for CUDA, or set "
            "accelerator=auto"
        )
    return config.accelerator != "cpu" and torch.cuda.is_available()


def training_precision(config: Config) -> str:
    """``32-true`` or ``bf16-mixed``: ``config.precision``, with ``auto`` resolved for this machine."""
    if config.precision != "auto":
        return config.precision
    return "bf16-mixed" if _multiplies_bfloat16(config) else "32-true"


def _multiplies_bfloat16(config: Config) -> bool:
    if uses_gpu(config):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_multiplies_bfloat16()


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has AMX or AVX-512's bfloat16 instruction, which makes ResNet18 nearly twice as fast.

    Others take several times as long for bfloat16 as for float32.
    """
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def inference_device(config: Config) -> torch.device:
    """The device that finished networks run on. Raises :class:`DeviceError` as :func:`uses_gpu` does."""
    return torch.device("cuda" if uses_gpu(config) else "cpu")
