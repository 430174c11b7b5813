"""Digits on the sphere, trained and tested as they are or under random rotations (Cohen et al. 2018, arXiv:1801.10130).

Three networks of about the same number of parameters: a plain convolutional one on the equirectangular picture, and one of
Chebyshev convolutions on the sphere S2 (isotropic) and on SO(3) (anisotropic). The digits are those of `rotated_digits`.

A picture lies on the plane that touches the unit sphere at its north pole (0, 0, 1), with the pole in its middle and sides
of 3. Lines from the south pole carry it to the sphere: the middles of its sides come to a colatitude of 2 atan(3/4) = 73.7
degrees, its corners to 93.4. So it is in the program that the authors of arXiv:1801.10130 published, there about the south
pole. Between pixels it is interpolated bilinearly, and outside it is 0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.nn.functional import grid_sample
from torch.utils.data import TensorDataset

from ..data import ImageSet
from ..equivariance import symmetries
from ..graphs import GEGraph, S2GEGraph, SO3GEGraph
from ..meshes.icosphere import icosphere
from ..nn import ChebConv, GlobalPool, ResidualBlock, SO3SpatialPool, capacity
from . import rotated_digits
from .rotated_digits import PlainNetwork, fit_run, load
from .segmentation import prepare_batch
from .study import Outcome

TRAININGS = ("unrotated", "rotated")
TESTS = ("unrotated", "icosahedral", "rotated")
ORIENTATIONS = 5
CHANNELS = 64  # on the coarsest level, the icosphere of level 1; half as many on each finer one
LEVELS = (2, 5)  # of the icosphere, the least and the largest

_HALF_SIDE = 1.5
_TEST_SEED = 1_000_000  # of the test's rotations, the same for all runs, and not those of a training
_AT_ONCE = 250


@dataclass(frozen=True)
class Settings(rotated_digits.Settings):
    """What the runs of a study have in common. `level` is that of the icosphere, from 2 to 5."""

    epochs: int = 10
    level: int = 4


@dataclass(frozen=True)
class Run(rotated_digits.Run):
    """One network, trained on so many digits, "unrotated" or "rotated", with a seed: also of the training's rotations."""

    training: str


class SphereNetwork(nn.Module):
    """A convolution, and on each level of the icosphere a residual block, with pooling between them; a maximum over all
    vertices, and a linear layer. The class scores do not change under the symmetries of the sampling.

    Args:
        classes: their number.
        orders: R, of every convolution.
        graphs: the finest first, on S2, or on SO(3) with icosahedral frames; each the former one's sphere pooled once.
        channels: on the coarsest graph; each finer one has half as many.
    """

    def __init__(
        self, classes: int, orders: int, graphs: Sequence[S2GEGraph] | Sequence[SO3GEGraph], channels: int = CHANNELS
    ) -> None:
        super().__init__()
        cin = channels // 2 ** (len(graphs) - 1)
        stages: list[nn.Module] = [ChebConv(1, cin, orders, graphs[0])]
        for k, graph in enumerate(graphs):
            if k:
                stages.append(SO3SpatialPool(2, graphs[k - 1].size, "max"))
            cout = channels // 2 ** (len(graphs) - 1 - k)
            stages.append(ResidualBlock(cin, cout, ChebConv, orders, graph=graph))
            cin = cout
        self.stages, self.pool, self.fc = nn.Sequential(*stages), GlobalPool("max"), nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, V) on the finest graph -> (B, classes) log-probabilities."""
        return torch.log_softmax(self.fc(self.pool(self.stages(x))), 1)


def _plain(settings: Settings) -> tuple[nn.Module, None]:
    rows = panorama_rows(settings.level)
    return nn.Sequential(nn.Unflatten(2, (rows, 2 * rows)), PlainNetwork(10, width=20)), None


def _isotropic(settings: Settings) -> tuple[nn.Module, S2GEGraph]:
    graphs = [S2GEGraph((n,), (1.0, 1.0, 1.0), 8) for n in _sizes(settings.level)]
    return SphereNetwork(10, settings.orders, graphs), graphs[0]


def _anisotropic(settings: Settings) -> tuple[nn.Module, SO3GEGraph]:
    graphs = [SO3GEGraph((n, ORIENTATIONS), (1.0, 0.1, 10 / n), 16) for n in _sizes(settings.level)]
    return SphereNetwork(10, settings.orders, graphs), graphs[0]


NETWORKS: dict[str, Callable[[Settings], tuple[nn.Module, GEGraph | None]]] = {
    "plain": _plain,
    "isotropic": _isotropic,
    "anisotropic": _anisotropic,
}


def _sizes(level: int) -> list[int]:
    return [10 * 4**k + 2 for k in range(level, 0, -1)]


def panorama_rows(level: int) -> int:
    """The rows of an equirectangular picture, twice as wide as high, of about as many pixels as the icosphere's vertices."""
    return round(math.sqrt((10 * 4**level + 2) / 2))


