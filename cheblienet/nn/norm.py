"""Normalisation in the vertex-major memory format."""

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from .. import ops
from .._checks import MAX_CHANNELS, check_device, check_floating, check_integer, check_number
from ..ops.batch_norm import move_running_statistics
from ..ops.batch_norm_registry import statistics_of
from .sync import global_statistics, world_size


class VertexBatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` for signals (B, C, V) in vertex-major memory, with the sum before it and the ReLU after it.

    A ReLU and a sum of their own would each read and write the whole signal once more. Parameters, buffers and their names
    are those of `nn.BatchNorm1d`.

    Args:
        num_features: C, from 1 to 2^20.
        eps: what is added to the variance, finite, at least 0.
        momentum: share of the batch in running statistics, from 0 to 1; None for the mean of all batches.
        args, kwargs: the others of `nn.BatchNorm1d`.

    Attributes:
        synchronised: whether training uses the statistics of all processes' batches; see `convert_sync_batchnorm`.
        process_group: those processes; None for all.
    """

    synchronised = False
    process_group: dist.ProcessGroup | None = None

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, *args: Any, **kwargs: Any
    ) -> None:
        num_features = check_integer("VertexBatchNorm: num_features", num_features, 1, MAX_CHANNELS)
        check_number("VertexBatchNorm: eps", eps, 0)
        if momentum is not None:
            check_number("VertexBatchNorm: momentum", momentum, 0, 1)
        super().__init__(num_features, eps, momentum, *args, **kwargs)

    def forward(self, x: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        """bn(x + residual), and its ReLU with `relu`: (B, C, V) -> (B, C, V), or (B, C) -> (B, C).

        TypeError or ValueError for an `x` or a `residual` of another shape, dtype or device, or that is no tensor.
        """
        self._check(x, residual)
        if not self._uses_operator(x):
            s = x if residual is None else x + residual
            y = self._over_processes(s) if self._synchronises() else self._framework(s)
            return torch.relu(y) if relu else y
        mean = var = running = None
        if not self.training and self.running_mean is not None:
            dtype = _statistics_dtype(x)
            mean, var = self.running_mean.to(dtype), self.running_var.to(dtype)
        elif self.training and self.track_running_stats:
            running = self._running()
        return ops.batch_norm(
            x,
            *self._affine(x),
            mean,
            var,
            residual=None if residual is None else residual.to(x.dtype),
            relu=relu,
            eps=self.eps,
            running=running,
            momentum=self.momentum,
            channels_second=True,
        )[0]

    def _check(self, x: Tensor, residual: Tensor | None) -> None:
        if not isinstance(x, Tensor) or x.layout != torch.strided:
            got = x.layout if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"VertexBatchNorm: x: expected a dense tensor (B, C, V), got {got}")
        if x.ndim not in (2, 3) or x.shape[1] != self.num_features:
            raise ValueError(
                f"VertexBatchNorm: x: expected 2D or 3D input with C = {self.num_features}, got shape {tuple(x.shape)}"
            )
        check_floating("VertexBatchNorm: x", x)
        for own in (self.weight, self.running_mean):
            if own is not None and own.device != x.device:
                check_device("VertexBatchNorm: x", x, own.device)
        if residual is None:
            return
        if not isinstance(residual, Tensor) or residual.layout != torch.strided:
            got = residual.layout if isinstance(residual, Tensor) else type(residual).__name__
            raise TypeError(f"VertexBatchNorm: residual: expected a tensor, got {got}")
        check_floating("VertexBatchNorm: residual", residual)
        check_device("VertexBatchNorm: residual", residual, x.device)
        if residual.shape != x.shape:
            raise ValueError(
                f"VertexBatchNorm: residual: expected shape {tuple(x.shape)} as x, got {tuple(residual.shape)}"
            )

    def _running(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.running_mean, self.running_var, self.num_batches_tracked

    def _synchronises(self) -> bool:
        return self.training and self.synchronised and world_size(self.process_group) > 1

    def _uses_operator(self, x: Tensor) -> bool:
        """Elsewhere than on these devices the operator has no kernel."""
        return not self._synchronises() and x.ndim == 3 and x.device.type in ("cpu", "cuda", "meta")

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias as the operator wants them for `x`."""
        weight = x.new_ones(x.shape[1]) if self.weight is None else self.weight
        bias = x.new_zeros(x.shape[1]) if self.bias is None else self.bias
        dtype = _statistics_dtype(x)
        return weight.to(dtype), bias.to(dtype)

    def _over_processes(self, x: Tensor) -> Tensor:
        """(x - mean) / sqrt(var + eps) weight + bias, with mean and var of all processes' batches, on any device."""
        if x.ndim == 2:
            return self._over_processes(x.unsqueeze(-1)).squeeze(-1)
        statistics_dtype = _statistics_dtype(x)
        mean, var, count = global_statistics(x.transpose(1, 2).to(statistics_dtype), self.process_group)
        fixed_mean, fixed_var = mean.detach(), var.detach()
        # The framework's kernel takes mean and variance for constants. Factors of value 1 and terms of value 0 on weight
        # and bias carry their gradients.
        weight = ((fixed_var + self.eps) / (var + self.eps)).sqrt()
        bias = (fixed_mean - mean) / (fixed_var + self.eps).sqrt()
        if self.weight is not None:
            affine, shift = self._affine(x)
            weight, bias = weight * affine, bias * affine + shift
        if self.track_running_stats:
            move_running_statistics(self._running(), self.momentum, fixed_mean, fixed_var, count)
        pixels = x.unsqueeze(-1)
        return nn.functional.batch_norm(pixels, fixed_mean, fixed_var, weight, bias, eps=self.eps).squeeze(-1)

    def _framework(self, x: Tensor) -> Tensor:
        """Seen as an image of V x 1 pixels, vertex-major memory is the channels-last format that its kernels know."""
        if x.ndim == 2:
            return super().forward(x)
        return super().forward(x.unsqueeze(-1)).squeeze(-1)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accepts the four-dimensional view of `_framework` beside what the base class does."""
        if input.ndim != 4 or input.shape[-1] != 1:
            super()._check_input_dim(input)


def _statistics_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def recomputed(norm: nn.Module, x: Tensor, y: Tensor) -> AbstractContextManager[object]:
    """A context in which no layer saves y = norm(x, relu=True) for its gradient, which computes it once more instead.

    The normalisation has x and the statistics saved anyway, so a convolution of y that runs in this context saves no signal
    at all. To compute y again is one pass over memory. Does nothing in compiled code, where the compiler decides what is
    saved, and where y has not come from the operator or needs no gradient.
    """
    used = None if torch.compiler.is_compiling() else statistics_of(y)
    if used is None or not isinstance(norm, VertexBatchNorm):
        return nullcontext()
    signal, eps = x.detach(), norm.eps
    coefficients = [t.detach() for t in norm._affine(x)]

    def again() -> Tensor:
        with torch.no_grad():
            return ops.batch_norm(signal, *coefficients, *used, relu=True, eps=eps, channels_second=True)[0]

    result = weakref.ref(y)  # the graph keeps both hooks

    def pack(tensor: Tensor) -> Tensor | Callable[[], Tensor]:
        found = result()
        if found is None:
            return tensor
        if tensor.is_set_to(found):
            return again
        return (lambda: again().transpose(1, 2)) if tensor.is_set_to(found.transpose(1, 2)) else tensor

    return saved_tensors_hooks(pack, lambda saved: saved if isinstance(saved, Tensor) else saved())


def convert_sync_batchnorm(model: nn.Module, process_group: dist.ProcessGroup | None = None) -> nn.Module:
    """Lets every `VertexBatchNorm` of `model` train with the statistics of the batches of all processes.

    `torch.nn.SyncBatchNorm.convert_sync_batchnorm` is not for them: its layers know neither the residual sum nor the ReLU.
    Here all is done by operations of the framework and one kind of collective, a sum, so no device or backend is
    presumed. Other normalisation layers stay as they are. Parameters and the state dict do not change.

    Args:
        model: changed in place.
        process_group: the processes that share their statistics; None for all.

    Returns:
        `model`.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"convert_sync_batchnorm: model: expected a torch.nn.Module, got {type(model).__name__}")
    for module in model.modules():
        if isinstance(module, VertexBatchNorm):
            module.synchronised, module.process_group = True, process_group
    return model
