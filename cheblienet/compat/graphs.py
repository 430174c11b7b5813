"""The original's graphs: the same arguments, its cached files, its types of results."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import graphs
from .original_files import find_original, set_original


class _OriginalGraph(graphs.Graph):
    """A graph whose results have the types that code for the original relies on."""

    _in_state_dicts = False  # the original refuses names that it does not know

    def get_laplacian(self, rescale: bool = True, device: Any = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """The Laplacian, as a sparse COO tensor."""
        return super().get_laplacian(rescale, device, dtype).to_sparse_coo()

    def get_eigen_space(self, norm: bool = False) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors, float32 copies that may be written into."""
        eigenvalues, eigenvectors = super().get_eigen_space(norm)
        return eigenvalues.float(), eigenvectors.float()

    def diff_kernel(self, kernel: Callable[[Tensor], Any]) -> Tensor:
        """The diffusion kernel in float32, the type of the signals that it multiplies."""
        eigenvalues, eigenvectors = graphs.Graph.get_eigen_space(self)
        return ((eigenvectors * torch.as_tensor(kernel(eigenvalues))) @ eigenvectors.T).float()


class _SampledGraph(_OriginalGraph):
    """Takes the edges that the original keeps in `path_to_graph`, if it does, and builds its own otherwise."""

    def __init__(
        self,
        size: Sequence[int],
        sigmas: Sequence[float],
        K: int,
        path_to_graph: str | os.PathLike[str] | None = None,
        kernel: str = "gaussian",
    ) -> None:
        prefix = None
        if path_to_graph is not None:
            prefix = find_original(self._group.name, size, sigmas, K, path_to_graph, kernel)
        if prefix is None:
            super().__init__(size, sigmas, K, path_to_graph, kernel)
        else:
            set_original(self, prefix, size, sigmas, K, kernel)


class R2GEGraph(_SampledGraph, graphs.R2GEGraph):
    pass


class SE2GEGraph(_SampledGraph, graphs.SE2GEGraph):
    pass


class S2GEGraph(_SampledGraph, graphs.S2GEGraph):
    pass


class SO3GEGraph(_SampledGraph, graphs.SO3GEGraph):
    pass


class RandomSubGraph(_OriginalGraph, graphs.RandomSubGraph):
    pass


def get_laplacian(edge_index: Tensor, edge_weight: Tensor, num_vertices: int, device: Any = None) -> Tensor:
    """The symmetric normalised Laplacian, sparse COO, eigenvalues in [0, 2]."""
    return graphs.Graph(edge_index, edge_weight, num_vertices).get_laplacian(False, device).to_sparse_coo()


def get_rescaled_laplacian(
    edge_index: Tensor, edge_weight: Tensor, num_vertices: int, lmax: float = 2.0, device: Any = None
) -> Tensor:
    """2 L / lmax - (2 / lmax) I, sparse COO, for the symmetric normalised Laplacian L.

    Raises TypeError or ValueError for an lmax that is no number, not in (0, 2] or below the largest eigenvalue of L.
    """
    graph = graphs.Graph(edge_index, edge_weight, num_vertices)
    lmax = graph.checked_lambda_max("get_rescaled_laplacian: lmax", lmax)
    return graph.get_laplacian(True, device).to_sparse_coo() * (2 / lmax)


def get_fourier_basis(laplacian: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors, in columns, float32."""
    eigenvalues, eigenvectors = torch.linalg.eigh(laplacian.to_dense().double())
    return eigenvalues.float(), eigenvectors.float()
