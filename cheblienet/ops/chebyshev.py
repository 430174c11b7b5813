"""The Chebyshev convolution y = sum_k T_k(L) x Theta_k: checks, autocast, and the shortest way to the kernels.

`x` holds the signal vertex-major, (B, V, Cin); `weight` holds Theta, (R, Cin, Cout); `laplacian` holds the rescaled
Laplacian L, symmetric with eigenvalues in [-1, 1]. T_0 = I, T_1 = L, T_k = 2 L T_{k-1} - T_{k-2}.
"""

from typing import Any

import torch
from torch import Tensor

from .._checks import check_device, check_floating, check_tensor
from . import (
    chebyshev_registry,  # noqa: F401  (registers shapes, gradients and autocast of the operators)
    transforms,
)
from .csr import Csr

_FORWARD = torch.ops.cheblienet.chebyshev.pattern
_BACKWARD = torch.ops.cheblienet.chebyshev_backward.pattern


def chebyshev(x: Tensor, weight: Tensor, laplacian: Csr, bias: Tensor | None = None) -> Tensor:
    """The Chebyshev convolution of a signal on a graph.

    Args:
        x: (B, V, Cin) signal, float64, float32, bfloat16 or float16. Contiguous memory is used as it is.
        weight: (R, Cin, Cout), dtype of `x`.
        laplacian: the rescaled Laplacian of V vertices; values in float64 for float64 signals, otherwise in float32.
            It must be symmetric, for the gradients rely on it: `csr` checks that, and graphs see to it. The CPU checks that
            `rows` and `col` stay inside the matrix at every call, a GPU that types and shapes go together.
        bias: (Cout,), dtype of `x`, or None.

    Returns:
        (B, V, Cout), dtype of `x`; sums run in float32 (float64 for float64). The T_k(L) x are rounded to the dtype of `x`
        on a GPU and, in bfloat16 with Cin and Cout of at least 32, on a processor with tiles for it (AMX). Differentiable
        twice in x, weight, bias and the values of the Laplacian. Under autocast x, weight and bias are cast to its dtype.
        What is not finite in an input is not finite where the recurrence above has it, in the gradients too. With Cout < Cin
        y is evaluated by Clenshaw's form: there, and in gradients, an infinity may come out as NaN, and a vertex without
        neighbours does not see a NaN in the weights of orders above zero.

    Raises:
        TypeError: for another dtype, or dtypes that do not go together.
        ValueError: for shapes or devices that do not go together.
    """
    check_tensor("chebyshev: x", x, "(B, V, Cin)", 3)
    _check_laplacian(laplacian, x)
    rows, col, values, tables = laplacian
    pattern = [part.contiguous() for part in (rows, col, *tables)]
    return convolve(x.transpose(1, 2), weight, pattern, values.contiguous(), bias).transpose(1, 2)


