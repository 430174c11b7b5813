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
    "chebyshev",
    "chebyshev_backward",
    "gather_reduce",
    "gather_reduce_backward",
    "mutual_neighbors",
    "nearest_neighbors",
]

ACCUMULATE = {"double": "double", "float": "float", "__half": "float", "__nv_bfloat16": "float"}
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


class _NormLaunch:
    def __init__(self, sim: Simulator, x: Tensor, *others: Tensor | None) -> None:
        shape, facts = np.zeros(32, np.uint8), np.zeros(6, np.int32)
        sizes = np.int64(x.shape[0] * x.shape[1]), np.int64(x.shape[2]), np.int32(x.element_size())
        pack, block, statistics_block, statistics_grid, tiles, parts = sim.geometry(
            "batch_norm", facts, *sizes, address(x, *others), shape
        )
        self.sim, self.shape, self.grid, self.block = sim, shape.tobytes(), (tiles, parts), block
        self.statistics = (statistics_grid,), statistics_block
        self.types = C_TYPES[x.dtype], pack
        self.partial = poisoned((parts, 2, x.shape[2]), torch.float64)

    def signal(self, kernel: str, *arguments: Any) -> None:
        """A pass over the signal."""
        kernel = instance(kernel, *self.types)
        self.sim.launch("batch_norm", kernel, self.grid, self.block, *arguments, self.shape)

    def sums(self, kernel: str, type_name: str, *arguments: Any) -> None:
        """A pass over the sums by parts."""
        self.sim.launch("batch_norm", instance(kernel, type_name), *self.statistics, *arguments, self.shape)


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
    y, given = poisoned(x.shape, x.dtype), mean is not None
    s = x.new_empty(0) if residual is None else poisoned(x.shape, x.dtype)
    mean = poisoned(weight.shape, weight.dtype) if mean is None else mean.clone()
    var = poisoned(weight.shape, weight.dtype) if var is None else var.clone()
    if x.numel() == 0:
        return y, mean, var, s
    launch = _NormLaunch(sim, x, residual, weight, bias, mean, var)
    signals = (x, None, None) if residual is None else (x, residual, s)
    if not given:
        launch.signal("norm_moments", *signals, launch.partial)
        signals = x if residual is None else s, None, None
        launch.sums("norm_statistics", launch.types[0], signals[0], launch.partial, mean, var)
    launch.signal("norm_apply", *signals, weight, bias, mean, var, np.float64(eps), np.bool_(relu), y)
    return y, mean, var, s


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
    ds = poisoned(s.shape, s.dtype)
    if s.numel() == 0:
        return ds, torch.zeros_like(weight), torch.zeros_like(weight)
    dweight, dbias = poisoned(weight.shape, weight.dtype), poisoned(weight.shape, weight.dtype)
    launch = _NormLaunch(sim, s, grad, weight, bias, mean, var)
    common = grad, s, weight, bias, mean, var, np.float64(eps), np.bool_(relu)
    launch.signal("norm_gradient_sums", *common, launch.partial)
    sums_type = ACCUMULATE[launch.types[0]]
    launch.sums("norm_parameter_gradients", sums_type, launch.partial, var, np.float64(eps), dweight, dbias)
    launch.signal("norm_gradient", *common, dweight, dbias, np.bool_(batch_statistics), ds)
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
