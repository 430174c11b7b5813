"""The sparse matrix that the operators take: plain tensors, which compile and export without special cases."""

from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import torch
from torch import Tensor

_IN_CACHE = 8192  # vertices; as in csrc/cpu/chebyshev_call.h


class Csr(NamedTuple):
    """A symmetric sparse matrix (V, V) by rows, in an order of the vertices that keeps neighbours together.

    `rows` (V, 4) int32: the vertex of each row, the first and the last + 1 of its entries, and the largest column + 1 of
    this row and all before it, at least the row + 1; `col` (E,) int32: the row, not the vertex, of the column of each
    entry; `values` (E,) floating point. Entries are sorted by row.
    """

    rows: Tensor
    col: Tensor
    values: Tensor


def csr(matrix: Tensor) -> Csr:
    """The `Csr` of a `torch.sparse_csr` matrix (V, V).

    Raises ValueError for another layout or shape, or 2^31 entries or more.
    """
    if matrix.layout != torch.sparse_csr or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"csr: expected a square torch.sparse_csr matrix, got {matrix.layout} {tuple(matrix.shape)}")
    return csr_from_rows(matrix.crow_indices(), matrix.col_indices(), matrix.values())


def csr_from_rows(rowptr: Tensor, col: Tensor, values: Tensor) -> Csr:
    """The `Csr` of the rows rowptr[i]:rowptr[i + 1] (V + 1,) of `col` and `values` (E,), int64 and floating point.

    Up to 8192 vertices keep their order: all rows of a sample are in cache at once, and none has to be copied to its
    place. The rows of more take the reverse Cuthill-McKee order of the pattern, in which neighbours are near whatever the
    numbers of the vertices: what one row reads is in cache for the next.

    Raises ValueError for 2^31 entries or more.
    """
    num_vertices = len(rowptr) - 1
    if len(col) >= 2**31:
        raise ValueError(f"csr: expected less than 2^31 entries, got {len(col)}")
    vertex = torch.arange(num_vertices, device=rowptr.device)
    if num_vertices > _IN_CACHE:
        pattern = scipy.sparse.csr_matrix(
            (np.ones(len(col), dtype=np.int8), col.int().cpu().numpy(), rowptr.int().cpu().numpy()),
            shape=(num_vertices, num_vertices),
        )
        order = scipy.sparse.csgraph.reverse_cuthill_mckee(pattern, symmetric_mode=True)
        vertex = torch.from_numpy(order.astype(np.int64)).to(rowptr.device)
    count = rowptr.diff()[vertex]
    end = torch.cumsum(count, 0)
    entry = torch.repeat_interleave(rowptr[vertex] - (end - count), count) + torch.arange(len(col), device=col.device)
    number = torch.arange(num_vertices, device=vertex.device)
    column = torch.empty_like(vertex).scatter_(0, vertex, number)[col[entry]]
    farthest = number.scatter_reduce(0, torch.repeat_interleave(number, count), column, "amax")
    reach = torch.cummax(farthest, 0).values + 1
    return Csr(torch.stack([vertex, end - count, end, reach], 1).int(), column.int(), values[entry])
