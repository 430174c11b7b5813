"""Convolution, normalisation and activation as the blocks that networks are made of."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .._checks import check_integer
from .norm import VertexBatchNorm, recomputed

Layer = Callable[..., nn.Module]


def _check_layer(name: str, value: object) -> None:
    if not callable(value):
        raise TypeError(f"{name}: expected a layer's class, got {value!r}")


class BasicBlock(nn.Module):
    """relu(bn(conv(x))), (B, Cin, V) -> (B, Cout, V).

    Args:
        in_channels, out_channels: Cin and Cout.
        conv: the convolution's class, called as conv(Cin, Cout, kernel_size, *args, bias=..., **kwargs).
        kernel_size: number of Chebyshev orders.
        args, kwargs: passed on to `conv`, the graph among them.
    """

    def __init__(
        self, in_channels: int, out_channels: int, conv: Layer, kernel_size: int, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__()
        _check_layer("BasicBlock: conv", conv)
        self.conv = conv(in_channels, out_channels, kernel_size, *args, bias=True, **kwargs)
        self.bn = VertexBatchNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x), relu=True)


class ResidualBlock(nn.Module):
    """relu(bn2(shortcut(x) + conv2(relu(bn1(conv1(x)))))), (B, Cin, V) -> (B, Cout, V).

    The shortcut is the identity where Cin = Cout, otherwise a convolution of order 1 without bias. Arguments as for
    `BasicBlock`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, conv: Layer, kernel_size: int, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__()
        _check_layer("ResidualBlock: conv", conv)
        self.conv1 = conv(in_channels, out_channels, kernel_size, *args, bias=True, **kwargs)
        self.bn1 = VertexBatchNorm(out_channels)
        self.conv2 = conv(out_channels, out_channels, kernel_size, *args, bias=True, **kwargs)
        self.bn2 = VertexBatchNorm(out_channels)
        self.equalInOut = in_channels == out_channels
        if not self.equalInOut:
            self.convShortcut = conv(in_channels, out_channels, 1, *args, bias=False, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(x)
        normalised = self.bn1(first, relu=True)
        with recomputed(self.bn1, first, normalised):
            out = self.conv2(normalised)
        return self.bn2(out, residual=x if self.equalInOut else self.convShortcut(x), relu=True)


class NetworkBlock(nn.Module):
    """`num_layers` blocks in sequence, the first from Cin to Cout channels, the others on Cout.

    Args:
        in_channels, out_channels: Cin and Cout.
        num_layers: number of blocks, at least 1.
        block: `BasicBlock` or `ResidualBlock`.
        conv, kernel_size, args, kwargs: as for `block`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_layers: int,
        block: Layer,
        conv: Layer,
        kernel_size: int,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        check_integer("NetworkBlock: num_layers", num_layers, 1)
        _check_layer("NetworkBlock: block", block)
        self.layers = nn.Sequential(
            *(
                block(in_channels if i == 0 else out_channels, out_channels, conv, kernel_size, *args, **kwargs)
                for i in range(num_layers)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
