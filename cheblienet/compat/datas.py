"""The original's data sets, transforms and loaders, by those of torchvision."""

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import datasets
from torchvision.transforms import Compose, RandomHorizontalFlip, RandomRotation, RandomVerticalFlip
from torchvision.transforms import functional as F

from .._checks import check_choice

# Mean and standard deviation of each channel over the training images, as the original has them.
MNIST_MEAN, MNIST_STD = (0.1307,), (0.3081,)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
STL10_MEAN, STL10_STD = (0.4472, 0.4396, 0.4050), (0.2606, 0.2567, 0.2700)
_STATISTICS = {
    "mnist": (MNIST_MEAN, MNIST_STD),
    "cifar10": (CIFAR10_MEAN, CIFAR10_STD),
    "stl10": (STL10_MEAN, STL10_STD),
}
_CLASSES = {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10, "stl10": datasets.STL10}


class ToTensor:
    """A picture as floats in [0, 1], (C, H, W); an array or a sequence as a tensor of its own shape."""

    def __call__(self, input: Any) -> Tensor:
        if isinstance(input, np.ndarray):
            return torch.from_numpy(input)
        return F.to_tensor(input) if hasattr(input, "getbands") else torch.as_tensor(input, dtype=torch.float32)


class ToGEGraphSignal:
    """(C, ...) or (V,) -> (C, num_layers V), the same in every orientation layer."""

    def __init__(self, num_layers: int) -> None:
        self.num_layers = num_layers

    def __call__(self, input: Tensor) -> Tensor:
        channels = len(input) if input.ndim > 1 else 1
        return input.reshape(channels, -1).repeat(1, self.num_layers)


class Normalize:
    """(x - mean) / std for each channel of a signal (C, V)."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = torch.tensor(mean)[:, None], torch.tensor(std)[:, None]

    def __call__(self, input: Tensor) -> Tensor:
        return (input - self.mean) / self.std


class Random90Rotation:
    """A turn by 0, 90, 180 or 270 degrees."""

    def __call__(self, input: Any) -> Any:
        return F.rotate(input, 90 * random.randrange(4))


class BoolToInt:
    """The class (...) that is set in a mask (C, ...)."""

    def __call__(self, input: Tensor) -> Tensor:
        return input.int().argmax(0)


class ARTCDataset(Dataset):
    """The files of climate states in a folder; `download` is not done, see docs/compat.md."""

    def __init__(
        self,
        path_to_data: str | os.PathLike[str],
        indices: Sequence[str] | None = None,
        transform_image: Callable[[Any], Any] | None = None,
        transform_target: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.path_to_data = Path(path_to_data)
        if not self.path_to_data.is_dir():
            raise FileNotFoundError(f"{path_to_data}: expected a folder of climate states; they are not downloaded")
        self.indices = sorted(path.name for path in self.path_to_data.glob("*.npz")) if indices is None else indices
        self.transform_image, self.transform_target = transform_image, transform_target

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        with np.load(self.path_to_data / self.indices[index], allow_pickle=False) as state:
            image, target = state["data"], state["labels"]
        image = self.transform_image(image) if self.transform_image else image
        return image, self.transform_target(target) if self.transform_target else target

    @property
    def files(self) -> Sequence[str]:
        """The same as `indices`."""
        return self.indices

    def check_exists(self) -> bool:
        """Whether the folder is there."""
        return self.path_to_data.exists()

    def get_runs(self, runs: Sequence[int]) -> list[str]:
        return [name for name in self.indices if name.endswith(tuple(f"{run}-mesh.npz" for run in runs))]


def get_train_val_loaders(
    dataset: str, batch_size: int = 32, val_ratio: float = 0.2, num_layers: int = 6, path_to_data: str = "data"
) -> tuple[DataLoader, DataLoader]:
    """Loaders of the training images, of which a share `val_ratio`, drawn at random, is for validation.

    `dataset` is "mnist", "cifar10", "stl10" (trains on the larger part, which is published for tests) or "artc".
    """
    data = _dataset(dataset, True, num_layers, path_to_data)
    held_out = int(val_ratio * len(data))
    train, validation = random_split(data, [len(data) - held_out, held_out])
    shuffled = DataLoader(train, batch_size, shuffle=True) if len(train) else DataLoader(train, batch_size)
    return shuffled, DataLoader(validation, batch_size)


def get_test_loader(dataset: str, batch_size: int = 32, num_layers: int = 6, path_to_data: str = "data") -> DataLoader:
    """A loader of the test images of "mnist", "cifar10" or "artc", or the training images of "stl10"."""
    stl10 = dataset == "stl10"
    return DataLoader(_dataset(dataset, stl10, num_layers, path_to_data), batch_size)


def get_equiv_test_loaders(
    dataset: str, batch_size: int = 32, num_layers: int = 6, path_to_data: str = "data"
) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Loaders of the test images as they are, turned at random (by right angles, "mnist" by any) and flipped at random."""
    check_choice("get_equiv_test_loaders: dataset", dataset, tuple(_CLASSES))
    turn = RandomRotation(180) if dataset == "mnist" else Random90Rotation()
    changes = (), (turn,), (RandomHorizontalFlip(), RandomVerticalFlip())
    plain, turned, flipped = (
        DataLoader(_dataset(dataset, False, num_layers, path_to_data, change), batch_size) for change in changes
    )
    return plain, turned, flipped


def _dataset(name: str, train: bool, num_layers: int, path_to_data: str, change: Sequence[Any] = ()) -> Dataset:
    check_choice("dataset", name, (*_STATISTICS, "artc"))
    if name == "artc":
        from ..data import ARTC_MEAN, ARTC_STD

        image = Compose([ToTensor(), ToGEGraphSignal(num_layers), Normalize(ARTC_MEAN, ARTC_STD)])
        folder = Path(path_to_data) / ("data_train" if train else "data_test")
        return ARTCDataset(folder, transform_image=image, transform_target=Compose([ToTensor(), BoolToInt()]))
    image = Compose([*change, ToTensor(), ToGEGraphSignal(num_layers), Normalize(*_STATISTICS[name])])
    part = {"split": "test" if train else "train"} if name == "stl10" else {"train": train}
    return _CLASSES[name](path_to_data, transform=image, download=True, **part)
