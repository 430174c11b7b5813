"""The launches of the operators of csrc/cuda on tensors of the CPU: what the .cu files do, in their order.

Launch geometry comes from the functions that the launchers ask. The Chebyshev convolution is not repeated here: its own
C++ code decides what is launched.
"""

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .chebyshev_probe import chebyshev, chebyshev_backward
from .executor import C_TYPES, Simulator, instance, poisoned

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_fixed",
    "batch_norm_tracked",
    "chebyshev",
    "chebyshev_backward",
    "gather_reduce",
    "gather_reduce_backward",
    "mutual_neighbors",
    "nearest_neighbors",
]

STRUCTS = {"r2": "R2", "se2": "SE2", "s2": "S2", "so3": "SO3"}
REDUCTIONS = {"max": 0, "avg": 1, "rand": 2}


def address(*tensors: Tensor | None) -> np.uint64:
    """The bitwise or of where tensors start."""
    return np.uint64(functools.reduce(lambda a, b: a | b, (0 if t is None else t.data_ptr() for t in tensors), 0))


# gather_reduce


def _gather_launch(sim: Simulator, result: Tensor, addresses: np.uint64) -> tuple[int, tuple[int, int], int]:
    batch, vertices, channels = (np.int64(n) for n in result.shape)
    sizes = vertices, batch, channels, np.int32(result.element_size()), addresses
    pack, grid, samples, block = sim.geometry("gather_reduce", np.zeros(4, np.int32), *sizes)
    return pack, (grid, samples), block


def gather_reduce(
    sim: Simulator, x: Tensor, index: Tensor, rowptr: Tensor, entry: Tensor, choice: Tensor | None, reduction: str
) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0], index.shape[0], x.shape[2])
    y = poisoned(shape, x.dtype)
    winner = torch.empty(0, dtype=torch.uint8) if choice is None else choice.clone()
    if reduction == "max":
        winner = poisoned(shape, torch.uint8)
    if y.numel() == 0:
        return y, winner
    pack, grid, block = _gather_launch(sim, y, address(x))
    kernel = instance("gather_reduce", C_TYPES[x.dtype], pack, REDUCTIONS[reduction])
    sizes = np.int64(x.shape[0]), np.int64(x.shape[1]), np.int64(shape[1]), np.int32(index.shape[1]), np.int32(shape[2])
    sim.launch("gather_reduce", kernel, grid, block, x, index, choice, y, winner, *sizes)
    return y, winner


def gather_reduce_backward(
    sim: Simulator, grad: Tensor, winner: Tensor, index: Tensor, rowptr: Tensor, entry: Tensor, reduction: str
) -> Tensor:
    batch, outputs, channels = grad.shape
    dx = poisoned((batch, len(rowptr) - 1, channels), grad.dtype)
    if dx.numel() == 0:
        return dx
    addresses = address(grad) | np.uint64(winner.data_ptr() * grad.element_size())
    pack, grid, block = _gather_launch(sim, dx, addresses)
    kernel = instance("gather_reduce_backward", C_TYPES[grad.dtype], pack, REDUCTIONS[reduction])
    sizes = np.int64(batch), np.int64(dx.shape[1]), np.int64(outputs), np.int32(index.shape[1]), np.int32(channels)
    sim.launch("gather_reduce", kernel, grid, block, grad, winner, index, rowptr, entry, dx, *sizes)
    return dx


# batch_norm


def _like(t: Tensor) -> Tensor:
    """Poisoned memory with the shape and the strides of `t`."""
    return torch.empty_like(t).copy_(poisoned(t.shape, t.dtype))


