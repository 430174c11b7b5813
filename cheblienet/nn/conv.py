"""The Chebyshev convolution as a layer."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import MAX_CHANNELS, check_flag, check_integer, check_tensor
from ..graphs import Graph
from ..graphs.fingerprint import differences
from ..ops.chebyshev import convolve


class ChebConv(nn.Module):
    """A Chebyshev convolution on a graph, y = sum_k T_k(L) x Theta_k + bias (arXiv:2111.12139, section 3.3).

    The signal (B, Cin, V) is read vertex-major, so input in that memory format, as every layer here returns it, is not
    copied. The Laplacian is the graph's: it follows the signal's device, is shared by all layers on one graph, and is not
    part of the state dict. Changing a `RandomSubGraph` changes the layer's next call.

    The state dict has the graph's fingerprint beside the parameters, as "_extra_state", some hundred bytes. To load the
    state of a layer on another graph gives a warning that says in what they differ; a state without it loads in silence.

    Args:
        in_channels, out_channels: Cin and Cout, from 1 to 2^20.
        kernel_size: R, the number of Chebyshev orders, from 1 to 2^20; R = 1 acts on each vertex alone.
        graph: the graph of V vertices.
        bias: whether to learn a bias.

    Attributes:
        weight: (R, Cin, Cout), at first normal with variance 2 / (R Cin).
        bias: (Cout,), at first 0.01, or None.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, graph: Graph, bias: bool = True) -> None:
        super().__init__()
        self.in_channels = check_integer("ChebConv: in_channels", in_channels, 1, MAX_CHANNELS)
        self.out_channels = check_integer("ChebConv: out_channels", out_channels, 1, MAX_CHANNELS)
        self.kernel_size = check_integer("ChebConv: kernel_size", kernel_size, 1, MAX_CHANNELS)
        if not isinstance(graph, Graph):
            raise TypeError(f"ChebConv: graph: expected a Graph, got {type(graph).__name__}")
        with_bias = check_flag("ChebConv: bias", bias)
        self.graph = graph
        self.weight = nn.Parameter(torch.empty(self.kernel_size, self.in_channels, self.out_channels))
        self.register_parameter("bias", nn.Parameter(torch.empty(self.out_channels)) if with_bias else None)
        self.reset_parameters()
        self._prepare_laplacian()

    def reset_parameters(self) -> None:
        """Draws the weights anew, as at the beginning, for parameters that have no values yet or should lose theirs."""
        nn.init.normal_(self.weight, std=math.sqrt(2 / (self.kernel_size * self.in_channels)))
        if self.bias is not None:
            nn.init.constant_(self.bias, 0.01)

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

    def get_extra_state(self) -> Tensor | None:
        """The graph's fingerprint; None for a graph that leaves it out."""
        return self.graph.fingerprint if self.graph._in_state_dicts else None

    def set_extra_state(self, state: object) -> None:
        """Warns where `state` is the fingerprint of another graph, or cannot be read."""
        try:
            found = differences(state, self.graph.fingerprint)
        except ValueError as error:
            warnings.warn(f"ChebConv: graph: the saved fingerprint cannot be read: {error}", stacklevel=2)
            return
        if found:
            warnings.warn(f"ChebConv: graph: the state was saved on another graph: {'; '.join(found)}", stacklevel=2)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if destination[prefix + "_extra_state"] is None:
            del destination[prefix + "_extra_state"]

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        arguments = local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        missing_keys[:] = [key for key in missing_keys if key != prefix + "_extra_state"]
        self._prepare_laplacian()  # weights that were assigned may be elsewhere than those before

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
