"""The U-Net on SO(3) for segmentation on the sphere (arXiv:2111.12139, section 4.3 and its appendix).

Level l is a sampling whose sphere is an icosphere of that level above the coarsest one, level 0. From the finest level on
a residual block per level doubles the channels, from 32 up to 256, and spatial pooling leads to the next coarser level.
On the way back each level's block takes the unpooled signal side by side with what the encoder had there. At last the
maximum, or mean, over the orientations gives a signal on the sphere, and a convolution of order 1 the scores.

The networks of six levels that the paper trains have a positional argument for each graph; `graphs` takes any number.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..._checks import check_tensor
from ...graphs import Graph
from ..blocks import ResidualBlock
from ..conv import ChebConv
from ..pool import SO3OrientationPool, SO3SpatialPool, SO3SpatialUnpool

_STEM, _LARGEST = 16, 256


class SO3GEChebEncoder(nn.Module):
    """Convolution, residual blocks and spatial pooling, from the finest level to the coarsest.

    Args:
        in_channels: channels of the signal.
        out_channels: not used; kept for its position.
        kernel_size: R, the number of Chebyshev orders.
        graph_lvl0, ..., graph_lvl5: the graphs of six levels, the coarsest first.
        reduction: "max", "avg" or "rand" spatial pooling.
        graphs: the graphs of any number of levels, the coarsest first, instead of those six.
        eval_reduction: what stands for "rand" in evaluation mode: "avg", "max" or "rand". The others stay as they are.

    Raises:
        TypeError: for graphs that are none, or have no `size`.
        ValueError: for both or none of the two ways to give graphs, or graphs that are no levels of one another.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        graph_lvl0: Graph | None = None,
        graph_lvl1: Graph | None = None,
        graph_lvl2: Graph | None = None,
        graph_lvl3: Graph | None = None,
        graph_lvl4: Graph | None = None,
        graph_lvl5: Graph | None = None,
        reduction: str = "max",
        *,
        graphs: Sequence[Graph] | None = None,
        eval_reduction: str = "avg",
    ) -> None:
        super().__init__()
        six = (graph_lvl0, graph_lvl1, graph_lvl2, graph_lvl3, graph_lvl4, graph_lvl5)
        levels = _levels(type(self).__name__, six, graphs)
        self.finest, frames = len(levels) - 1, _frames(levels)
        channels = _encoder_channels(len(levels))
        self.conv = ChebConv(in_channels, _STEM, kernel_size, levels[-1])
        for level in range(self.finest, -1, -1):
            cin = _STEM if level == self.finest else channels[level + 1]
            block = ResidualBlock(cin, channels[level], ChebConv, kernel_size, graph=levels[level])
            self.add_module(f"block{level}", block)
            if level:
                self.add_module(
                    f"pool{level}_{level - 1}",
                    SO3SpatialPool(2, levels[level].size, reduction, eval_reduction=eval_reduction, frames=frames),
                )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, V) on the finest graph -> the signals of all levels, the coarsest first."""
        x = self.get_submodule(f"block{self.finest}")(torch.relu(self.conv(x)))
        encoded = [x]
        for level in range(self.finest, 0, -1):
            x = self.get_submodule(f"block{level - 1}")(self.get_submodule(f"pool{level}_{level - 1}")(x))
            encoded.append(x)
        return tuple(reversed(encoded))


class SO3GEChebDecoder(nn.Module):
    """Spatial unpooling and residual blocks, from the coarsest level to the finest, then pooling over the orientations.

    Args:
        in_channels: not used; kept for its position.
        out_channels: number of classes.
        kernel_size: R, the number of Chebyshev orders.
        graph_lvl0, ..., graph_lvl5: the graphs of six levels, the coarsest first.
        output_graph: a graph on the sphere's vertices at the finest level.
        reduction: "max", "avg" or "rand" pooling over the orientations.
        expansion: "max", "avg" or "rand" spatial unpooling.
        graphs: the graphs of any number of levels, the coarsest first, instead of those six.
        eval_reduction: what stands for "rand" in evaluation mode: "avg", "max" or "rand". The others stay as they are.

    Attributes:
        block0: parameters that no signal meets: the coarsest level has nothing to join. They are in published
            checkpoints, and frozen here, so that optimisers and distributed training pass them by.

    Raises:
        TypeError: for graphs that are none, or have no `size`.
        ValueError: for both or none of the two ways to give graphs, or graphs that are no levels of one another.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        graph_lvl0: Graph | None = None,
        graph_lvl1: Graph | None = None,
        graph_lvl2: Graph | None = None,
        graph_lvl3: Graph | None = None,
        graph_lvl4: Graph | None = None,
        graph_lvl5: Graph | None = None,
        output_graph: Graph | None = None,
        reduction: str = "max",
        expansion: str = "avg",
        *,
        graphs: Sequence[Graph] | None = None,
        eval_reduction: str = "avg",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        six = (graph_lvl0, graph_lvl1, graph_lvl2, graph_lvl3, graph_lvl4, graph_lvl5)
        levels = _levels(name, six, graphs)
        if not isinstance(output_graph, Graph):
            raise TypeError(f"{name}: output_graph: expected a Graph, got {type(output_graph).__name__}")
        if output_graph.num_vertices != levels[-1].size[0]:
            raise ValueError(
                f"{name}: output_graph: expected {levels[-1].size[0]} vertices, those of the finest level's sphere, "
                f"got {output_graph.num_vertices}"
            )
        self.finest, frames = len(levels) - 1, _frames(levels)
        skipped = _encoder_channels(len(levels))
        # Each level leaves the channels that the encoder has one level finer, the finest those of its first convolution.
        left = [skipped[0], *skipped[2:], _STEM]
        for level in range(self.finest):
            unpool = SO3SpatialUnpool(2, levels[level].size, expansion, eval_reduction=eval_reduction, frames=frames)
            self.add_module(f"unpool{level}_{level + 1}", unpool)
        self.block0 = ResidualBlock(skipped[0], left[0], ChebConv, kernel_size, graph=levels[0]).requires_grad_(False)
        for level in range(1, len(levels)):
            cin = left[level - 1] + skipped[level]
            self.add_module(
                f"block{level}", ResidualBlock(cin, left[level], ChebConv, kernel_size, graph=levels[level])
            )
        nalpha = levels[-1].size[-1]
        self.add_module(
            f"pool{self.finest}", SO3OrientationPool(nalpha, levels[-1].size, reduction, eval_reduction=eval_reduction)
        )
        self.conv = ChebConv(_STEM, out_channels, 1, output_graph, bias=False)

    def forward(self, *encoded: Tensor) -> Tensor:
        """The encoder's signals, the coarsest first -> (B, out_channels, vertices of the sphere) log-probabilities.

        ValueError for another number of signals, or of batches in them.
        """
        if len(encoded) != self.finest + 1:
            raise ValueError(
                f"{type(self).__name__}: expected the signals of {self.finest + 1} levels, got {len(encoded)}"
            )
        x = encoded[0]
        for level in range(1, self.finest + 1):
            unpooled = self.get_submodule(f"unpool{level - 1}_{level}")(x)
            x = self.get_submodule(f"block{level}")(_side_by_side(unpooled, encoded[level]))
        x = self.conv(self.get_submodule(f"pool{self.finest}")(x))
        return x.transpose(1, 2).log_softmax(-1).transpose(1, 2)