def convolve(x: Tensor, weight: Tensor, pattern: list[Tensor], values: Tensor, bias: Tensor | None) -> Tensor:
    """`chebyshev` of a signal (B, Cin, V), as layers have it, with a Laplacian that is contiguous and fits it.

    `pattern` is [rows, col, *tables]. Returns (B, Cout, V), vertex-major in memory; a signal that is so too is not copied.
    """
    device, dtype = x.device, x.dtype
    _check_parameters(x, weight, bias, device)
    if device.type != "meta" and torch.is_autocast_enabled(device.type):  # meta tensors have no autocast
        if dtype != torch.float64:  # autocast leaves double precision alone
            dtype = torch.get_autocast_dtype(device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != dtype:
            raise TypeError(f"chebyshev: {name}: expected {dtype} as in x, got {tensor.dtype}")
    weight = weight.contiguous()
    if bias is not None:
        bias = bias.contiguous()
    compiling = torch.compiler.is_compiling()
    if compiling or transforms.active() or torch._C._is_tracing():
        signal = x.transpose(1, 2).contiguous()
        if compiling:
            result: Tensor = _FORWARD(signal, weight, pattern, values, bias)
        else:  # neither vmap nor a trace takes a list of tensors
            result = torch.ops.cheblienet.chebyshev.default(signal, weight, pattern[0], pattern[1], values, bias)
        return result.transpose(1, 2)
    _, channels, vertices = x.shape
    if x.stride() != (channels * vertices, 1, channels):
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    result = _Chebyshev.apply(x, weight, pattern, values, bias)
    return result


class _Chebyshev(torch.autograd.Function):
    """The gradients that `chebyshev_registry` has for compilers, for eager mode, of a signal (B, C, V).

    It leaves out the kernels in Python that the dispatcher would enter, and the nodes for two transpositions. What a call
    costs then: `python -m benchmarks --only overhead`.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, pattern: list[Tensor], values: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, weight, values)
        ctx.pattern = pattern
        with torch._C._AutoDispatchBelowAutograd():
            result: Tensor = _FORWARD(x.transpose(1, 2), weight, pattern, values, bias)
            return result.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() or transforms.active():
            return _gradients(ctx, grad)
        with torch._C._AutoDispatchBelowAutograd():
            return _gradients(ctx, grad)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, values = ctx.saved_tensors
    need_x, need_weight, _, need_values, need_bias = ctx.needs_input_grad
    grad, x, needs = grad.transpose(1, 2).contiguous(), x.transpose(1, 2), (need_x, need_weight, need_bias, need_values)
    if len(ctx.pattern) == 2 or transforms.active():  # neither vmap takes a list of tensors
        gradients = torch.ops.cheblienet.chebyshev_backward.default(grad, x, weight, *ctx.pattern[:2], values, *needs)
    else:
        gradients = _BACKWARD(grad, x, weight, ctx.pattern, values, *needs)
    dx, dweight, dbias, dvalues = gradients
    return (
        dx.transpose(1, 2) if need_x else None,
        dweight if need_weight else None,
        None,
        dvalues if need_values else None,
        dbias if need_bias else None,
    )


def _check_parameters(x: Tensor, weight: Tensor, bias: Tensor | None, device: torch.device) -> None:
    check_tensor("chebyshev: weight", weight, "(R, Cin, Cout)", 3)
    check_floating("chebyshev: x", x)
    orders, cin, cout = weight.shape
    if cin != x.shape[1]:
        raise ValueError(f"chebyshev: weight: expected Cin = {x.shape[1]} as in x, got shape {tuple(weight.shape)}")
    if orders < 1 or cin < 1 or cout < 1:
        raise ValueError(f"chebyshev: weight: expected R, Cin, Cout of at least 1, got shape {tuple(weight.shape)}")
    check_device("chebyshev: weight", weight, device)
    if bias is not None:
        check_tensor("chebyshev: bias", bias, "(Cout,)", 1)
        if bias.shape != (cout,):
            raise ValueError(f"chebyshev: bias: expected shape ({cout},), got {tuple(bias.shape)}")
        check_device("chebyshev: bias", bias, device)


def _check_laplacian(laplacian: Csr, x: Tensor) -> None:
    if not isinstance(laplacian, Csr):
        raise TypeError(f"chebyshev: laplacian: expected a Csr, got {type(laplacian).__name__}")
    rows, col, values, tables = laplacian
    for name, part, shape, ndim in (
        ("rows", rows, "(V, 4)", 2),
        ("col", col, "(E,)", 1),
        ("values", values, "(E,)", 1),
    ):
        check_tensor(f"chebyshev: laplacian: {name}", part, shape, ndim)
    if not isinstance(tables, tuple) or not all(isinstance(table, Tensor) for table in tables):
        raise TypeError(f"chebyshev: laplacian: tables: expected a tuple of tensors, got {tables!r}")
    if rows.shape != (x.shape[1], 4):
        raise ValueError(
            f"chebyshev: laplacian: expected V = {x.shape[1]} vertices as in x {tuple(x.shape)}, got {rows.shape[0]}"
        )
    if col.shape != values.shape:
        raise ValueError(
            f"chebyshev: laplacian: expected E columns and values, got {tuple(col.shape)} and {tuple(values.shape)}"
        )
    if rows.dtype != torch.int32 or col.dtype != torch.int32:
        raise TypeError(f"chebyshev: laplacian: expected int32 indices, got {rows.dtype} and {col.dtype}")
    expected = torch.float64 if x.dtype == torch.float64 else torch.float32
    if values.dtype != expected:
        raise TypeError(f"chebyshev: laplacian: expected {expected} values for a {x.dtype} signal, got {values.dtype}")
    for part in (rows, col, values, *tables):
        check_device("chebyshev: laplacian", part, x.device)
    if tables:
        _check_tables(laplacian)


def _check_tables(laplacian: Csr) -> None:
    """That they are of this pattern, as far as their shapes tell."""
    rows, col, _, tables = laplacian
    shapes = [tuple(table.shape) for table in tables]
    for table in tables:
        if table.dtype != torch.int32:
            raise TypeError(f"chebyshev: laplacian: expected int32 tables, got {table.dtype}")
    if len(tables) not in (1, 3) or shapes[0] != (len(col),):
        raise ValueError(
            f"chebyshev: laplacian: expected tables of the vertices of its E = {len(col)} entries and of tiles, got {shapes}"
        )
    if len(tables) == 3:
        _, slots, halo = shapes
        tiles = (0, -(-len(rows) // max(slots[2], 1))) if len(slots) == 3 else ()  # none where they do not fit
        if len(halo) != 2 or slots[0] != halo[0] or slots[0] not in tiles:
            raise ValueError(
                f"chebyshev: laplacian: expected tables (T, D / 2 + 1, R) and (T, plane) of T = ceil({len(rows)} / R) tiles, "
                f"got {slots} and {halo}"
            )
