"""Definitions in float64, and gradients of calls beside theirs."""

import strategies as some
import torch
from judge import close

from cheblienet import ops
from cheblienet.ops import reference


def in_float64(value):
    """Without the history of gradients, but asking for one where the original does."""
    if isinstance(value, tuple):
        return type(value)(*map(in_float64, value)) if hasattr(value, "_fields") else tuple(map(in_float64, value))
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    return value.detach().double().requires_grad_(value.requires_grad)


def absolute(arguments):
    def of(t):
        floating = isinstance(t, torch.Tensor) and t.is_floating_point()
        return t.detach().abs().requires_grad_(t.requires_grad) if floating else t

    return {name: ops.Csr(*map(of, t)) if isinstance(t, ops.Csr) else of(t) for name, t in arguments.items()}


def compare_gradients(y, arguments, expected, wide, bound, bounds, units, lost):
    """The gradients of a random linear function of y; `bounds` are leaves of `bound`, whose terms all have one sign.

    `lost` is added to their bounds: factors too small for the arithmetic.
    """

    def leaves(arguments):
        return [part for value in arguments.values() for part in (value if isinstance(value, tuple) else [value])]

    asked = [i for i, t in enumerate(leaves(arguments)) if isinstance(t, torch.Tensor) and t.requires_grad]
    if not asked:
        return
    dy = some.numbers(y.shape, y.dtype, "ordinary", 1)
    triples = []
    for result, of, direction in (
        (y, arguments, dy),
        (expected, wide, dy.double()),
        (bound, bounds, dy.double().abs()),
    ):
        inputs = [leaves(of)[i] for i in asked]
        if result.requires_grad:
            triples.append(torch.autograd.grad(result, inputs, direction, materialize_grads=True, allow_unused=True))
        else:  # the definition does not look at the Laplacian for one order
            triples.append([torch.zeros_like(t) for t in inputs])
    for actual, wanted, largest in zip(*triples, strict=True):
        close(actual, wanted, largest + lost, units, y.dtype if actual.dtype != torch.float64 else torch.float64)


def magnitude(x, weight, laplacian, bias=None):
    """The reference with absolute values and all signs alike: what rounding is relative to."""
    orders = [x]
    for _ in range(1, weight.shape[0]):
        previous, scale = (0, 1) if len(orders) == 1 else (orders[-2], 2)
        orders.append(scale * reference._sparse_product(laplacian, orders[-1]) + previous)
    y = torch.einsum("kbvi,kio->bvo", torch.stack(orders), weight)
    return y if bias is None else y + bias
