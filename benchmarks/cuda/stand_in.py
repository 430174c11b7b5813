"""A stand-in for a GPU: tensors that say they are on "cuda:0" and are computed on the CPU, where all that happens is counted.

Code takes the paths that it takes on a GPU. What a GPU would launch, read, write, wait for and copy is counted; time is not.
Sparse tensors have no stand-in: they are on the CPU.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from cheblienet.ops.csr import order_rows

DEVICE = torch.device("cuda", 0)

# Launches of operators that make several, and how often they move their arguments and results. A radix sort of 64-bit keys
# with their places reads and writes both eight times.
_SEVERAL = {
    "aten::sort": (12, 11),
    "aten::_unique2": (20, 20),
    "aten::unique_consecutive": (6, 3),
    "aten::nonzero": (4, 2),
    "aten::cumsum": (2, 1),
    "aten::cummax": (2, 1),
    "cheblienet::nearest_neighbors": (25, 1),
    "cheblienet::mutual_neighbors": (8, 2),
}
# Their results have as many elements as the values of their arguments say, which the host waits for.
_WAITING = {
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::equal",
    "aten::masked_select",
    "aten::nonzero",
    "aten::unique_consecutive",
    "cheblienet::mutual_neighbors",
}
_INDEXING = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}


class StandIn(Tensor):
    """A tensor on `DEVICE` in name; `inner` is the one on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "StandIn":
        size, stride = inner.shape, inner.stride()
        self: StandIn = Tensor._make_wrapper_subclass(cls, size, stride, dtype=inner.dtype, device=DEVICE)
        self.inner = inner
        return self

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a stand-in for a GPU was used outside of `counted`")

    def tolist(self) -> Any:
        return self.cpu().tolist()


@dataclass
class Counts:
    """What happened.

    Attributes:
        operators: how often each operator ran on the device.
        launches: of kernels, at least.
        moved: bytes read and written on the device, at least: every argument and result once, or as often as is known.
        waits: how often the host waited for the device.
        copies: bytes of every copy, those to the device and those from it.
        on_host: bytes of arguments and results of operators on the CPU.
    """

    operators: Counter[str] = field(default_factory=Counter)
    launches: int = 0
    moved: int = 0
    waits: int = 0
    copies: dict[str, list[int]] = field(default_factory=lambda: {"to": [], "from": []})
    on_host: int = 0


class _Mode(TorchDispatchMode):
    _mode_key = torch._C._TorchDispatchModeKey.FAKE  # of this mode alone the framework knows that it needs no driver

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func._schema.name, dict(kwargs or {})
        if name == "cheblienet::order_rows" and isinstance(args[0], StandIn):
            with self:
                return order_rows(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_device = any(isinstance(tensor, StandIn) for tensor in tensors)
        if kwargs.get("device") is not None:
            on_device = torch.device(kwargs["device"]).type == "cuda"
            kwargs["device"] = "cpu"
        inner = tree_map_only(StandIn, lambda tensor: tensor.inner, (args, kwargs))
        result = func(*inner[0], **inner[1])
        if name in ("aten::_to_copy", "aten::copy_"):
            source = args[0] if name == "aten::_to_copy" else args[1]
            target = on_device if name == "aten::_to_copy" else isinstance(args[0], StandIn)
            if isinstance(source, StandIn) != target:
                self._copy(source, target)
                return args[0] if name == "aten::copy_" else StandIn(result) if target else result
        if on_device or any(isinstance(tensor, StandIn) for tensor in tensors):
            self._run(func, kwargs, tensors, result)
        elif not func.is_view:
            self.counts.on_host += _bytes([*tensors, *tree_leaves(result)])
        if "out" in kwargs:
            return kwargs["out"]
        if func._schema.is_mutable and name.endswith("_"):
            return args[0]
        return tree_map(lambda value: StandIn(value) if _strided(value) else value, result) if on_device else result

    def _copy(self, source: Tensor, to_device: bool) -> None:
        self.counts.copies["to" if to_device else "from"].append(_bytes([source]))
        self.counts.waits += 1

    def _run(self, func: Any, kwargs: Any, tensors: list[Tensor], result: Any) -> None:
        name, counts = func._schema.name, self.counts
        foreign = [tensor for tensor in tensors if not isinstance(tensor, StandIn) and tensor.ndim]
        if foreign:
            raise RuntimeError(f"{func}: expected tensors on {DEVICE}, got one on the CPU, {tuple(foreign[0].shape)}")
        masks = [tensor for tensor in tensors if tensor.dtype == torch.bool] if name in _INDEXING else []
        unsized = name == "aten::repeat_interleave" and kwargs.get("output_size") is None
        counts.waits += name in _WAITING or bool(masks) or unsized
        if func.is_view or name.startswith(("aten::empty", "aten::new_empty", "aten::_local_scalar")):
            return
        counts.operators[name.split("::")[1]] += 1
        launches, times = _SEVERAL.get(name, (1, 1))
        if name == "aten::sort" and tensors[0].ndim > 1:
            launches, times = 2, 1
        for _ in masks:  # nonzero comes first
            launches += 4
        counts.launches += launches
        counts.moved += times * _bytes([*tensors, *tree_leaves(result)])


def _strided(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def _bytes(values: list[Any]) -> int:
    """Of all tensors among them, those that share memory once."""
    inner = [value.inner if isinstance(value, StandIn) else value for value in values if _strided(value)]
    sizes = {tensor.data_ptr(): min(tensor.nbytes, tensor.untyped_storage().nbytes()) for tensor in inner}
    return sum(sizes.values())


@contextmanager
def counted() -> Iterator[Counts]:
    """Within it, "cuda:0" is the stand-in, and what happens there is counted."""
    if not torch.cuda.is_available():
        torch._C._ensureCUDADeviceGuardSet()
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with _Mode() as mode:
            yield mode.counts
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
