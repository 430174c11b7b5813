"""Batch normalisation of vertex-major signals, fused with the sum before it and the activation after it."""

from typing import Any

import torch
from torch import Tensor

from .._checks import check_device, check_flag, check_floating, check_number, check_tensor
from . import transforms
from .batch_norm_registry import by_batch, by_given, vertex_major

RunningStatistics = tuple[Tensor, Tensor, Tensor]  # mean, variance, number of batches


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None = None,
    var: Tensor | None = None,
    *,
    residual: Tensor | None = None,
    relu: bool = False,
    eps: float = 1e-5,
    running: RunningStatistics | None = None,
    momentum: float | None = 0.1,
    channels_second: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """y = (x + residual - mean) / sqrt(var + eps) * weight + bias per channel, and max(y, 0) with `relu`.

    Args:
        x: (B, V, C), float64, float32, bfloat16 or float16.
        weight, bias: (C,), float64 for float64 signals, otherwise float32.
        mean, var: (C,) like them; None for those of the batch, over samples and vertices (the biased variance).
        residual: like `x`, or None. The sum of both is rounded to their dtype, and kept for the gradient in their stead.
        relu: whether to apply the ReLU.
        eps: added to the variance, finite, at least 0.
        running: mean and unbiased variance (C,), of any floating dtype, and the number of batches (), int64. They follow
            those of the batch, in place. None for none; not together with `mean` and `var`.
        momentum: how far they move, in [0, 1]; None for the average over all batches.
        channels_second: whether `x`, `residual` and y are (B, C, V), still vertex-major in memory.

    Returns:
        y, shape and dtype of `x`, and the mean and variance used, (C,). y is differentiable twice in x, residual, weight
        and bias.

    Raises:
        TypeError: for other dtypes.
        ValueError: for shapes or devices that do not go together, batch statistics of less than two values, or numbers out
            of range.
        NotImplementedError: where a transform of `torch.func` cannot move `running` in place.
    """
    check_flag("batch_norm: relu", relu)
    check_flag("batch_norm: channels_second", channels_second)
    check_tensor("batch_norm: x", x, "(B, C, V)" if channels_second else "(B, V, C)", 3)
    check_floating("batch_norm: x", x)
    check_number("batch_norm: eps", eps, 0)
    if momentum is not None:
        check_number("batch_norm: momentum", momentum, 0, 1)
    channels = x.shape[1 if channels_second else 2]
    expected = torch.float64 if x.dtype == torch.float64 else torch.float32
    _check_channels("weight", weight, x, channels, expected)
    _check_channels("bias", bias, x, channels, expected)
    if residual is not None:
        check_tensor("batch_norm: residual", residual, "as x", 3)
        if residual.shape != x.shape or residual.dtype != x.dtype:
            raise ValueError(
                f"batch_norm: residual: expected {x.dtype} {tuple(x.shape)} as x, "
                f"got {residual.dtype} {tuple(residual.shape)}"
            )
        residual = vertex_major(check_device("batch_norm: residual", residual, x.device), channels_second)
    inputs = vertex_major(x, channels_second), residual, weight.contiguous(), bias.contiguous()
    if (mean is None) != (var is None):
        raise ValueError("batch_norm: mean, var: expected both or neither")
    if mean is not None and var is not None:
        _check_channels("mean", mean, x, channels, expected)
        _check_channels("var", var, x, channels, expected)
        if running is not None:
            raise ValueError("batch_norm: running: expected None where mean and var are given")
        mean, var = mean.contiguous(), var.contiguous()
        return by_given(inputs, mean, var, eps, relu, channels_second), mean, var
    count = x.shape[0] * x.shape[2 if channels_second else 1]
    if count < 2:
        raise ValueError(f"batch_norm: x: expected more than one value per channel, got shape {tuple(x.shape)}")
    moved: RunningStatistics | tuple[()] = ()  # by the operator
    if running is not None:
        _check_running(running, x, channels)
        plain = all(t.dtype == expected and t.is_contiguous() for t in running[:2])
        if plain and not torch.compiler.is_compiling() and not transforms.active():
            moved = running
    y, mean, var = by_batch(inputs, moved, momentum, eps, relu, channels_second)
    if running is not None and not moved and transforms.active() and not torch.compiler.is_compiling():
        _move_inside_a_transform(running, momentum, mean, var, count)
    elif running is not None and not moved:
        move_running_statistics(running, momentum, mean, var, count)
    return y, mean, var


def _move_inside_a_transform(
    running: RunningStatistics, momentum: float | None, mean: Tensor, var: Tensor, count: int
) -> None:
    try:
        move_running_statistics(running, momentum, mean, var, count)
    except RuntimeError as error:
        raise NotImplementedError(
            "batch_norm: running: a transform of torch.func changes in place only what the transformed function is given, "
            "and under vmap one for each sample: give the running statistics as arguments (torch.func.functional_call), "
            f"use eval mode, or track none. The cause: {error}"
        ) from error


def _check_channels(name: str, values: Tensor, x: Tensor, channels: int, expected: torch.dtype | None = None) -> None:
    check_tensor(f"batch_norm: {name}", values, "(C,)", 1)
    if values.shape != (channels,):
        raise ValueError(f"batch_norm: {name}: expected shape ({channels},), got {tuple(values.shape)}")
    if expected is not None and values.dtype != expected:
        raise TypeError(f"batch_norm: {name}: expected {expected} for a {x.dtype} signal, got {values.dtype}")
    if values.device != x.device:
        check_device(f"batch_norm: {name}", values, x.device)


def _check_running(running: RunningStatistics, x: Tensor, channels: int) -> None:
    if not isinstance(running, tuple | list) or len(running) != 3:
        raise TypeError(
            "batch_norm: running: expected a mean, a variance and a number of batches, "
            f"got {len(running) if isinstance(running, tuple | list) else type(running).__name__}"
        )
    for name, values in zip(("running mean", "running variance"), running, strict=False):
        _check_channels(name, values, x, channels)
        check_floating(f"batch_norm: {name}", values)
        if channels > 1 and values.stride(0) == 0:
            raise ValueError(
                f"batch_norm: {name}: expected memory for each channel, got one number expanded to {channels}"
            )
    batches = check_tensor("batch_norm: number of batches", running[2], "()", 0)
    if batches.dtype != torch.int64:
        raise TypeError(f"batch_norm: number of batches: expected int64, got {batches.dtype}")
    check_device("batch_norm: number of batches", batches, x.device)


@torch.no_grad()
def move_running_statistics(
    running: RunningStatistics, momentum: float | None, mean: Tensor, var: Tensor, count: int | Tensor
) -> None:
    """Moves `running` as `batch_norm` does, towards mean and biased variance of `count` values. Waits for no device."""
    running_mean, running_var, batches = running
    step: Any = (batches + 1).to(running_mean.dtype).reciprocal() if momentum is None else momentum
    running_mean.lerp_(mean.to(running_mean.dtype), step)
    running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), step)
    batches.add_(1)
