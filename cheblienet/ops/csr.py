"""The sparse matrix that the operators take: plain tensors, which compile and export without special cases."""

from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import torch
from torch import Tensor

from .. import _library  # noqa: F401  (registers the operators)
from .._checks import check_has_numbers
from . import tiles
from .operands import Operands

_IN_CACHE = 8192  # vertices; as in csrc/cpu/chebyshev_call.h


class Csr(NamedTuple):
    """A symmetric sparse matrix (V, V) by rows, in an order of the vertices that keeps neighbours together.

    `rows` (V, 4) int32: the vertex of each row, the first and the last + 1 of its entries, and the largest column + 1 of
    this row and all before it, at least the row + 1; `col` (E,) int32: the row, not the vertex, of the column of each
    entry; `values` (E,) floating point. Entries are sorted by row. `tables`: what else the kernels of a GPU read, made
    from `rows` and `col`; empty on the CPU.

    `csr` checks that a matrix is one and that it is symmetric; the Laplacian of a graph is by construction. Operators
    check types, shapes and devices of the parts at every call, and on the CPU also that `rows` and `col` stay inside the
    matrix. On a GPU the numbers of a `Csr` that was put together by hand are followed as they are.
    """

    rows: Tensor
    col: Tensor
    values: Tensor
    tables: tuple[Tensor, ...] = ()


def csr(matrix: Tensor) -> Csr:
    """The `Csr` of a symmetric `torch.sparse_csr` matrix (V, V).

    The numbers of the matrix are checked here, once, on its device, for the framework makes such matrices of any.
    Gradients rely on the symmetry: of the pattern, and of values up to rounding, 16 units of the last place of the largest.

    Raises:
        TypeError: for what is no tensor, or values that are not floating point.
        ValueError: for another layout or shape, row pointers that do not ascend from 0 to E, columns that are out of range,
            unsorted or duplicated, values that are not finite, a matrix that is not symmetric, or 2^31 entries or more.
    """
    if not isinstance(matrix, Tensor):
        raise TypeError(f"csr: matrix: expected a torch.sparse_csr matrix, got {type(matrix).__name__}")
    if matrix.layout != torch.sparse_csr or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"csr: expected a square torch.sparse_csr matrix, got {matrix.layout} {tuple(matrix.shape)}")
    check_has_numbers("csr: matrix", matrix)
    rowptr, col, values = matrix.crow_indices().long(), matrix.col_indices().long(), matrix.values()
    if not values.is_floating_point():
        raise TypeError(f"csr: matrix: expected floating-point values, got {values.dtype}")
    if values.ndim != 1 or len(values) != len(col) or len(rowptr) != matrix.shape[0] + 1:
        raise ValueError(
            f"csr: matrix: expected V + 1 = {matrix.shape[0] + 1} row pointers and a column for each value, "
            f"got {tuple(rowptr.shape)}, {tuple(col.shape)} and {tuple(values.shape)}"
        )
    _check_rows(rowptr, col)
    _check_symmetric(rowptr, col, values.detach())
    return csr_from_rows(rowptr, col, values)


def _check_rows(rowptr: Tensor, col: Tensor) -> None:
    """That row pointers ascend from 0 to E, and columns ascend in every row and are in range."""
    num_vertices, num_entries = len(rowptr) - 1, len(col)
    if int(rowptr[0]) != 0 or int(rowptr[-1]) != num_entries or bool((rowptr.diff() < 0).any()):
        raise ValueError(f"csr: matrix: expected row pointers that ascend from 0 to E = {num_entries}")
    if num_entries == 0:
        return
    least, largest = torch.stack(col.aminmax()).tolist()
    if least < 0 or largest >= num_vertices:
        wrong = least if least < 0 else largest
        raise ValueError(f"csr: matrix: expected columns from 0 to {num_vertices - 1}, got {wrong}")
    key = _rows_of_entries(rowptr, num_entries) * num_vertices + col
    wrong_order = key.diff() <= 0
    if wrong_order.any():
        row = int(key[int(wrong_order.int().argmax())]) // num_vertices
        raise ValueError(f"csr: matrix: expected ascending columns in every row, each once, got others in row {row}")


def _rows_of_entries(rowptr: Tensor, num_entries: int) -> Tensor:
    rows = torch.arange(len(rowptr) - 1, device=rowptr.device)
    return torch.repeat_interleave(rows, rowptr.diff(), output_size=num_entries)


def _check_symmetric(rowptr: Tensor, col: Tensor, values: Tensor) -> None:
    """Of rows with ascending columns: the stable order by columns is that of the transpose."""
    if not values.isfinite().all():
        raise ValueError("csr: matrix: expected finite values, got NaN or infinity")
    num_vertices, row = len(rowptr) - 1, _rows_of_entries(rowptr, len(col))
    transpose = torch.argsort(col, stable=True)
    here, there = row * num_vertices + col, col[transpose] * num_vertices + row[transpose]
    differs = here != there
    if differs.any():
        first = int(differs.int().argmax())
        a, b = int(here[first]), int(there[first])
        i, j = divmod(a, num_vertices) if a < b else divmod(b, num_vertices)[::-1]
        raise ValueError(f"csr: matrix: expected a symmetric matrix, got an entry ({i}, {j}) and none ({j}, {i})")
    difference = (values - values[transpose]).abs()
    if len(col) and bool((difference > 16 * torch.finfo(values.dtype).eps * values.abs().max()).any()):
        first = int(difference.argmax())
        i, j, value, other = int(row[first]), int(col[first]), float(values[first]), float(values[transpose[first]])
        raise ValueError(
            f"csr: matrix: expected a symmetric matrix, got {value:g} at ({i}, {j}) and {other:g} at ({j}, {i})"
        )


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
    # The operator checks what it is given, for which a GPU would have to be waited for.
    ordered = order_rows if col.is_cuda else torch.ops.cheblienet.order_rows
    rows, column, entry = ordered(rowptr, col, order)
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


def _checked_order_rows(rowptr: Tensor, col: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The operator on a GPU, which waits for its checks: an index out of range would be followed, or end its context."""
    _check_order(rowptr, col, order)
    vertices, entries = len(order), len(col)
    number = torch.arange(vertices, device=order.device)
    ends = torch.equal(rowptr[[0, -1]], rowptr.new_tensor([0, entries]))
    if not ends or bool((rowptr.diff() < 0).any()):
        raise RuntimeError(f"order_rows: rowptr: expected ascending numbers from 0 to E = {entries}")
    if bool(((col < 0) | (col >= vertices)).any()):
        raise RuntimeError(f"order_rows: col: expected vertices below {vertices}")
    if not torch.equal(order.sort().values, number):
        raise RuntimeError("order_rows: order: expected every vertex once")
    return order_rows(rowptr, col, order)


def _check_order(rowptr: Tensor, col: Tensor, order: Tensor) -> None:
    operands = Operands("order_rows", col)
    operands.check("order", order, torch.int64, None)
    operands.check("col", col, torch.int64, None)
    operands.check("rowptr", rowptr, torch.int64, order.shape[0] + 1)


torch.library.impl("cheblienet::order_rows", "CUDA", _checked_order_rows)


@torch.library.register_fake("cheblienet::order_rows")
def _(rowptr: Tensor, col: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _check_order(rowptr, col, order)
    int32 = torch.int32
    return col.new_empty((order.shape[0], 4), dtype=int32), torch.empty_like(col, dtype=int32), torch.empty_like(col)
