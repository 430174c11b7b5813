"""Searches for the best graph, convolution and batch size on MNIST, by accuracy on 30 % of the training images."""

from collections.abc import Sequence
from typing import Any

import optuna
from torch import nn

from ..graphs import Graph
from ..nn import WideResSE2GEChebNet
from .classification import grid_graphs
from .sweep import run_sweep, sweep_parser


def main(argv: Sequence[str] | None = None, side: int = 28, prog: str | None = None) -> optuna.Study:
    """Runs the program on images of `side` x `side` pixels."""
    args = sweep_parser(__doc__, "mnist", prog).parse_args(argv)

    def build(p: dict[str, Any]) -> tuple[Graph, nn.Module]:
        (graph,) = grid_graphs(True, (side,), p["ntheta"], p["K"], p["eps"], p["xi"], args.path_to_graph)
        depth, width = args.res_depth, args.widen_factor
        return graph, WideResSE2GEChebNet(1, 10, p["kernel_size"], graph, res_depth=depth, widen_factor=width)

    return run_sweep(args, side, 1, build)
