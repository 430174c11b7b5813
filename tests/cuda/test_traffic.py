"""What the kernels ask of memory, on graphs smaller than the paper's with the same pattern of access."""

import pytest
import torch

from benchmarks.cuda import traffic
from cheblienet.nn import SE2SpatialPool

WORKS = {
    "8 channels": lambda: traffic.convolution(8, 8, torch.float32),
    "32 channels": lambda: traffic.convolution(8, 32, torch.float32),
    "64 channels, bfloat16": lambda: traffic.convolution(8, 64, torch.bfloat16),
    "pooling": lambda: traffic.pooling("SE(2) 8x8x6 to 4x4x6", SE2SpatialPool(2, (8, 8, 6), "max"), 384, 32),
    "normalisation": lambda: traffic.normalisation(300, 32, torch.float32),
    "tree": lambda: traffic.neighbours("SE(2) 8x8x6", traffic.se2(8), "se2", tree=True),
    "all pairs": lambda: traffic.neighbours("SE(2) 8x8x6", traffic.se2(8), "se2", tree=False),
}

# Fetches the vertex of every edge once per call, for the steps to find it at hand.
SCATTERED = {"chebyshev_vertices"}


@pytest.mark.parametrize("name", WORKS)
def test_reaches(sm_90, name):
    work = WORKS[name]()
    rows = traffic.measure(work, sm_90)
    assert {row.kernel for row in rows} <= set(work.units)
    assert rows
    for row in rows:
        expected = ["coalescing"] if row.kernel in SCATTERED else []
        assert row.shortfalls() == expected, row
