"""Batch statistics over the processes of distributed training."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size(group: dist.ProcessGroup | None) -> int:
    """The number of processes in `group`, None for all; 1 where nothing is distributed or this process is outside."""
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    return max(dist.get_world_size(group), 1)


def global_statistics(x: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance (C,) of `x` (B, V, C) over samples, vertices and processes, and their number, a scalar.

    Batches may differ in size between processes. Differentiable, twice: a gradient here is the sum of the gradients of all
    processes, as if they were one. The variance is summed about the common mean, which needs a second reduction but
    loses no digits.
    """
    count = x.new_tensor([x.shape[0] * x.shape[1]])
    total = _AllReduce.apply(torch.cat([count, x.sum((0, 1))]), group)
    mean = total[1:] / total[0]
    var = _AllReduce.apply((x - mean).square().sum((0, 1)), group) / total[0]
    return mean, var, total[0].detach()


class _AllReduce(torch.autograd.Function):
    """The sum over all processes. Each of them uses it, so the gradient is a sum over them as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _AllReduce.apply(grad.contiguous(), ctx.group), None
