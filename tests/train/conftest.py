"""A stand-in for CUDA graphs on the CPU, of the framework's operators instead of kernels.

As in a graph, recording has no effect; replaying repeats the recorded operators on the recorded tensors, so a number or a
branch of Python's stays as it was, and a tensor that took another's place is not seen; an operator that would wait for a
GPU's result ends the recording.
"""

from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from cheblienet.train import recorder

# Operators whose results the host reads, or that take their data from it: on a GPU both would wait.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "lift_fresh"}


def tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class RecordedOperators(TorchDispatchMode):
    """What runs while this mode is entered, to be run again by `replay`."""

    def __init__(self):
        super().__init__()
        self.calls, self.made, self.changed = [], [], {}
        self.failed = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func._schema.name.split("::")[1] in WAITING or self.failed:
            self.failed = True  # a CUDA stream refuses all that follows
            raise RuntimeError(f"{func}: operation not permitted when stream is capturing\nand more lines of advice")
        self._keep_content(func, args, kwargs)
        result = func(*args, **kwargs)
        same = lambda x: x  # noqa: E731
        self.calls.append((func, tree_map(same, args), tree_map(same, kwargs), result))
        given = {t.untyped_storage()._cdata for t in tensors((args, kwargs))}
        self.made += [t for t in tensors(result) if t.untyped_storage()._cdata not in given]
        return result

    def _keep_content(self, func, args, kwargs):
        """What is changed and was there before gets its content back."""
        written = {a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write}
        positional = {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)}
        for name, value in {**positional, **kwargs}.items():
            for tensor in tensors(value) if name in written else ():
                made = {t.untyped_storage()._cdata for t in self.made}
                if tensor.untyped_storage()._cdata not in made:
                    self.changed.setdefault(id(tensor), (tensor, tensor.detach().clone()))

    def undo(self):
        with torch.no_grad():
            for tensor, content in self.changed.values():
                tensor.detach().copy_(content)
            for tensor in self.made:  # memory that nothing has been written to
                if tensor.is_floating_point():
                    tensor.detach().fill_(torch.nan)

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tensors(result), tensors(again), strict=True):
                if not new.is_set_to(old):
                    old.detach().copy_(new)


class StandIn:
    """Takes the place of `CudaRecorder`."""

    def __init__(self, device):
        assert device.type == "cpu"

    @contextmanager
    def aside(self):
        yield

    @contextmanager
    def record(self):
        operators, random = RecordedOperators(), torch.get_rng_state()
        try:
            with operators:
                yield operators
        finally:
            operators.undo()
            torch.set_rng_state(random)


@dataclass
class Graphs:
    """Where graphs are recorded, and how many recordings were begun, and replays."""

    device: torch.device
    begun: int = 0
    replays: int = 0


@dataclass
class Counted:
    graph: object
    graphs: Graphs

    def replay(self):
        self.graphs.replays += 1
        self.graph.replay()


def count(kind, graphs):
    class Counting(kind):
        @contextmanager
        def record(self):
            graphs.begun += 1
            with super().record() as graph:
                yield Counted(graph, graphs)

    return Counting


@pytest.fixture
def stand_in(monkeypatch):
    """The stand-in, for the CPU."""
    graphs = Graphs(torch.device("cpu"))
    monkeypatch.setitem(recorder.RECORDERS, "cpu", count(StandIn, graphs))
    return graphs


@pytest.fixture(params=["stand-in", *(["cuda"] if torch.cuda.is_available() else [])])
def graphs(request, monkeypatch):
    """The stand-in, and, where there is a GPU, its graphs."""
    if request.param == "stand-in":
        return request.getfixturevalue("stand_in")
    graphs = Graphs(torch.device("cuda", torch.cuda.current_device()))
    monkeypatch.setitem(recorder.RECORDERS, "cuda", count(recorder.CudaRecorder, graphs))
    return graphs