class _NormLaunch:
    def __init__(self, sim: Simulator, x: Tensor, weight: Tensor, *others: Tensor | None) -> None:
        shape, facts, channels = np.zeros(48, np.uint8), np.zeros(4, np.int32), weight.numel()
        sizes = np.int64(x.numel() // channels), np.int64(channels), np.int32(x.element_size())
        pack, block, tiles, self.parts = sim.geometry("batch_norm", facts, *sizes, address(x, weight, *others), shape)
        self.sim, self.shape, self.grid, self.block = sim, shape.tobytes(), (tiles, self.parts), block
        self.types, self.weight = (C_TYPES[x.dtype], pack), weight

    def partial(self, numbers: int) -> Tensor:
        return poisoned((self.parts, numbers, self.weight.numel()), self.weight.dtype)

    def __call__(self, kernel: str, *arguments: Any) -> None:
        kernel = instance(kernel, *self.types)
        self.sim.launch("batch_norm", kernel, self.grid, self.block, *arguments, self.shape)


def batch_norm_fixed(
    sim: Simulator,
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    y, s = _like(x), x.new_empty(0) if residual is None else _like(x)
    if x.numel() == 0:
        return y, s
    launch = _NormLaunch(sim, x, weight, residual, bias, mean, var)
    signals = (x, None, None) if residual is None else (x, residual, s)
    none = None, None, None, None, np.float64(0), np.bool_(False)
    launch("norm_apply", *signals, weight, bias, mean, var, *none, np.float64(eps), np.bool_(relu), y)
    return y, s


def batch_norm_tracked(
    sim: Simulator,
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, ...],
    momentum: float | None,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    y, mean, var = _like(x), _like(weight), _like(weight)
    s = x.new_empty(0) if residual is None else _like(x)
    if x.numel() == 0:
        return y, mean, var, s
    launch = _NormLaunch(sim, x, weight, residual, bias)
    partial, (running_mean, running_var, batches) = launch.partial(3), running or (None, None, None)
    signals = (x, None, None) if residual is None else (x, residual, s)
    launch("norm_moments", *signals, partial, batches)
    signals = (x if residual is None else s), None, None
    moves = running_mean, running_var, batches, np.float64(momentum or 0), np.bool_(momentum is None)
    launch("norm_apply", *signals, weight, bias, mean, var, partial, *moves, np.float64(eps), np.bool_(relu), y)
    return y, mean, var, s


def batch_norm(
    sim: Simulator,
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if mean is None or var is None:
        return batch_norm_tracked(sim, x, residual, weight, bias, (), 0.0, eps, relu)
    y, s = batch_norm_fixed(sim, x, residual, weight, bias, mean, var, eps, relu)
    return y, mean.clone(), var.clone(), s


def batch_norm_backward(
    sim: Simulator,
    grad: Tensor,
    s: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    relu: bool,
    batch_statistics: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    ds = _like(s)
    if s.numel() == 0:
        return ds, torch.zeros_like(weight), torch.zeros_like(weight)
    dweight, dbias = _like(weight), _like(weight)
    launch = _NormLaunch(sim, s, weight, grad, bias, mean, var)
    partial = launch.partial(2)
    common = grad, s, weight, bias, mean, var, np.float64(eps), np.bool_(relu), partial
    launch("norm_gradient_sums", *common)
    launch("norm_gradient", *common, np.bool_(batch_statistics), dweight, dbias, ds)
    return ds, dweight, dbias


# mutual_neighbors


def mutual_neighbors(sim: Simulator, index: Tensor, sqdist: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    def launch(kernel: str, items: int, *arguments: Any) -> None:
        grid, block = sim.geometry("mutual_neighbors", np.zeros(2, np.int32), np.int64(items))
        sim.launch("mutual_neighbors", instance(kernel), (grid,), block, *arguments)

    (vertices, k), (vertex, slot) = index.shape, (t.contiguous() for t in index.sort())
    if index.numel() == 0:
        return torch.empty(2, 0, dtype=torch.int64), torch.empty(0, dtype=torch.float64)
    mutual, mean = torch.full((vertices * k,), 7, dtype=torch.uint8), poisoned((vertices * k,), torch.float64)
    sizes = np.int64(vertices), np.int64(k)
    launch("find_mutual", vertices * k, vertex, slot, sqdist, np.float64(limit), mutual, mean, *sizes)
    assert (mutual <= 1).all()
    entry = mutual.nonzero()[:, 0].contiguous()
    edge_index, edge_sqdist = poisoned((2, len(entry)), torch.int64), poisoned((len(entry),), torch.float64)
    if len(entry):
        sizes = np.int64(len(entry)), np.int64(k)
        launch("write_edges", len(entry), entry, vertex, mean, edge_index, edge_sqdist, *sizes)
    return edge_index, edge_sqdist


# nearest_neighbors


def _search_geometry(sim: Simulator, items: int, k: int = 1) -> dict[str, Any]:
    out = sim.geometry("nearest_neighbors", np.zeros(64, np.int64), np.int64(items), np.int64(k))
    levels = out[10]
    return {
        "warps": out[0:2], "lanes": out[2:4], "threads": out[4:6], "rows": out[6], "padded": out[7], "all pairs": out[8],
        "one pass": out[9], "first": out[11 : 12 + levels], "nodes": out[12 + levels : 12 + 2 * levels],
    }  # fmt: skip


class Tree:
    """Elements and boxes in the order of the tree, as the launcher builds them."""

    def __init__(self, sim: Simulator, elements: Tensor, sigmas: Tensor, group: str) -> None:
        self.sim, self.elements, self.sigmas = sim, elements, sigmas
        self.struct, self.facts = f"cheblienet::{STRUCTS[group]}<double>", _search_geometry(sim, len(elements))
        sizes = np.zeros(2, np.int64)
        sim.module("nearest_neighbors").launch(instance("components", self.struct), (1,), (1,), [sizes])
        components, self.dimensions = (int(size) for size in sizes)
        self.records = poisoned((components * self.facts["padded"],), torch.float64)
        self.boxes = poisoned((2 * self.dimensions * self.facts["first"][-1],), torch.float64)
        self.count = np.int64(len(elements))

    def launch(self, kernel: str, geometry: list[int], *arguments: Any) -> None:
        self.sim.launch("nearest_neighbors", kernel, (geometry[0],), geometry[1], *arguments)

    def leaves(self, order: Tensor | None) -> None:
        kernel = instance("tree_leaves", self.struct)
        self.launch(kernel, self.facts["lanes"], self.elements, order, self.records, self.boxes, self.count)

    def parents(self) -> None:
        levels = self.facts["first"], self.facts["first"][1:-1], self.facts["nodes"]
        for first, above, nodes in zip(*levels, strict=False):
            geometry = _search_geometry(self.sim, nodes)["lanes"]
            numbers = np.int64(first), np.int64(nodes), np.int64(above)
            self.launch(instance("tree_parents", self.dimensions), geometry, self.boxes, *numbers)

    def keys(self) -> Tensor:
        """(V,) int64: the cell of each element."""
        self.leaves(None)
        self.parents()
        keys, root = torch.full((len(self.elements),), -1, dtype=torch.int64), np.int64(self.facts["first"][-2])
        kernel = instance("tree_keys", self.struct)
        self.launch(kernel, self.facts["threads"], self.records, self.boxes, root, self.sigmas, keys, self.count)
        return keys


def nearest_neighbors(
    sim: Simulator,
    elements: Tensor,
    sigmas: Tensor,
    k: int,
    group: str,
    *,
    tree: bool | None = None,
    order: Tensor | None = None,
    blocks: int | None = None,
) -> tuple[Tensor, Tensor]:
    """`tree` overrules the choice by the number of elements, `order` is then that of the elements in the tree, and only the
    first `blocks` blocks of the search are executed: their elements' rows are the result. It takes one pass then."""
    built, vertices = Tree(sim, elements, sigmas, group), len(elements)
    facts = _search_geometry(sim, vertices, k)
    index, sqdist = poisoned((vertices, k), torch.int64), poisoned((vertices, k), torch.float64)
    waiting = 0 if facts["one pass"] else vertices
    distance, vertex = poisoned((waiting, k + 1), torch.float64), torch.full((waiting, k + 1), -7, dtype=torch.int32)
    sizes = built.count, np.int64(k)
    found = index, sqdist, distance, vertex, *sizes
    if vertices > facts["all pairs"] if tree is None else tree:
        order = built.keys().argsort() if order is None else order
        built.leaves(order)
        built.parents()
        kernel = instance("nearest_in_tree", built.struct, facts["rows"])
        grid = facts["warps"] if blocks is None else [blocks, facts["warps"][1]]
        built.launch(kernel, grid, built.records, built.boxes, order, sigmas, *found)
    else:
        built.leaves(None)
        kernel = instance("nearest_of_all", built.struct, facts["rows"])
        built.launch(kernel, facts["warps"], built.records, sigmas, *found)
    if not facts["one pass"]:
        geometry = _search_geometry(sim, vertices * k)["threads"]
        built.launch(instance("whole_shells"), geometry, distance, vertex, index, sqdist, *sizes)
    if blocks is not None and order is not None:
        rows = order[: 4 * blocks]
        return index[rows], sqdist[rows]
    return index, sqdist
