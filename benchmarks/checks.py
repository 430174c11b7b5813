"""What a convolution spends on checks of its operands on the CPU: `python -m benchmarks.checks`.

One thread, SE(2) 28x28x6 of 16 neighbours, 16 to 32 channels. Time has a bound: a call without samples does no arithmetic,
but checks, is dispatched, and sets its memory up. Times are the least of many rounds. Where valgrind is installed, callgrind
counts the instructions of a call and of the functions that check, undisturbed by other programs, on a processor without
AVX-512.
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
CHECKS = ("checked_chebyshev(", "Pattern::Pattern(")  # see csrc/chebyshev_operands.h, csrc/cpu/pattern.cpp
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


def instructions(operands: Operands) -> tuple[float, float]:
    """Per call of the operator, as callgrind counts them: all, and those of the checks with what they call."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "operands.pt")
        torch.save(operands, path)
        load = f"torch.load({str(path)!r}, weights_only=True).values()"
        timer = Timer(CALL, f"import torch, cheblienet; {', '.join(operands)} = {load}", num_threads=1)
        counted = timer.collect_callgrind(number=5, collect_baseline=False)
    parts = counted.stats(inclusive=True)
    # A function has a line for each file that it is of; the largest includes the others.
    checks = sum(max(part.count for part in parts if name in part.function) for name in CHECKS)
    return counted.counts() / 5, checks / 5


def main() -> None:
    torch.set_num_threads(1)
    laplacian = GRAPHS[GRAPH]().laplacian_csr()
    pattern = {"rows": laplacian.rows, "col": laplacian.col, "values": laplacian.values}
    weight = torch.randn(ORDERS, CIN, COUT)
    signals = {batch: torch.randn(batch, len(laplacian.rows), CIN) for batch in (0, 1, 16)}
    calls = {batch: {"x": x, "weight": weight, **pattern} for batch, x in signals.items()}
    print(f"{GRAPH}, E = {len(laplacian.col)}, {CIN} to {COUT} channels, R = {ORDERS}")
    times = {batch: nanoseconds(operands) for batch, operands in calls.items()}
    print(f"B = 0: {times[0]:.0f} ns a call")
    for batch in (1, 16):
        share = 100 * times[0] / times[batch]
        print(f"B = {batch}: {times[batch]:.0f} ns a call, of which checks at most {share:.2f} %")
    if shutil.which("valgrind") is None:
        print("instructions are not counted: there is no valgrind")
        return
    # The Timer runs "python".
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    whole, checks = instructions(calls[1])
    print(f"B = 1: {whole:.0f} instructions a call, of which checks {checks:.0f}, {100 * checks / whole:.2f} %")


if __name__ == "__main__":
    main()
