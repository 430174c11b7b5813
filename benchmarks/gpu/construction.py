"""Graphs, from elements to edges, on the device and on the CPU: times, and whether both have the same bits."""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cheblienet.graphs import GEGraph

from ..graphs import se2, so3
from .timing import Rows, synchronize

GRAPHS: dict[str, Callable[[str], GEGraph]] = {
    "SE(2) 28x28x6": lambda device: se2(28, device),
    "SE(2) 96x96x6": lambda device: se2(96, device),
    "SO(3) level 5 x 6": lambda device: so3(5, device),
    "SE(2) 408x408x6": lambda device: se2(408, device),
    "SO(3) level 7 x 6": lambda device: so3(7, device),
}


def seconds(build: Callable[[], object], device: str) -> float:
    times = []
    for _ in range(4):
        synchronize(device)
        start = time.perf_counter()
        build()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measure(rows: Rows, device: str, graphs: dict[str, Callable[[str], GEGraph]] = GRAPHS) -> None:
    for name, build in graphs.items():

        def one(build: Callable[[str], GEGraph] = build) -> dict[str, Any]:
            found, expected = build(device), build("cpu")
            same = torch.equal(found.edge_index.cpu(), expected.edge_index) and torch.equal(
                found.edge_sqdist.cpu(), expected.edge_sqdist
            )
            return {
                "vertices": found.num_vertices,
                "edges": found.num_edges,
                "same_bits": same,
                "cpu_s": seconds(lambda: build("cpu"), "cpu"),
                "device_s": seconds(lambda: build(device), device),
                **({} if same else {"error": "edges or distances differ from the CPU's"}),
            }

        rows.add({"graph": name}, one)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.construction", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the file of rows, JSON")
    rows = Rows(parser.parse_args().out)
    measure(rows, "cuda")
    rows.close()


if __name__ == "__main__":
    main()
