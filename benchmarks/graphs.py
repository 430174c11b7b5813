"""Graph construction: the paper's size against the paper's way, and how time grows up to a million vertices."""

from collections.abc import Callable

from cheblienet.graphs import Graph, SE2GEGraph, SO3GEGraph

from .baselines import reference_edges
from .registry import OURS, REFERENCE, Benchmark, Contender

NEIGHBORS = 16


def se2(n: int) -> Graph:
    return SE2GEGraph((n, n, 6), (1.0, 0.1, 2.048 / n**2), NEIGHBORS)


def so3(level: int) -> Graph:
    vertices = 10 * 4**level + 2
    return SO3GEGraph((vertices, 6), (1.0, 0.1, 10.0 / vertices), NEIGHBORS)


def construction(name: str, build: Callable[[], Graph]) -> Benchmark:
    return Benchmark(f"graph, {name}", {OURS: lambda: Contender(build)})


def against_reference() -> Benchmark:
    def reference() -> Contender:
        graph = se2(28)
        return Contender(lambda: reference_edges(graph))

    contenders = {OURS: lambda: Contender(lambda: se2(28)), REFERENCE: reference}
    return Benchmark("graph, SE(2) 28x28x6", contenders, goals={REFERENCE: 1000.0})


def benchmarks() -> list[Benchmark]:
    return [
        against_reference(),
        *(construction(f"SE(2) {n}x{n}x6", lambda n=n: se2(n)) for n in (96, 204, 408)),
        *(construction(f"SO(3) level {level} x 6", lambda level=level: so3(level)) for level in (3, 5, 6, 7)),
    ]
