"""Networks that differ in their anisotropy alone, on the tasks of `dense_tasks`: what anisotropy buys, and where."""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data import to_graph_signal
from ..graphs import GEGraph, R2GEGraph, SE2GEGraph
from ..nn import ChebConv, capacity
from ..nn.blocks import BasicBlock, NetworkBlock, ResidualBlock
from ..train import Options, Task, fit, schedule
from ..train.checkpoint import CHECKPOINT
from ..train.optimizer import adam
from .dense_tasks import TASKS, Samples
from .study import Outcome
from .summary import exit_status

_BLOCKS = 2


@dataclass(frozen=True)
class Spec:
    """A network of the grid: orientations (1: on R2), eps, neighbours K, Chebyshev orders R, and channels."""

    orientations: int
    eps: float
    K: int
    R: int
    width: int


# Of about 2,500 parameters, but for "R2 wide", which still takes less time than those with six orientations.
GRID = {
    "R2": Spec(1, 1.0, 8, 4, 12),
    "R2 wide": Spec(1, 1.0, 8, 4, 44),
    "R2 far": Spec(1, 1.0, 16, 8, 8),
    "SE(2) eps 1": Spec(6, 1.0, 16, 4, 12),
    "SE(2) eps 0.3": Spec(6, 0.3, 16, 4, 12),
    "SE(2) eps 0.1": Spec(6, 0.1, 16, 4, 12),
    "SE(2) eps 0.03": Spec(6, 0.03, 16, 4, 12),
    "SE(2) eps 0.1, 12 orientations": Spec(12, 0.1, 16, 4, 12),
    "SE(2) eps 0.1, K 32": Spec(6, 0.1, 32, 4, 12),
    "SE(2) eps 0.1, far": Spec(6, 0.1, 16, 8, 8),
}


@dataclass(frozen=True)
class Run:
    """A network of `GRID` on a task: images of side x side pixels, so many passes over the samples, and a seed.

    `distinct` of the samples are different ones, and the others repeat them: steps are as many for few samples.
    """

    task: str
    network: str
    side: int
    epochs: int
    seed: int
    distinct: int = 8000


@dataclass(frozen=True)
class Settings:
    """What the runs of a study have in common: numbers of samples, samples per batch, the largest step size."""

    samples: int = 8000
    tests: int = 500
    batch_size: int = 16
    lr: float = 1e-2


class PixelNetwork(nn.Module):
    """A convolution, two residual blocks, the mean over the orientations, and a linear map at each pixel.

    Args:
        in_channels: of the lifted image.
        spec: the network's.
        graph: of side x side x orientations vertices.
    """

    def __init__(self, in_channels: int, spec: Spec, graph: GEGraph) -> None:
        super().__init__()
        self.orientations = spec.orientations
        self.stem = BasicBlock(in_channels, spec.width, ChebConv, spec.R, graph=graph)
        self.blocks = NetworkBlock(spec.width, spec.width, _BLOCKS, ResidualBlock, ChebConv, spec.R, graph=graph)
        self.head = nn.Conv1d(spec.width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, orientations H W) -> (B, 1, H W)."""
        return self.head(self.blocks(self.stem(x)).unflatten(2, (self.orientations, -1)).mean(2))


def make_graph(spec: Spec, side: int) -> GEGraph:
    """On side x side pixels. Pixels are as far apart, and metrics the same, at every side."""
    if spec.orientations == 1:
        return R2GEGraph((side, side), (1.0, 1.0, 1.0), spec.K)
    return SE2GEGraph((side, side, spec.orientations), (1.0, spec.eps, 2.048 / side**2), spec.K)


class Lift:
    """Makes batches of `Samples` signals on a graph, repeated over its orientations, and targets (B, 2, H W)."""

    def __init__(self, orientations: int) -> None:
        self.orientations = orientations

    def __call__(
        self, batch: tuple[Tensor, Tensor], device: torch.device, non_blocking: bool = False
    ) -> tuple[Tensor, Tensor]:
        images, targets = (part.to(device, non_blocking=non_blocking) for part in batch)
        return to_graph_signal(images, self.orientations), targets.flatten(2)


def train(run: Run, settings: Settings, folder: Path) -> tuple[Outcome, nn.Module]:
    """Trains in `folder`, going on where a former call was stopped; a signal ends the program after the present step."""
    spec, task = GRID[run.network], TASKS[run.task]
    torch.manual_seed(run.seed)
    model = PixelNetwork(task.channels, spec, make_graph(spec, run.side))
    optimizer = adam(model.parameters(), settings.lr)
    options = Options(
        out=folder,
        max_epochs=run.epochs,
        batch_size=settings.batch_size,
        device=torch.device("cpu"),
        seed=run.seed,
        resume=(folder / CHECKPOINT).exists(),
        config={**asdict(run), **asdict(spec), **asdict(settings)},
    )
    start = time.perf_counter()
    report = fit(
        Task(
            model=model,
            optimizer=optimizer,
            loss=task.loss,
            prepare_batch=Lift(spec.orientations),
            train_set=Samples(run.task, run.side, True, settings.samples, run.seed, run.distinct),
            test_sets={"test": Samples(run.task, run.side, False, settings.tests, 0)},
            metrics=task.metrics,
            scheduler=schedule("onecycle", optimizer, run.epochs * (settings.samples // settings.batch_size)),
        ),
        options,
    )
    if report.signal:
        sys.exit(exit_status([report]))
    seconds = time.perf_counter() - start
    values = {name.removeprefix("test_"): value for name, value in report.metrics.items()}
    return Outcome(run, capacity(model), seconds, {**values, "score": task.score(values)}), model
