"""The Chebyshev convolution y = sum_k T_k(L) x Theta_k: checks, shapes, gradients and autocast around the kernels.

`x` holds the signal vertex-major, (B, V, Cin); `weight` holds Theta, (R, Cin, Cout); `laplacian` holds the rescaled
Laplacian L, symmetric with eigenvalues in [-1, 1]. T_0 = I, T_1 = L, T_k = 2 L T_{k-1} - T_{k-2}.
"""

from typing import Any

import torch
from torch import Tensor

from .. import _library  # noqa: F401  (registers the operators)
from .._checks import check_device, check_floating, check_tensor
from . import reference
from .csr import Csr

_Gradients = tuple[Tensor | None, ...]


def chebyshev(x: Tensor, weight: Tensor, laplacian: Csr, bias: Tensor | None = None) -> Tensor:
    """The Chebyshev convolution of a signal on a graph.

    Args:
        x: (B, V, Cin) signal, float64, float32, bfloat16 or float16. Contiguous memory is used as it is.
        weight: (R, Cin, Cout), dtype of `x`.
        laplacian: the rescaled Laplacian of V vertices; values in float64 for float64 signals, otherwise in float32.
            It must be symmetric, which is not checked: the gradients rely on it.
        bias: (Cout,), dtype of `x`, or None.

    Returns:
        (B, V, Cout), dtype of `x`; sums run in float32 (float64 for float64). The T_k(L) x are rounded to the dtype of `x`
        on a GPU and, in bfloat16 with Cin and Cout of at least 32, on a processor with tiles for it (AMX). Differentiable
        twice in x, weight, bias and the values of the Laplacian. Under autocast x, weight and bias are cast to its dtype.

    Raises:
        TypeError: for another dtype, or dtypes that do not go together.
        ValueError: for shapes or devices that do not go together.
    """
    check_tensor("chebyshev: x", x, "(B, V, Cin)", 3)
    check_tensor("chebyshev: weight", weight, "(R, Cin, Cout)", 3)
    check_floating("chebyshev: x", x)
    rows, col, values = laplacian
    if weight.shape[1] != x.shape[2]:
        raise ValueError(f"chebyshev: weight: expected Cin = {x.shape[2]} as in x, got shape {tuple(weight.shape)}")
    if min(weight.shape) < 1:
        raise ValueError(f"chebyshev: weight: expected R, Cin, Cout of at least 1, got shape {tuple(weight.shape)}")
    if rows.shape != (x.shape[1], 4):
        raise ValueError(
            f"chebyshev: laplacian: expected V = {x.shape[1]} vertices as in x {tuple(x.shape)}, got {rows.shape[0]}"
        )
    if rows.dtype != torch.int32 or col.dtype != torch.int32:
        raise TypeError(f"chebyshev: laplacian: expected int32 indices, got {rows.dtype} and {col.dtype}")
    if bias is not None and bias.shape != weight.shape[2:]:
        raise ValueError(f"chebyshev: bias: expected shape ({weight.shape[2]},), got {tuple(bias.shape)}")
    for name, tensor in (("weight", weight), ("bias", bias), ("laplacian", values)):
        if tensor is not None:
            check_device(f"chebyshev: {name}", tensor, x.device)
    if not torch.is_autocast_enabled(x.device.type):
        _check_dtypes(x, weight, values, bias)
    result: Tensor = torch.ops.cheblienet.chebyshev(
        x.contiguous(),
        weight.contiguous(),
        rows.contiguous(),
        col.contiguous(),
        values.contiguous(),
        None if bias is None else bias.contiguous(),
    )
    return result


def _check_dtypes(x: Tensor, weight: Tensor, values: Tensor, bias: Tensor | None) -> None:
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise TypeError(f"chebyshev: {name}: expected {x.dtype} as in x, got {tensor.dtype}")
    expected = torch.float64 if x.dtype == torch.float64 else torch.float32
    if values.dtype != expected:
        raise TypeError(f"chebyshev: laplacian: expected {expected} values for a {x.dtype} signal, got {values.dtype}")


@torch.library.register_fake("cheblienet::chebyshev")
def _(x: Tensor, weight: Tensor, rows: Tensor, col: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], x.shape[1], weight.shape[2]))


