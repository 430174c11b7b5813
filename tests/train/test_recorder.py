"""What a CUDA recording that fails leaves behind, on imitations of torch's parts that behave as its sources do."""

from contextlib import contextmanager

import pytest
import torch

from cheblienet.train.recorder import CudaRecorder


class Cuda:
    """Streams, graphs, the allocator and the generator of one device."""

    def __init__(self):
        self.log, self.current, self.allocating, self.broken = [], "main", False, False
        self.offset, self.capturing = 8, False

    class Stream:
        def __init__(self, device):
            self.device = device

        def wait_stream(self, other):
            pass

    @contextmanager
    def stream(self, stream):
        former, self.current = self.current, "side"
        try:
            yield
        finally:
            self.current = former

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        assert (pool, self.current, capture_error_mode) == ("pool", "side", "thread_local")
        self.allocating = self.capturing = True
        try:
            yield
        finally:
            if self.broken:  # without ending anything
                self.current = "side, for ever"
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
            self.allocating = self.capturing = False

    def end_allocation(self, index, pool):
        if not self.allocating:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.allocating = False
        self.log.append("ended")

    def rand(self, count, device):
        if self.capturing:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")
        self.offset += 4

    def get_state(self):
        return self.offset

    def set_state(self, offset):
        self.offset = offset

    def clone_state(self):
        return "not capturing"

    def graphsafe_set_state(self, state):
        self.capturing = state != "not capturing"
        self.log.append("generator")


@pytest.fixture
def cuda(monkeypatch):
    cuda = Cuda()

    class Graph:
        def reset(self):
            cuda.log.append("reset")

    parts = {
        "Stream": Cuda.Stream,
        "stream": cuda.stream,
        "graph": cuda.graph,
        "CUDAGraph": Graph,
        "graph_pool_handle": lambda: "pool",
        "default_generators": (cuda,),
    }
    for name, part in parts.items():
        monkeypatch.setattr(torch.cuda, name, part)
    monkeypatch.setattr(torch, "rand", cuda.rand)
    release = lambda index, pool: cuda.log.append("released")  # noqa: E731
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", cuda.end_allocation, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", release, raising=False)
    return cuda


@pytest.mark.parametrize(
    ("broken", "error", "log"),
    [
        (False, None, []),
        (False, "too little memory", ["reset"]),
        (True, "CUDA error: operation failed", ["ended", "released", "reset", "generator"]),
    ],
)
def test_everything_is_as_it_was(cuda, broken, error, log):
    recorder = CudaRecorder(torch.device("cuda", 0))
    cuda.broken = broken
    if error is None:
        with recorder.record():
            assert cuda.current == "side"
    else:
        with pytest.raises(RuntimeError, match=error), recorder.record():
            raise RuntimeError("too little memory")
    assert cuda.log == log
    assert (cuda.current, cuda.allocating, cuda.capturing, cuda.offset) == ("main", False, False, 8)
