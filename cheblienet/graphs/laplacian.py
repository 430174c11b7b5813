"""The symmetric normalised Laplacian of edges, by rows."""

import torch
from torch import Tensor

from .edges import Edges, in_pieces


def row_pointers(source: Tensor, num_vertices: int) -> Tensor:
    """(V + 1,) int64: where the edges of each vertex begin and end among those sorted by `source` (E,)."""
    rowptr = torch.zeros(num_vertices + 1, dtype=torch.int64, device=source.device)
    rowptr[1:] = torch.cumsum(torch.bincount(source, minlength=num_vertices), 0)
    return rowptr


def degrees(edges: Edges, num_vertices: int) -> Tensor:
    """(V,) float64: the sum of the weights of the edges of each vertex."""
    degree = torch.zeros(num_vertices, dtype=torch.float64, device=edges.edge_weight.device)
    for source, weight in in_pieces(edges.edge_index[0], edges.edge_weight):
        degree.index_add_(0, source, weight.double())
    return degree


def laplacian_rows(edges: Edges, rowptr: Tensor, scale: float, diagonal: float) -> tuple[Tensor, Tensor, Tensor]:
    """diagonal I - scale D^-1/2 W D^-1/2 for weights W and degrees D, with zero rows for vertices of degree 0.

    Args:
        edges: E edges sorted by (source, target).
        rowptr: (V + 1,) int64, where those of each vertex begin and end.

    Returns:
        Row pointers (V + 1,) and columns, int64, and values, float64, of E entries, or E + V where there is a diagonal.
        The product in w_ij (d_i^-1/2 d_j^-1/2) commutes, so both directions have the same bits.
    """
    num_vertices = len(rowptr) - 1
    (source, target), degree = edges.edge_index, degrees(edges, num_vertices)
    norm = torch.where(degree > 0, degree.rsqrt(), 0.0)
    values = torch.empty_like(edges.edge_weight, dtype=torch.float64)
    for value, i, j, weight in in_pieces(values, source, target, edges.edge_weight):
        torch.mul(norm[i], norm[j], out=value).mul_(weight).mul_(-scale)
    if diagonal == 0:
        return rowptr, target, values
    vertex = degree.nonzero()[:, 0]
    source, target = torch.cat([source, vertex]), torch.cat([target, vertex])
    order = torch.argsort(source * num_vertices + target)
    values = torch.cat([values, values.new_full((len(vertex),), diagonal)])[order]
    return row_pointers(source, num_vertices), target[order], values
