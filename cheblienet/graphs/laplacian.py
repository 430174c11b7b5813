"""The symmetric normalised Laplacian of edges, by rows."""

import torch
from torch import Tensor

from .edges import Edges


def row_pointers(source: Tensor, num_vertices: int) -> Tensor:
    """(V + 1,) int64: where the edges of each vertex begin and end among those sorted by `source` (E,)."""
    rowptr = torch.zeros(num_vertices + 1, dtype=torch.int64, device=source.device)
    rowptr[1:] = torch.cumsum(torch.bincount(source, minlength=num_vertices), 0)
    return rowptr


def degrees(edges: Edges, num_vertices: int) -> Tensor:
    """(V,) float64: the sum of the weights of the edges of each vertex."""
    degree = torch.zeros(num_vertices, dtype=torch.float64, device=edges.edge_weight.device)
    return degree.index_add_(0, edges.edge_index[0], edges.edge_weight.double())


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
    values = norm[source].mul_(norm[target]).mul_(edges.edge_weight).mul_(-scale)  # in place: no fresh memory per step
    if diagonal == 0:
        return rowptr, target, values
    vertex = degree.nonzero()[:, 0]
    source, target = torch.cat([source, vertex]), torch.cat([target, vertex])
    order = torch.argsort(source * num_vertices + target)
    values = torch.cat([values, values.new_full((len(vertex),), diagonal)])[order]
    return row_pointers(source, num_vertices), target[order], values
