"""Which climate states train, validate and test, by file names: parts that share no state, and no date of ClimateNet's."""

import hashlib
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .._checks import check_integer
from .artc import find_states

SPLITS = ("train", "val", "test")

# Of what is there for training, to choose an epoch.
VALIDATION_SHARE = 0.1

# By the name of a part: a folder, and names of files in it.
Parts = dict[str, tuple[Path, list[str]]]


def artc_splits(folder: str | os.PathLike[str]) -> dict[str, list[str]]:
    """The published parts of ARTC: file names by "train", "val" and "test".

    They are read from {train,val,test}_split.txt in `folder`, one name a line, as published in the repository
    maxjiang93/ugscnn. FileNotFoundError if a list is missing; ValueError if one is empty or two share a name.
    """
    splits = {split: read_names(Path(folder) / f"{split}_split.txt") for split in SPLITS}
    owner: dict[str, str] = {}
    for split, names in splits.items():
        for name in names:
            if owner.setdefault(name, split) != split:
                raise ValueError(f"{folder}: {name} is both in {owner[name]}_split.txt and in {split}_split.txt")
    return splits


def artc_parts(folder: str | os.PathLike[str], seed: int = 0, validation_share: float | None = None) -> Parts:
    """ARTC's states: a folder, and names of files in it, by "train", "val" and "test".

    Either those of the folders data_train, data_val and data_test in `folder`, as many as there are, or those of the
    published lists with all states in `folder` itself. Where data_val is missing, the part "val" is a `validation_share` of
    the dates in data_train, drawn with `seed`, and no longer in "train". Without a share there is no "val", and "train" is
    as it is published.

    FileNotFoundError, which says what to put where, for something else; ValueError if two parts share a state.
    """
    folder = Path(folder)
    if (folder / "data_train").is_dir():
        present = [part for part in SPLITS if part != "val" or (folder / "data_val").is_dir()]
        parts = {part: (folder / f"data_{part}", list(find_states(folder / f"data_{part}", None))) for part in present}
        for one, other in itertools.combinations(present, 2):
            if shared := set(parts[one][1]).intersection(parts[other][1]):
                raise ValueError(
                    f"{folder}: expected each state once, got {min(shared)} in data_{one} and in data_{other}"
                )
        return _with_validation(parts, seed, validation_share)
    if not (folder / "train_split.txt").exists():
        raise FileNotFoundError(
            f"{folder}: ARTC's states are not here. Put its files data-*-mesh.npz in {folder}/data_train and "
            f"{folder}/data_test, or all in {folder} together with train_split.txt, val_split.txt and test_split.txt of "
            "github.com/maxjiang93/ugscnn (experiments/exp4_sphere_climate), which says where the states are to be had"
        )
    return _with_validation(
        {part: (folder, names) for part, names in artc_splits(folder).items()}, seed, validation_share
    )


def climatenet_parts(folder: str | os.PathLike[str], seed: int, validation_share: float | None = None) -> Parts:
    """ClimateNet's converted states: a folder, and names of files in it, by "train", "val" and "test".

    The folders train and test in `folder`, as published; without them, the states in `folder` with 80 and 20 % of the
    dates, drawn with `seed` (`split_by_date`). The part "val" is a `validation_share` of the training dates, and no longer
    in "train"; without a share there is none. ValueError if the two folders share a date, FileNotFoundError without states.
    """
    folder = Path(folder)
    if not (folder / "train").is_dir():
        train, test = split_by_date(find_states(folder, None), (0.8, 0.2), seed)
        return _with_validation({"train": (folder, train), "test": (folder, test)}, seed, validation_share)
    parts = {part: (folder / part, list(find_states(folder / part, None))) for part in ("train", "test")}
    train, test = ({_date(name) for name in names} for _, names in parts.values())
    if shared := train & test:
        raise ValueError(f"{folder}: expected train and test of different dates, got {min(shared)} in both")
    return _with_validation(parts, seed, validation_share)


def _with_validation(parts: Parts, seed: int, share: float | None) -> Parts:
    """With a part "val": a share of the training dates, at least one, unless it is there. For None, without one."""
    if share is None:
        return {part: states for part, states in parts.items() if part != "val"}
    if "val" in parts:
        return parts
    folder, names = parts["train"]
    dates = len(set(map(_date, names)))
    if dates < 2:
        raise ValueError(f"{folder}: expected training states of two dates or more, to hold one back, got one date")
    held = min(max(1, round(share * dates)), dates - 1) / dates
    train, val = split_by_date(names, (1 - held, held), seed)
    return {"train": (folder, train), "val": (folder, val), "test": parts["test"]}


def read_names(path: str | os.PathLike[str]) -> list[str]:
    """File names from a text file, one a line, none twice; FileNotFoundError and ValueError name it."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected a list of file names here, one a line")
    names = Path(path).read_text(encoding="utf-8", errors="replace").split()
    wrong = [name for name in names if not re.fullmatch(r"[\w.-]+\.npz", name)]
    if wrong or not names or len(set(names)) < len(names):
        raise ValueError(f"{path}: expected names of npz files, one a line, none twice, got {(wrong or names)[:1]}")
    return names


def split_by_date(names: Sequence[str], fractions: Sequence[float], seed: int) -> list[list[str]]:
    """Parts of `names` with about these fractions of the dates; a date, the first YYYY-MM-DD of a name, is never divided.

    ClimateNet has several masks of one state, so that a split by file would test on states seen in training. The parts
    depend on the names and the seed alone. `fractions` are positive with sum one; ValueError if there are fewer dates
    than would give every part one.
    """
    check_integer("seed", seed, 0)
    if not fractions or not all(fraction > 0 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions: expected positive numbers with sum 1, got {fractions!r}")
    dates = {name: _date(name) for name in names}
    # A hash's order is the same with every version of every random generator.
    order = sorted(set(dates.values()), key=lambda date: hashlib.sha256(f"{seed} {date}".encode()).digest())
    ends = [round(end * len(order)) for end in np.cumsum([0.0, *fractions]).tolist()]
    parts = [set(order[start:end]) for start, end in itertools.pairwise(ends)]
    if not all(parts):
        raise ValueError(f"names: expected dates for {len(parts)} parts of {fractions!r}, got {len(order)} dates")
    return [[name for name in names if dates[name] in part] for part in parts]


def _date(name: str) -> str:
    found = re.search(r"\d{4}-\d{2}-\d{2}", name)
    if not found:
        raise ValueError(f"names: expected names with a date YYYY-MM-DD, got {name!r}")
    return found.group()