def panorama(rows: int) -> Tensor:
    """(2 rows², 3) float64: the middles of its pixels on the unit sphere, row by row from the north pole down."""
    beta = (torch.arange(rows, dtype=torch.float64) + 0.5) * (math.pi / rows)
    gamma = (torch.arange(2 * rows, dtype=torch.float64) + 0.5) * (math.pi / rows) - math.pi
    beta, gamma = torch.meshgrid(beta, gamma, indexing="ij")
    return torch.stack([beta.sin() * gamma.cos(), beta.sin() * gamma.sin(), beta.cos()], -1).flatten(0, 1)


def rotations(count: int, seed: int) -> Tensor:
    """(count, 3, 3) float64, uniformly distributed in SO(3): of normal quaternions."""
    quaternions = torch.randn(count, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.from_numpy(Rotation.from_quat(quaternions.numpy()).as_matrix())


@cache
def _icosahedron() -> Tensor:
    found = symmetries(S2GEGraph((12,), (1.0, 1.0, 1.0), 5))
    return torch.stack([symmetry.matrix for symmetry in found if symmetry.is_rotation])


def icosahedral_rotations(count: int, seed: int) -> Tensor:
    """(count, 3, 3) float64, drawn from the 60 rotations that permute the vertices of every icosphere."""
    return _icosahedron()[torch.randint(60, (count,), generator=torch.Generator().manual_seed(seed))]


def on_sphere(images: Tensor, points: Tensor, turns: Tensor | None = None) -> Tensor:
    """Pictures on the sphere, each turned by a rotation of its own: its value at v is the unturned one's at R^-1 v.

    Args:
        images: (N, 1, H, W), the first row on top. Seen from outside with x to the right, they are the right way round.
        points: (P, 3) float64, unit vectors v.
        turns: (N, 3, 3) float64 rotations R; None for no rotation.

    Returns (N, 1, P) float32.
    """
    if turns is None:
        turns = torch.eye(3, dtype=torch.float64).expand(len(images), 3, 3)
    chunks = zip(images.split(_AT_ONCE), turns.split(_AT_ONCE), strict=True)
    return torch.cat([_sampled(some.double(), points @ turn) for some, turn in chunks])


def _sampled(images: Tensor, points: Tensor) -> Tensor:
    """(N, 1, H, W) at points (N, P, 3) -> (N, 1, P) float32."""
    x, y, z = points.unbind(-1)
    place = torch.stack([x, -y], -1) * (2 / _HALF_SIDE / (1 + z).clamp(min=0.5))[..., None]  # sides at -1 and 1
    place[z < -0.5] = 2  # far below the corners, where the south pole would divide by zero: outside
    return grid_sample(images, place[:, None], "bilinear", "zeros", align_corners=False)[:, :, 0].float()


def train(run: Run, settings: Settings, folder: Path) -> tuple[Outcome, nn.Module]:
    """Trains in `folder`, and tests on the unrotated, the icosahedrally and the randomly rotated digits; see `fit_run`."""
    images, test = load(settings)
    torch.manual_seed(run.seed)
    model, graph = NETWORKS[run.network](settings)
    points = icosphere(settings.level)[0] if graph is not None else panorama(panorama_rows(settings.level))
    images = images.subset(run.images, run.seed)
    turns = rotations(len(images.images), run.seed) if run.training == "rotated" else None
    count = len(test.images)
    tests = {
        "unrotated": None,
        "icosahedral": icosahedral_rotations(count, _TEST_SEED),
        "rotated": rotations(count, _TEST_SEED),
    }
    signals = on_sphere(images.images, points, turns)
    mean, deviation = signals.mean(), signals.std()

    def normalised(labelled: ImageSet, signals: Tensor) -> ImageSet:
        return labelled._replace(images=(signals - mean) / deviation)

    parts = normalised(images, signals).hold_out(settings.validation_share, run.seed)
    tested = [normalised(test, on_sphere(test.images, points, turns)) for turns in tests.values()]
    training, validation, *sets = (TensorDataset(part.images, part.labels) for part in (*parts, *tested))
    report, seconds = fit_run(
        run,
        settings,
        folder,
        model,
        prepare_batch(1 if graph is None else graph.dim[0]),
        training,
        validation,
        dict(zip(tests, sets, strict=True)),
    )
    values = {"epoch": report.epoch, **{name: report.metrics[f"{name}_accuracy"] for name in tests}}
    return Outcome(run, capacity(model), seconds, values), model
