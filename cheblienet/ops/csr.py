"""The sparse matrix that the operators take: plain tensors, which compile and export without special cases."""

from typing import NamedTuple

import torch
from torch import Tensor


class Csr(NamedTuple):
    """A symmetric sparse matrix by rows: `rowptr` (V + 1,) int32, `col` (E,) int32, `values` (E,) floating point."""

    rowptr: Tensor
    col: Tensor
    values: Tensor


def csr(matrix: Tensor) -> Csr:
    """The `Csr` of a `torch.sparse_csr` tensor (V, V), with 32-bit indices.

    Raises ValueError for another layout or shape.
    """
    if matrix.layout != torch.sparse_csr or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"csr: expected a square torch.sparse_csr matrix, got {matrix.layout} {tuple(matrix.shape)}")
    return Csr(matrix.crow_indices().int(), matrix.col_indices().int(), matrix.values())
