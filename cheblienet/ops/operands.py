"""What fake (meta) kernels ask of the tensors of a call: what the operators of csrc/ do, as far as types and shapes tell."""

import torch
from torch import Tensor

Size = int | torch.SymInt | None  # None: any size


class Operands:
    """Checks the tensors of one call, which live on one device; RuntimeError, as from the operators."""

    def __init__(self, op: str, first: Tensor | None):
        self.op, self.first = op, first

    def optional(self, name: str, value: Tensor | None, dtype: torch.dtype, *sizes: Size) -> None:
        if value is not None:
            self.check(name, value, dtype, *sizes)

    def check(self, name: str, value: Tensor | None, dtype: torch.dtype, *sizes: Size) -> None:
        """That `value` has this dtype and these sizes."""
        value = self._given(name, value)
        shape = value.shape
        if value.dtype != dtype or len(shape) != len(sizes):
            raise RuntimeError(self._message(name, value, dtype, sizes))
        for got, size in zip(shape, sizes, strict=True):
            if size is not None:
                torch._check(got == size, lambda: self._message(name, value, dtype, sizes))
        if self.first is not None and value.device != self.first.device:
            raise RuntimeError(
                f"{self.op}: {name}: expected all tensors on {self.first.device}, got one on {value.device}"
            )

    def _given(self, name: str, value: Tensor | None) -> Tensor:
        """The framework lets None pass for a tensor."""
        if value is None:
            raise RuntimeError(f"{self.op}: {name}: expected a tensor, got None")
        return value

    def _message(self, name: str, value: Tensor, dtype: torch.dtype, sizes: tuple[Size, ...]) -> str:
        expected = ", ".join("any" if size is None else str(size) for size in sizes)
        got = ", ".join(map(str, value.shape))
        return f"{self.op}: {name}: expected {_name(dtype)} ({expected}), got {_name(value.dtype)} ({got})"

    def signal(self, name: str, value: Tensor, *sizes: Size) -> None:
        """The same of a signal, of any floating-point type."""
        value = self._given(name, value)
        if value.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            raise RuntimeError(f"{self.op}: {name}: expected a floating-point tensor, got {_name(value.dtype)}")
        self.check(name, value, value.dtype, *sizes)


def arithmetic_type(x: Tensor) -> torch.dtype:
    """The type of the arithmetic on a signal."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
