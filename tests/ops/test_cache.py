"""Memory of results: used again when it is free, never before, and given back on demand."""

import io
import threading
from pathlib import Path

import pytest
import torch

from cheblienet import ops

SHAPE = (2, 5003, 64)  # of no other test


def result(value, shape=SHAPE):
    """A result of an operator in which all elements are `value`."""
    channels = shape[2]
    zeros, ones = torch.zeros(channels), torch.ones(channels)
    return ops.batch_norm(torch.full(shape, float(value)), ones, zeros, zeros, ones, eps=0.0)[0]


def test_memory_is_used_again_and_only_when_it_is_free():
    first = result(1)
    kept, where = first[1, 10:20], first.data_ptr()
    del first
    second = result(2)  # `kept` still holds the memory of the first
    assert second.data_ptr() != where
    assert (kept == 1).all()
    del kept
    third = result(3)
    assert third.data_ptr() == where
    assert (second == 2).all()
    assert (third == 3).all()


def test_threads_do_not_share_memory():
    wrong = []

    def work(value):
        for _ in range(20):
            y = result(value)
            if not (y == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def resident():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell resident memory")
def test_empty_cache_gives_memory_back_and_leaves_what_is_alive():
    ops.empty_cache()
    alive = result(5)
    shape = (1, 400_003, 64)
    size = 400_003 * 64 * 4
    result(1, shape)
    before = resident()
    ops.empty_cache()
    assert before - resident() > 0.9 * size
    assert (alive == 5).all()
    assert (result(7) == 7).all()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell resident memory")
def test_no_more_than_a_gibibyte_is_kept():
    ops.empty_cache()
    start = resident()
    for extra in range(8):  # eight sizes, 250 MB each
        result(1, (1, 1_000_000 + extra, 62))
    assert resident() - start < 1.1 * 2**30
    ops.empty_cache()


def test_results_are_ordinary_tensors():
    y = result(4)
    file = io.BytesIO()
    torch.save(y, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=True), y)
    z = y.clone().share_memory_()
    assert torch.equal(y.share_memory_(), z)
    assert y.add_(1).untyped_storage().nbytes() == y.numel() * 4
