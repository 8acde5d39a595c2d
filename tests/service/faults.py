"""Faults of a device, injected around a session while a service runs: the file named in ``FAULT`` says which."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.inference.sessions import HostSession, Outputs

# What ONNX Runtime has been seen to raise on a GPU (its issues 26312, 22702, 16307 and others; names shortened).
_FAILED = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. "
ILLEGAL_ACCESS = (
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; "
    "hostname=node ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/gpu_data_transfer.cc ; line=63 ; "
    "expr=cudaMemcpyAsync(dst_data, src_data, bytes, cudaMemcpyHostToDevice, stream); "
)
DEVICE_ERRORS = (
    ILLEGAL_ACCESS,
    _FAILED + "Name:'node_conv2d' Status Message: CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=node",
    _FAILED + "Name:'node_conv2d' Status Message: CUDNN failure 8: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0 ; expr=conv",
    _FAILED
    + "Name:'node_linear' Status Message: CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0 ; expr=gemm",
    "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=node ; expr=cudaSetDevice(device_id_)",
)
NO_MEMORY = (
    _FAILED + "Name:'node_conv2d' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
    "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, "
    "onnxruntime::WaitNotificationFn) Failed to allocate memory for requested buffer of size 104865792",
    "CUDA failure 2: out of memory ; GPU=0 ; hostname=node ; expr=cudaMalloc((void**)&p, size)",
    _FAILED + "Name:'node_linear' Status Message: CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; expr=gemm",
)

Fault = Callable[[Outputs, Outputs | None], Outputs]


def _with(outputs: Outputs, name: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Outputs:
    return {**outputs, name: change(outputs[name])}


def _raised(*_: Outputs | None) -> Outputs:
    raise RuntimeError(ILLEGAL_ACCESS)


def _hung(outputs: Outputs, _: Outputs | None) -> Outputs:
    time.sleep(3600)
    return outputs


# From the outputs of a run, and those of the one before the fault, to what is given instead.
FAULTS: dict[str, Fault] = {
    "device error": _raised,
    "not finite": lambda outputs, _: _with(outputs, "probabilities", lambda p: p * np.float32("nan")),
    "features not finite": lambda outputs, _: _with(outputs, "features", lambda f: f * np.float32("inf")),
    "stuck": lambda outputs, before: before or outputs,
    "drifting": lambda outputs, _: _with(outputs, "branch_probabilities", lambda p: p * 0.9 + 0.1 / 3),
    "hanging": _hung,
}


class FaultySession(HostSession):
    """Gives what the fault in the file makes of the outputs."""

    before: Outputs | None = None

    def run(self, frames: NDArray[np.uint8]) -> Outputs:
        """See :class:`HostSession`."""
        outputs = super().run(frames)
        file = Path(os.environ["FAULT"])
        if file.exists():
            return FAULTS[file.read_text()](outputs, self.before)
        self.before = outputs
        return outputs


# ``cin`` with such sessions.
PROGRAM = """
import service.inference.selection, service.cli.main, tests.service.faults
service.inference.selection.HostSession = tests.service.faults.FaultySession
service.cli.main.main()
"""
