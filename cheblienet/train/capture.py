"""A training step that a GPU runs as one CUDA graph, without Python between its kernels.

The step of a small network is some hundred short kernels. Launched one by one they leave the device waiting for Python most
of the time; recorded once and launched as one graph they follow each other at once. A recording repeats the same kernels on
the same memory, so everything that changes from step to step has to be in memory that stays where it is: see `TrainingStep`.
"""

import warnings
from collections.abc import Callable, Hashable, MutableMapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from .._checks import check_device, check_number
from ..nn import ChebConv
from ..nn.sync import world_size
from ..ops import Csr
from .optimizer import DeviceRates, keep_implementation, make_capturable
from .recorder import RECORDERS, Recording

# Steps of a shape that run one by one before it is recorded: libraries prepare, kernels are chosen, the optimizer makes its
# state.
WARM_UP = 3

# Each graph keeps the memory of its intermediate results: the whole batch, and the last one of an epoch.
MOST_GRAPHS = 2

# Times that the optimizer's settings may change. Each has the step recorded anew.
MOST_CHANGES = 3


@dataclass
class _Recorded:
    """A graph, and the tensors that it reads and writes."""

    graph: Recording
    inputs: list[Tensor]
    loss: Tensor
    gradients: list[Tensor | None]


@dataclass
class _Shape:
    """One kind of batch: how many of its steps ran one by one, and what was recorded then."""

    calls: int = 0
    recorded: _Recorded | None = None


