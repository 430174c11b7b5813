"""Climate states on the icosphere with the atmospheric rivers (AR) and tropical cyclones (TC) in them.

Two data sets share one file format: npz files with `data` (16, V) of the variables `CHANNELS` and `labels` (3, V), one
where the vertex belongs to the class.

- ARTC: 62,738 states of a CAM5 simulation, labelled by heuristics, on the icosphere of level 5, published in three parts
  of 43,916, 6,274 and 12,548 files for training, validation and testing (Jiang et al. 2019, arXiv:1901.02039; Mudigonda
  et al. 2017). A file data-YYYY-MM-DD-HH-R-mesh.npz holds three hours number HH, 00 to 07, of a day in run R.
- ClimateNet: about 218 states, marked by experts in about 459 masks (Kashinath et al. 2021,
  doi:10.5194/gmd-14-107-2021); `cheblienet.data.climatenet` converts them.

Their labels mean different things: statistics and scores of one say nothing about the other.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .._files import read_arrays
from ..meshes.icosphere import icosphere_level

# Variable and unit: TMQ is precipitable water, U and V winds, QREFHT humidity, PS and PSL pressures, T temperatures, PRECT
# precipitation, Z heights; 200, 500, 850 and 1000 are levels in hPa, BOT the lowest level, REFHT two metres.
CHANNEL_UNITS = {
    "TMQ": "kg/m^2",
    "U850": "m/s",
    "V850": "m/s",
    "UBOT": "m/s",
    "VBOT": "m/s",
    "QREFHT": "kg/kg",
    "PS": "Pa",
    "PSL": "Pa",
    "T200": "K",
    "T500": "K",
    "PRECT": "m/s",
    "TS": "K",
    "TREFHT": "K",
    "Z1000": "m",
    "Z200": "m",
    "ZBOT": "m",
}
CHANNELS = tuple(CHANNEL_UNITS)
CLASSES = ("background", "tropical cyclone", "atmospheric river")

# Over the training part of ARTC, as published with the original ChebLieNet.
ARTC_MEAN = (
    2.61613026e01, 9.84836817e-01, 1.16275556e-01, -4.59006906e-01, 1.92794472e-01, 1.07488334e-02, 9.83474609e04,
    1.01012266e05, 2.16136414e02, 2.58974274e02, 3.76523026e-08, 2.88836273e02, 2.88041748e02, 3.42482941e02,
    1.20318799e04, 6.34397430e01,
)  # fmt: skip
ARTC_STD = (
    1.7042067e01, 8.1648855e00, 5.6875458e00, 6.4972377e00, 5.4460597e00, 6.3829664e-03, 7.7596729e03,
    3.8046602e03, 9.7163849e00, 1.4277466e01, 1.8769481e-07, 1.9797100e01, 1.9022367e01, 6.2425934e02,
    6.7624426e02, 4.2128639e00,
)  # fmt: skip

# A state's average over the globe changes with the season by about a standard deviation; 273 K more or less are over 10.
_FAR = 10


class ArtcDataset(Dataset[tuple[Tensor, Tensor]]):
    """The states in `folder`, of ARTC or of converted ClimateNet files.

    Items are x (16, V) float32, (value - mean) / std per channel if these are given, and y (V,) int64 classes. `names` are
    file names within `folder`, all its npz files in order of their names by default. Attributes: `folder`, `names`,
    `num_vertices` (V, that of the first file; all must agree).

    Raises FileNotFoundError, which says what should be where, for missing files, and ValueError naming the file for one
    that is damaged or holds something else, or whose channels lie `_FAR` or more `std` from `mean` on average: such
    statistics are of other units, or of other data. Only the first file is read ahead; others are when their turn comes.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        names: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.names = find_states(self.folder, names)
        if (mean is None) != (std is None):
            raise ValueError("mean, std: expected both or neither")
        self._mean = _per_channel("mean", mean, 0.0)
        self._std = _per_channel("std", std, 1.0)
        if wrong := [name for name, value in zip(CHANNELS, self._std, strict=True) if value <= 0]:
            raise ValueError(f"std: expected positive numbers, in single precision, got others for {', '.join(wrong)}")
        first = read_state(self.folder / self.names[0])[0]
        self.num_vertices = first.shape[1]
        if mean is not None:
            self._check_statistics(first)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        path = self.folder / self.names[index]
        data, labels = read_state(path)
        if data.shape[1] != self.num_vertices:
            raise ValueError(
                f"{path}: expected {self.num_vertices} vertices, as in {self.names[0]}, got {data.shape[1]}"
            )
        return (torch.from_numpy(data) - self._mean) / self._std, torch.from_numpy(labels)

    def _check_statistics(self, data: np.ndarray) -> None:
        distance = ((torch.from_numpy(data).double().mean(1, keepdim=True) - self._mean) / self._std)[:, 0]
        for name, value in zip(CHANNELS, distance.tolist(), strict=True):
            if abs(value) >= _FAR:
                raise ValueError(
                    f"{self.folder / self.names[0]}: {name}: expected values that `mean` and `std` describe, "
                    f"got {value:.3g} std from the mean on average"
                )


