"""Traffic and instructions of every CUDA kernel at the paper's sizes, counted while a simulator executes its PTX."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cheblienet import ops
from cheblienet.graphs import SE2GEGraph, SO3GEGraph
from cheblienet.nn import SE2SpatialPool, SO3SpatialPool

from .executor import Simulator

# The paper's MNIST network: SE(2) 28 x 28 x 6, K = 16, batches of 16.
BATCH, NEIGHBORS = 16, 16


def mnist_graph(side: int = 28) -> SE2GEGraph:
    return SE2GEGraph((side, side, 6), (1.0, 0.1, 2.048 / side**2), NEIGHBORS)


@dataclass
class Case:
    """Some work of an operator.

    Attributes:
        work: says what is done, for the table.
        run: does it.
        kernels: for each kernel whose launches count, its unit of work and how many of them a launch does.
        limit: bytes that a unit of `chebyshev_step` may ask for.
    """

    work: str
    run: Callable[[Simulator], Any]
    units: dict[str, tuple[str, float]]
    limit: float | None = None


def signal(vertices: int, channels: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(BATCH, vertices, channels).to(dtype)
