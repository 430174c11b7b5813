"""The Chebyshev convolution as a layer."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import check_integer, check_tensor
from ..graphs import Graph
from ..ops.chebyshev import convolve


class ChebConv(nn.Module):
    """A Chebyshev convolution on a graph, y = sum_k T_k(L) x Theta_k + bias (arXiv:2111.12139, section 3.3).

    The signal (B, Cin, V) is read vertex-major, so input in that memory format, as every layer here returns it, is not
    copied. The Laplacian is the graph's: it follows the signal's device, is shared by all layers on one graph, and is not
    part of the state dict. Changing a `RandomSubGraph` changes the layer's next call.

    Args:
        in_channels, out_channels: Cin and Cout, at least 1.
        kernel_size: R, the number of Chebyshev orders, at least 1; R = 1 acts on each vertex alone.
        graph: the graph of V vertices.
        bias: whether to learn a bias.

    Attributes:
        weight: (R, Cin, Cout), normal with variance 2 / (R Cin).
        bias: (Cout,), 0.01, or None.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, graph: Graph, bias: bool = True) -> None:
        super().__init__()
        self.in_channels = check_integer("ChebConv: in_channels", in_channels, 1)
        self.out_channels = check_integer("ChebConv: out_channels", out_channels, 1)
        self.kernel_size = check_integer("ChebConv: kernel_size", kernel_size, 1)
        if not isinstance(graph, Graph):
            raise TypeError(f"ChebConv: graph: expected a Graph, got {type(graph).__name__}")
        self.graph = graph
        self.weight = nn.Parameter(torch.empty(kernel_size, in_channels, out_channels))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (kernel_size * in_channels)))
        if bias:
            self.bias = nn.Parameter(torch.full((out_channels,), 0.01))
        else:
            self.register_parameter("bias", None)
        self._prepare_laplacian()

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, V) -> (B, Cout, V). ValueError if the channels or the vertices are not the layer's."""
        check_tensor("ChebConv: x", x, "(B, Cin, V)", 3)
        if x.shape[1:] != (self.in_channels, self.graph.num_vertices):
            raise ValueError(
                f"ChebConv: x: expected shape (B, Cin = {self.in_channels}, V = {self.graph.num_vertices}), "
                f"got {tuple(x.shape)}"
            )
        rows, col, values, tables = self.graph.laplacian_csr(x.device, _values_dtype(x.dtype), tiles=True)
        return convolve(x, self.weight, [rows, col, *tables], values, self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        moved = super()._apply(fn, recurse)
        self._prepare_laplacian()
        return moved

    def _prepare_laplacian(self) -> None:
        """Has the Laplacian ready where the weights are, before anything is compiled, exported or captured."""
        if self.weight.device.type != "meta":
            self.graph.laplacian_csr(self.weight.device, _values_dtype(self.weight.dtype), tiles=True)

    def extra_repr(self) -> str:
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, kernel_size={self.kernel_size}, "
            f"bias={self.bias is not None}"
        )


def _values_dtype(features: torch.dtype) -> torch.dtype:
    return torch.float64 if features == torch.float64 else torch.float32
