"""A bound of what a convolution spends on checks of its operands on the CPU: `python -m benchmarks.checks`.

Without samples there is no arithmetic: the same call with B = 0 checks, is dispatched, and sets its memory up. One
thread, SE(2) 28x28x6 of 16 neighbours, 16 to 32 channels. Times are the least of many rounds; where valgrind is installed,
callgrind counts instructions too, which other programs do not disturb. It runs what a processor without AVX-512 would.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.benchmark import Timer

from .chebyshev import GRAPHS

GRAPH, CIN, COUT, ORDERS, CALLS, ROUNDS = "SE(2) 28x28x6", 16, 32, 4, 50, 15
CALL = "torch.ops.cheblienet.chebyshev(x, weight, rows, col, values, None)"
Operands = dict[str, torch.Tensor]


def nanoseconds(operands: Operands) -> float:
    """Per call of the operator: the least of so many rounds of calls, for others disturb the rest."""
    call = compile(CALL, "call", "eval")
    names = {"torch": torch, **operands}
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter_ns()
        for _ in range(CALLS):
            eval(call, names)
        times.append((time.perf_counter_ns() - begin) / CALLS)
    return min(times)


def instructions(operands: Operands) -> float:
    """Per call of the operator, as callgrind counts them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "operands.pt")
        torch.save(operands, path)
        setup = (
            f"import torch, cheblienet; {', '.join(operands)} = torch.load({str(path)!r}, weights_only=True).values()"
        )
        counted = Timer(CALL, setup, num_threads=1).collect_callgrind(number=5, collect_baseline=False)
    return counted.counts() / 5


def main() -> None:
    torch.set_num_threads(1)
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"]]
    )  # the Timer runs "python"
    laplacian = GRAPHS[GRAPH]().laplacian_csr()
    pattern = {"rows": laplacian.rows, "col": laplacian.col, "values": laplacian.values}
    print(f"{GRAPH}, E = {len(laplacian.col)}, {CIN} to {COUT} channels, R = {ORDERS}")
    measures = {"ns": nanoseconds, "instructions": instructions}
    if shutil.which("valgrind") is None:
        del measures["instructions"]
        print("instructions are not counted: there is no valgrind")
    for unit, measure in measures.items():
        counts = {}
        for batch in (0, 1, 16):
            signal = {"x": torch.randn(batch, len(laplacian.rows), CIN), "weight": torch.randn(ORDERS, CIN, COUT)}
            counts[batch] = measure(signal | pattern)
        print(f"B = 0: {counts[0]:.0f} {unit} a call")
        for batch in (1, 16):
            share = 100 * counts[0] / counts[batch]
            print(f"B = {batch}: {counts[batch]:.0f} {unit} a call, of which checks at most {share:.2f} %")


if __name__ == "__main__":
    main()
