"""Pooling and unpooling on vertices: each output vertex reduces the input vertices that an index names."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import _library  # noqa: F401  (registers the operators)
from .._checks import (
    MAX_VERTICES,
    check_choice,
    check_device,
    check_floating,
    check_has_numbers,
    check_integer,
    check_tensor,
)
from . import reference, transforms
from .operands import Operands

REDUCTIONS = ("max", "avg", "rand")
_Gradients = tuple[Tensor | None, ...]


class GatherIndex(NamedTuple):
    """Who reduces whom, both ways round: the backward is a gather as well, over the transposed index.

    `members` (Vout, m) int64: the inputs of each output, -1 for none; `rowptr` (Vin + 1,) and `entry` (n,) int64: input v
    stands at the positions entry[rowptr[v]:rowptr[v + 1]] = o * m + slot of `members`.
    """

    members: Tensor
    rowptr: Tensor
    entry: Tensor


def gather_index(index: Tensor, num_vertices: int) -> GatherIndex:
    """Prepares the members (Vout, m), int64 in [0, num_vertices) or -1 for none, for `gather_reduce`.

    Raises TypeError for another dtype, ValueError for another shape, more than 255 members, 2^31 vertices or more, an index
    out of range or an output without any member.
    """
    check_has_numbers("gather_index: index", check_tensor("gather_index: index", index, "(Vout, m)", 2))
    check_integer("gather_index: num_vertices", num_vertices, 1, MAX_VERTICES)
    if index.dtype != torch.int64:
        raise TypeError(f"gather_index: index: expected int64, got {index.dtype}")
    if not 1 <= index.shape[1] <= 255:
        raise ValueError(f"gather_index: index: expected 1 to 255 members per output, got shape {tuple(index.shape)}")
    if index.numel() and not (int(index.min()) >= -1 and int(index.max()) < num_vertices):
        raise ValueError(
            f"gather_index: index: expected members from 0 to {num_vertices - 1}, or -1 for none, "
            f"got {int(index.min())} to {int(index.max())}"
        )
    empty = (index < 0).all(1)
    if empty.any():
        raise ValueError(
            f"gather_index: index: expected a member for each output, got none for {int(empty.int().argmax())}"
        )
    named = index.flatten()
    entry = torch.argsort(named, stable=True)[int((named < 0).sum()) :].clone()
    rowptr = torch.searchsorted(named[entry], torch.arange(num_vertices + 1, device=index.device))
    return GatherIndex(index.contiguous(), rowptr, entry)


def gather_reduce(x: Tensor, pooling: GatherIndex, reduction: str) -> Tensor:
    """Reduces the members of each output vertex.

    Args:
        x: (B, Vin, C), float64, float32, bfloat16 or float16.
        pooling: from `gather_index(index, Vin)`.
        reduction: "max" (of equal members the first one counts; a NaN beats every number), "avg", or "rand": one member
            per output vertex and call, the same for all samples and channels, drawn from the framework's generator.

    Returns:
        (B, Vout, C), dtype of `x`. Differentiable twice; the gradient is gathered, in a fixed order.

    Raises:
        TypeError: for another dtype.
        ValueError: for an unknown reduction, or shapes or devices that do not go together.
    """
    check_tensor("gather_reduce: x", x, "(B, V, C)", 3)
    check_floating("gather_reduce: x", x)
    check_choice("gather_reduce: reduction", reduction, REDUCTIONS)
    _check_index(pooling, x.device)
    if x.shape[1] != len(pooling.rowptr) - 1:
        raise ValueError(
            f"gather_reduce: x: expected V = {len(pooling.rowptr) - 1} vertices as in the index, got {tuple(x.shape)}"
        )
    choice = _draw(pooling) if reduction == "rand" else None
    y: Tensor = torch.ops.cheblienet.gather_reduce(
        x.contiguous(), pooling.members, pooling.rowptr, pooling.entry, choice, reduction
    )[0]
    return y


def _check_index(pooling: GatherIndex, device: torch.device) -> None:
    """That its parts go together, as far as types and shapes tell."""
    if not isinstance(pooling, GatherIndex):
        raise TypeError(f"gather_reduce: pooling: expected a GatherIndex, got {type(pooling).__name__}")
    for name, part, shape, ndim in (
        ("members", pooling.members, "(Vout, m)", 2),
        ("rowptr", pooling.rowptr, "(Vin + 1,)", 1),
        ("entry", pooling.entry, "(n,)", 1),
    ):
        check_tensor(f"gather_reduce: pooling: {name}", part, shape, ndim)
        if part.dtype != torch.int64:
            raise TypeError(f"gather_reduce: pooling: {name}: expected int64, got {part.dtype}")
        check_device(f"gather_reduce: pooling: {name}", part, device)
    if not 1 <= pooling.members.shape[1] <= 255:
        raise ValueError(
            f"gather_reduce: pooling: members: expected 1 to 255 per output, got shape {tuple(pooling.members.shape)}"
        )
    if not (len(pooling.rowptr) >= 1 and len(pooling.entry) <= pooling.members.numel()):
        raise ValueError(
            f"gather_reduce: pooling: expected at least one number in rowptr and at most {pooling.members.numel()} in "
            f"entry, got {len(pooling.rowptr)} and {len(pooling.entry)}"
        )


def _draw(pooling: GatherIndex) -> Tensor:
    """One slot per output vertex, uniformly among those with a member, as uint8."""
    present = pooling.members >= 0
    count = present.sum(1)
    rank = (torch.rand(count.shape, device=count.device, dtype=torch.float64) * count).long() + 1
    return (present.cumsum(1) < rank[:, None]).sum(1).to(torch.uint8)


@torch.library.register_fake("cheblienet::gather_reduce")
def _(
    x: Tensor, index: Tensor, rowptr: Tensor, entry: Tensor, choice: Tensor | None, reduction: str
) -> tuple[Tensor, Tensor]:
    operands = _check("gather_reduce", x, index, rowptr, entry, reduction)
    operands.signal("x", x, None, rowptr.shape[0] - 1, None)
    if reduction == "rand":
        if choice is None:
            raise RuntimeError("gather_reduce: choice: expected the slot of each output for rand, got None")
        operands.check("choice", choice, torch.uint8, index.shape[0])
    y = x.new_empty((x.shape[0], index.shape[0], x.shape[2]))
    if reduction == "max":
        return y, torch.empty_like(y, dtype=torch.uint8)
    return y, x.new_empty((0,) if reduction == "avg" else (index.shape[0],), dtype=torch.uint8)


def _check(op: str, x: Tensor, index: Tensor, rowptr: Tensor, entry: Tensor, reduction: str) -> Operands:
    """As csrc/gather_operands.h does."""
    if reduction not in REDUCTIONS:
        raise RuntimeError(f"{op}: expected a reduction of max, avg, rand, got {reduction}")
    operands = Operands(op, x)
    operands.check("index", index, torch.int64, None, None)
    operands.check("rowptr", rowptr, torch.int64, None)
    operands.check("entry", entry, torch.int64, None)
    return operands


@torch.library.register_fake("cheblienet::gather_reduce_backward")
def _(grad: Tensor, winner: Tensor, index: Tensor, rowptr: Tensor, entry: Tensor, reduction: str) -> Tensor:
    operands = _check("gather_reduce_backward", grad, index, rowptr, entry, reduction)
    operands.signal("grad", grad, None, index.shape[0], None)
    if reduction != "avg":
        operands.check("winner", winner, torch.uint8, *(grad.shape if reduction == "max" else index.shape[:1]))
    return grad.new_empty((grad.shape[0], rowptr.shape[0] - 1, grad.shape[2]))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, index, rowptr, entry, _, ctx.reduction = inputs
    ctx.save_for_backward(output[1], index, rowptr, entry)
    ctx.mark_non_differentiable(output[1])


def _gradient(ctx: Any, grad: Tensor, _: Tensor | None) -> _Gradients:
    dx = torch.ops.cheblienet.gather_reduce_backward(grad.contiguous(), *ctx.saved_tensors, ctx.reduction)
    return dx, None, None, None, None, None


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])
    ctx.reduction = inputs[5]


def _backward_gradient(ctx: Any, to_dx: Tensor) -> _Gradients:
    """The backward is linear in `grad`; its adjoint takes the same members of `to_dx` as the forward took of `x`."""
    winner, index = ctx.saved_tensors
    members = to_dx[:, index.clamp(min=0)]  # (B, Vout, m, C)
    if ctx.reduction == "avg":
        present = (index >= 0)[None, :, :, None]
        grad = (members * present).sum(2) / present.sum(2)
    else:
        slot = winner if ctx.reduction == "max" else winner[None, :, None].expand(len(members), -1, members.shape[3])
        grad = members.gather(2, slot.long()[:, :, None]).squeeze(2)
    return grad.to(to_dx.dtype), None, None, None, None, None


def _plain(
    x: Tensor, index: Tensor, rowptr: Tensor, entry: Tensor, choice: Tensor | None, reduction: str
) -> tuple[Tensor, Tensor]:
    """The operator in operations of the framework."""
    wide = x if x.dtype == torch.float64 else x.float()
    if reduction == "max":
        winner = reference.winners(x, index).to(torch.uint8)
    else:
        winner = torch.empty(0, dtype=torch.uint8, device=x.device) if choice is None else choice.clone()
    return reference.gather_reduce(wide, index, choice, reduction).to(x.dtype), winner


_FORWARD, _BACKWARD = torch.ops.cheblienet.gather_reduce.default, torch.ops.cheblienet.gather_reduce_backward.default
transforms.register_autograd(_FORWARD, _gradient, _save, _plain)
transforms.register_autograd(_BACKWARD, _backward_gradient, _save_backward, None)
