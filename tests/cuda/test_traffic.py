"""What the kernels ask of memory, on graphs smaller than the paper's with the same pattern of access."""

from dataclasses import replace

import pytest
import torch

from benchmarks.cuda import traffic, works
from cheblienet.nn import SE2SpatialPool

WORKS = {
    "8 channels": lambda: works.convolution(8, 8, torch.float32, "rows"),
    "32 channels": lambda: works.convolution(8, 32, torch.float32, "rows"),
    "64 channels, bfloat16": lambda: works.convolution(8, 64, torch.bfloat16, "rows"),
    "32 channels, tiles": lambda: works.convolution(8, 32, torch.float32, "orders"),
    "64 channels, bfloat16, tiles": lambda: works.convolution(8, 64, torch.bfloat16, "orders"),
    "pooling": lambda: works.pooling("SE(2) 8x8x6 to 4x4x6", SE2SpatialPool(2, (8, 8, 6), "max"), 384, 32),
    "normalisation": lambda: works.normalisation(300, 32, torch.float32),
    "tree": lambda: works.neighbours("SE(2) 8x8x6", works.se2(8), "se2", tree=True),
    "all pairs": lambda: works.neighbours("SE(2) 8x8x6", works.se2(8), "se2", tree=False),
}


@pytest.mark.parametrize("name", WORKS)
def test_reaches(sm_90, name):
    work = WORKS[name]()
    rows = traffic.measure(work, sm_90)
    assert {row.kernel for row in rows} <= set(work.units)
    assert rows
    for row in rows:
        assert row.shortfalls() == [], row


def test_counts_of_some_samples_are_those_of_all(sm_90):
    work = works.convolution(8, 64, torch.float32, "rows")
    assert work.samples < works.BATCH
    (some,), (whole,) = traffic.measure(work, sm_90), traffic.measure(replace(work, samples=works.BATCH), sm_90)
    # But for the matrix, which all samples read from beyond L2 once.
    assert some.counts.distant == pytest.approx(whole.counts.distant, rel=0.05)
    assert replace(some.counts, distant=0) == replace(whole.counts, distant=0)
