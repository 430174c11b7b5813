"""Launches of signals with more than 2^31 elements: no block is missing, none beyond what a grid can have."""

import numpy as np
import pytest

from benchmarks.cuda import chebyshev_probe

GRID_X, GRID_Y = 2**31 - 1, 65535


@pytest.mark.parametrize(
    ("vertices", "batch", "channels"), [(2**24, 64, 64), (2**30, 3, 5), (3, 2**31, 1), (1, 1, 2**20)]
)
def test_pooling(sm_90, vertices, batch, channels):
    sizes = np.int64(vertices), np.int64(batch), np.int64(channels), np.int32(4), np.uint64(0)
    pack, grid, samples, block = sm_90.geometry("gather_reduce", np.zeros(4, np.int32), *sizes)
    assert (grid - 1) * block < vertices * channels // pack <= grid * block
    assert grid <= GRID_X
    assert 1 <= samples <= min(batch, GRID_Y)


@pytest.mark.parametrize(("rows", "channels"), [(2**33, 64), (2**40, 1), (1, 2**20), (5, 2**16 + 4), (2**20, 20)])
@pytest.mark.parametrize("size", [8, 4, 2])
def test_normalisation(sm_90, rows, channels, size):
    shape = np.zeros(48, np.uint8)
    sizes = np.int64(rows), np.int64(channels), np.int32(size), np.uint64(0)
    pack, block, tiles, parts = sm_90.geometry("batch_norm", np.zeros(4, np.int32), *sizes, shape)
    _, columns, height, _, _, extra, last, missing = shape[16:48].view(np.int32).tolist()
    total, least = shape[:16].view(np.int64).tolist()
    assert total == rows
    assert columns * height <= block
    assert (tiles - 1) * columns * pack < channels <= tiles * columns * pack
    assert tiles <= GRID_X
    assert 1 <= parts <= min(rows, GRID_Y)
    of_parts = [least + height * (part < extra) - missing * (part == last) for part in range(parts)]
    assert sum(of_parts) == rows
    assert min(of_parts) > 0


@pytest.mark.parametrize(
    ("vertices", "samples", "channels"),
    [(4704, 16, 64), (2**20, 16, 512), (2**26, 64, 256), (2**31 - 1, 1, 4), (1, 1, 1)],
)
def test_steps_of_the_recurrence(vertices, samples, channels):
    launches = chebyshev_probe.step_launches(vertices, samples, channels, 4)
    done = 0
    for first, rows, blocks in launches:
        assert first == done
        assert blocks * 256 <= 2**31 + 256  # a thread's number has 32 bits, with room to spare
        done += rows
    assert done == vertices


@pytest.mark.parametrize(
    ("rows", "tiles", "orders", "expected"),
    [
        (1.0, 0.9, 0.8, "orders"),
        (1.0, 0.9, 0.89, "tiles"),  # nearly a tie: the simpler one
        (1.0, 0.98, 1.2, "rows"),
        (1.0, 2.0, 0.5, "orders"),
    ],
)
def test_the_fastest_steps_are_chosen_by_medians(rows, tiles, orders, expected):
    """Of runs after the first one, three of which are disturbed."""
    disturbed = [9.0, 0.01, 50.0, 0.01]
    times = [[*disturbed, *[time] * 4] for time in (rows, tiles, orders)]
    assert chebyshev_probe.fastest(times) == expected