def find_states(folder: Path, names: Sequence[str] | None) -> tuple[str, ...]:
    """`names`, all in `folder`, or else all its npz files in order; FileNotFoundError if one, or everything, is missing."""
    if isinstance(names, str):
        raise TypeError(f"names: expected a sequence of file names, got the string {names!r}")
    if names is not None and not names:
        raise ValueError("names: expected file names, got none")
    present = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    found = tuple(sorted(n for n in present if n.endswith(".npz") and n[0] != ".") if names is None else names)
    missing = [name for name in found if name not in present]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{folder}: expected the states named, but {missing[0]}{more} is not there")
    if not found:
        raise FileNotFoundError(
            f"{folder}: expected states on the icosphere here, files data-*-mesh.npz with `data` (16, V) and `labels` "
            "(3, V): those of ARTC unpacked, or ClimateNet's converted by `python -m cheblienet climatenet convert`"
        )
    return found


def read_state(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """data (16, V) float32 and classes (V,) int64 of one npz file; ValueError naming it if it does not hold them."""
    try:
        data, labels = read_arrays(path, "data", "labels")
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive can raise almost anything
        raise ValueError(f"{path}: not a readable npz file with data and labels: {error}") from error
    try:
        data = _checked(data, labels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return data, labels.argmax(0)


def _checked(data: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`data` in float32; ValueError if that, or the labels, are not what a state has."""
    if data.ndim != 2 or len(data) != len(CHANNELS) or data.dtype.kind != "f":
        raise ValueError(f"data: expected floats of shape ({len(CHANNELS)}, V), got {data.dtype} {data.shape}")
    icosphere_level(data.shape[1])
    with np.errstate(over="ignore"):
        data = data.astype(np.float32, copy=False)
    for name, values in zip(CHANNELS, data, strict=True):
        if not np.isfinite(values).all():
            raise ValueError(f"data: expected finite numbers in single precision, got {name} with NaN or infinity")
    if labels.shape != (len(CLASSES), data.shape[1]) or labels.dtype.kind not in "biuf":
        expected = (len(CLASSES), data.shape[1])
        raise ValueError(f"labels: expected numbers or booleans of shape {expected}, got {labels.dtype} {labels.shape}")
    if not (((labels == 0) | (labels == 1)).all() and ((labels == 1).sum(0) == 1).all()):
        raise ValueError("labels: expected exactly one class at each vertex, one-hot")
    return data


def _per_channel(name: str, values: Sequence[float] | None, default: float) -> Tensor:
    """(16, 1) float32."""
    column = torch.full((len(CHANNELS),), default) if values is None else torch.as_tensor(values, dtype=torch.float32)
    if column.shape != (len(CHANNELS),) or not column.isfinite().all():
        raise ValueError(f"{name}: expected {len(CHANNELS)} finite numbers, one per channel, got {values!r}")
    return column[:, None]