class SO3GEUChebNet(nn.Module):
    """The U-Net of `SO3GEChebEncoder` and `SO3GEChebDecoder`: a class for every vertex of the sphere.

    Its layers are equivariant, so the scores turn with the signal under the symmetries of the sampling: the icosahedron's
    120, with a multiple of 5 orientations or without any (see `SO3GEGraph`).

    Args:
        in_channels: channels of the signal.
        out_channels: number of classes.
        kernel_size: R, the number of Chebyshev orders.
        graph_lvl0, ..., graph_lvl5: the graphs of six levels, the coarsest first.
        output_graph: a graph on the sphere's vertices at the finest level.
        reduction: "max", "avg" or "rand" spatial pooling, and pooling over the orientations.
        expansion: "max", "avg" or "rand" spatial unpooling.
        graphs: the graphs of any number of levels, the coarsest first, instead of those six.
        eval_reduction: what stands for "rand" in evaluation mode: "avg", "max" or "rand". The others stay as they are.

    Raises:
        TypeError: for graphs that are none, or have no `size`.
        ValueError: for both or none of the two ways to give graphs, or graphs that are no levels of one another.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        graph_lvl0: Graph | None = None,
        graph_lvl1: Graph | None = None,
        graph_lvl2: Graph | None = None,
        graph_lvl3: Graph | None = None,
        graph_lvl4: Graph | None = None,
        graph_lvl5: Graph | None = None,
        output_graph: Graph | None = None,
        reduction: str = "max",
        expansion: str = "avg",
        *,
        graphs: Sequence[Graph] | None = None,
        eval_reduction: str = "avg",
    ) -> None:
        super().__init__()
        six = (graph_lvl0, graph_lvl1, graph_lvl2, graph_lvl3, graph_lvl4, graph_lvl5)
        levels = _levels(type(self).__name__, six, graphs)
        self.encoder = SO3GEChebEncoder(
            in_channels,
            out_channels,
            kernel_size,
            reduction=reduction,
            graphs=levels,
            eval_reduction=eval_reduction,
        )
        self.decoder = SO3GEChebDecoder(
            in_channels,
            out_channels,
            kernel_size,
            output_graph=output_graph,
            reduction=reduction,
            expansion=expansion,
            graphs=levels,
            eval_reduction=eval_reduction,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, V) on the finest graph -> (B, out_channels, vertices of the sphere) log-probabilities."""
        return self.decoder(*self.encoder(x))