class TrainingStep:
    """Forward, backward and optimizer for a batch; on CUDA, recorded as one graph after a few steps, then replayed.

        network = WideResSE2GEChebNet(1, 10, 4, graph).to("cuda")
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True, capturable=True)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(loader))
        step = TrainingStep(network, optimizer, lambda signals, labels: nll_loss(network(signals), labels))
        for images, labels in loader:
            signals = to_graph_signal(images.to("cuda", non_blocking=True), graph.dim[0])
            loss = step(signals, labels.to("cuda", non_blocking=True))  # float(loss) waits for the device
            scheduler.step()

    Every call is one step, whether recorded or not, with the same results to the bit where kernels are deterministic. The
    first calls of a shape of batch run as usual, on a stream of their own; recording runs nothing. Two shapes (sizes, dtypes,
    strides; the layers' training modes, the parameters' `requires_grad`, autocast) have graphs, which share memory. Others
    run as usual.

    The learning rate is read from the device, so a scheduler may change it at every step; optimizers with a `capturable` are
    set to it. Other settings and the Laplacians of layers are part of the recording: after a change the step is recorded
    anew, three times, so networks on a `RandomSubGraph` that is sampled again and again run as usual. Layers that draw from
    the device's generator, such as dropout, draw as they would without a graph. After a call `p.grad` is the gradient of its
    batch; those of former calls are overwritten, and none are accumulated.

    The step runs as usual, with one warning that says why, where it cannot be recorded: an operation that waits for the
    device, too little memory, state that is replaced or counted in Python instead of changed in place, random numbers from
    the CPU, several processes. What Python does in `loss` beside that happens in the first calls and in the recording alone:
    a loss or a network with other branches or numbers from step to step needs `capture=False`.

    Args:
        model: the network, on its device.
        optimizer: of its parameters.
        loss: the mean loss of a batch, a scalar tensor, from the tensors that the step is called with: forward, with its
            autocast, and loss.
        clip_norm: the largest norm of the gradient of all parameters together: a longer one is scaled down to it before the
            optimizer's step, by `torch.nn.utils.clip_grad_norm_`. None leaves it.
        capture: False to run every step as usual, with the same results.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss: Callable[..., Tensor],
        *,
        clip_norm: float | None = None,
        capture: bool = True,
    ) -> None:
        if clip_norm is not None and check_number("TrainingStep: clip_norm", clip_norm, 0.0) == 0:
            raise ValueError("TrainingStep: clip_norm: expected a number above 0, got 0")
        self.model, self.optimizer, self.loss, self.clip_norm = model, optimizer, loss, clip_norm
        self.device = optimizer.param_groups[0]["params"][0].device
        self._on_graphs = self.device.type in RECORDERS
        self._capture = self._on_graphs and capture
        self._changes = 0
        self._too_many = False
        if self._capture and world_size(None) > 1:
            self._capture = False
            if dist.get_rank() == 0:
                _warn("steps are not recorded: processes that train together exchange gradients")
        if self._on_graphs:
            make_capturable(optimizer)
        optimizer.register_load_state_dict_pre_hook(keep_implementation)
        optimizer.register_load_state_dict_post_hook(lambda _: self.reset())
        self.reset()

    def __call__(self, *batch: Tensor) -> Tensor:
        """One step; returns its loss, which later steps do not overwrite, without waiting for it.

        TypeError or ValueError for something else than tensors on the network's device, where steps are recorded.
        """
        if self._on_graphs:
            self._prepare()
        shape = self._shape(batch) if self._capture else None
        if shape is None:
            return self._run(batch)
        if shape.calls < WARM_UP:
            shape.calls += 1
            with self._recorder.aside():
                return self._run(batch)
        shape.recorded = shape.recorded or self._record(batch)
        return self._run(batch) if shape.recorded is None else self._replay(shape.recorded, batch)

    def reset(self) -> None:
        """Forgets what was recorded, and frees its memory; the next steps warm up and record anew.

        For changes that the step cannot see, such as a layer in another's place.
        """
        self._shapes: dict[Hashable, _Shape] = {}
        self._stale = True
        if self._on_graphs:
            self.optimizer.zero_grad(set_to_none=True)  # gradients are in the graphs' memory

    def _prepare(self) -> None:
        """Brings learning rates to the device, and starts anew after a change of what is recorded as it is."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self._stale or len(parameters) != len(self._parameters):
            self._start(parameters)
        if self._capture:
            settings, self._laplacians = self._as_recorded()
            if settings != self._settings:
                changed = next(key for key, value in settings.items() if value != self._settings.get(key))
                self._changes += 1
                if self._changes > MOST_CHANGES:
                    self._give_up(f"{changed} changed {self._changes} times")
                else:
                    self._start(parameters)
        self._rates.update()

    def _start(self, parameters: list[nn.Parameter]) -> None:
        self.reset()
        self._stale = False
        self._parameters, self._modules = parameters, list(self.model.modules())
        self._convolutions = [module for module in self._modules if isinstance(module, ChebConv)]
        self._rates = DeviceRates(self.optimizer)
        if self._capture:  # a new one: memory that former graphs have left cannot be shared again
            self._recorder = RECORDERS[self.device.type](self.device)
            self._settings, self._laplacians = self._as_recorded()

    def _as_recorded(self) -> tuple[dict[str, list[Any]], list[Csr]]:
        """By name, the numbers and addresses that a recording takes in, and the Laplacians, whose identities are among them.

        Who keeps the Laplacians keeps others from taking their identities.
        """
        graphs = {(id(c.graph), c.weight.dtype == torch.float64): c.graph for c in self._convolutions}
        laplacians = [
            graph.laplacian_csr(self.device, torch.float64 if double else torch.float32)
            for (_, double), graph in graphs.items()
        ]
        settings = {f"the optimizer's {name}": values for name, values in self._rates.settings().items()}
        settings["the memory of the parameters"] = [p.data_ptr() for p in self._parameters]
        settings["the Laplacian of a layer"] = list(map(id, laplacians))
        return settings, laplacians

    def _run(self, batch: tuple[Tensor, ...]) -> Tensor:
        # Without gradients to add to, the backward pass makes new ones. Where it is recorded, it overwrites them each time.
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*batch)
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], self.clip_norm)
        with self._rates.in_place() if self._on_graphs else nullcontext():
            self.optimizer.step()
        return loss.detach()

    def _shape(self, batch: tuple[Tensor, ...]) -> _Shape | None:
        """The shape that `batch` has, or None for one too many."""
        for k, tensor in enumerate(batch):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"TrainingStep: batch: expected tensors, got {type(tensor).__name__} at position {k}")
            check_device(f"TrainingStep: batch: position {k}", tensor, self.device)
        device = self.device.type
        key = (
            tuple((t.shape, t.stride(), t.dtype) for t in batch),
            tuple([module.training for module in self._modules]),
            tuple([p.requires_grad for p in self._parameters]),
            torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device),
        )
        if key not in self._shapes:
            if len(self._shapes) == MOST_GRAPHS:
                if not self._too_many:
                    self._too_many = True
                    _warn(f"batches of more than {MOST_GRAPHS} shapes; the others are not recorded")
                return None
            self._shapes[key] = _Shape()
        return self._shapes[key]

    def _record(self, batch: tuple[Tensor, ...]) -> _Recorded | None:
        """The step on copies of `batch`, which has not been run, or None if it cannot be recorded."""
        before, cause = _PythonState(self.model, self.optimizer), None
        torch.clear_autocast_cache()  # casts of weights belong into the graph
        try:
            inputs = [tensor.detach().clone() for tensor in batch]
            with self._recorder.record() as graph:
                try:
                    loss = self._run(tuple(inputs))
                except Exception as error:  # an error that it leads to at the end of the recording says less
                    cause = _one_line(error)
                    raise
            cause = before.change()
        except Exception as error:
            cause = cause or _one_line(error)
        torch.clear_autocast_cache()
        if cause is not None:
            before.restore()
            self._give_up(cause)
            return None
        return _Recorded(graph, inputs, loss, [p.grad for p in self._parameters])

    def _replay(self, recorded: _Recorded, batch: tuple[Tensor, ...]) -> Tensor:
        for static, tensor in zip(recorded.inputs, batch, strict=True):
            static.copy_(tensor, non_blocking=True)
        recorded.graph.replay()
        for parameter, gradient in zip(self._parameters, recorded.gradients, strict=True):
            parameter.grad = gradient  # the other graph has others
        return recorded.loss.clone()

    def _give_up(self, cause: str) -> None:
        self._capture, self._shapes = False, {}
        _warn(f"steps are not recorded from here on: {cause}")


