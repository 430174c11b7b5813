"""A bound of what a convolution spends on checks of its operands on the CPU: `python -m benchmarks.checks`.

Without samples there is no arithmetic: the same call with B = 0 checks, is dispatched, and sets its memory up. One
thread, SE(2) 28x28x6 of 16 neighbours, 16 to 32 channels.
"""

import time

import torch

from cheblienet.ops import Csr

from .chebyshev import GRAPHS

GRAPH, CIN, COUT, ORDERS, CALLS, ROUNDS = "SE(2) 28x28x6", 16, 32, 4, 50, 15


def nanoseconds(laplacian: Csr, batch: int) -> int:
    """Per call of the operator: the least of so many rounds of calls, for others disturb the rest."""
    x, weight = torch.randn(batch, len(laplacian.rows), CIN), torch.randn(ORDERS, CIN, COUT)
    operands = (x, weight, laplacian.rows, laplacian.col, laplacian.values, None)
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter_ns()
        for _ in range(CALLS):
            torch.ops.cheblienet.chebyshev(*operands)
        times.append((time.perf_counter_ns() - begin) // CALLS)
    return min(times)


def main() -> None:
    torch.set_num_threads(1)
    laplacian = GRAPHS[GRAPH]().laplacian_csr()
    checks = nanoseconds(laplacian, 0)
    print(f"{GRAPH}, E = {len(laplacian.col)}, {CIN} to {COUT} channels, R = {ORDERS}: B = 0: {checks} ns a call")
    for batch in (1, 16):
        whole = nanoseconds(laplacian, batch)
        print(f"B = {batch}: {whole} ns a call, of which checks at most {100 * checks / whole:.2f} %")


if __name__ == "__main__":
    main()
