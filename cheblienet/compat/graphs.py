"""The original's graphs: the same arguments, its cached files, its types of results."""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import compat, graphs
from .._checks import check_flag, check_sigmas
from ..graphs.edges import Edges
from ..graphs.manifold import _caller
from ..graphs.store import cache_file, content_key, load_or_build
from .original_edges import original_edges as find_original_edges
from .original_edges import original_sqdist
from .original_files import (
    Parameters,
    described,
    file_of,
    find_original,
    hash_of,
    load_edges,
    set_original,
)

_warned = False
_ORIGINAL = {"edges": "original"}  # tells kept edges apart


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
    """Takes the edges that the original keeps in `path_to_graph`, if it does, and otherwise finds edges.

    Args:
        size, sigmas, K, path_to_graph, kernel: as the original takes them.
        original_edges: whether to find the edges that the original finds, rather than those of this package. It takes
            minutes where those take a second; `path_to_graph` keeps either. By default, as `compat.install` was told.

    Attributes:
        str_repr: the text that describes the graph, in the original's words.
    """

    _options: ClassVar[dict[str, str]] = {}  # by which the sampling is the original's

    def __init__(
        self,
        size: Sequence[int],
        sigmas: Sequence[float],
        K: int,
        path_to_graph: str | os.PathLike[str] | None = None,
        kernel: str = "gaussian",
        *,
        original_edges: bool | None = None,
    ) -> None:
        if original_edges is None:
            original_edges = compat.original_edges_by_default
        check_flag(f"{type(self).__name__}: original_edges", original_edges)
        self.str_repr = described(self._group.name, size, sigmas, K, kernel)
        prefix = None
        if path_to_graph is not None:
            prefix = find_original(self._group.name, size, sigmas, K, path_to_graph, kernel)
        self._has_original_edges = original_edges or prefix is not None
        if prefix is not None:
            set_original(self, size, sigmas, K, kernel, lambda asked: load_edges(prefix, asked.num_vertices))
        elif original_edges:
            set_original(self, size, sigmas, K, kernel, partial(_find_edges, path_to_graph))
        else:
            super().__init__(size, sigmas, K, path_to_graph, kernel, **self._options)
            _warn_of_other_edges(self)

    def uniform_sampling(self, size: Sequence[int]) -> tuple[Tensor, ...]:
        """The coordinates of the regular sampling of this size, (V,) float32 each."""
        counts = self._checked_size(size)[: len(self._axes)]
        return self._group.uniform_sampling(*counts, **self._options).float().unbind(-1)

    def riemannian_sqdist(self, Gg: Tensor, Gh: Tensor, Re: Tensor) -> Tensor:
        """The squared distances (V,) from Gg (3, 3) to Gh (V, 3, 3), matrices, by the definition that the edges follow.

        `Re` (3, 3) is diagonal: the sigmas.
        """
        if self._has_original_edges:
            relative = self.group.inverse(Gg) @ Gh
            return original_sqdist(self.manifold, relative, check_sigmas("riemannian_sqdist: Re", Re.diagonal()))
        return self.group.squared_distance(self.group.element(Gg), self.group.element(Gh), Re.diagonal())

    def hash_repr(self) -> str:
        """What the names of this graph's files begin with in the original's folders."""
        return hash_of(self.str_repr)

    def check_graph_exists(self, path_to_graph: str | os.PathLike[str]) -> bool:
        """Whether the folder keeps this graph, in the original's files or in this package's."""
        prefix = Path(path_to_graph) / self.hash_repr()
        names = ("vertex_index", *Edges._fields, *self.vertex_attributes)
        if all(file_of(prefix, name).exists() for name in names):
            return True
        sampling = _ORIGINAL if self._has_original_edges else self._sampling
        key = content_key(self.manifold, self.size, self.sigmas, self.K, self.kernel, **sampling)
        return cache_file(path_to_graph, key).exists()


def _find_edges(path_to_graph: str | os.PathLike[str] | None, asked: Parameters) -> Edges:
    """The original's edges, from the cache or computed and kept there."""
    if path_to_graph is None:
        return find_original_edges(asked)
    key = content_key(*asked[:5], **_ORIGINAL)
    return load_or_build(path_to_graph, key, asked.num_vertices, partial(find_original_edges, asked))


def _warn_of_other_edges(graph: _SampledGraph) -> None:
    """Once in a process, at the first graph with edges of this package."""
    global _warned
    if _warned:
        return
    _warned = True
    warnings.warn(
        f"{type(graph).__name__}: size {graph.size} has {graph.num_edges:,} directed edges here, and others in the original: "
        "the graph of its program for MNIST, SE(2) 28 x 28 x 6, has 63,088 here and 50,544 there. Its checkpoints belong to "
        "its own edges: original_edges=True makes them",
        stacklevel=_caller(),
    )


class R2GEGraph(_SampledGraph, graphs.R2GEGraph):
    pass


class SE2GEGraph(_SampledGraph, graphs.SE2GEGraph):
    pass


class S2GEGraph(_SampledGraph, graphs.S2GEGraph):
    pass


class SO3GEGraph(_SampledGraph, graphs.SO3GEGraph):
    _options: ClassVar[dict[str, str]] = {"frames": "coordinate"}


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
