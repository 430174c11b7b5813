"""What the programs that classify images have in common."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss
from torch.utils.data import Dataset, TensorDataset

from ..data import ImageSet, flip_images, load_images, to_graph_signal, turn_images
from ..graphs import GEGraph, Graph, R2GEGraph, RandomSubGraph, SE2GEGraph
from ..nn import capacity
from ..train import Report, Task, classification_metrics, fit
from .arguments import experiments, optimisation
from .flags import integer
from .protocol import describe_protocol
from .summary import summarise

CLASSES = tuple(map(str, range(10)))
SCORE = "accuracy"


def add_image_arguments(
    parser: argparse.ArgumentParser, dataset: str, res_depth: int = 2, widen_factor: int = 2
) -> None:
    """The flags of programs for images: the depth and width of the network, and the data set."""
    parser.add_argument("--res_depth", type=integer(1), default=res_depth, help="residual blocks per stage")
    parser.add_argument("--widen_factor", type=integer(1), default=widen_factor)
    parser.add_argument(
        "--dataset",
        choices=(dataset, "digits"),
        default=dataset,
        help="digits: those of scikit-learn, without a network",
    )


def grid_graphs(
    anisotropic: bool, sides: Sequence[int], ntheta: int, K: int, eps: float, xi: float, path_to_graph: str | None
) -> list[GEGraph]:
    """Graphs of n x n pixels for n in `sides`, ascending: on SE(2) with `ntheta` orientations, or on R2.

    `xi`, the metric's third coefficient, is that of the finest graph and grows as the area of a pixel.
    """

    def graph(n: int) -> GEGraph:
        if anisotropic:
            return SE2GEGraph((n, n, ntheta), (1.0, eps, xi * (sides[-1] / n) ** 2), K, path_to_graph)
        return R2GEGraph((n, n), (1.0, eps, xi), K, path_to_graph)

    with idist.one_rank_first(local=True):  # which leaves the others a cache file
        return [graph(n) for n in sides]


class LiftImages:
    """Makes batches of images signals on a graph: normalised, and repeated over its orientations.

    Args:
        graph: the finest graph of the network; a `RandomSubGraph` takes the pixels of its present vertices.
        mean, std: per channel, of images in [0, 1].
    """

    def __init__(self, graph: Graph, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.graph = graph
        self.num_layers = graph.dim[0]
        self.mean, self.std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def __call__(
        self, batch: tuple[Tensor, Tensor], device: torch.device, non_blocking: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) uint8 and labels (B,) -> signals (B, C, V) float32 and labels, on the device."""
        images, labels = (part.to(device, non_blocking=non_blocking) for part in batch)
        if self.mean.device != images.device:
            self.mean, self.std = self.mean.to(device), self.std.to(device)
        signals = to_graph_signal((images / 255 - self.mean) / self.std, self.num_layers)
        if isinstance(self.graph, RandomSubGraph) and self.graph.num_vertices < signals.shape[2]:
            signals = signals[..., self.graph.sub_vertex_index.to(device)]
        return signals, labels


def equivariance_tests(test: ImageSet, right_angles: bool, seed: int) -> dict[str, Dataset]:
    """The test images as they are, turned (see `turn_images`), and flipped."""
    images, labels = test.images, test.labels
    return {
        "classic_test": TensorDataset(images, labels),
        "rotated_test": TensorDataset(turn_images(images, right_angles, seed), labels),
        "flipped_test": TensorDataset(flip_images(images, seed), labels),
    }


@dataclass
class Classification:
    """A network for images, and how to train it.

    Attributes:
        side, channels: of the images.
        graph: that of the input.
        make_model: makes the network.
        tests: makes the test sets by name from the test images and a seed.
        settings: what defines the run beside the flags.
        before_step, before_evaluation: see `Task`.
    """

    side: int
    channels: int
    graph: Graph
    make_model: Callable[[], nn.Module]
    tests: Callable[[ImageSet, int], Mapping[str, Dataset]]
    settings: dict[str, object]
    before_step: Callable[[], None] | None = None
    before_evaluation: Callable[[], None] | None = None


def image_task(
    model: nn.Module, lift: LiftImages, train_set: Dataset, test_sets: Mapping[str, Dataset], **more: Any
) -> Task:
    """The task of the original programs, with the mean negative log-likelihood; `more` are further parts of a `Task`."""
    return Task(
        model=model,
        loss=nll_loss,
        prepare_batch=lift,
        train_set=train_set,
        test_sets=test_sets,
        metrics=lambda: classification_metrics(len(CLASSES), nll_loss),
        **more,
    )


def classify(args: argparse.Namespace, plan: Classification) -> list[Report]:
    """Trains and tests as often as the flags say, prints a table and draws pictures. A signal ends it."""
    runs, reports = experiments(args, {**plan.settings, "side": plan.side}), []
    original = args.original_protocol
    with idist.one_rank_first(local=True):  # which downloads
        train, test = (
            load_images(args.dataset, args.path_to_data, part, plan.side, plan.channels, swapped=original)
            for part in (True, False)
        )
    train, test = (part.subset(args.subset, args.seed) for part in (train, test))
    train, validation = (train, None) if original else train.hold_out(args.validation_share, args.seed)
    held_back = 0 if validation is None else len(validation.images)
    validation_set = TensorDataset(validation.images, validation.labels) if held_back else None
    tests = plan.tests(test, args.seed)
    lift = LiftImages(plan.graph, train.mean, train.std)
    for options in runs:
        torch.manual_seed(options.seed)
        model = plan.make_model().to(options.device)
        task = image_task(
            model,
            lift,
            TensorDataset(train.images, train.labels),
            tests,
            validation_set=validation_set,
            score=SCORE,
            before_step=plan.before_step,
            before_evaluation=plan.before_evaluation,
            **optimisation(args, options, model, len(train.images)),
        )
        reports.append(fit(task, options))
        if reports[-1].signal:
            break
    title = f"{args.dataset}: {len(test.images)} test images, trained on {len(train.images)}, {capacity(model):,} parameters"
    parts = ""
    if args.dataset == "stl10":
        parts = "; STL10's parts are swapped" if original else "; STL10's own parts"
    protocol = describe_protocol(args, reports, "images", SCORE, held_back, parts)
    summarise(title, protocol, reports, CLASSES, [options.out for options in runs[: len(reports)]])
    return reports
