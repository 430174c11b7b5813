"""What it asks of a GPU and of its link to build a graph, from elements to the Laplacian as the operators take it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tqdm import tqdm

from cheblienet.graphs import GEGraph
from cheblienet.graphs.order import spatial_order
from cheblienet.ops.csr import csr_from_rows, with_tiles

from .. import graphs
from .stand_in import DEVICE, Counts, counted

# Of an H200, measured: copies in its memory, and a launch. Of a wait and of the link to the host: what is usual.
MEMORY, LAUNCH, WAIT, LINK = 4.25e12, 2.5e-6, 10e-6, 25e9


@dataclass
class Work:
    """A graph, and the seconds that the search for its neighbours took on an H200, measured."""

    name: str
    build: Callable[[int, str], GEGraph]
    size: int
    search: float


def works() -> Iterator[Work]:
    yield Work("SE(2) 28x28x6", graphs.se2, 28, 0.4e-3)
    yield Work("SE(2) 96x96x6", graphs.se2, 96, 1.3e-3)
    yield Work("SE(2) 408x408x6", graphs.se2, 408, 15.6e-3)
    yield Work("SO(3) 10242x6", graphs.so3, 5, 1.8e-3)
    yield Work("SO(3) 163842x6", graphs.so3, 7, 18.4e-3)


def count(build: Callable[[int, str], GEGraph], size: int) -> Counts:
    with counted() as counts:
        build(size, str(DEVICE)).laplacian_csr(DEVICE)
    return counts


def predicted(counts: Counts, search: float) -> float:
    """Seconds, if nothing overlaps, beside what the CPU takes: the search as measured, the counts at the rates above."""
    link = sum(counts.copies["to"]) + sum(counts.copies["from"])
    return search + counts.launches * LAUNCH + counts.moved / MEMORY + counts.waits * WAIT + link / LINK


def table() -> str:
    lines = [
        "| graph | launches | moved on the GPU | waits | copied to it | copied from it | on the CPU | search | all |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for work in tqdm(list(works()), desc="construction", unit="graph"):
        counts = count(work.build, work.size)
        on_link = [f"{sum(counts.copies[way]) / 1e3:,.1f} kB" for way in ("to", "from")]
        seconds = predicted(counts, work.search)
        lines.append(
            f"| {work.name} | {counts.launches} | {counts.moved / 1e6:,.0f} MB | {counts.waits} | {' | '.join(on_link)} "
            f"| {counts.on_host / 1e6:,.1f} MB | {1e3 * work.search:.1f} ms | {1e3 * seconds:.1f} ms |"
        )
    return "\n".join(lines)


def seconds_of_tables(size: int) -> tuple[int, float]:
    """The vertices of SE(2), size x size x 6, and what this CPU takes for the tables of tiles of a layer there."""
    graph = graphs.se2(size, "cpu")
    order = spatial_order(graph.group, graph.elements, graph.size)
    rowptr, col, values = graph._laplacian_rows(True, None)
    matrix = csr_from_rows(rowptr, col, values, order, for_gpu=True)
    start = time.perf_counter()
    with_tiles(matrix)
    return graph.num_vertices, time.perf_counter() - start


if __name__ == "__main__":
    print(table())
    for size in (28, 96, 408):
        vertices, seconds = seconds_of_tables(size)
        print(f"tables of tiles, {vertices:,} vertices: {seconds:.2f} s on this CPU")
