"""Tensors that stay on the device that made them until they are asked for elsewhere."""

from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from .edges import Edges

T = TypeVar("T", Tensor, Edges)
_CPU = torch.device("cpu")


class Held(Generic[T]):
    """What was made on one device, and its copy on the CPU as soon as one is asked for.

    Attributes:
        made: the tensors on the device that made them.
    """

    def __init__(self, made: T) -> None:
        self.made = made
        self._on_cpu = made if made.device == _CPU else None

    def on(self, device: torch.device) -> T:
        """The tensors on a device; copies on the CPU are kept, others are not."""
        if device == self.made.device:
            return self.made
        if device != _CPU:
            return self.made.to(device)
        if self._on_cpu is None:
            self._on_cpu = self.made.to(_CPU)
        return self._on_cpu

    @property
    def on_cpu(self) -> T:
        return self.on(_CPU)

    def __getstate__(self) -> dict[str, Any]:
        # A pickle may open without the device.
        return {"made": self.on_cpu, "_on_cpu": self.on_cpu}


def full_device(device: torch.device | str | None) -> torch.device:
    """The device by its full name: "cuda" and "cuda:0" are one place and share one copy.

    TypeError for what names none, ValueError for a GPU that this machine has not.
    """
    if not isinstance(device, torch.device):  # those of tensors are there, and asked for at every call of a layer
        if device is not None and not isinstance(device, str):
            raise TypeError(f"device: expected a torch.device, its name or None, got {device!r}")
        device = torch.device("cpu" if device is None else device)
        if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
            raise ValueError(f"device: expected one that this machine has, got {device}")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
