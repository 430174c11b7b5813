"""CUDA graphs as `TrainingStep` needs them: all that it knows of a device's graphs goes through one small class."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch


class Recording(Protocol):
    """What was recorded. Its tensors stay where they are; `replay` computes them anew."""

    def replay(self) -> None: ...


# The allocator of pinned memory goes on asking graphs whose recording could not be ended which streams are theirs.
_unended: list[torch.cuda.CUDAGraph] = []


class CudaRecorder:
    """Records on a stream of its own; the graphs share their memory, so only one may run at a time.

    Args:
        device: a CUDA device with an index.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Runs on the stream that records, between the work before and the work after.

        Libraries prepare themselves per stream, and the nodes that collect gradients remember theirs.
        """
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            current.wait_stream(self.stream)

    @contextmanager
    def record(self) -> Iterator[Recording]:
        """Records what is launched within, without running it. After an exception the device is as it was before."""
        gc.collect()  # what is freed during a recording could end it
        graph = torch.cuda.CUDAGraph()
        # The outer context is for failures: `torch.cuda.graph` leaves its stream the current one when it cannot end.
        with torch.cuda.stream(self.stream):
            try:
                # Threads that load data may go on allocating pinned memory, which "global" would forbid.
                with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
                    yield graph
            except BaseException:
                self._clean_up(graph)
                raise

    def _clean_up(self, graph: torch.cuda.CUDAGraph) -> None:
        """A recording that could not be ended leaves the allocator and the generator in the middle of it."""
        index = self.stream.device.index
        try:
            torch._C._cuda_endAllocateToPool(index, self.pool)
        except RuntimeError:
            pass  # it was ended: the graph owns the memory, and gives it back
        else:
            torch._C._cuda_releasePool(index, self.pool)
            _unended.append(graph)
        graph.reset()
        generator = torch.cuda.default_generators[index]
        state = generator.get_state()
        try:
            torch.rand(1, device=self.stream.device)
        except RuntimeError:  # torch 2.11: "Offset increment outside graph capture encountered unexpectedly"
            generator.graphsafe_set_state(generator.clone_state())
        generator.set_state(state)


# By type of device. Others have no graphs, and steps on them are as torch does them.
RECORDERS: dict[str, type[CudaRecorder]] = {"cuda": CudaRecorder}
