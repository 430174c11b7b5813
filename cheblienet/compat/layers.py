"""The original's pooling layers, which take signals of any rank and draw in evaluation mode too, the networks that have
them, and its convolution as a function."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import nn, ops
from .._checks import check_floating, check_tensor


class _Random(torch.nn.Module):
    """ "rand" stays random in evaluation mode."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"eval_reduction": "rand", **kwargs})


class _AnyRank(_Random):
    def forward(self, x: Tensor) -> Tensor:
        """(..., V) -> (..., Vout)."""
        if not isinstance(x, Tensor) or x.ndim in (0, 3):
            return super().forward(x)
        y = super().forward(x.reshape(1, x.shape[:-1].numel(), x.shape[-1]))
        return y.reshape(*x.shape[:-1], y.shape[-1])

    @property
    def shortcut(self) -> bool:
        """Whether signals pass as they are: `kernel_size` was 1."""
        return self.identity

    @property
    def index(self) -> Tensor:
        """(Vout, m) int64, the vertices that each output reduces.

        A pentagon of an icosphere has six where m is 7, and its first, itself, stands in the seventh place too: a maximum
        over these is the layer's, a mean counts that vertex twice, which the layer does not.
        """
        if self.identity:
            return torch.arange(self.num_vertices)[:, None]
        members = self.table("cpu").members
        return torch.where(members < 0, members[:, :1], members)


def _index_of(layer: _AnyRank, size: Sequence[int], kernel_size: int) -> Tensor:
    """The `index` of a layer of this kind with these arguments."""
    return type(layer)(kernel_size, size, "avg").index


class _ByNumber(_AnyRank):
    """Orientations of one number correspond, as those of the original's graphs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"frames": "coordinate", **kwargs})


class SE2SpatialPool(_AnyRank, nn.SE2SpatialPool):
    get_reduction_index = _index_of


class SE2SpatialUnpool(_AnyRank, nn.SE2SpatialUnpool):
    get_expansion_index = _index_of


class SO3SpatialPool(_ByNumber, nn.SO3SpatialPool):
    get_reduction_index = _index_of


class SO3SpatialUnpool(_ByNumber, nn.SO3SpatialUnpool):
    get_expansion_index = _index_of


class SO3OrientationPool(_AnyRank, nn.SO3OrientationPool):
    pass


class GlobalPool(_Random, nn.GlobalPool):
    pass


class WideResSE2GEChebNet(_Random, nn.WideResSE2GEChebNet):
    pass


class SO3GEChebEncoder(_Random, nn.SO3GEChebEncoder):
    pass


class SO3GEChebDecoder(_Random, nn.SO3GEChebDecoder):
    pass


class SO3GEUChebNet(_Random, nn.SO3GEUChebNet):
    pass


def cheb_conv(x: Tensor, weights: Tensor, laplacian: Tensor | None = None) -> Tensor:
    """The Chebyshev convolution of x (B, Cin, V) with weights (R, Cin, Cout): (V, B, Cout).

    `laplacian` is the rescaled one, sparse; it may be None for R = 1, which ignores it.
    """
    check_tensor("cheb_conv: x", x, "(B, Cin, V)", 3)
    check_tensor("cheb_conv: weights", weights, "(R, Cin, Cout)", 3)
    if weights.shape[1] != x.shape[1] or not len(weights):
        raise ValueError(
            f"cheb_conv: weights: expected shape (R >= 1, Cin = {x.shape[1]}, Cout), got {tuple(weights.shape)}"
        )
    check_floating("cheb_conv: x", x)
    if laplacian is None:
        if len(weights) > 1:
            raise ValueError(f"cheb_conv: laplacian: expected a sparse tensor for R = {len(weights)}, got None")
        return torch.einsum("bcv,co->vbo", x, weights[0])
    if not isinstance(laplacian, Tensor) or laplacian.layout == torch.strided:
        got = laplacian.layout if isinstance(laplacian, Tensor) else type(laplacian).__name__
        raise TypeError(f"cheb_conv: laplacian: expected a sparse tensor, got {got}")
    y = ops.chebyshev(x.transpose(1, 2), weights, ops.csr(laplacian.to_sparse_csr()))
    return y.transpose(0, 1)
