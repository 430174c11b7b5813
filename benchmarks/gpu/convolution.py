"""The convolution at the paper's size, forward and backward, eager and captured: ours or the others."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cheblienet.graphs import Graph, SE2GEGraph
from cheblienet.nn import ChebConv

from ..baselines import CsrChebConv, EllChebConv, GeometricChebConv, ReferenceChebConv
from ..chebyshev import ORDERS, differentiated
from .timing import PRECISIONS, Rows, eager_and_captured, precision

WIDTHS = ((16, 32), (32, 32), (64, 64), (128, 128))
BATCH = 16
# How each wants the signal of (B, V, C) to be permuted.
OTHERS: dict[str, tuple[Callable[[ChebConv], nn.Module], tuple[int, int, int]]] = {
    "reference": (ReferenceChebConv, (0, 2, 1)),
    "cuSPARSE": (CsrChebConv, (1, 0, 2)),
    "compiled ELL": (EllChebConv, (0, 1, 2)),
    "PyG": (GeometricChebConv, (0, 1, 2)),
}


def graph_of(side: int) -> Graph:
    return SE2GEGraph((side, side, 6), (1.0, 0.1, 2.048 / side**2), 16)


def steps_chosen() -> list[str]:
    """The implementation of the recurrence's steps that this process is to take, if it is to take one."""
    return [name for name in [os.environ.get("CHEBLIENET_STEPS")] if name]


def measure(
    rows: Rows,
    who: str,
    device: str,
    side: int = 28,
    widths: tuple[tuple[int, int], ...] = WIDTHS,
    batch: int = BATCH,
    budget: float = 0.15,
) -> None:
    """A row for each width, precision and contender."""
    graph = graph_of(side)
    contenders = {"cheblienet": (lambda layer: layer, (0, 2, 1))} if who == "ours" else OTHERS
    for cin, cout in widths:
        for name in PRECISIONS:
            for contender, (build, layout) in contenders.items():
                facts = {"convolution": f"{cin}->{cout}", "precision": name, "contender": contender}
                if who == "ours":
                    facts["contender"] = " ".join([contender, *steps_chosen()])

                def one(
                    build: Callable[[ChebConv], nn.Module] = build,
                    layout: tuple[int, int, int] = layout,
                    name: str = name,
                    cin: int = cin,
                    cout: int = cout,
                ) -> dict[str, Any]:
                    with precision(name) as dtype:
                        torch.manual_seed(0)
                        layer = ChebConv(cin, cout, ORDERS, graph).to(device, dtype)

                        def signal(width: int) -> Tensor:
                            x = torch.randn(batch, graph.num_vertices, width, device=device).to(dtype).permute(layout)
                            return x if who == "ours" else x.contiguous()

                        step = differentiated(build(layer), signal(cin), signal(cout)).step
                        return eager_and_captured(step, device, budget)

                rows.add(facts, one)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.convolution", description=__doc__)
    parser.add_argument("who", choices=["ours", "others"])
    parser.add_argument("--out", type=Path, required=True, help="the file of rows, JSON")
    args = parser.parse_args()
    rows = Rows(args.out)
    measure(rows, args.who, "cuda")
    if args.who == "ours":  # that others cannot do everything is no failure
        rows.close()


if __name__ == "__main__":
    main()
