"""What the operators of the normalisation need to be differentiated, compiled and exported.

In eager mode plain `torch.autograd.Function`s call them, for these cost less per call than registered gradients, and the
operator itself moves the running statistics. Compiled and exported code has functional operators with registered gradients,
which tracing understands, and moves the running statistics by operations that it fuses.

Operators see rows of C channels in memory, whatever the order in which a signal names its dimensions: results of eager mode
have the strides of x, and no layer pays for views and their gradients.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from .. import _library  # noqa: F401  (registers the operators)
from . import reference, transforms
from .operands import Operands, arithmetic_type

_Inputs = tuple[Tensor, Tensor | None, Tensor, Tensor]  # x, residual, weight, bias
_Gradients = tuple[Tensor | None, ...]

_functional = torch.ops.cheblienet.batch_norm.default
_tracked = torch.ops.cheblienet.batch_norm.tracked
_fixed = torch.ops.cheblienet.batch_norm.fixed
_backward = torch.ops.cheblienet.batch_norm_backward.default


def by_batch(
    inputs: _Inputs, running: tuple[Tensor, ...], momentum: float | None, eps: float, relu: bool, channels_second: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """y, mean and variance of `vertex_major` signals. In compiled code `running` must be empty."""
    if torch.compiler.is_compiling():
        y, mean, var, _ = _functional(*_rows(inputs, channels_second), None, None, eps, relu)
        return transposed(y, channels_second), mean, var
    if transforms.active():
        y, mean, var, _ = plain(*_rows(inputs, channels_second), None, None, eps, relu)
        return transposed(y, channels_second), mean, var
    y, mean, var, _ = _ByBatch.apply(*inputs, running, momentum, eps, relu, channels_second)
    return y, mean, var


def by_given(inputs: _Inputs, mean: Tensor, var: Tensor, eps: float, relu: bool, channels_second: bool) -> Tensor:
    """y, likewise."""
    y: Tensor
    if torch.compiler.is_compiling():
        y, _ = _fixed(*_rows(inputs, channels_second), mean, var, eps, relu)
        return transposed(y, channels_second)
    if transforms.active():
        y, _, _, _ = plain(*_rows(inputs, channels_second), mean, var, eps, relu)
        return transposed(y, channels_second)
    y, _ = _ByGiven.apply(*inputs, mean, var, eps, relu, channels_second)
    return y


def plain(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator in operations of the framework."""
    s = x if residual is None else x + residual
    y, mean, var = reference.batch_norm(s.to(weight.dtype), weight, bias, mean, var, relu=relu, eps=eps)
    # As of the operator, no gradient goes through the statistics that it returns, and without a residual there is no sum.
    return y.to(x.dtype), mean.detach(), var.detach(), x.new_empty(0) if residual is None else s


def transposed(x: Tensor, channels_second: bool) -> Tensor:
    """(B, C, V) to (B, V, C) and back."""
    return x.transpose(1, 2) if channels_second else x


def vertex_major(x: Tensor, channels_second: bool) -> Tensor:
    """`x` with the channels innermost in memory and without gaps, copied where it is not."""
    if not channels_second:
        return x.contiguous()
    if not torch.compiler.is_compiling() and x.stride() == (x.shape[1] * x.shape[2], 1, x.shape[1]):
        return x
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def _rows(inputs: _Inputs, channels_second: bool) -> _Inputs:
    x, residual, weight, bias = inputs
    return (
        transposed(x, channels_second),
        None if residual is None else transposed(residual, channels_second),
        weight,
        bias,
    )


def _check(op: str, x: Tensor, others: dict[str, Tensor | None], **channels: Tensor | None) -> None:
    """As csrc/batch_norm_operands.h does; `others` are signals like x, `channels` tensors (C,)."""
    operands = Operands(op, x)
    first = "s" if "grad" in others else "x"
    operands.signal(first, x, None, None, None)
    for name, signal in others.items():
        (operands.optional if name == "residual" else operands.check)(name, signal, x.dtype, *x.shape)
    operands.check("weight", channels["weight"], arithmetic_type(x), None)
    weight = channels["weight"]
    assert weight is not None
    for name, values in channels.items():
        optional = name in ("mean", "var") and op == "batch_norm"
        (operands.optional if optional else operands.check)(name, values, arithmetic_type(x), *weight.shape)
    if (channels.get("mean") is None) != (channels.get("var") is None):
        raise RuntimeError(f"{op}: mean, var: expected both or neither")
    (count,) = weight.shape
    torch._check(
        x.shape[2] == count or x.shape[1] == count,
        lambda: f"{op}: {first}: expected (B, V, {count}) or (B, {count}, V), got {tuple(x.shape)}",
    )


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
    _check("batch_norm", x, {"residual": residual}, weight=weight, bias=bias, mean=mean, var=var)
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight), _sum_like(x, residual)


@torch.library.register_fake("cheblienet::batch_norm.tracked")
def _(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    running: list[Tensor],
    momentum: float | None,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if len(running) not in (0, 3):
        raise RuntimeError(
            f"batch_norm: running: expected mean, variance and number of batches, got {len(running)} tensors"
        )
    statistics: dict[str, Tensor | None] = dict(zip(("running mean", "running variance"), running, strict=False))
    _check("batch_norm", x, {"residual": residual}, weight=weight, bias=bias, **statistics)
    if running:
        Operands("batch_norm", x).check("number of batches", running[2], torch.int64)
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight), _sum_like(x, residual)


