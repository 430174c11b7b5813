"""Mean and standard deviation per channel over files of states, one file in memory at a time."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from .._files import replacing
from .artc import CHANNELS, find_states, read_state


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
    """As JSON with `channels`, `mean` and `std`, atomically."""
    with replacing(Path(path)) as file:
        file.write(json.dumps({"channels": CHANNELS, **values._asdict()}, indent=2).encode() + b"\n")


def load_statistics(path: str | os.PathLike[str]) -> Statistics:
    """What `save_statistics` wrote; ValueError naming the file if it holds something else."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
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