def _encoder_channels(num_levels: int) -> list[int]:
    """Channels of the encoder's signals, the coarsest level's first."""
    return [min(2 * _STEM * 2**depth, _LARGEST) for depth in reversed(range(num_levels))]


def _levels(owner: str, six: Sequence[Graph | None], graphs: Sequence[Graph] | None) -> list[Graph]:
    """The graphs of all levels, the coarsest first, of which each has the next one's sphere pooled once."""
    if graphs is None:
        missing = [f"graph_lvl{level}" for level, graph in enumerate(six) if graph is None]
        if missing:
            raise ValueError(f"{owner}: {missing[0]}: expected a graph for each of six levels, or graphs=[...]")
        graphs = [graph for graph in six if graph is not None]
    elif any(graph is not None for graph in six):
        raise ValueError(f"{owner}: graphs: expected None beside graph_lvl0 to graph_lvl5")
    if not isinstance(graphs, Iterable):
        raise TypeError(f"{owner}: graphs: expected graphs, got {type(graphs).__name__}")
    levels = list(graphs)
    if len(levels) < 2:
        raise ValueError(f"{owner}: graphs: expected at least two levels, got {len(levels)}")
    for level, graph in enumerate(levels):
        if not isinstance(graph, Graph) or not hasattr(graph, "size"):
            raise TypeError(
                f"{owner}: graph of level {level}: expected a graph with a size, such as SO3GEGraph, "
                f"got {type(graph).__name__}"
            )
    for level, (coarse, fine) in enumerate(pairwise(levels)):
        expected = ((fine.size[0] - 2) // 4 + 2, fine.size[-1])
        if (coarse.size[0], coarse.size[-1]) != expected or len(coarse.size) != 2:
            raise ValueError(
                f"{owner}: graph of level {level}: expected size {expected}, one subdivision coarser than "
                f"{tuple(fine.size)} of level {level + 1}, got {tuple(coarse.size)}"
            )
        if (there := _frames([coarse])) != (here := _frames([fine])):
            raise ValueError(
                f"{owner}: graph of level {level}: expected frames {here!r}, as level {level + 1} has, got {there!r}"
            )
    return levels


def _frames(levels: Sequence[Graph]) -> str:
    """How orientations of different vertices correspond; by their numbers on graphs that do not say it."""
    return getattr(levels[0], "frames", "coordinate")


def _side_by_side(a: Tensor, b: Tensor) -> Tensor:
    """Channels of two signals (B, C, V) together, in vertex-major memory."""
    check_tensor("SO3GEChebDecoder: signal", b, "(B, C, V)", 3)
    if a.shape[::2] != b.shape[::2]:
        raise ValueError(
            f"SO3GEChebDecoder: signal: expected B = {a.shape[0]} and V = {a.shape[2]}, got shape {tuple(b.shape)}"
        )
    return torch.cat([a.transpose(1, 2), b.transpose(1, 2)], 2).transpose(1, 2)
