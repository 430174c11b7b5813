"""Searches for the best graphs, convolution and batch size on CIFAR10, by accuracy on 30 % of the training images."""

from collections.abc import Sequence
from typing import Any

import optuna
from torch import nn

from ..graphs import Graph
from ..nn import WideResSE2GEChebNet
from ..ops.gather_reduce import REDUCTIONS
from .classification import grid_graphs
from .sweep import run_sweep, sweep_parser


def main(argv: Sequence[str] | None = None, side: int = 32, prog: str | None = None) -> optuna.Study:
    """Runs the program on images of `side` x `side` pixels, a multiple of 4."""
    parser = sweep_parser(__doc__, "cifar10", prog)
    parser.add_argument("--reduction", choices=REDUCTIONS, default="rand", help="of pooling (%(default)s)")
    parser.add_argument("--eval_reduction", choices=REDUCTIONS, default="avg", help="for rand, in tests (%(default)s)")
    args = parser.parse_args(argv)

    def build(p: dict[str, Any]) -> tuple[Graph, nn.Module]:
        sides = (side // 4, side // 2, side)
        graphs = grid_graphs(True, sides, p["ntheta"], p["K"], p["eps"], p["xi"], args.path_to_graph)
        depth, width = args.res_depth, args.widen_factor
        model = WideResSE2GEChebNet(
            3, 10, p["kernel_size"], *graphs, depth, width, args.reduction, eval_reduction=args.eval_reduction
        )
        return graphs[-1], model

    return run_sweep(args, side, 3, build)