@torch.library.register_fake("cheblienet::chebyshev_backward")
def _(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    rows: Tensor,
    col: Tensor,
    values: Tensor,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
    need_values: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, vertices, cin = x.shape
    orders, _, cout = weight.shape
    return (
        x.new_empty((batch if need_x else 0, vertices, cin)),
        x.new_empty((orders if need_weight else 0, cin, cout)),
        x.new_empty((cout if need_bias else 0,)),
        values.new_empty((values.shape[0] if need_values else 0,)),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, rows, col, values, _ = inputs
    ctx.save_for_backward(x, weight, rows, col, values)


def _gradient(ctx: Any, grad: Tensor) -> _Gradients:
    x, weight, rows, col, values = ctx.saved_tensors
    need_x, need_weight, _, _, need_values, need_bias = ctx.needs_input_grad
    dx, dweight, dbias, dvalues = torch.ops.cheblienet.chebyshev_backward(
        grad.contiguous(), x, weight, rows, col, values, need_x, need_weight, need_bias, need_values
    )
    return (
        dx if need_x else None,
        dweight if need_weight else None,
        None,
        None,
        dvalues if need_values else None,
        dbias if need_bias else None,
    )


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.needs = inputs[6:]


def _backward_gradient(ctx: Any, to_dx: Tensor, to_dweight: Tensor, to_dbias: Tensor, to_dvalues: Tensor) -> _Gradients:
    """The gradient of <to_dx, dx> + <to_dweight, dTheta> + <to_dbias, dbias> + <to_dvalues, dL> in (dy, x, Theta, L).

    The first two are <conv(to_dx, Theta), dy> and <conv(x, to_dweight), dy>, so their gradients are the same operators
    on other arguments. The last is of second order in L and goes through the reference.
    """
    dy, x, weight, rows, col, values = ctx.saved_tensors
    need_x, need_weight, need_bias, need_values = ctx.needs
    on_dy, on_x, on_weight, _, _, on_values, *_ = ctx.needs_input_grad
    backward = torch.ops.cheblienet.chebyshev_backward
    grads: dict[str, list[Tensor]] = {"dy": [], "x": [], "weight": [], "values": []}
    if need_x:
        to_dx = to_dx.contiguous()
        grads["dy"].append(torch.ops.cheblienet.chebyshev(to_dx, weight, rows, col, values, None))
        terms = backward(dy, to_dx, weight, rows, col, values, False, on_weight, False, on_values)
        grads["weight"].append(terms[1])
        grads["values"].append(terms[3])
    if need_weight:
        to_dweight = to_dweight.contiguous()
        grads["dy"].append(torch.ops.cheblienet.chebyshev(x, to_dweight, rows, col, values, None))
        terms = backward(dy, x, to_dweight, rows, col, values, on_x, False, False, on_values)
        grads["x"].append(terms[0])
        grads["values"].append(terms[3])
    if need_bias:
        grads["dy"].append(to_dbias.expand_as(dy))
    if need_values:
        with torch.enable_grad():
            inputs = [t.detach().requires_grad_() for t in (dy, x, weight, values)]
            y = reference.chebyshev(inputs[1], inputs[2], Csr(rows, col, inputs[3]))
            (dvalues,) = torch.autograd.grad(y, inputs[3], inputs[0], create_graph=True)
            terms = torch.autograd.grad(dvalues, inputs, to_dvalues, materialize_grads=True)
        for name, term in zip(grads, terms, strict=True):
            grads[name].append(term)
    dy_grad, x_grad, weight_grad, values_grad = (
        sum(terms[1:], terms[0]) if needed and terms else None
        for needed, terms in zip((on_dy, on_x, on_weight, on_values), grads.values(), strict=True)
    )
    return dy_grad, x_grad, weight_grad, None, None, values_grad, None, None, None, None


torch.library.register_autograd("cheblienet::chebyshev", _gradient, setup_context=_save)
torch.library.register_autograd("cheblienet::chebyshev_backward", _backward_gradient, setup_context=_save_backward)


def _autocast(key: str, device: str) -> None:
    @torch.library.impl("cheblienet::chebyshev", key)
    def _(x: Tensor, weight: Tensor, rows: Tensor, col: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        dtype = torch.get_autocast_dtype(device)
        if x.dtype == torch.float64:  # autocast leaves double precision alone
            dtype = torch.float64
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))):
            result: Tensor = torch.ops.cheblienet.chebyshev(
                x.to(dtype), weight.to(dtype), rows, col, values, None if bias is None else bias.to(dtype)
            )
        return result


_autocast("AutocastCPU", "cpu")
_autocast("AutocastCUDA", "cuda")
