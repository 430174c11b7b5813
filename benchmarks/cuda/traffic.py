"""Traffic and instructions of the CUDA kernels at the paper's sizes, counted while a simulator executes their PTX, and what
a GPU would need for them at best."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from cheblienet import ops
from cheblienet.graphs import SE2GEGraph, SO3GEGraph
from cheblienet.graphs.manifold import GEGraph
from cheblienet.nn import SE2SpatialPool, SE2SpatialUnpool, SO3SpatialPool

from .executor import Simulator

# The paper's MNIST network: SE(2) 28 x 28 x 6 and 14 x 14 x 6, K = 16, R = 4, batches of 16.
BATCH, NEIGHBORS, ORDERS = 16, 16, 4

# An H100 SXM (NVIDIA's H100 white paper; memory and cache as measured by others): bytes per second, and 132 processors at
# 1.98 GHz, each with four schedulers of one warp instruction, 128 lanes of float32 and 64 of float64 per cycle.
DRAM, L2 = 3.0e12, 5.5e12
CYCLES = 132 * 1.98e9
ISSUED, FP32, FP64, SHARED = 4 * CYCLES, 128 * CYCLES, 64 * CYCLES, CYCLES


@dataclass(frozen=True)
class Unit:
    """What a kernel does over and over: `count` times, of which each is `steps` multiply-adds or candidates or just one."""

    name: str
    count: float
    steps: int = 1
    bytes_limit: float | None = None


@dataclass(frozen=True)
class Work:
    """Work of an operator, and the units of its kernels."""

    name: str
    run: Callable[[Simulator], Any]
    units: dict[str, Unit]


@dataclass(frozen=True)
class Row:
    """One kernel in one work, over all its launches there."""

    work: str
    kernel: str
    unit: str
    bytes_per_unit: float  # loads
    bytes_limit: float | None
    coalescing: float
    bank_ways: float
    active_lanes: float
    instructions_per_step: float  # of a lane, in PTX
    dram_bytes: float
    dram_stored: float
    l2_bytes: float
    dram_us: float
    l2_us: float
    issue_us: float
    arithmetic_us: float
    other_launches: int  # of other kernels, in the same work

    @property
    def bound(self) -> str:
        times = {"DRAM": self.dram_us, "L2": self.l2_us, "issue": self.issue_us, "arithmetic": self.arithmetic_us}
        return max(times, key=lambda name: times[name])

    @property
    def estimate_us(self) -> float:
        return max(self.dram_us, self.l2_us, self.issue_us, self.arithmetic_us)

    def shortfalls(self) -> list[str]:
        """What was to be reached, and was not."""
        recurrence = self.kernel == "chebyshev_step"
        wanted = {
            "coalescing": (self.coalescing, 0.95 if recurrence else 0.85),
            "bank conflicts": (-self.bank_ways, -1.0),
            "active lanes": (
                self.active_lanes,
                28.0 if recurrence else 24.0 if self.kernel.startswith("nearest_") else 0,
            ),
            "bytes per edge": (-self.bytes_per_unit, -(self.bytes_limit or float("inf"))),
        }
        return [name for name, (value, least) in wanted.items() if value < least]


def signal(vertices: int, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(BATCH, vertices, channels).to(dtype)


def se2(side: int) -> SE2GEGraph:
    return SE2GEGraph((side, side, 6), (1.0, 0.1, 2.048 / side**2), NEIGHBORS)


def convolution(side: int, channels: int, dtype: torch.dtype) -> Work:
    """The recurrence of a layer that keeps its width, forward."""
    graph = se2(side)
    x, theta = signal(graph.num_vertices, channels, dtype), torch.randn(ORDERS, channels, channels).to(dtype)
    limit = 1.1 * (channels * dtype.itemsize + 8)
    edges = BATCH * graph.num_edges * (ORDERS - 1)
    name = f"SE(2) {side}x{side}x6, {channels} channels, {str(dtype).removeprefix('torch.')}"
    rows, col, values, _ = graph.laplacian_csr()
    units = {
        "chebyshev_step": Unit("edge", edges, channels, limit),
        "chebyshev_vertices": Unit("edge", graph.num_edges),
    }
    return Work(name, lambda executor: executor.chebyshev(x, theta, [rows, col], values, None), units)


def laplacian_gradient(side: int, channels: int) -> Work:
    graph = se2(side)
    x, theta = signal(graph.num_vertices, channels), torch.randn(ORDERS, channels, channels)
    rows, col, values, _ = graph.laplacian_csr()
    units = {"chebyshev_edge_dots": Unit("edge", BATCH * graph.num_edges, channels * (ORDERS - 1))}
    return Work(
        f"SE(2) {side}x{side}x6, {channels} channels, gradient of the Laplacian",
        lambda executor: executor.chebyshev_backward(x, x, theta, [rows, col], values, False, False, False, True),
        units,
    )


def pooling(
    name: str, layer: torch.nn.Module, vertices: int, channels: int, dtype: torch.dtype = torch.float32
) -> Work:
    x, index, reduction = signal(vertices, channels, dtype), (layer.members, layer.rowptr, layer.entry), layer.reduction
    elements = BATCH * channels

    def run(executor: Simulator) -> None:
        y, winner = executor.gather_reduce(x, *index, None, reduction)
        executor.gather_reduce_backward(y, winner, *index, reduction)

    units = {
        "gather_reduce": Unit("output", elements * len(layer.members)),
        "gather_reduce_backward": Unit("input", elements * vertices),
    }
    return Work(f"{name}, {channels} channels, {str(dtype).removeprefix('torch.')}, {reduction}", run, units)


def normalisation(vertices: int, channels: int, dtype: torch.dtype) -> Work:
    x, residual, dy = (signal(vertices, channels, dtype) for _ in range(3))
    weight, bias = torch.rand(channels) + 0.5, torch.randn(channels)

    def run(executor: Simulator) -> None:
        _, mean, var, s = executor.batch_norm(x, residual, weight, bias, None, None, 1e-5, True)
        executor.batch_norm_backward(dy, s, weight, bias, mean, var, 1e-5, True, True)

    names = "norm_moments", "norm_statistics", "norm_apply", "norm_gradient_sums", "norm_parameter_gradients"
    units = dict.fromkeys((*names, "norm_gradient"), Unit("element", x.numel()))
    name = f"{vertices} vertices, {channels} channels, {str(dtype).removeprefix('torch.')}, residual and ReLU"
    return Work(name, run, units)


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
        lambda executor: executor.nearest_neighbors(graph.elements, sigmas, NEIGHBORS, group, tree=tree),
        units,
    )


def mutual(side: int) -> Work:
    graph = se2(side)
    found = ops.nearest_neighbors(graph.elements, graph.sigmas, NEIGHBORS, graph.group)
    slots = Unit("slot", graph.num_vertices * NEIGHBORS)
    return Work(
        f"SE(2) {side}x{side}x6, edges",
        lambda executor: executor.mutual_neighbors(*found, float("inf")),
        {"find_mutual": slots, "write_edges": slots},
    )


def works() -> Iterator[Work]:
    """The sizes of the paper's networks; of its convolutions the second stage of the MNIST network, whose graph has the
    same pattern as that of the first stage and a quarter of the vertices."""
    for channels in (16, 32, 64, 128):
        yield convolution(14, channels, torch.float32)
    yield convolution(14, 64, torch.bfloat16)
    yield laplacian_gradient(14, 32)
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


def measure(work: Work, simulator: Simulator) -> list[Row]:
    """Runs the work in the simulator: one row per kernel that has a unit."""
    simulator.reports, simulator.profile = [], True
    try:
        work.run(simulator)
    finally:
        simulator.profile = False
    rows = []
    for kernel, unit in work.units.items():
        reports = [report for name, report in simulator.reports if name == kernel]
        if not reports:
            continue
        total = {key: sum(report[key] for report in reports) for key in reports[0]}
        moved = total["load_bytes"] + total["store_bytes"]
        l2 = 32 * (total["load_sectors"] + total["store_sectors"])
        dram = total["unique_load"] + total["unique_store"]
        rows.append(
            Row(
                work=work.name,
                kernel=kernel,
                unit=unit.name,
                bytes_per_unit=total["load_bytes"] / unit.count,
                bytes_limit=unit.bytes_limit,
                coalescing=moved / l2,
                bank_ways=total["shared_ways"] / total["shared_phases"] if total["shared_phases"] else 1.0,
                active_lanes=total["lane_instructions"] / total["warp_instructions"],
                instructions_per_step=total["lane_instructions"] / (unit.count * unit.steps),
                dram_bytes=dram,
                dram_stored=total["unique_store"],
                l2_bytes=l2,
                dram_us=1e6 * dram / DRAM,
                l2_us=1e6 * l2 / L2,
                issue_us=1e6 * max(total["warp_instructions"] / ISSUED, total["shared_ways"] / SHARED),
                other_launches=len(simulator.reports) - len(reports),
                arithmetic_us=1e6 * (total["fp32"] / FP32 + total["fp64"] / FP64),
            )
        )
    return rows


def table(rows: list[Row]) -> str:
    lines = [
        "| work | kernel | loaded per unit (at most) | coalescing | bank ways | active lanes | instructions per step | "
        "unique MB | sectors MB | H100: bound | at least | not reached |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        limit = f" ({row.bytes_limit:.0f})" if row.bytes_limit else ""
        lines.append(
            f"| {row.work} | `{row.kernel}` | {row.bytes_per_unit:.1f} B / {row.unit}{limit} | {row.coalescing:.2f} | "
            f"{row.bank_ways:.2f} | {row.active_lanes:.1f} | {row.instructions_per_step:.1f} | "
            f"{row.dram_bytes / 1e6:.2f} | {row.l2_bytes / 1e6:.2f} | {row.bound} | {row.estimate_us:.1f} us | "
            f"{', '.join(row.shortfalls()) or '-'} |"
        )
    return "\n".join(lines)


def conclusions(rows: list[Row]) -> str:
    """What the figures say about two choices: no kernel that takes the last step of the recurrence and the product with
    Theta together, and a search of all pairs for few elements only."""
    lines = []
    for row in rows:
        if row.kernel == "chebyshev_step":
            saved = row.dram_stored / (ORDERS - 1) * 2  # T_{R-1}(L) x is neither written nor read again
            product = row.dram_stored / (ORDERS - 1) * (ORDERS + 1)  # all orders read, the result written
            share = saved / (row.l2_bytes + product)
            lines.append(f"- {row.work}: the product with Theta in the last step would save {share:.1%} of the bytes.")
    pairs = {row.work.split(", ")[0]: row for row in rows if row.kernel == "nearest_of_all"}
    for row in rows:
        all_pairs = pairs.get(row.work.split(", ")[0])
        if row.kernel == "nearest_in_tree" and all_pairs is not None:
            more = row.other_launches - all_pairs.other_launches
            lines.append(
                f"- {row.work.split(', ')[0]}: all pairs take {all_pairs.estimate_us:.1f} us, the tree "
                f"{row.estimate_us:.1f} us, {more} launches more and a sort."
            )
    return "\n".join(lines)


def as_records(rows: list[Row]) -> list[dict[str, object]]:
    return [{**asdict(row), "bound": row.bound, "estimate_us": row.estimate_us} for row in rows]
