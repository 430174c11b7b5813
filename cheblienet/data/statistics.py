"""What training computes over files of states, one file in memory at a time, and keeps beside them.

Statistics of the channels and counts of the classes are kept in the folder of the states, in files whose names hold a
fingerprint of the states that they are of: other states have other files.
"""

import hashlib
import json
import os
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from .._files import replacing
from .artc import CHANNELS, CLASSES, ArtcDataset, find_states, read_state

T = TypeVar("T")


class Statistics(NamedTuple):
    """Per channel: `ArtcDataset(folder, names, *statistics)` normalises with them."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def statistics(folder: str | os.PathLike[str], names: Sequence[str] | None = None) -> Statistics:
    """Over all vertices, each with the same weight, of the files `names` in `folder` (all by default), in float64.

    Normalisation belongs to the training files: give their names. Errors as for `ArtcDataset`, and ValueError for a channel
    that is the same everywhere, whose deviation nothing can be divided by.
    """
    count, mean, squares = 0, np.zeros(len(CHANNELS)), np.zeros(len(CHANNELS))
    for name in tqdm(find_states(Path(folder), names), desc="statistics", unit="file", disable=None):
        data = read_state(Path(folder) / name)[0].astype(np.float64)
        # Two sets' sums of squared deviations: Chan, Golub and LeVeque 1983; a sum of raw squares would cancel.
        total, shift = count + data.shape[1], data.mean(1) - mean
        squares += data.var(1) * data.shape[1] + shift**2 * count * data.shape[1] / total
        mean += shift * data.shape[1] / total
        count = total
    if constant := [name for name, value in zip(CHANNELS, squares, strict=True) if value == 0]:
        raise ValueError(f"{folder}: expected values that differ, got one value everywhere of {', '.join(constant)}")
    return Statistics(tuple(mean.tolist()), tuple(np.sqrt(squares / count).tolist()))


def save_statistics(path: str | os.PathLike[str], values: Statistics) -> None:
    """As JSON with `channels`, `mean`, `std` and a checksum of them, atomically."""
    _write(path, {"channels": CHANNELS, **values._asdict()})


def load_statistics(path: str | os.PathLike[str]) -> Statistics:
    """What `save_statistics` wrote, or such a file without a checksum; ValueError naming it if it holds something else."""
    try:
        content = _read(path)
        if tuple(content["channels"]) != CHANNELS:
            raise ValueError(f"expected the channels {CHANNELS}, got {content['channels']}")
        columns = [content[name] for name in Statistics._fields]
        if not all(isinstance(column, list) and len(column) == len(CHANNELS) for column in columns):
            raise ValueError(f"expected lists of {len(CHANNELS)} numbers, mean and std")
        values = Statistics(*(tuple(map(float, column)) for column in columns))
        if not (np.isfinite(values).all() and min(values.std) > 0):
            raise ValueError("expected finite numbers, in std positive ones")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a file of channel statistics: {error}") from error
    return values


def class_counts(folder: str | os.PathLike[str], names: Sequence[str], workers: int = 0) -> tuple[int, ...]:
    """How many vertices of the files `names` in `folder` each class has; `workers` processes read the files."""
    counts = torch.zeros(len(CLASSES), dtype=torch.int64)
    loader = DataLoader(ArtcDataset(folder, names), batch_size=None, num_workers=workers)
    for _, labels in tqdm(loader, desc="class counts", unit="file", disable=None):
        counts += torch.bincount(labels, minlength=len(CLASSES))
    return tuple(counts.tolist())


def kept_statistics(folder: str | os.PathLike[str], names: Sequence[str]) -> Statistics:
    """`statistics`, from the file where it was kept or else computed and kept there; see `statistics_file`."""
    return _kept(statistics_file(folder, names), load_statistics, lambda: statistics(folder, names), save_statistics)


def kept_class_counts(folder: str | os.PathLike[str], names: Sequence[str], workers: int = 0) -> tuple[int, ...]:
    """`class_counts`, from the file where it was kept or else computed and kept there."""
    path = _file("class_counts", folder, names)
    return _kept(
        path,
        _load_counts,
        lambda: class_counts(folder, names, workers),
        lambda path, counts: _write(path, {"classes": CLASSES, "counts": counts}),
    )


def statistics_file(folder: str | os.PathLike[str], names: Sequence[str]) -> Path:
    """Where training looks for the statistics of the states `names`, whatever their order, and keeps them.

    Its name is made of the states' names, sizes and times: states that were added, left out or changed have another file.
    """
    return _file("statistics", folder, names)


def _file(kind: str, folder: str | os.PathLike[str], names: Sequence[str]) -> Path:
    found = find_states(Path(folder), names)
    files = {name: (Path(folder) / name).stat() for name in found}
    states = sorted((name, file.st_size, file.st_mtime_ns) for name, file in files.items())
    return Path(folder) / f"{kind}-{hashlib.sha256(json.dumps(states).encode()).hexdigest()[:16]}.json"


def _kept(path: Path, load: Callable[[Path], T], compute: Callable[[], T], save: Callable[[Path, T], None]) -> T:
    """What the file holds. Without one, or with a damaged one, what `compute` gives, and that is kept if it can be."""
    try:
        return load(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        warnings.warn(f"{error}; computed anew", stacklevel=3)
    values = compute()
    try:
        save(path, values)
    except OSError as error:
        warnings.warn(f"{path}: cannot be kept, the next run computes it again: {error}", stacklevel=3)
    return values


def _load_counts(path: Path) -> tuple[int, ...]:
    try:
        content = _read(path)
        counts = content["counts"]
        if tuple(content["classes"]) != CLASSES or len(counts) != len(CLASSES):
            raise ValueError(f"expected a count for each of the classes {CLASSES}")
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError(f"expected integers of at least 0, got {counts}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a file of class counts: {error}") from error
    return tuple(counts)


def _write(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    with replacing(Path(path)) as file:
        file.write(json.dumps({**content, "checksum": _checksum(content)}, indent=2).encode() + b"\n")


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    if "checksum" in content and content.pop("checksum") != _checksum(content):
        raise ValueError("it does not fit its checksum")
    return content


def _checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
