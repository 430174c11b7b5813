"""Trains a U-Net on the sphere to find atmospheric rivers and tropical cyclones in states of the climate."""

import argparse
from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import torch

from ..data import CHANNELS, CLASSES
from ..meshes.icosphere import icosphere_level
from ..nn import SO3GEUChebNet, capacity
from ..ops.gather_reduce import REDUCTIONS
from ..train import Report, Task, fit, segmentation_metrics
from ..train.distributed import processes
from .arguments import add_arguments, add_training_arguments, experiments, optimisation
from .parser import Parser
from .protocol import describe_protocol, help_on_protocol
from .segmentation import class_weights, datasets, draw_prediction, mean_loss, prepare_batch, sphere_graphs
from .summary import summarise

SHORT = ("bg", "tc", "ar")

# What papers on these data compare. It ranks probabilities, so it tells epochs apart in which the background is the likeliest
# class everywhere; mIoU does not.
SCORE = "mAP"

_PARTS = (
    "ARTC's validation states are those published as such, in val_split.txt or data_val, where they are there. "
    "Anisotropic networks have 5 orientations, with which the 60 rotations of the icosahedron are exact. "
)


def configuration(anisotropic: bool, original: bool = False) -> dict[str, Any]:
    """The graphs and the convolutions; on SO(3), xi is 10 over the number of vertices of a level's icosphere.

    With 5 orientations all 60 rotations of the icosahedron are exact; with the original's 6, from coordinate frames, 4 are.
    """
    if not anisotropic:
        return {"kernel_size": 3, "eps": 1.0, "K": 8, "nalpha": 1}
    orientations = {"nalpha": 6, "frames": "coordinate"} if original else {"nalpha": 5, "frames": "icosahedral"}
    return {"kernel_size": 3, "eps": 0.1, "K": 16, **orientations}


def parse(argv: Sequence[str] | None, prog: str | None = None) -> argparse.Namespace:
    parser = Parser(prog=prog, description=__doc__, epilog=help_on_protocol("states", SCORE, _PARTS))
    add_arguments(parser, "train_artc", max_epochs=100)
    add_training_arguments(parser)
    parser.add_argument("--reduction", choices=REDUCTIONS, required=True, help="of pooling")
    parser.add_argument("--eval_reduction", choices=REDUCTIONS, default="avg", help="for rand, in tests (%(default)s)")
    parser.add_argument("--expansion", choices=REDUCTIONS, required=True, help="of unpooling")
    parser.add_argument("--weighted", action="store_true", help="weigh classes inversely to their frequencies")
    parser.add_argument(
        "--dataset",
        choices=("artc", "climatenet", "synthetic"),
        default="artc",
        help="climatenet: converted by `python -m cheblienet climatenet`; synthetic: made up states, for a trial",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> list[Report]:
    """Runs the program, which messages call `prog`."""
    args = parse(argv, prog)
    with processes(args):
        config = configuration(args.anisotropic, args.original_protocol)
        runs, reports = experiments(args, config), []
        states = datasets(args)
        train, validation, test = states["train"], states.get("val"), states["test"]
        graphs = sphere_graphs(icosphere_level(train.num_vertices), args.anisotropic, config, args.path_to_graph)
        loss = mean_loss(class_weights(train, args.workers).to(runs[0].device) if args.weighted else None)
        prepare = prepare_batch(config["nalpha"])
        for options in runs:
            torch.manual_seed(options.seed)
            model = SO3GEUChebNet(
                len(CHANNELS),
                len(CLASSES),
                config["kernel_size"],
                output_graph=graphs[-1],
                reduction=args.reduction,
                eval_reduction=args.eval_reduction,
                expansion=args.expansion,
                graphs=graphs[:-1],
            ).to(options.device)
            task = Task(
                model=model,
                loss=loss,
                prepare_batch=prepare,
                train_set=train,
                test_sets={"test": test},
                metrics=lambda: segmentation_metrics(SHORT, loss),
                validation_set=validation,
                score=SCORE,
                **optimisation(args, options, model, len(train)),
            )
            reports.append(fit(task, options))
            if reports[-1].signal:
                break
        folders = [options.out for options in runs[: len(reports)]]
        kind = "SYNTHETIC states" if args.dataset == "synthetic" else "states"
        title = f"{len(test)} test {kind}, trained on {len(train)}, {capacity(model):,} parameters"
        held_back = 0 if validation is None else len(validation)
        summarise(title, describe_protocol(args, reports, "states", SCORE, held_back), reports, CLASSES, folders)
        if idist.get_rank() == 0 and not reports[-1].signal:
            draw_prediction(model, prepare, test[0], graphs[-1], kind, folders[-1] / "globe.png", options.device)
        return reports
