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
        residual: like `x`, or None. The sum of both is rounded to their dtype, and kept for the gradient in their stead.
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
    y, used_mean, used_var, _ = torch.ops.cheblienet.batch_norm(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sum_of_both = x.new_empty(0) if residual is None else torch.empty_like(x)
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight), sum_of_both


@torch.library.register_fake("cheblienet::batch_norm_backward")
def _(
    grad: Tensor,
    s: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    relu: bool,
    batch_statistics: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(s), torch.empty_like(weight), torch.empty_like(weight)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, residual, weight, bias, given_mean, _, ctx.eps, ctx.relu = inputs
    _, mean, var, s = output
    ctx.batch_statistics = given_mean is None
    ctx.has_residual = residual is not None
    ctx.save_for_backward(s if ctx.has_residual else x, weight, bias, mean, var)
    ctx.mark_non_differentiable(mean, var)
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, grad: Tensor | None, _: Any, __: Any, to_sum: Tensor | None) -> _Gradients:
    """The sum s is an output that only the second gradient sees: its own gradient `to_sum` is None in the first."""
    ds = dweight = dbias = None
    if grad is not None and torch.is_grad_enabled():  # to be differentiated again
        ds, dweight, dbias = _differentiable_gradient(ctx, grad)
    elif grad is not None:
        ds, dweight, dbias = torch.ops.cheblienet.batch_norm_backward(
            grad.contiguous(), *ctx.saved_tensors, ctx.eps, ctx.relu, ctx.batch_statistics
        )
    if ctx.has_residual and to_sum is not None:
        ds = to_sum if ds is None else ds + to_sum
    return ds, (ds if ctx.needs_input_grad[1] else None), dweight, dbias, None, None, None, None


def _differentiable_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same gradient in operations that can be differentiated, from which its own gradient follows."""
    s, weight, bias, mean, var = ctx.saved_tensors
    if ctx.batch_statistics:
        mean, var = s.mean((0, 1)), s.var((0, 1), correction=0)
    normalised = (s - mean) / torch.sqrt(var + ctx.eps)
    if ctx.relu:
        grad = grad * (normalised * weight + bias > 0)
    dweight, dbias = (grad * normalised).sum((0, 1)), grad.sum((0, 1))
    if ctx.batch_statistics:
        count = s.shape[0] * s.shape[1]
        grad = grad - dbias / count - normalised * dweight / count
    return grad * (weight / torch.sqrt(var + ctx.eps)), dweight, dbias


torch.library.register_autograd("cheblienet::batch_norm", _gradient, setup_context=_save)