class _PythonState:
    """Which tensors and numbers a network's and an optimizer's state consists of.

    A step that changes them in Python, instead of the tensors' content, would do so once, while it is recorded.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        mappings: list[tuple[str, MutableMapping[Any, Any]]] = [("the optimizer's state", optimizer.state)]
        mappings += [("the optimizer's state", state) for state in optimizer.state.values()]
        mappings += [("the optimizer's group", group) for group in optimizer.param_groups]
        for name, module in model.named_modules():
            mappings += [(f"the network's {name}", module._parameters), (f"the network's {name}", module._buffers)]
        self._before = [(name, mapping, dict(mapping)) for name, mapping in mappings]
        self._random = torch.get_rng_state()

    def change(self) -> str | None:
        """What has changed since, in words."""
        if not torch.equal(torch.get_rng_state(), self._random):
            return "the step draws random numbers from the CPU's generator"
        for name, mapping, before in self._before:
            for key in mapping:
                if key not in before or not _same(mapping[key], before[key]):
                    what = repr(key) if isinstance(key, str) else "of a parameter"
                    return f"the step replaces {name} {what} instead of changing it in place"
        return None

    def restore(self) -> None:
        torch.set_rng_state(self._random)
        for _, mapping, before in self._before:
            mapping.clear()
            mapping.update(before)


def _same(a: object, b: object) -> bool:
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and bool(a == b))


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _warn(message: str) -> None:
    warnings.warn(f"TrainingStep: {message}", stacklevel=4)
