"""Trains a wide residual network on CIFAR10, and tests it on the test images upright, turned by right angles, flipped."""

import argparse
from collections.abc import Sequence

from ..nn import WideResSE2GEChebNet
from ..ops.gather_reduce import REDUCTIONS
from ..train import Report
from ..train.distributed import processes
from .arguments import add_arguments, add_training_arguments
from .classification import (
    SCORE,
    Classification,
    add_image_arguments,
    classify,
    equivariance_tests,
    grid_graphs,
)
from .parser import Parser
from .protocol import help_on_protocol


def configuration(anisotropic: bool, pool: bool, side: int) -> dict[str, float]:
    """The graphs, with the finest one's xi, and the convolutions."""
    if not anisotropic:
        return {"kernel_size": 4, "eps": 1.0, "K": 8, "ntheta": 1, "xi": 1.0}
    return {"kernel_size": 4, "eps": 0.1, "K": 16 if pool else 8, "ntheta": 6, "xi": 2.048 / side**2}


def parse(argv: Sequence[str] | None, prog: str | None = None) -> argparse.Namespace:
    parser = Parser(prog=prog, description=__doc__, epilog=help_on_protocol("images", SCORE))
    add_arguments(parser, "train_cifar10", max_epochs=30)
    add_training_arguments(parser)
    add_image_arguments(parser, "cifar10")
    parser.add_argument("--pool", action="store_true", help="halve the resolution between the stages")
    parser.add_argument("--reduction", choices=REDUCTIONS, help="of pooling")
    parser.add_argument("--eval_reduction", choices=REDUCTIONS, default="avg", help="for rand, in tests (%(default)s)")
    args = parser.parse_args(argv)
    if args.pool and args.reduction is None:
        parser.error("--pool: expected --reduction max, avg or rand with it")
    return args


def main(argv: Sequence[str] | None = None, side: int = 32, prog: str | None = None) -> list[Report]:
    """Runs the program on images of `side` x `side` pixels, a multiple of 4."""
    args = parse(argv, prog)
    with processes(args):
        config = configuration(args.anisotropic, args.pool, side)
        kernel_size = config.pop("kernel_size")
        sides = (side // 4, side // 2, side) if args.pool else (side,)
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
                reduction=args.reduction if args.pool else None,
                eval_reduction=args.eval_reduction,
            ),
            tests=lambda test, seed: equivariance_tests(test, right_angles=True, seed=seed),
            settings={**config, "kernel_size": kernel_size},
        )
        return classify(args, plan)
