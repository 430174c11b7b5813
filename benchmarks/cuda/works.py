"""What the CUDA kernels have to do at the paper's sizes, as work that a simulator can execute."""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cheblienet import ops
from cheblienet.graphs import Graph, SE2GEGraph, SO3GEGraph
from cheblienet.graphs.manifold import GEGraph
from cheblienet.graphs.order import spatial_order
from cheblienet.nn import SE2SpatialPool, SE2SpatialUnpool, SO3SpatialPool
from cheblienet.ops import Csr
from cheblienet.ops.csr import csr_from_rows, with_tiles

from .chebyshev_probe import Device
from .executor import Simulator
from .model import H200

# The paper's MNIST network: SE(2) 28 x 28 x 6, K = 16, R = 4, batches of 16.
BATCH, NEIGHBORS, ORDERS = 16, 16, 4


@dataclass(frozen=True)
class Unit:
    """What a kernel does over and over, and what its counts do not tell of it.

    Attributes:
        name, count, bytes_limit: the unit, how many there are in all samples, and the most bytes to load for one.
        rounds: loads of a block that wait for those before them, per launch.
        distant: whether its bytes come from beyond L2, once each. Those that the launch before has just written do not.
        per_sample: whether its counts grow with the samples; if not, one run has them all.
    """

    name: str
    count: float
    bytes_limit: float | None = None
    rounds: float = 2
    distant: bool = True
    per_sample: bool = True


@dataclass(frozen=True)
class Work:
    """Work of an operator on so many samples, and the units of its kernels.

    `samples` of the batch are executed; the rest is the same once more, so counts are multiplied. That is exact where a
    group of lanes is as full as with the whole batch. Launches and blocks are those of the whole batch.
    """

    name: str
    run: Callable[[Simulator, int], Any]
    units: dict[str, Unit]
    samples: int = BATCH


