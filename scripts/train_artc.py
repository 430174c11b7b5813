"""Trains a U-Net on the sphere to find atmospheric rivers and tropical cyclones in states of the climate."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import ignite.distributed as idist
import torch
from torch import Tensor
from torch.nn.functional import nll_loss
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from cheblienet.data import (
    ARTC_MEAN,
    ARTC_STD,
    CHANNELS,
    CLASSES,
    ArtcDataset,
    artc_parts,
    climatenet_parts,
    statistics,
)
from cheblienet.data.synthetic import write_synthetic_artc
from cheblienet.graphs import GEGraph, S2GEGraph, SO3GEGraph
from cheblienet.meshes.icosphere import icosphere_level
from cheblienet.nn import SO3GEUChebNet, capacity
from cheblienet.ops.gather_reduce import REDUCTIONS
from cheblienet.train import Report, Task, fit, segmentation_metrics
from cheblienet.train.optimizer import adam
from cheblienet.train.options import add_arguments, add_training_arguments, experiments, processes
from cheblienet.train.pictures import can_draw, draw_globe
from cheblienet.train.summary import exit_status, plain_errors, summarise

SHORT = ("bg", "tc", "ar")
SYNTHETIC_FILES, SYNTHETIC_LEVEL = 40, 5


def configuration(anisotropic: bool) -> dict[str, float]:
    """The graphs and the convolutions; on SO(3), xi is 10 over the number of vertices of a level's icosphere."""
    if not anisotropic:
        return {"kernel_size": 3, "eps": 1.0, "K": 8, "nalpha": 1}
    return {"kernel_size": 3, "eps": 0.1, "K": 16, "nalpha": 6}


def sphere_graphs(finest: int, anisotropic: bool, config: dict[str, float], path_to_graph: str | None) -> list[GEGraph]:
    """The graphs of the levels 0 to `finest` of the icosphere, and the output's graph, on the sphere."""
    K, eps, nalpha = (config[name] for name in ("K", "eps", "nalpha"))
    sizes = [10 * 4**level + 2 for level in range(finest + 1)]
    with idist.one_rank_first(local=True):  # which leaves the others a cache file
        if anisotropic:
            graphs = [SO3GEGraph((n, nalpha), (1.0, eps, 10 / n), K, path_to_graph) for n in sizes]
        else:
            graphs = [S2GEGraph((n,), (1.0, eps, 1.0), K, path_to_graph) for n in sizes]
        return [*graphs, S2GEGraph((sizes[-1],), (1.0, 1.0, 1.0), K, path_to_graph)]


def datasets(args: argparse.Namespace) -> tuple[ArtcDataset, ArtcDataset]:
    """Training and test states, of one level: ARTC's with its published normalisation, ClimateNet's with their own."""
    folder = Path(args.path_to_data)
    if args.dataset == "synthetic":
        folder = args.out / "synthetic"
        with idist.one_rank_first(local=True):
            if not (folder / "test_split.txt").exists():  # which is written last
                write_synthetic_artc(folder, SYNTHETIC_FILES, SYNTHETIC_LEVEL, args.seed)
    if args.dataset == "climatenet":
        parts = climatenet_parts(folder, args.seed)
        normalisation = statistics(*parts[0])
    else:
        parts, normalisation = artc_parts(folder), (ARTC_MEAN, ARTC_STD)
    train, test = (ArtcDataset(where, names, *normalisation) for where, names in parts)
    if train.num_vertices != test.num_vertices:
        raise ValueError(
            f"{test.folder}: expected {train.num_vertices} vertices, as in {train.folder}, got {test.num_vertices}"
        )
    return train, test


def _subset(dataset: Dataset, count: int | None, seed: int) -> Dataset:
    if count is None or count >= len(dataset):
        return dataset
    return Subset(dataset, torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:count].tolist())


def class_weights(dataset: Dataset, workers: int) -> Tensor:
    """Weights (3,) inverse to the classes' frequencies in a data set, one on average over its vertices."""
    counts = torch.zeros(len(CLASSES), dtype=torch.int64)
    for _, labels in tqdm(
        DataLoader(dataset, batch_size=None, num_workers=workers), desc="Class weights", disable=None
    ):
        counts += torch.bincount(labels, minlength=len(CLASSES))
    if not counts.all():
        raise ValueError(f"--weighted: expected every class among the training labels, got counts {counts.tolist()}")
    return counts.sum() / (len(CLASSES) * counts.float())


def mean_loss(weights: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    """The negative log-likelihood, each vertex times the weight of its class, averaged over samples and vertices.

    Divided by the number of vertices and not by the sum of their weights, losses of parts of a batch average to the
    loss of the batch. The weights have to be on the losses' device: to bring them there, a step would wait.
    """
    if weights is None:
        return nll_loss
    return lambda output, labels: nll_loss(output, labels, weights, reduction="none").mean()


def prepare_batch(nalpha: int) -> Callable[..., tuple[Tensor, Tensor]]:
    """Repeats states (B, 16, V) over the orientations, on the device; in vertex-major memory, as layers read it."""

    def prepare(
        batch: tuple[Tensor, Tensor], device: torch.device, non_blocking: bool = False
    ) -> tuple[Tensor, Tensor]:
        states, labels = (part.to(device, non_blocking=non_blocking) for part in batch)
        return states.transpose(1, 2).repeat(1, nalpha, 1).transpose(1, 2), labels

    return prepare


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
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


def main(argv: Sequence[str] | None = None) -> list[Report]:
    """Runs the program."""
    args = parse(argv)
    with processes(args):
        config = configuration(args.anisotropic)
        runs, reports = experiments(args, config), []
        train, test = datasets(args)
        graphs = sphere_graphs(icosphere_level(train.num_vertices), args.anisotropic, config, args.path_to_graph)
        train, test = (_subset(dataset, args.subset, args.seed) for dataset in (train, test))
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
                optimizer=adam(model.parameters(), args.lr),
                loss=loss,
                prepare_batch=prepare,
                train_set=train,
                test_sets={"test": test},
                metrics=lambda: segmentation_metrics(SHORT, loss),
            )
            reports.append(fit(task, options))
            if reports[-1].signal:
                break
        folders = [options.out for options in runs[: len(reports)]]
        kind = "SYNTHETIC states" if args.dataset == "synthetic" else "states"
        title = f"{len(test)} test {kind}, trained on {len(train)}, {capacity(model):,} parameters"
        summarise(title, reports, CLASSES, folders)
        if idist.get_rank() == 0 and not reports[-1].signal:
            draw_prediction(model, prepare, test[0], graphs[-1], kind, folders[-1] / "globe.png", options.device)
        return reports


@torch.no_grad()
def draw_prediction(
    model: SO3GEUChebNet,
    prepare: Callable[..., tuple[Tensor, Tensor]],
    sample: tuple[Tensor, Tensor],
    sphere: S2GEGraph,
    kind: str,
    path: Path,
    device: torch.device,
) -> None:
    """Truth and prediction of a sample as maps, if matplotlib is there."""
    if not can_draw():
        return
    states, labels = sample
    signals, _ = prepare((states[None], labels[None]), device)
    prediction = model.eval()(signals)[0].argmax(0).cpu()
    draw_globe(sphere, {f"truth ({kind})": labels, f"prediction ({kind})": prediction}, CLASSES, path)


if __name__ == "__main__":
    with plain_errors():
        sys.exit(exit_status(main()))
