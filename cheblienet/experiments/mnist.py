"""Trains a wide residual network on MNIST, and tests it on the upright, the turned and the flipped test images."""

import argparse
from collections.abc import Sequence

from ..graphs import RandomSubGraph
from ..nn import WideResSE2GEChebNet
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
from .flags import folder, share
from .parser import Parser
from .protocol import help_on_protocol


def configuration(anisotropic: bool, coupled_sym: bool, side: int) -> dict[str, float]:
    """The graph and the convolutions. Uncoupled orientations are so far from each other that none are neighbours."""
    if not anisotropic:
        return {"kernel_size": 4, "eps": 1.0, "K": 8, "ntheta": 1, "xi": 1.0}
    return {"kernel_size": 4, "eps": 0.1, "K": 16, "ntheta": 6, "xi": 2.048 / side**2 if coupled_sym else 1e6}


def parse(argv: Sequence[str] | None, prog: str | None = None) -> argparse.Namespace:
    parser = Parser(prog=prog, description=__doc__, epilog=help_on_protocol("images", SCORE))
    add_arguments(parser, "train_mnist", max_epochs=20)
    add_training_arguments(parser)
    add_image_arguments(parser, "mnist")
    parser.add_argument("--coupled_sym", action="store_true", help="join neighbouring orientations")
    parser.add_argument("--sample_edges", action="store_true", help="train on random edges, test on all")
    parser.add_argument("--edges_rate", type=share, default=1.0, help="share of the edges")
    parser.add_argument("--sample_vertices", action="store_true", help="train on random vertices, test on all")
    parser.add_argument("--vertices_rate", type=share, default=1.0, help="share of the vertices")
    parser.add_argument("--save_models", action="store_true", help="keep the networks of the last five epochs")
    parser.add_argument("--path_to_model", type=folder, help="folder for them; OUT/models by default")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, side: int = 28, prog: str | None = None) -> list[Report]:
    """Runs the program on images of `side` x `side` pixels."""
    args = parse(argv, prog)
    with processes(args):
        config = configuration(args.anisotropic, args.coupled_sym, side)
        kernel_size = config.pop("kernel_size")
        (whole,) = grid_graphs(args.anisotropic, (side,), path_to_graph=args.path_to_graph, **config)
        graph = RandomSubGraph(whole)

        def sample() -> None:
            graph.reinit()
            if args.sample_vertices:
                graph.vertices_sampling(args.vertices_rate)
            if args.sample_edges:
                graph.edges_sampling(args.edges_rate)

        sampled = args.sample_vertices or args.sample_edges
        plan = Classification(
            side=side,
            channels=1,
            graph=graph,
            make_model=lambda: WideResSE2GEChebNet(
                1, 10, kernel_size, graph, res_depth=args.res_depth, widen_factor=args.widen_factor
            ),
            tests=lambda test, seed: equivariance_tests(test, right_angles=False, seed=seed),
            settings={**config, "kernel_size": kernel_size},
            before_step=sample if sampled else None,
            before_evaluation=graph.reinit if sampled else None,
        )
        return classify(args, plan)
