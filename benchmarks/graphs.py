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


def se2(n: int) -> SE2GEGraph:
    return SE2GEGraph((n, n, 6), (1.0, 0.1, 2.048 / n**2), NEIGHBORS)


def so3(level: int) -> SO3GEGraph:
    vertices = 10 * 4**level + 2
    return SO3GEGraph((vertices, 6), (1.0, 0.1, 10.0 / vertices), NEIGHBORS)


def against_reference() -> Benchmark:
    def reference() -> Contender:
        graph = se2(28)
        return Contender(lambda: reference_edges(graph))

    contenders = {OURS: lambda: Contender(lambda: se2(28)), REFERENCE: reference}
    return Benchmark("graph, SE(2) 28x28x6", contenders, goals={REFERENCE: 1000.0})


def against_keops() -> Benchmark:
    """The neighbours alone, which is what pykeops finds."""
    graph = se2(48)

    def keops() -> Contender:
        return Contender(keops_neighbors(graph.elements, graph.sigmas, NEIGHBORS))

    def ours() -> Contender:
        return Contender(lambda: ops.nearest_neighbors(graph.elements, graph.sigmas, NEIGHBORS, SE2))

    return Benchmark("neighbours, SE(2) 48x48x6", {OURS: ours, KEOPS: keops}, goals={KEOPS: 50.0})


def growth(family: str, build: Callable[[int], GEGraph], sizes: dict[int, int]) -> list[Benchmark]:
    """From elements to the Laplacian as the operators take it; `sizes` tells the vertices for each argument of `build`."""
    return [
        Benchmark(
            f"graph, {family}, {vertices:,} vertices",
            {OURS: lambda size=size: Contender(lambda: build(size).laplacian_csr())},
            family=family,
            vertices=vertices,
        )
        for size, vertices in sizes.items()
    ]


def benchmarks() -> list[Benchmark]:
    return [
        against_reference(),
        against_keops(),
        *growth("SE(2) grid", se2, {n: 6 * n**2 for n in (28, 96, 204, 408)}),
        *growth("SO(3) icosphere", so3, {level: 6 * (10 * 4**level + 2) for level in (3, 5, 6, 7)}),
    ]
