"""Batch normalisation over all processes, so that the result does not depend on their number.

``torch.nn.SyncBatchNorm`` does the same, but raises ``ValueError`` for tensors on the CPU, where the tests run.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed import get_world_size
from torch.distributed.nn.functional import all_reduce


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with mean and variance over all processes; their shares must have equal size."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalised features ``[B, C, H, W]``; in evaluation mode the same as ``BatchNorm2d``."""
        if not self.training:
            return super().forward(x_BCHW)
        x = x_BCHW.float()
        num_processes = get_world_size()
        mean_C = all_reduce(x.mean(dim=(0, 2, 3))) / num_processes
        centred = x - mean_C[:, None, None]
        variance_C = all_reduce(centred.square().mean(dim=(0, 2, 3))) / num_processes
        with torch.no_grad():
            num_values = x.numel() / x.shape[1] * num_processes
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean_C, self.momentum)
            self.running_var.lerp_(variance_C * num_values / (num_values - 1), self.momentum)
            self.num_batches_tracked += 1
        normalised = centred * torch.rsqrt(variance_C + self.eps)[:, None, None]
        return (normalised * self.weight[:, None, None] + self.bias[:, None, None]).to(x_BCHW.dtype)


def synchronise_batch_norms(module: nn.Module) -> None:
    """Replace every ``BatchNorm2d`` in ``module``, in place; parameters keep their names and values."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            synchronised = SynchronisedBatchNorm2d(child.num_features, eps=child.eps, momentum=child.momentum)
            synchronised.load_state_dict(child.state_dict())
            setattr(module, name, synchronised)
        else:
            synchronise_batch_norms(child)
