"""What the operators do inside the transforms of `torch.func` and of forward-mode differentiation.

The framework gives a custom operator a derivative of exactly zero in forward mode, and none inside the others. So the
operators that have derivatives are computed there by their plain definitions, in operations of the framework, which
transform in every way; the others refuse.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._library.autograd import Info, make_autograd_impl
from torch.autograd import forward_ad

_KERNELS = torch.library.Library("cheblienet", "IMPL")


def active() -> bool:
    """Whether a transform of `torch.func` or a level of forward-mode differentiation is entered."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def register_autograd(
    operator: Any,
    gradient: Callable[..., Any],
    setup_context: Callable[..., Any],
    plain: Callable[..., Any] | None,
) -> None:
    """`torch.library.register_autograd` that transforms: `plain` computes what the operator does, or None to refuse."""
    ordinary = make_autograd_impl(operator, Info(gradient, setup_context))

    def kernel(keyset: Any, *arguments: Any) -> Any:
        if not active():
            return ordinary(keyset, *arguments)
        if plain is None:
            raise _refusal(operator)
        return plain(*arguments)

    _KERNELS.impl(operator, kernel, "Autograd", with_keyset=True)


def refuse(operator: Any) -> None:
    """Has an operator without derivatives say so where one is asked for."""

    def kernel(keyset: Any, *arguments: Any) -> Any:
        if active() or (torch.is_grad_enabled() and torch._C._any_requires_grad(*arguments)):
            raise _refusal(operator)
        with torch._C._AutoDispatchBelowAutograd():
            return operator.redispatch(keyset & torch._C._after_autograd_keyset, *arguments)

    _KERNELS.impl(operator, kernel, "Autograd", with_keyset=True)


def refuse_inside(name: str, *tensors: Tensor) -> None:
    """NotImplementedError where a function without derivatives is given what a transform follows."""
    if active() and any(_is_followed(tensor) for tensor in tensors):
        raise NotImplementedError(
            f"{name}: it has no derivative and no batched form: call it outside of torch.func and forward-mode transforms"
        )


def _is_followed(tensor: Tensor) -> bool:
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return True
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None


def _refusal(operator: Any) -> NotImplementedError:
    return NotImplementedError(f"{operator.name()}: it has no derivative of this kind")
