"""Batch normalisation of vertex-major signals, fused with the sum before it and the activation after it."""

from typing import Any

import torch
from torch import Tensor

from .. import _library  # noqa: F401  (registers the operators)
from .._checks import check_device, check_floating, check_tensor

_Gradients = tuple[Tensor | None, ...]


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
) -> tuple[Tensor, Tensor, Tensor]:
    """y = (x + residual - mean) / sqrt(var + eps) * weight + bias per channel, and max(y, 0) with `relu`.

    Args:
        x: (B, V, C), float64, float32, bfloat16 or float16.
        weight, bias: (C,), float64 for float64 signals, otherwise float32.
        mean, var: (C,) like them; None for those of the batch, over samples and vertices (the biased variance).
        residual: like `x`, or None.
        relu: whether to apply the ReLU.
        eps: added to the variance.

    Returns:
        y (B, V, C), dtype of `x`, and the mean and variance used, (C,). y is differentiable twice in x, residual, weight
        and bias.

    Raises:
        TypeError: for other dtypes.
        ValueError: for shapes or devices that do not go together, or batch statistics of less than two values.
    """
    check_tensor("batch_norm: x", x, "(B, V, C)", 3)
    check_floating("batch_norm: x", x)
    parameters = {"weight": weight, "bias": bias, "mean": mean, "var": var}
    expected = torch.float64 if x.dtype == torch.float64 else torch.float32
    for name, values in parameters.items():
        if values is None:
            continue
        if values.shape != x.shape[2:]:
            raise ValueError(f"batch_norm: {name}: expected shape ({x.shape[2]},), got {tuple(values.shape)}")
        if values.dtype != expected:
            raise TypeError(f"batch_norm: {name}: expected {expected} for a {x.dtype} signal, got {values.dtype}")
        check_device(f"batch_norm: {name}", values, x.device)
    if (mean is None) != (var is None):
        raise ValueError("batch_norm: mean, var: expected both or neither")
    if mean is None and x.shape[0] * x.shape[1] < 2:
        raise ValueError(f"batch_norm: x: expected more than one value per channel, got shape {tuple(x.shape)}")
    if residual is not None:
        if residual.shape != x.shape or residual.dtype != x.dtype:
            raise ValueError(
                f"batch_norm: residual: expected {x.dtype} {tuple(x.shape)} as x, "
                f"got {residual.dtype} {tuple(residual.shape)}"
            )
        residual = check_device("batch_norm: residual", residual, x.device).contiguous()
    if mean is not None and var is not None:
        mean, var = mean.contiguous(), var.contiguous()
    y, used_mean, used_var = torch.ops.cheblienet.batch_norm(
        x.contiguous(), residual, weight.contiguous(), bias.contiguous(), mean, var, eps, relu
    )
    return y, used_mean, used_var


@torch.library.register_fake("cheblienet::batch_norm")
def _(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)


@torch.library.register_fake("cheblienet::batch_norm_backward")
def _(
    grad: Tensor,
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    relu: bool,
    batch_statistics: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, residual, weight, bias, mean, _, ctx.eps, ctx.relu = inputs
    ctx.batch_statistics = mean is None
    ctx.save_for_backward(x, residual, weight, bias, output[1], output[2])
    ctx.mark_non_differentiable(output[1], output[2])


def _gradient(ctx: Any, grad: Tensor, *_: Any) -> _Gradients:
    if torch.is_grad_enabled():  # to be differentiated again
        dx, dweight, dbias = _differentiable_gradient(ctx, grad)
    else:
        dx, dweight, dbias = torch.ops.cheblienet.batch_norm_backward(
            grad.contiguous(), *ctx.saved_tensors, ctx.eps, ctx.relu, ctx.batch_statistics
        )
    return dx, (dx if ctx.needs_input_grad[1] else None), dweight, dbias, None, None, None, None


def _differentiable_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same gradient in operations that can be differentiated, from which its own gradient follows."""
    x, residual, weight, bias, mean, var = ctx.saved_tensors
    s = x if residual is None else x + residual
    if ctx.batch_statistics:
        mean, var = s.mean((0, 1)), s.var((0, 1), correction=0)
    normalised = (s - mean) / torch.sqrt(var + ctx.eps)
    if ctx.relu:
        grad = grad * (normalised * weight + bias > 0)
    dweight, dbias = (grad * normalised).sum((0, 1)), grad.sum((0, 1))
    if ctx.batch_statistics:
        count = x.shape[0] * x.shape[1]
        grad = grad - dbias / count - normalised * dweight / count
    return grad * (weight / torch.sqrt(var + ctx.eps)), dweight, dbias


torch.library.register_autograd("cheblienet::batch_norm", _gradient, setup_context=_save)
