"""The sparse matrix that the operators take: plain tensors, which compile and export without special cases."""

from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import torch
from torch import Tensor

from .. import _library  # noqa: F401  (registers the operators)
from . import tiles

_IN_CACHE = 8192  # vertices; as in csrc/cpu/chebyshev_call.h


class Csr(NamedTuple):
    """A symmetric sparse matrix (V, V) by rows, in an order of the vertices that keeps neighbours together.

    `rows` (V, 4) int32: the vertex of each row, the first and the last + 1 of its entries, and the largest column + 1 of
    this row and all before it, at least the row + 1; `col` (E,) int32: the row, not the vertex, of the column of each
    entry; `values` (E,) floating point. Entries are sorted by row. `tables`: what else the kernels of a GPU read, made
    from `rows` and `col`; empty on the CPU.
    """

    rows: Tensor
    col: Tensor
    values: Tensor
    tables: tuple[Tensor, ...] = ()


def csr(matrix: Tensor) -> Csr:
    """The `Csr` of a `torch.sparse_csr` matrix (V, V).

    Raises ValueError for another layout or shape, or 2^31 entries or more.
    """
    if matrix.layout != torch.sparse_csr or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"csr: expected a square torch.sparse_csr matrix, got {matrix.layout} {tuple(matrix.shape)}")
    return csr_from_rows(matrix.crow_indices(), matrix.col_indices(), matrix.values())


def csr_from_rows(
    rowptr: Tensor, col: Tensor, values: Tensor, order: Tensor | None = None, *, for_gpu: bool = False
) -> Csr:
    """The `Csr` of the rows rowptr[i]:rowptr[i + 1] (V + 1,) of `col` and `values` (E,), int64 and floating point.

    The rows take the given order (V,) of the vertices, a permutation, int64. Without one, up to 8192 vertices keep their
    order: all rows of a sample are in cache at once, and none has to be copied to its place. The rows of more take the
    breadth-first order of the pattern, in which neighbours are near whatever the numbers of the vertices: what one row reads
    is in cache for the next. It is found on the CPU.

    `for_gpu` adds the vertices of columns to the tables, which all kernels of a GPU read, and puts the rows of each tile in
    ascending order of their vertices; see `tiles`.

    Raises ValueError for 2^31 entries or more.
    """
    num_vertices = len(rowptr) - 1
    if len(col) >= 2**31:
        raise ValueError(f"csr: expected less than 2^31 entries, got {len(col)}")
    if order is None and num_vertices > _IN_CACHE:
        order = breadth_first(rowptr, col).to(col.device)
    elif order is None:
        order = torch.arange(num_vertices, device=col.device)
    if for_gpu:
        order = tiles.in_tiles(order)
    rows, column, entry = torch.ops.cheblienet.order_rows(rowptr, col, order)
    return Csr(rows, column, values[entry], (rows[:, 0][column],) if for_gpu else ())


def with_tiles(matrix: Csr) -> Csr:
    """A `Csr` for a GPU with tables of tiles, by which it convolves faster; they are made on the CPU. See `tiles`."""
    return matrix._replace(tables=(matrix.tables[0], *tiles.tables(matrix.rows, matrix.col)))


def breadth_first(rowptr: Tensor, col: Tensor) -> Tensor:
    """The vertices (V,) by their distance from a vertex of the fewest neighbours, which is one at a boundary."""
    parts = (np.ones(len(col)), col.int().cpu().numpy(), rowptr.int().cpu().numpy())
    pattern = scipy.sparse.csr_matrix(parts, shape=(len(rowptr) - 1, len(rowptr) - 1))
    start = int(rowptr.diff().argmin())
    order = scipy.sparse.csgraph.breadth_first_order(pattern, start, return_predecessors=False)
    if len(order) < len(rowptr) - 1:  # some are out of reach; this order is a seventh as fast
        order = scipy.sparse.csgraph.reverse_cuthill_mckee(pattern, symmetric_mode=True)
    return torch.from_numpy(order.astype(np.int64))


def order_rows(rowptr: Tensor, col: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the operator computes, in operations of the framework, which run on any device and wait for none."""
    count = rowptr.diff()[order]
    end = torch.cumsum(count, 0)
    first = torch.repeat_interleave(rowptr[order] - (end - count), count, output_size=len(col))
    entry = first + torch.arange(len(col), device=col.device)
    number = torch.arange(len(order), device=order.device)
    column = torch.empty_like(order).scatter_(0, order, number)[col[entry]]
    farthest = _running_maximum(torch.nn.functional.pad(column, (1, 0), value=-1))[end]
    reach = torch.maximum(farthest, number) + 1
    return torch.stack([order, end - count, end, reach], 1).int(), column.int(), entry


def _running_maximum(values: Tensor) -> Tensor:
    """The largest of each value (n,) and all before it. A GPU scans a vector in one block, but rows of a matrix in many."""
    rows = torch.nn.functional.pad(values, (0, -len(values) % 1024)).view(-1, 1024).cummax(1).values
    before = rows[:-1, -1:].cummax(0).values
    rows[1:] = torch.maximum(rows[1:], before)
    return rows.flatten()


torch.library.impl("cheblienet::order_rows", "CUDA", order_rows)


@torch.library.register_fake("cheblienet::order_rows")
def _(rowptr: Tensor, col: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    int32 = torch.int32
    return col.new_empty((len(order), 4), dtype=int32), torch.empty_like(col, dtype=int32), torch.empty_like(col)
