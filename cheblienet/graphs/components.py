"""The connected components of edges, and the null space of the Laplacian, which they span."""

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from .edges import Edges
from .laplacian import degrees, row_pointers


def components(edges: Edges, num_vertices: int) -> np.ndarray:
    """(V,) int32: the number of the component of each vertex, from 0 on. Edges of weight 0 join nothing; edges on the CPU."""
    (source, target), weight = edges.edge_index, edges.edge_weight
    if not weight.all():
        source, target, weight = source[weight > 0], target[weight > 0], weight[weight > 0]
    parts = (weight.numpy(), target.int().numpy(), row_pointers(source, num_vertices).numpy())
    matrix = scipy.sparse.csr_array(parts, shape=(num_vertices, num_vertices))
    # Each edge is there in both directions, so strong components are the components, and found without a transpose.
    return connected_components(matrix, directed=True, connection="strong")[1]


def num_isolated(edges: Edges, num_vertices: int) -> int:
    """How many vertices no edge of positive weight joins, counted where the edges are."""
    return int((degrees(edges, num_vertices) == 0).sum())


def null_space(edges: Edges, num_vertices: int, label: np.ndarray) -> scipy.sparse.csc_array:
    """(V, C): an orthonormal basis of the null space of the Laplacian, one column D^1/2 1 for each of C components.

    An isolated vertex is a component of its own.
    """
    degree = degrees(edges, num_vertices).numpy()
    degree = np.where(degree > 0, degree, 1.0)
    order = np.argsort(label, kind="stable")
    first = np.flatnonzero(np.diff(label[order], prepend=-1))
    # A sum of a million terms in float64 loses three digits of sixteen.
    volume = np.add.reduceat(degree[order].astype(np.longdouble), first).astype(np.float64)
    values = np.sqrt(degree / volume[label])
    return scipy.sparse.csc_array((values, (np.arange(num_vertices), label)))


def to_torch(matrix: scipy.sparse.csr_array, device: torch.device) -> Tensor:
    """A `torch.sparse_csr` copy of a matrix of scipy's."""
    parts = (torch.tensor(part, device=device) for part in (matrix.indptr, matrix.indices, matrix.data))
    return torch.sparse_csr_tensor(*parts, matrix.shape, check_invariants=False)
