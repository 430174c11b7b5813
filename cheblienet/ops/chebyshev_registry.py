"""Shapes, gradients and autocast of the operators of the Chebyshev convolution, in both their overloads.

The Laplacian's pattern is one list [rows, col, *tables], as `Csr` has them; the default overload, which programs call
that were exported earlier, takes rows and col one by one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import _library  # noqa: F401  (registers the operators)
from . import reference, transforms
from .csr import Csr
from .operands import Operands, arithmetic_type


def _check(op: str, x: Tensor, weight: Tensor, pattern: list[Tensor], values: Tensor) -> Operands:
    """As csrc/chebyshev_operands.h does."""
    operands = Operands(op, x)
    operands.signal("x", x, None, None, None)
    operands.check("weight", weight, x.dtype, None, x.shape[2], None)
    for size in weight.shape:
        torch._check(size >= 1, lambda: f"{op}: weight: expected R, Cin, Cout of at least 1, got {tuple(weight.shape)}")
    operands.check("values", values, arithmetic_type(x), None)
    if len(pattern) not in (2, 3, 5):
        raise RuntimeError(f"{op}: pattern: expected 2, 3 or 5 tensors, got {len(pattern)}")
    entries = values.shape[0]
    shapes: list[tuple[Any, ...]] = [(x.shape[1], 4), (entries,), (entries,), (None, None, None), (None, None)]
    for name, part, shape in zip(("rows", "col", "vertex", "slots", "halo"), pattern, shapes, strict=False):
        operands.check(name, part, torch.int32, *shape)
    return operands


def plain(x: Tensor, weight: Tensor, pattern: list[Tensor], values: Tensor, bias: Tensor | None) -> Tensor:
    """The operator in operations of the framework: R signals are in memory, and a gradient keeps them all."""
    wide = values.dtype
    with torch.autocast(x.device.type, enabled=False):
        laplacian = Csr(pattern[0], pattern[1], values)
        y = reference.chebyshev(x.to(wide), weight.to(wide), laplacian, None if bias is None else bias.to(wide))
        return y.to(x.dtype)


def _register(
    overload: str, arguments: Callable[[list[Any]], list[Any]], parts: Callable[[list[Any]], list[Any]]
) -> None:
    """`arguments` makes the arguments of this overload from the parts of a pattern, `parts` the parts from the arguments."""
    forward = getattr(torch.ops.cheblienet.chebyshev, overload)
    backward = getattr(torch.ops.cheblienet.chebyshev_backward, overload)

    @torch.library.register_fake(forward)
    def _(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        *pattern, values, bias = rest
        operands = _check("chebyshev", x, weight, parts(pattern), values)
        operands.optional("bias", bias, x.dtype, weight.shape[2])
        return x.new_empty((x.shape[0], x.shape[1], weight.shape[2]))

    @torch.library.register_fake(backward)
    def _(grad: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        *pattern, values, need_x, need_weight, need_bias, need_values = rest
        operands = _check("chebyshev_backward", x, weight, parts(pattern), values)
        operands.check("grad", grad, x.dtype, x.shape[0], x.shape[1], weight.shape[2])
        batch, vertices, cin = x.shape
        orders, _, cout = weight.shape
        return (
            x.new_empty((batch if need_x else 0, vertices, cin)),
            x.new_empty((orders if need_weight else 0, cin, cout)),
            x.new_empty((cout if need_bias else 0,)),
            values.new_empty((values.shape[0] if need_values else 0,)),
        )

    def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, *pattern, values, _ = inputs
        ctx.save_for_backward(x, weight, values, *parts(pattern))

    def gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight, values, *pattern = ctx.saved_tensors
        need_x, need_weight, *_, need_values, need_bias = ctx.needs_input_grad
        needs = (need_x, need_weight, need_bias, need_values)
        gradients = backward(grad.contiguous(), x, weight, *arguments(pattern), values, *needs)
        dx, dweight, dbias, dvalues = (g if need else None for g, need in zip(gradients, needs, strict=True))
        return dx, dweight, *arguments([None] * len(pattern)), dvalues, dbias

    def save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        dy, x, weight, *pattern, values, need_x, need_weight, need_bias, need_values = inputs
        ctx.save_for_backward(dy, x, weight, values, *parts(pattern))
        ctx.needs = need_x, need_weight, need_bias, need_values

    def backward_gradient(
        ctx: Any, to_dx: Tensor, to_dweight: Tensor, to_dbias: Tensor, to_dvalues: Tensor
    ) -> tuple[Any, ...]:
        """The gradient of <to_dx, dx> + <to_dweight, dTheta> + <to_dbias, dbias> + <to_dvalues, dL> in (dy, x, Theta, L).

        The first two are <conv(to_dx, Theta), dy> and <conv(x, to_dweight), dy>, so their gradients are the same operators
        on other arguments. The last is of second order in L and goes through the reference.
        """
        dy, x, weight, values, *pattern = ctx.saved_tensors
        laplacian = (*arguments(pattern), values)
        need_x, need_weight, need_bias, need_values = ctx.needs
        on_dy, on_x, on_weight, *_, on_values, _, _, _, _ = ctx.needs_input_grad
        grads: dict[str, list[Tensor]] = {"dy": [], "x": [], "weight": [], "values": []}
        if need_x:
            to_dx = to_dx.contiguous()
            grads["dy"].append(forward(to_dx, weight, *laplacian, None))
            terms = backward(dy, to_dx, weight, *laplacian, False, on_weight, False, on_values)
            grads["weight"].append(terms[1])
            grads["values"].append(terms[3])
        if need_weight:
            to_dweight = to_dweight.contiguous()
            grads["dy"].append(forward(x, to_dweight, *laplacian, None))
            terms = backward(dy, x, to_dweight, *laplacian, on_x, False, False, on_values)
            grads["x"].append(terms[0])
            grads["values"].append(terms[3])
        if need_bias:
            grads["dy"].append(to_dbias.expand_as(dy))
        if need_values:
            with torch.enable_grad():
                inputs = [t.detach().requires_grad_() for t in (dy, x, weight, values)]
                y = reference.chebyshev(inputs[1], inputs[2], Csr(pattern[0], pattern[1], inputs[3]))
                (dvalues,) = torch.autograd.grad(y, inputs[3], inputs[0], create_graph=True)
                terms = torch.autograd.grad(dvalues, inputs, to_dvalues, materialize_grads=True)
            for name, term in zip(grads, terms, strict=True):
                grads[name].append(term)
        dy_grad, x_grad, weight_grad, values_grad = (
            sum(terms[1:], terms[0]) if needed and terms else None
            for needed, terms in zip((on_dy, on_x, on_weight, on_values), grads.values(), strict=True)
        )
        return dy_grad, x_grad, weight_grad, *arguments([None] * len(pattern)), values_grad, None, None, None, None

    def plainly(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        *pattern, values, bias = rest
        return plain(x, weight, parts(pattern), values, bias)

    transforms.register_autograd(forward, gradient, save, plainly)
    transforms.register_autograd(backward, backward_gradient, save_backward, None)
    for device, key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA")):
        _register_autocast(forward, key, device)


def _register_autocast(forward: Any, key: str, device: str) -> None:
    @torch.library.impl(forward.name(), key)
    def _(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        *laplacian, bias = rest
        dtype = torch.get_autocast_dtype(device)
        if x.dtype == torch.float64:  # autocast leaves double precision alone
            dtype = torch.float64
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))):
            result: Tensor = forward(
                x.to(dtype), weight.to(dtype), *laplacian, None if bias is None else bias.to(dtype)
            )
        return result


_register("default", arguments=lambda parts: parts, parts=lambda arguments: arguments)
_register("pattern", arguments=lambda parts: [parts], parts=lambda arguments: arguments[0])
