"""The Chebyshev convolution y = sum_k T_k(L) x Theta_k: checks, shapes, gradients and autocast around the kernels.

`x` holds the signal vertex-major, (B, V, Cin); `weight` holds Theta, (R, Cin, Cout); `laplacian` holds the rescaled
Laplacian L, symmetric with eigenvalues in [-1, 1]. T_0 = I, T_1 = L, T_k = 2 L T_{k-1} - T_{k-2}.
"""

import torch
from torch import Tensor

from .._checks import check_device, check_floating, check_tensor
from . import chebyshev_registry  # noqa: F401  (what the operators need to be differentiated, compiled and cast)
from .csr import Csr


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
    rows, col, values, tables = laplacian
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
    result: Tensor = torch.ops.cheblienet.chebyshev.pattern(
        x.contiguous(),
        weight.contiguous(),
        [part.contiguous() for part in (rows, col, *tables)],
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
