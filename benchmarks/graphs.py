"""Graph construction: the paper's size against the paper's way and pykeops, and how time grows to a million vertices."""

from collections.abc import Callable

import torch

from cheblienet import ops
from cheblienet.graphs import GEGraph, R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.groups import SE2, sample

from .baselines import keops_neighbors, reference_edges
from .registry import OURS, REFERENCE, Benchmark, Contender

NEIGHBORS = 16
KEOPS, TREE = "pykeops", "search tree"


def r2(n: int, device: str) -> R2GEGraph:
    return R2GEGraph((n, n), (1.0, 1.0, 1.0), NEIGHBORS, device=device)


def s2(level: int, device: str) -> S2GEGraph:
    return S2GEGraph((10 * 4**level + 2,), (1.0, 1.0, 1.0), NEIGHBORS, device=device)


def se2_random(vertices: int, device: str) -> GEGraph:
    """As dense as the grid of so many vertices, but without its symmetry."""
    elements = sample(SE2, "random", vertices, generator=torch.Generator().manual_seed(0))
    return GEGraph.from_elements(SE2, elements.to(device), (1.0, 0.1, 2.048 * 6 / vertices), NEIGHBORS)


def se2(n: int, device: str = "cpu") -> SE2GEGraph:
    return SE2GEGraph((n, n, 6), (1.0, 0.1, 2.048 / n**2), NEIGHBORS, device=device)


def so3(level: int, device: str = "cpu") -> SO3GEGraph:
    vertices = 10 * 4**level + 2
    return SO3GEGraph((vertices, 6), (1.0, 0.1, 10.0 / vertices), NEIGHBORS, frames="coordinate", device=device)


def against_reference(device: str) -> Benchmark:
    def reference() -> Contender:
        graph = se2(28)
        return Contender(lambda: reference_edges(graph))

    contenders = {OURS: lambda: Contender(lambda: se2(28, device)), REFERENCE: reference}
    return Benchmark("graph, SE(2) 28x28x6", contenders, goals=on_cpu(device, {REFERENCE: 1000.0}), device=device)


def on_cpu(device: str, goals: dict[str, float]) -> dict[str, float]:
    return goals if device == "cpu" else {}


def against_keops(device: str) -> Benchmark:
    """The neighbours alone, which is what pykeops finds.

    In another order the same elements are no grid to the library, which then finds their neighbours by its search tree,
    as it does those of random samples and on the sphere.
    """
    graph = se2(48)
    elements = graph.elements.to(device)

    def keops() -> Contender:
        return Contender(keops_neighbors(elements, graph.sigmas, NEIGHBORS))

    def ours() -> Contender:
        return Contender(lambda: ops.nearest_neighbors(elements, graph.sigmas, NEIGHBORS, SE2))

    def tree() -> Contender:
        shuffled = elements[torch.randperm(graph.num_vertices)]
        return Contender(lambda: ops.nearest_neighbors(shuffled, graph.sigmas, NEIGHBORS, SE2))

    contenders = {OURS: ours, TREE: tree, KEOPS: keops}
    return Benchmark("neighbours, SE(2) 48x48x6", contenders, goals=on_cpu(device, {KEOPS: 50.0}), device=device)


def growth(family: str, build: Callable[[int, str], GEGraph], sizes: dict[int, int], device: str) -> list[Benchmark]:
    """From elements to the Laplacian as the operators take it; `sizes` tells the vertices for each argument of `build`."""
    return [
        Benchmark(
            f"graph, {family}, {vertices:,} vertices",
            {OURS: lambda size=size: Contender(lambda: build(size, device).laplacian_csr(device))},
            family=family if device == "cpu" else f"{family}, {device}",
            vertices=vertices,
            device=device,
        )
        for size, vertices in sizes.items()
    ]


def benchmarks(device: str) -> list[Benchmark]:
    return [
        against_reference(device),
        against_keops(device),
        *growth("R2 grid", r2, {n: n**2 for n in (70, 320, 1000)}, device),
        *growth("SE(2) grid", se2, {n: 6 * n**2 for n in (28, 96, 204, 408)}, device),
        *growth("SE(2) random", se2_random, {n: n for n in (5_000, 70_000, 1_000_000)}, device),
        *growth("S2 icosphere", s2, {level: 10 * 4**level + 2 for level in (4, 6, 8)}, device),
        *growth("SO(3) icosphere", so3, {level: 6 * (10 * 4**level + 2) for level in (3, 5, 6, 7)}, device),
    ]