def signal(vertices: int, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(BATCH, vertices, channels).to(dtype)


def named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@functools.cache
def se2(side: int) -> SE2GEGraph:
    return SE2GEGraph((side, side, 6), (1.0, 0.1, 2.048 / side**2), NEIGHBORS)


@functools.cache
def gpu_laplacian(side: int) -> Csr:
    """As a layer on a GPU has it: rows in spatial order, and tables of tiles."""
    graph = se2(side)
    order = spatial_order(graph.group, graph.elements, graph.size)
    rowptr, col, values = graph._laplacian_rows(True, None)
    return with_tiles(csr_from_rows(rowptr, col, values.float(), order, for_gpu=True))


def on_h200(steps: str, resident_per_processor: int = 3) -> Device:
    """What the launcher finds on an H200: blocks of tiles by their shared memory of 50 to 70 KiB."""
    return Device(4 * H200.l2_bytes, 227 << 10, resident_per_processor * H200.processors, steps)


def recurrence_units(graph: Graph, channels: int, dtype: torch.dtype) -> dict[str, Unit]:
    """Row by row, a block reads its rows, then their entries, then some neighbours at a time in two samples.

    On tiles it reads its rows, slots and values, and for every order the first item and, at the end, what others wait for;
    a barrier of 1.25 us is three rounds. Everything is read and written beyond L2, which holds less than all orders of all
    samples.
    """
    longest, rows = int(torch.bincount(graph.edge_index[0]).max()), BATCH * graph.num_vertices
    limit = 1.1 * (channels * dtype.itemsize + 8)
    edges = BATCH * graph.num_edges * (ORDERS - 1)
    ahead = 2 if dtype.itemsize == 2 else 4
    parts, height = min(512, max(1, rows // (16 * max(1, 256 // channels)))), max(1, 256 // channels)
    return {
        "chebyshev_step": Unit("edge", edges, limit, rounds=2 + math.ceil(longest / ahead)),
        "tile_orders": Unit("edge", edges, rounds=4 + 2 * (ORDERS - 1) + 3 * (ORDERS - 2)),
        "chebyshev_prepare": Unit("element", rows * channels, rounds=2 + rows / (parts * height) / 8),
        "chebyshev_finish": Unit("part", parts * channels, rounds=2 + parts / 64),
        "chebyshev_edge_dots": Unit("edge", BATCH * graph.num_edges, rounds=4),
        "tile_dots": Unit("edge", BATCH * graph.num_edges, rounds=6),
        "add_shares": Unit("edge", graph.num_edges),
    }


def pattern_of(laplacian: Csr) -> list[Tensor]:
    return [laplacian.rows, laplacian.col, *laplacian.tables]


def convolution(side: int, channels: int, dtype: torch.dtype, steps: str) -> Work:
    """The recurrence of a layer that keeps its width, forward."""
    graph, laplacian = se2(side), gpu_laplacian(side)
    x, theta = signal(graph.num_vertices, channels, dtype), torch.randn(ORDERS, channels, channels).to(dtype)

    def run(executor: Simulator, samples: int) -> None:
        executor.chebyshev(x[:samples], theta, pattern_of(laplacian), laplacian.values, None, device=on_h200(steps))

    name = f"SE(2) {side}x{side}x6, {channels} channels, {named(dtype)}, {steps}"
    return Work(name, run, recurrence_units(graph, channels, dtype), full_groups(channels, dtype, steps))


def full_groups(channels: int, dtype: torch.dtype, steps: str) -> int:
    """The fewest samples with which groups of 32 lanes are as full as with all, two samples a lane. A block of tiles has
    work of its own beside that of its samples."""
    packs = math.ceil(channels * dtype.itemsize / 16)
    return min(BATCH, 2 * math.ceil(32 / packs)) if steps == "rows" else BATCH


def laplacian_gradient(side: int, channels: int, steps: str) -> Work:
    graph, laplacian = se2(side), gpu_laplacian(side)
    x, theta = signal(graph.num_vertices, channels), torch.randn(ORDERS, channels, channels)
    units = recurrence_units(graph, channels, torch.float32)
    del units["chebyshev_step"], units["tile_orders"]

    def run(executor: Simulator, samples: int) -> None:
        part, needs = x[:samples], (False, False, False, True)
        matrix = pattern_of(laplacian), laplacian.values
        executor.chebyshev_backward(part, part, theta, *matrix, *needs, device=on_h200(steps))

    return Work(f"SE(2) {side}x{side}x6, {channels} channels, gradient of the Laplacian, {steps}", run, units)


def pooling(
    name: str, layer: torch.nn.Module, vertices: int, channels: int, dtype: torch.dtype = torch.float32
) -> Work:
    x, index, reduction = signal(vertices, channels, dtype), tuple(layer.table()), layer.reduction
    elements = BATCH * channels

    def run(executor: Simulator, samples: int) -> None:
        y, winner = executor.gather_reduce(x[:samples], *index, None, reduction)
        executor.gather_reduce_backward(y, winner, *index, reduction)

    units = {
        "gather_reduce": Unit("output", elements * layer.num_outputs),
        "gather_reduce_backward": Unit("input", elements * vertices),
    }
    return Work(f"{name}, {channels} channels, {named(dtype)}, {reduction}", run, units)


def normalisation_units(elements: int, channels: int, dtype: torch.dtype) -> dict[str, Unit]:
    """A thread reads what it knows of its channels, and goes down its rows four at a time; a level of a block's sum is a
    barrier and a chain of reads and writes of shared memory, two rounds. The second pass adds up the parts of its slice
    first, four at a time in as many groups of threads as a slice allows. As csrc/cuda/norm_rows.cuh divides the rows."""
    pack = 16 // dtype.itemsize if channels % (16 // dtype.itemsize) == 0 else 1
    packs = channels // pack
    tiles = math.ceil(packs / (4 if pack > 1 else 32))
    columns = math.ceil(packs / tiles)
    height, rows = 256 // columns, elements // channels
    parts = max(1, min(math.ceil(rows / (8 * height)), 264 // tiles))
    groups = max(1, 256 // (columns * pack))
    passes, levels = 1 + math.ceil(rows / (parts * height)) / 4, 2 * math.ceil(math.log2(height))
    joins = 1 + math.ceil(parts / groups) / 4 + 2 * math.ceil(math.log2(groups))
    rounds = {
        "norm_moments": passes + levels,
        "norm_apply": passes + joins,
        "norm_gradient_sums": passes + levels,
        "norm_gradient": passes + joins,
    }
    return {kernel: Unit("element", elements, rounds=count) for kernel, count in rounds.items()}


def normalisation(vertices: int, channels: int, dtype: torch.dtype) -> Work:
    x, residual, dy = (signal(vertices, channels, dtype) for _ in range(3))
    weight, bias = torch.rand(channels) + 0.5, torch.randn(channels)

    def run(executor: Simulator, samples: int) -> None:
        part, running = slice(samples), (torch.zeros(channels), torch.ones(channels), torch.tensor(0))
        _, mean, var, s = executor.batch_norm_tracked(x[part], residual[part], weight, bias, running, 0.1, 1e-5, True)
        executor.batch_norm_backward(dy[part], s, weight, bias, mean, var, 1e-5, True, True)

    name = f"{vertices} vertices, {channels} channels, {named(dtype)}, residual and ReLU"
    return Work(name, run, normalisation_units(x.numel(), channels, dtype))


def neighbours(name: str, graph: GEGraph, group: str, tree: bool) -> Work:
    vertices = graph.num_vertices
    sigmas = torch.tensor(graph.sigmas, dtype=torch.float64)
    units = {
        "nearest_of_all": Unit("candidate", vertices * (vertices - 1)),
        "nearest_in_tree": Unit("element", vertices),
        "tree_leaves": Unit("element", vertices),
        "tree_keys": Unit("element", vertices),
    }
    return Work(
        f"{name}, {'tree' if tree else 'all pairs'}",
        lambda executor, _: executor.nearest_neighbors(graph.elements, sigmas, NEIGHBORS, group, tree=tree),
        units,
    )


def mutual(side: int) -> Work:
    graph = se2(side)
    found = ops.nearest_neighbors(graph.elements, graph.sigmas, NEIGHBORS, graph.group)
    slots = Unit("slot", graph.num_vertices * NEIGHBORS)
    return Work(
        f"SE(2) {side}x{side}x6, edges",
        lambda executor, _: executor.mutual_neighbors(*found, float("inf")),
        {"find_mutual": slots, "write_edges": slots},
    )


WIDTHS = [(channels, dtype) for dtype in (torch.float32, torch.bfloat16) for channels in (16, 32, 64, 128)]


def works() -> Iterator[Work]:
    """The sizes of the paper's networks."""
    for steps in ("orders", "rows"):
        for channels, dtype in WIDTHS:
            yield convolution(28, channels, dtype, steps)
        yield laplacian_gradient(28, 32, steps)
    yield pooling("SE(2) 28x28x6 to 14x14x6", SE2SpatialPool(2, (28, 28, 6), "max"), 4704, 32)
    yield pooling("SE(2) 28x28x6 to 14x14x6", SE2SpatialPool(2, (28, 28, 6), "max"), 4704, 64, torch.bfloat16)
    yield pooling("SE(2) 14x14x6 to 28x28x6", SE2SpatialUnpool(2, (14, 14, 6), "avg"), 1176, 32)
    yield pooling("SO(3) 642x6 to 162x6", SO3SpatialPool(2, (642, 6), "avg"), 3852, 32)
    yield normalisation(4704, 32, torch.float32)
    yield normalisation(4704, 64, torch.bfloat16)
    for tree in (False, True):
        yield neighbours("SE(2) 14x14x6", se2(14), "se2", tree)
    for tree in (False, True):
        yield neighbours("SE(2) 18x18x6", se2(18), "se2", tree)
    yield neighbours("SE(2) 28x28x6", se2(28), "se2", True)
    yield neighbours("SO(3) 642x6", SO3GEGraph((642, 6), (1.0, 0.1, 10 / 642), NEIGHBORS), "so3", True)
    yield mutual(28)
