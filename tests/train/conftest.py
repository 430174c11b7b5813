"""A stand-in for CUDA graphs on the CPU, of the framework's operators instead of kernels.

As in a graph, recording has no effect; replaying repeats the recorded operators on the recorded tensors, so a number or a
branch of Python's stays as it was, and a tensor that took another's place is not seen; an operator that would wait for a
GPU's result ends the recording.
"""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from cheblienet.graphs import R2GEGraph
from cheblienet.nn import ChebConv, GlobalPool, ResidualBlock, SE2SpatialPool
from cheblienet.train import TrainingStep, recorder
from cheblienet.train.optimizer import adam

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


GRAPH, COARSE = R2GEGraph((4, 4), (1.0, 1.0, 1.0), 4), R2GEGraph((2, 2), (1.0, 1.0, 1.0), 2)


def make_network(device):
    """Random layers, running statistics, a signal that is computed twice."""
    torch.manual_seed(1)
    return nn.Sequential(
        ChebConv(1, 4, 2, GRAPH),
        ResidualBlock(4, 8, ChebConv, 2, graph=GRAPH),
        nn.Dropout(0.2),
        SE2SpatialPool(2, GRAPH.size, "rand"),
        ChebConv(8, 3, 2, COARSE),
        GlobalPool("max"),
        nn.LogSoftmax(1),
    ).to(device)


class Run:
    """Steps on batches of given sizes, and all that they leave."""

    def __init__(self, device, capture, make_optimizer=lambda p: adam(p, 1e-2), make_loss=None, network=None):
        self.network = make_network(device) if network is None else network(device)
        self.optimizer = make_optimizer(self.network.parameters())
        loss = (lambda network: lambda x, y: nll_loss(network(x), y)) if make_loss is None else make_loss
        self.step = TrainingStep(self.network, self.optimizer, loss(self.network), capture=capture)
        self.device, self.losses, self.gradients = device, [], []
        self.draw = torch.Generator().manual_seed(5)

    def go(self, *sizes, after=lambda run: None):
        torch.manual_seed(2)
        for size in sizes:
            x, y = torch.randn(size, 1, 16, generator=self.draw), torch.randint(3, (size,), generator=self.draw)
            self.losses.append(self.step(x.to(self.device), y.to(self.device)))
            self.gradients += [None if p.grad is None else p.grad.clone() for p in self.network.parameters()]
            after(self)
        self.random = torch.rand(3, device=self.device)
        return self

    def everything(self):
        state = self.optimizer.state_dict()["state"]
        return [
            *self.losses,
            *(gradient for gradient in self.gradients if gradient is not None),
            *self.network.state_dict().values(),
            *(value for k in sorted(state) for value in state[k].values() if isinstance(value, torch.Tensor)),
            self.random,
        ]

    def assert_same(self, other):
        for a, b in zip(self.everything(), other.everything(), strict=True):
            assert torch.equal(a, b)


def compare_runs(graphs, *sizes, after=lambda run: None, expected_warning=None, **kwargs):
    """Runs the same with and without recording; returns the former."""
    eager = Run(graphs.device, False, **kwargs).go(*sizes, after=after)
    assert graphs.begun == 0
    run = Run(graphs.device, True, **kwargs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.go(*sizes, after=after)
    messages = [str(w.message) for w in caught if "TrainingStep" in str(w.message)]
    assert len(messages) == (expected_warning is not None), messages
    if expected_warning is not None:
        assert expected_warning in messages[0]
        assert "\n" not in messages[0]
    run.assert_same(eager)
    return run


@pytest.fixture
def make_run():
    return Run


@pytest.fixture
def compare(graphs):
    return partial(compare_runs, graphs)
