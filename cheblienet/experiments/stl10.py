"""Trains a wide residual network with spatial pooling on STL10, and tests it."""

import argparse
from collections.abc import Sequence

from torch.utils.data import TensorDataset

from ..nn import WideResSE2GEChebNet
from ..ops.gather_reduce import REDUCTIONS
from ..train import Report
from ..train.distributed import processes
from .arguments import add_arguments, add_training_arguments
from .classification import SCORE, Classification, add_image_arguments, classify, grid_graphs
from .parser import Parser
from .protocol import help_on_protocol

_PARTS = "The 5,000 training and 8,000 test images are the benchmark's own; --original_protocol swaps them. "


def configuration(anisotropic: bool, side: int) -> dict[str, float]:
    """The graphs, with the finest one's xi, and the convolutions."""
    if not anisotropic:
        return {"kernel_size": 4, "eps": 1.0, "K": 8, "ntheta": 1, "xi": 1.0}
    return {"kernel_size": 4, "eps": 0.1, "K": 16, "ntheta": 6, "xi": 2.048 / side**2}


def parse(argv: Sequence[str] | None, prog: str | None = None) -> argparse.Namespace:
    parser = Parser(prog=prog, description=__doc__, epilog=help_on_protocol("images", SCORE, _PARTS))
    add_arguments(parser, "train_stl10", max_epochs=30)
    add_training_arguments(parser)
    add_image_arguments(parser, "stl10", res_depth=3, widen_factor=4)
    parser.add_argument("--reduction", choices=REDUCTIONS, required=True, help="of pooling")
    parser.add_argument("--eval_reduction", choices=REDUCTIONS, default="avg", help="for rand, in tests (%(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, side: int = 96, prog: str | None = None) -> list[Report]:
    """Runs the program on images of `side` x `side` pixels, a multiple of 4."""
    args = parse(argv, prog)
    with processes(args):
        config = configuration(args.anisotropic, side)
        kernel_size = config.pop("kernel_size")
        sides = (side // 4, side // 2, side)
        graphs = grid_graphs(args.anisotropic, sides, path_to_graph=args.path_to_graph, **config)
        plan = Classification(
            side=side,
            channels=3,
            graph=graphs[-1],
            make_model=lambda: WideResSE2GEChebNet(
                3,
                10,
                kernel_size,
                *graphs,
                res_depth=args.res_depth,
                widen_factor=args.widen_factor,
                reduction=args.reduction,
                eval_reduction=args.eval_reduction,
            ),
            tests=lambda test, _: {"test": TensorDataset(test.images, test.labels)},
            settings={**config, "kernel_size": kernel_size},
        )
        return classify(args, plan)
