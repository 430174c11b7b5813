"""Benchmarks are data: what to run, on what, against whom."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

OURS, REFERENCE = "cheblienet", "reference"


@dataclass
class Contender:
    """One way to do the work. `step` does all of it once; `forward` the first half, where the work has two."""

    step: Callable[[], object]
    forward: Callable[[], object] | None = None


@dataclass
class Benchmark:
    """A piece of work and those who do it.

    Attributes:
        name: how tables and files call it.
        contenders: from names to functions that set a contender up; a ModuleNotFoundError leaves one out. `OURS` comes
            first, and `REFERENCE` is the algorithm of the paper's code.
        flops: floating-point operations of a step, or None.
        floor: measures the seconds below which no implementation gets on this machine, or None.
        goals: the ratio to reach, by contender (times faster), "memory" (times less than the reference's) and "floor"
            (fraction of its speed).
        device, dtype: where and on what it runs.
        family, vertices: of benchmarks that do the same at several sizes, what they share and how large this one is.
    """

    name: str
    contenders: dict[str, Callable[[], Contender]]
    flops: float | None = None
    floor: Callable[[], float] | None = None
    goals: dict[str, float] = field(default_factory=dict)
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    family: str | None = None
    vertices: int | None = None
