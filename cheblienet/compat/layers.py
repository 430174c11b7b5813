"""The original's pooling layers, which take signals of any rank, and its convolution as a function."""

import torch
from torch import Tensor

from .. import nn, ops


class _AnyRank(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """(..., V) -> (..., Vout)."""
        if x.ndim == 3:
            return super().forward(x)
        return super().forward(x.reshape(1, -1, x.shape[-1])).reshape(*x.shape[:-1], -1)


class SE2SpatialPool(_AnyRank, nn.SE2SpatialPool):
    pass


class SE2SpatialUnpool(_AnyRank, nn.SE2SpatialUnpool):
    pass


class SO3SpatialPool(_AnyRank, nn.SO3SpatialPool):
    pass


class SO3SpatialUnpool(_AnyRank, nn.SO3SpatialUnpool):
    pass


class SO3OrientationPool(_AnyRank, nn.SO3OrientationPool):
    pass


def cheb_conv(x: Tensor, weights: Tensor, laplacian: Tensor | None = None) -> Tensor:
    """The Chebyshev convolution of x (B, Cin, V) with weights (R, Cin, Cout): (V, B, Cout).

    `laplacian` is the rescaled one, sparse; it may be None for R = 1, which ignores it.
    """
    if laplacian is None:
        if len(weights) > 1:
            raise ValueError(f"cheb_conv: laplacian: expected a sparse tensor for R = {len(weights)}, got None")
        return torch.einsum("bcv,co->vbo", x, weights[0])
    y = ops.chebyshev(x.transpose(1, 2), weights, ops.csr(laplacian.to_sparse_csr()))
    return y.transpose(0, 1)
