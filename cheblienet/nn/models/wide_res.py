"""The wide residual network for images (arXiv:2111.12139, section 4 and its appendix)."""

from torch import Tensor, nn

from ..._checks import MAX_CHANNELS, check_choice, check_integer
from ...graphs import Graph
from ...ops.gather_reduce import REDUCTIONS
from ..blocks import NetworkBlock, ResidualBlock
from ..conv import ChebConv
from ..pool import GlobalPool, SE2SpatialPool


class WideResSE2GEChebNet(nn.Module):
    """A wide residual network of Chebyshev convolutions for images lifted to SE(2) (or on R2).

    A convolution to 16 channels, three stages of residual blocks on 16 w, 32 w and 64 w channels, a global maximum and a
    linear layer. Equivariant layers and an invariant maximum: the class scores do not change under the symmetries of the
    sampling. Those of the square are all exact with an even number of orientations and, with pooling, sides that 4 divides.

    Args:
        in_channels: channels of the image.
        out_channels: number of classes.
        kernel_size: R, the number of Chebyshev orders.
        graph_lvl0: the coarsest graph, the only one without pooling.
        graph_lvl1, graph_lvl2: with pooling, the graphs of twice and four times the resolution.
        res_depth: residual blocks per stage.
        widen_factor: w.
        reduction: "max", "avg" or "rand" spatial pooling between the stages, or None.
        eval_reduction: what stands for "rand" in evaluation mode: "avg", "max" or "rand". The others stay as they are.

    Raises:
        TypeError: for graphs that are none, or with `reduction` those of no grid of at least 2 x 2 places.
        ValueError: if `reduction` is given without the two finer graphs or they without it, or a graph has another number
            of vertices than pooling leaves of the finer one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        graph_lvl0: Graph,
        graph_lvl1: Graph | None = None,
        graph_lvl2: Graph | None = None,
        res_depth: int = 2,
        widen_factor: int = 1,
        reduction: str | None = None,
        *,
        eval_reduction: str = "avg",
    ) -> None:
        super().__init__()
        check_integer("WideResSE2GEChebNet: res_depth", res_depth, 1)
        check_integer("WideResSE2GEChebNet: widen_factor", widen_factor, 1)
        check_integer("WideResSE2GEChebNet: out_channels", out_channels, 1, MAX_CHANNELS)
        check_choice("WideResSE2GEChebNet: eval_reduction", eval_reduction, REDUCTIONS)
        if reduction is None:
            for name, graph in (("graph_lvl1", graph_lvl1), ("graph_lvl2", graph_lvl2)):
                if graph is not None and graph is not graph_lvl0:
                    raise ValueError(
                        f"WideResSE2GEChebNet: {name}: expected None without a reduction, which leads from a graph to the "
                        "next coarser one"
                    )
            graph_lvl1 = graph_lvl2 = graph_lvl0
        elif graph_lvl1 is None or graph_lvl2 is None:
            raise ValueError("WideResSE2GEChebNet: reduction: expected None without graph_lvl1 and graph_lvl2")
        channels = [16, 16 * widen_factor, 32 * widen_factor, 64 * widen_factor]

        def stage(level: int, graph: Graph) -> NetworkBlock:
            cin, cout = channels[2 - level], channels[3 - level]
            return NetworkBlock(cin, cout, res_depth, ResidualBlock, ChebConv, kernel_size, graph=graph)

        def pool(level: int, fine: Graph, coarse: Graph) -> nn.Module:
            if reduction is None:
                return nn.Identity()
            size = getattr(fine, "size", ())
            if len(size) != 3 or min(size[:2]) < 2:
                raise TypeError(
                    f"WideResSE2GEChebNet: graph_lvl{level}: expected a graph with a size (nx, ny, ntheta) of at least "
                    f"2 x 2 places, such as SE2GEGraph, got {fine!r}"
                )
            layer = SE2SpatialPool(2, fine.size, reduction, eval_reduction=eval_reduction)
            if coarse.num_vertices != layer.num_outputs:
                raise ValueError(
                    f"WideResSE2GEChebNet: graph_lvl{level - 1}: expected {layer.num_outputs} vertices, those of "
                    f"graph_lvl{level} pooled, got {coarse.num_vertices}"
                )
            return layer

        self.conv = ChebConv(in_channels, channels[0], kernel_size, graph_lvl2)
        # Stages first: they check that the graphs are some.
        block2, block1, block0 = stage(2, graph_lvl2), stage(1, graph_lvl1), stage(0, graph_lvl0)
        self.block2 = block2
        self.pool2_1 = pool(2, graph_lvl2, graph_lvl1)
        self.block1 = block1
        self.pool1_0 = pool(1, graph_lvl1, graph_lvl0)
        self.block0 = block0
        self.globalpool = GlobalPool("max")
        self.fc = nn.Linear(channels[3], out_channels)
        self.logsoftmax = nn.LogSoftmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, V) signal on the finest graph -> (B, out_channels) log-probabilities."""
        out = self.pool2_1(self.block2(self.conv(x)))
        out = self.pool1_0(self.block1(out))
        return self.logsoftmax(self.fc(self.globalpool(self.block0(out))))
