"""What capturing and checkpoints ask of an optimizer: rates on the device, implementations that are kept, plain numbers."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .recorder import RECORDERS

# How a group is computed, not what: a matter of the device, not of the run that a checkpoint is of.
_IMPLEMENTATION = ("foreach", "fused", "capturable")


def adam(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam; on CUDA, one that takes one launch for all parameters and can be recorded.

    A step makes all parameters smaller by lr * weight_decay of themselves, apart from the gradient: AdamW (Loshchilov and
    Hutter 2019, arXiv:1711.05101).
    """
    parameters = list(parameters)
    on_graphs = parameters[0].device.type in RECORDERS
    return torch.optim.Adam(
        parameters,
        lr=lr,
        weight_decay=weight_decay,
        decoupled_weight_decay=True,
        fused=on_graphs or None,
        capturable=on_graphs,
    )


def make_capturable(optimizer: Optimizer) -> None:
    """Sets "capturable" in the groups that know it, and brings what was counted so far to the device."""
    for group in optimizer.param_groups:
        if "capturable" not in group:
            continue
        group["capturable"] = True
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(parameter.device, torch.float32)


def keep_implementation(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any] | None:
    """Before a state is loaded: it takes the present implementation, and tensors for numbers that are tensors at present.

    torch takes all of this from the file, which may be of another device.
    """
    if len(state["param_groups"]) != len(optimizer.param_groups):
        return None  # which torch refuses
    groups = []
    for present, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
        group = {**saved, **{key: present[key] for key in _IMPLEMENTATION if key in present}}
        for key, value in present.items():
            if isinstance(value, Tensor) and isinstance(saved.get(key), float):
                group[key] = torch.full_like(value, saved[key])
        groups.append(group)
    return {**state, "param_groups": groups}


def plain_numbers(state: Any) -> Any:
    """A state of an optimizer's groups or of a scheduler, with numbers for the tensors that hold one."""
    if isinstance(state, Tensor) and state.ndim == 0:
        return state.item()
    if type(state) is dict:  # and not a Counter, such as milestones
        return {key: plain_numbers(value) for key, value in state.items()}
    if type(state) in (list, tuple):
        return type(state)(plain_numbers(value) for value in state)
    return state


class DeviceRates:
    """The learning rates as a recorded step reads them: float32 tensors on the device.

    Groups keep the numbers that schedulers compute and checkpoints hold; the tensors take their place for the time of
    `in_place`. Groups that would wait for the device to read a tensor, those neither capturable nor fused, have none.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._tensors: list[Tensor | None] = []
        self._numbers: list[float | None] = []
        for group in optimizer.param_groups:
            reads = group.get("capturable") or group.get("fused")
            device = group["params"][0].device
            self._tensors.append(torch.zeros((), dtype=torch.float32, device=device) if reads else None)
            self._numbers.append(None)

    def update(self) -> None:
        """Brings numbers that changed to the device; to be called outside of a recording. Waits for nothing."""
        for k, (group, tensor) in enumerate(zip(self._optimizer.param_groups, self._tensors, strict=True)):
            if tensor is not None and _on_host(group["lr"]) and self._numbers[k] != group["lr"]:
                self._numbers[k] = number = float(group["lr"])
                tensor.fill_(number)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The tensors in place of the numbers."""
        groups = self._optimizer.param_groups
        numbers = [group["lr"] for group in groups]
        for group, tensor in zip(groups, self._tensors, strict=True):
            if tensor is not None and _on_host(group["lr"]):
                group["lr"] = tensor
        try:
            yield
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number

    def settings(self) -> dict[str, list[object]]:
        """What a recorded step takes in besides, by name, over all groups: numbers as they are, tensors by their address."""
        settings: dict[str, list[object]] = {}
        for group, tensor in zip(self._optimizer.param_groups, self._tensors, strict=True):
            for key, value in group.items():
                if key != "params" and not (key == "lr" and tensor is not None and _on_host(value)):
                    settings.setdefault(key, []).append(_identity(value))
        return settings


def _on_host(value: object) -> bool:
    return not isinstance(value, Tensor) or value.device.type == "cpu"


def _identity(value: object) -> object:
    if isinstance(value, tuple):  # betas
        return tuple(map(_identity, value))
    if not isinstance(value, Tensor):
        return value
    return value.tolist() if _on_host(value) else value.data_ptr()