@torch.library.register_fake("cheblienet::batch_norm.fixed")
def _(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    _check("batch_norm", x, {"residual": residual}, weight=weight, bias=bias, mean=mean, var=var)
    Operands("batch_norm", x).check("mean", mean, arithmetic_type(x), *weight.shape)
    return torch.empty_like(x), _sum_like(x, residual)


def _sum_like(x: Tensor, residual: Tensor | None) -> Tensor:
    return x.new_empty(0) if residual is None else torch.empty_like(x)


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
    _check("batch_norm_backward", s, {"grad": grad}, weight=weight, bias=bias, mean=mean, var=var)
    return torch.empty_like(s), torch.empty_like(weight), torch.empty_like(weight)


def _save(ctx: Any, inputs: Any, mean: Tensor, var: Tensor, s: Tensor, batch_statistics: bool) -> None:
    """Keeps what the gradient needs; `inputs` are x, residual, weight, bias, two more, eps, relu and channels_second."""
    x, residual, weight, bias, _, _, ctx.eps, ctx.relu, ctx.channels_second = inputs
    ctx.has_residual, ctx.batch_statistics = residual is not None, batch_statistics
    ctx.save_for_backward(x if residual is None else s, weight, bias, mean, var)
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, grad: Tensor | None, *others: Tensor | None) -> _Gradients:
    """The sum s is an output that only the second gradient sees: its own gradient, the last, is None in the first."""
    ds = dweight = dbias = None
    if grad is not None and (torch.is_grad_enabled() or transforms.active()):  # to be differentiated again, or batched
        ds, dweight, dbias = _differentiable_gradient(ctx, grad)
    elif grad is not None:
        grad = vertex_major(grad, ctx.channels_second)
        with torch._C._AutoDispatchBelowAutograd():
            ds, dweight, dbias = _backward(grad, *ctx.saved_tensors, ctx.eps, ctx.relu, ctx.batch_statistics)
    to_sum = others[-1]
    if ctx.has_residual and to_sum is not None:
        ds = to_sum if ds is None else ds + to_sum
    return ds, (ds if ctx.needs_input_grad[1] else None), dweight, dbias, *(len(ctx.needs_input_grad) - 4) * (None,)


def _differentiable_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same gradient in operations that can be differentiated, from which its own gradient follows."""
    s, weight, bias, mean, var = ctx.saved_tensors
    s, grad = transposed(s, ctx.channels_second), transposed(grad, ctx.channels_second)
    if ctx.batch_statistics:
        mean, var = s.mean((0, 1)), s.var((0, 1), correction=0)
    normalised = (s - mean) / torch.sqrt(var + ctx.eps)
    if ctx.relu:
        grad = grad * (normalised * weight + bias > 0)
    dweight, dbias = (grad * normalised).sum((0, 1)), grad.sum((0, 1))
    if ctx.batch_statistics:
        count = s.shape[0] * s.shape[1]
        grad = grad - dbias / count - normalised * dweight / count
    ds = grad * (weight / torch.sqrt(var + ctx.eps))
    return transposed(ds, ctx.channels_second), dweight, dbias


class _ByBatch(torch.autograd.Function):
    """x, residual, weight, bias, running statistics or (), momentum, eps, relu, channels_second -> y, mean, var, s."""

    backward = staticmethod(_gradient)

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            results = _, mean, var, s = _tracked(*inputs[:-1])
        if inputs[4]:
            increment_version(inputs[4])
        _save(ctx, inputs, mean, var, s, True)
        ctx.mark_non_differentiable(mean, var)
        ctx.statistics = mean, var  # without gradients of their own, they do not keep the graph alive
        return results


class _ByGiven(torch.autograd.Function):
    """x, residual, weight, bias, mean, var, eps, relu, channels_second -> y, s."""

    backward = staticmethod(_gradient)

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            results = _, s = _fixed(*inputs[:-1])
        _save(ctx, inputs, inputs[4], inputs[5], s, False)
        ctx.statistics = inputs[4:6]
        return results


def statistics_of(y: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and variance by which y was normalised; None where it has not come from eager mode, or has no gradient."""
    node: Any = y.grad_fn
    of_eager_mode: Any = _ByBatch._backward_cls, _ByGiven._backward_cls
    return node.statistics if isinstance(node, of_eager_mode) else None


def _save_functional(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, mean, var, s = output
    _save(ctx, (*inputs, False), mean, var, s, inputs[4] is None)
    ctx.mark_non_differentiable(mean, var)


def _save_fixed(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _save(ctx, (*inputs, False), inputs[4], inputs[5], output[1], False)


def _plain_fixed(*inputs: Any) -> tuple[Tensor, Tensor]:
    y, _, _, s = plain(*inputs)
    return y, s


transforms.register_autograd(_functional, _gradient, _save_functional, plain)
transforms.register_autograd(_fixed, _gradient, _save_fixed, _plain_fixed)
for _operator in (_tracked, _backward):
    transforms.refuse(_operator)
