"""Checks of what a caller passes: one sentence each, naming the argument, what was expected and what came."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Indices are int32 in the operators.
MAX_VERTICES = 2**31 - 1

# The product of three such numbers, and of four bytes, is an int64.
MAX_CHANNELS = 2**20

# Each is a process of its own with some hundred MB.
MAX_WORKERS = 256


def check_integer(name: str, value: object, minimum: int, maximum: int | None = None) -> int:
    """`value` as an int in [minimum, maximum]; TypeError for another type, ValueError outside the range."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: expected an integer, got {value!r} of type {type(value).__name__}")
    if value < minimum or (maximum is not None and value > maximum):
        expected = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        raise ValueError(f"{name}: expected an integer {expected}, got {value}")
    return int(value)


def check_size(name: str, value: object, axes: Sequence[str], more: int = 0) -> tuple[int, ...]:
    """The numbers of vertices along `axes`, at least 1 each; up to `more` others may follow, which are left out.

    ValueError for other lengths, what is no sequence, and more than 2^31 - 1 vertices.
    """
    try:
        counts = tuple(value)  # type: ignore[arg-type]
    except TypeError:  # a tensor without dimensions has __iter__ all the same
        counts = ()
    if not len(axes) <= len(counts) <= len(axes) + more:
        raise ValueError(f"{name}: expected ({', '.join(axes)}), got {value!r}")
    size = tuple(check_integer(f"{name}: {axis}", n, 1) for axis, n in zip(axes, counts, strict=False))
    if math.prod(size) > MAX_VERTICES:
        raise ValueError(f"{name}: expected at most {MAX_VERTICES} vertices, got {size}")
    return size


def check_number(name: str, value: object, minimum: float, maximum: float = math.inf, *, finite: bool = True) -> float:
    """`value` if it is a real number in [minimum, maximum], and `finite`; TypeError for another type, ValueError else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected a number, got {value!r} of type {type(value).__name__}")
    if not minimum <= value <= maximum or (finite and not value < math.inf):
        expected = f"of at least {minimum}" if maximum == math.inf else f"between {minimum} and {maximum}"
        raise ValueError(f"{name}: expected a {'finite ' * finite}number {expected}, got {value}")
    return value  # type: ignore[return-value]  # as it is, for compiled code


def check_flag(name: str, value: object) -> bool:
    """`value` if it is True or False; TypeError otherwise."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {value!r} of type {type(value).__name__}")
    return bool(value)


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """`value` if it is one of `choices`; ValueError otherwise."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def check_folder(name: str, value: Path) -> Path:
    """`value` if it is a folder or can become one; ValueError where a file is in the way."""
    existing = next(path for path in (value, *value.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"{name}: expected a folder, or a name for a new one, got {value}: {existing} is a file")
    return value


def check_sigmas(name: str, sigmas: object) -> tuple[float, float, float]:
    """The three metric coefficients as positive finite floats."""
    readable = isinstance(sigmas, np.ndarray) or (
        isinstance(sigmas, Tensor) and sigmas.layout == torch.strided and sigmas.device.type != "meta"
    )
    values = sigmas.tolist() if readable else sigmas  # type: ignore[attr-defined]
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 3:
        raise ValueError(f"{name}: expected three positive numbers, got {sigmas!r}")
    numbers = all(isinstance(value, Real) and not isinstance(value, bool) for value in values)
    if not numbers or not all(0 < float(value) < float("inf") for value in values):
        raise ValueError(f"{name}: expected three positive finite numbers, got {sigmas!r}")
    return float(values[0]), float(values[1]), float(values[2])


def check_tensor(name: str, value: object, shape: str, ndim: int) -> Tensor:
    """`value` if it is a dense tensor of rank `ndim`; `shape` says in words what it should look like."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor {shape}, got {type(value).__name__}")
    if value.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor {shape}, got one of layout {value.layout}")
    if value.ndim != ndim:
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(value.shape)}")
    return value


def check_has_numbers(name: str, value: Tensor) -> Tensor:
    """`value` unless it is a meta tensor, for functions whose result depends on the numbers; ValueError otherwise."""
    if value.device.type == "meta":
        raise ValueError(f"{name}: expected a tensor that holds numbers, got one on meta")
    return value


def check_floating(name: str, value: Tensor) -> Tensor:
    """`value` if its dtype is float64, float32, bfloat16 or float16; TypeError otherwise."""
    if value.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        raise TypeError(f"{name}: expected float64, float32, bfloat16 or float16, got {value.dtype}")
    return value


def check_device(name: str, value: Tensor, device: torch.device) -> Tensor:
    """`value` if it lives on `device`; ValueError otherwise."""
    if value.device != device:
        raise ValueError(f"{name}: expected a tensor on {device}, got one on {value.device}")
    return value
