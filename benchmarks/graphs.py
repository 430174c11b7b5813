"""Graph construction: the paper's size against the paper's way and pykeops, and how time grows to a million vertices."""

from collections.abc import Callable

from cheblienet import ops
from cheblienet.graphs import SE2GEGraph, SO3GEGraph
from cheblienet.graphs.manifold import GEGraph
from cheblienet.groups import SE2

from .baselines import keops_neighbors, reference_edges
from .registry import OURS, REFERENCE, Benchmark, Contender

NEIGHBORS = 16
KEOPS = "pykeops"


def se2(n: int, device: str = "cpu") -> SE2GEGraph:
    return SE2GEGraph((n, n, 6), (1.0, 0.1, 2.048 / n**2), NEIGHBORS, device=device)


def so3(level: int, device: str = "cpu") -> SO3GEGraph:
    vertices = 10 * 4**level + 2
    return SO3GEGraph((vertices, 6), (1.0, 0.1, 10.0 / vertices), NEIGHBORS, device=device)


def against_reference(device: str) -> Benchmark:
    def reference() -> Contender:
        graph = se2(28)
        return Contender(lambda: reference_edges(graph))

    contenders = {OURS: lambda: Contender(lambda: se2(28, device)), REFERENCE: reference}
    return Benchmark("graph, SE(2) 28x28x6", contenders, goals=on_cpu(device, {REFERENCE: 1000.0}), device=device)


def on_cpu(device: str, goals: dict[str, float]) -> dict[str, float]:
    return goals if device == "cpu" else {}


def against_keops(device: str) -> Benchmark:
    """The neighbours alone, which is what pykeops finds."""
    graph = se2(48)
    elements = graph.elements.to(device)

    def keops() -> Contender:
        return Contender(keops_neighbors(elements, graph.sigmas, NEIGHBORS))

    def ours() -> Contender:
        return Contender(lambda: ops.nearest_neighbors(elements, graph.sigmas, NEIGHBORS, SE2))

    contenders = {OURS: ours, KEOPS: keops}
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
        *growth("SE(2) grid", se2, {n: 6 * n**2 for n in (28, 96, 204, 408)}, device),
        *growth("SO(3) icosphere", so3, {level: 6 * (10 * 4**level + 2) for level in (3, 5, 6, 7)}, device),
    ]
