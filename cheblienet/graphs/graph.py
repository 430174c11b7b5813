"""A weighted undirected graph, its Laplacian and its spectrum."""

from collections.abc import Callable
from typing import Any

import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from .. import ops
from .._checks import check_integer, check_tensor
from ..ops.csr import csr_from_rows
from .edges import Edges, reverse_edges


class Graph:
    """An undirected graph with non-negative edge weights, from edges of one's own.

    The graph lives on the CPU; its Laplacian is made for any device and kept, one copy per device and dtype. Tensors
    that a graph returns are its own: do not write into them.

    Args:
        edge_index: (2, E) integers, source and target of every edge, each edge in both directions, in any order.
        edge_weight: (E,) non-negative and the same in both directions; default 1.
        num_vertices: V; default the largest index plus one.
        edge_sqdist: (E,) squared distances, non-negative and the same in both directions; default NaN, "not known".

    Raises:
        TypeError: for arguments that are no tensors, or an index that is not of integers.
        ValueError: for wrong shapes, indices out of range, self loops, duplicates, edges without their reverse or with
            another value in the reverse direction, values that are negative or not finite.
    """

    vertex_attributes: tuple[str, ...] = ()

    def __init__(
        self,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        num_vertices: int | None = None,
        *,
        edge_sqdist: Tensor | None = None,
    ) -> None:
        name = type(self).__name__
        index = _checked_index(f"{name}: edge_index", edge_index)
        if num_vertices is None:
            if not index.numel():
                raise ValueError(f"{name}: num_vertices: expected an integer where there are no edges, got None")
            num_vertices = int(index.max()) + 1
        num_vertices = check_integer(f"{name}: num_vertices", num_vertices, 1)
        index, order, reverse = _sorted_edges(f"{name}: edge_index", index, num_vertices)
        weight, sqdist = torch.ones(len(order)), torch.full((len(order),), torch.nan)
        if edge_weight is not None:
            weight = _checked_values(f"{name}: edge_weight", edge_weight, index, order, reverse)
        if edge_sqdist is not None:
            sqdist = _checked_values(f"{name}: edge_sqdist", edge_sqdist, index, order, reverse)
        self._set_edges(Edges(index, sqdist, weight), num_vertices)

    @staticmethod
    def from_sparse(matrix: Any) -> "Graph":
        """The graph of a symmetric weight matrix (V, V), a torch or scipy sparse matrix. Stored zeros are no edges.

        Raises TypeError for anything else, and ValueError for a matrix that is not square, or what `Graph` rejects.
        """
        if scipy.sparse.issparse(matrix):
            coo = matrix.tocoo()
            index = torch.stack([torch.as_tensor(coo.row).long(), torch.as_tensor(coo.col).long()])
            matrix = torch.sparse_coo_tensor(index, torch.as_tensor(coo.data), coo.shape, check_invariants=True)
        elif not isinstance(matrix, Tensor) or matrix.layout == torch.strided:
            raise TypeError(f"from_sparse: matrix: expected a torch or scipy sparse one, got {type(matrix).__name__}")
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"from_sparse: matrix: expected shape (V, V), got {tuple(matrix.shape)}")
        entries = matrix.detach().to_sparse_coo().coalesce()
        stored = entries.values() != 0
        return Graph(entries.indices()[:, stored], entries.values()[stored], matrix.shape[0])

    def _set_edges(self, edges: Edges, num_vertices: int) -> None:
        """The one place where edges change, and all that was computed from the former ones is dropped."""
        self._edges = edges
        self._num_vertices = num_vertices
        self._rowptr = _rowptr(edges.edge_index[0], num_vertices)
        self._laplacians: dict[tuple[bool, torch.device, torch.dtype], Tensor] = {}
        self._csrs: dict[tuple[torch.device, torch.dtype], ops.Csr] = {}
        self._eigen_spaces: dict[bool, tuple[Tensor, Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Copies start without results: CSR tensors cannot be deep-copied, and a pickle may open without the device.
        return {**self.__dict__, "_laplacians": {}, "_csrs": {}, "_eigen_spaces": {}}

    @property
    def num_vertices(self) -> int:
        return self._num_vertices

    @property
    def num_edges(self) -> int:
        """The number of directed edges, twice that of undirected ones."""
        return self._edges.edge_index.shape[1]

    @property
    def vertex_index(self) -> Tensor:
        """(V,) int64: 0, 1, ..., V - 1."""
        return torch.arange(self._num_vertices)

    @property
    def edge_index(self) -> Tensor:
        """(2, E) int64, source and target of every edge, sorted by (source, target)."""
        return self._edges.edge_index

    @property
    def edge_sqdist(self) -> Tensor:
        """(E,) float32, squared distances."""
        return self._edges.edge_sqdist

    @property
    def edge_weight(self) -> Tensor:
        """(E,) float32."""
        return self._edges.edge_weight

    def neighborhood(self, vertex_index: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The neighbours of a vertex, ascending, and the weights and squared distances of the edges to them."""
        vertex = vertex_index.item() if isinstance(vertex_index, Tensor) else vertex_index
        vertex = check_integer("neighborhood: vertex_index", vertex, 0, self._num_vertices - 1)
        row = slice(int(self._rowptr[vertex]), int(self._rowptr[vertex + 1]))
        return self._edges.edge_index[1, row], self._edges.edge_weight[row], self._edges.edge_sqdist[row]

    @property
    def is_connected(self) -> bool:
        """Whether edges of positive weight join every two vertices."""
        weighted = self._edges.edge_weight > 0
        source, target = self._edges.edge_index[:, weighted].numpy()
        shape = (self._num_vertices, self._num_vertices)
        matrix = scipy.sparse.coo_array((self._edges.edge_weight[weighted].numpy(), (source, target)), shape=shape)
        return bool(connected_components(matrix, directed=False, return_labels=False) == 1)

    @property
    def is_undirected(self) -> bool:
        """Whether every edge exists in both directions with one weight."""
        try:
            reverse = reverse_edges(self._edges.edge_index, self._num_vertices)
        except ValueError:
            return False
        return torch.equal(self._edges.edge_weight[reverse], self._edges.edge_weight)

    def get_laplacian(
        self, rescale: bool = True, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """The symmetric normalised Laplacian (V, V) as a `torch.sparse_csr` tensor.

        With weights W and degrees D it is L = I - D^-1/2 W D^-1/2, eigenvalues in [0, 2], or, rescaled by its largest
        possible eigenvalue, 2 L / 2 - I = -D^-1/2 W D^-1/2, eigenvalues in [-1, 1] and no diagonal. A vertex of degree
        zero has a zero row in both. Values are computed in float64, then rounded once. Degrees are float64 sums of
        float32 weights: exact, whatever their order, unless weights at one vertex differ by a factor of a million.

        Args:
            rescale: whether to rescale.
            device: where to; None for the CPU.
            dtype: floating-point type of the values.
        """
        if not dtype.is_floating_point:
            raise TypeError(f"get_laplacian: dtype: expected a floating-point type, got {dtype}")
        key = (bool(rescale), _device(device), dtype)
        if key not in self._laplacians:
            source, target = self._edges.edge_index
            rowptr, values = self._rowptr, self._rescaled_values()
            if not rescale:
                diagonal = self._degree().nonzero()[:, 0]
                source, target = torch.cat([source, diagonal]), torch.cat([target, diagonal])
                order = torch.argsort(source * self._num_vertices + target)
                values = torch.cat([values, torch.ones(len(diagonal), dtype=torch.float64)])[order]
                rowptr, target = _rowptr(source, self._num_vertices), target[order]
            shape = (self._num_vertices, self._num_vertices)
            laplacian = torch.sparse_csr_tensor(rowptr, target, values.to(dtype), shape, check_invariants=False)
            self._laplacians[key] = laplacian.to(device)
        return self._laplacians[key]

    def laplacian_csr(self, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> ops.Csr:
        """The rescaled Laplacian as the operators take it; one copy per device and dtype."""
        key = (_device(device), dtype)
        if key not in self._csrs:
            csr = csr_from_rows(self._rowptr, self._edges.edge_index[1], self._rescaled_values().to(dtype))
            self._csrs[key] = ops.Csr(*(tensor.to(device) for tensor in csr))
        return self._csrs[key]

    def get_eigen_space(self, norm: bool = False) -> tuple[Tensor, Tensor]:
        """Eigenvalues (V,), ascending, and eigenvectors (V, V), in columns, of the Laplacian, in float64.

        Args:
            norm: whether of the rescaled Laplacian, with eigenvalues in [-1, 1].
        """
        norm = bool(norm)
        if norm not in self._eigen_spaces:
            dense = torch.zeros(self._num_vertices, self._num_vertices, dtype=torch.float64)
            dense[self._edges.edge_index[0], self._edges.edge_index[1]] = self._rescaled_values()
            if not norm:
                dense.diagonal()[:] = (self._degree() > 0).double()
            eigenvalues, eigenvectors = torch.linalg.eigh(dense)
            self._eigen_spaces[norm] = (eigenvalues, eigenvectors)
        return self._eigen_spaces[norm]

    def diff_kernel(self, kernel: Callable[[Tensor], Tensor]) -> Tensor:
        """Phi diag(kernel(lambda)) Phi^T, (V, V) float64, for the Laplacian Phi diag(lambda) Phi^T."""
        eigenvalues, eigenvectors = self.get_eigen_space()
        return (eigenvectors * torch.as_tensor(kernel(eigenvalues))) @ eigenvectors.T

    def _degree(self) -> Tensor:
        degree = torch.zeros(self._num_vertices, dtype=torch.float64)
        return degree.index_add_(0, self._edges.edge_index[0], self._edges.edge_weight.double())

    def _rescaled_values(self) -> Tensor:
        """-w_ij / sqrt(d_i d_j) in float64: the product commutes, so both directions have the same bits."""
        degree, weight = self._degree(), self._edges.edge_weight.double()
        values = -weight / (degree[self._edges.edge_index[0]] * degree[self._edges.edge_index[1]]).sqrt()
        return torch.where(weight > 0, values, 0.0)


def _checked_index(name: str, edge_index: object) -> Tensor:
    index = check_tensor(name, edge_index, "(2, E)", 2)
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise TypeError(f"{name}: expected integers, got {index.dtype}")
    if index.shape[0] != 2:
        raise ValueError(f"{name}: expected shape (2, E), got {tuple(index.shape)}")
    return index.detach().cpu().long()


def _sorted_edges(name: str, index: Tensor, num_vertices: int) -> tuple[Tensor, Tensor, Tensor]:
    """The edges sorted by (source, target), their former positions and the new ones of their reverses."""
    outside = ((index < 0) | (index >= num_vertices)).any(0)
    if outside.any():
        raise ValueError(f"{name}: expected vertices between 0 and {num_vertices - 1}, got {_first(index, outside)}")
    key, order = torch.sort(index[0] * num_vertices + index[1])
    index = index[:, order]
    repeated = torch.zeros_like(key, dtype=torch.bool)
    repeated[1:] = key[1:] == key[:-1]
    for fault, where in (("self loop", index[0] == index[1]), ("edge twice", repeated)):
        if where.any():
            raise ValueError(f"{name}: expected no {fault}, got {_first(index, where)}")
    try:
        return index, order, reverse_edges(index, num_vertices)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _checked_values(name: str, values: object, index: Tensor, order: Tensor, reverse: Tensor) -> Tensor:
    """Values of the edges, float32, in the order of `index`."""
    values = check_tensor(name, values, f"({len(order)},)", 1)
    if len(values) != len(order):
        raise ValueError(f"{name}: expected one value for each of {len(order)} edges, got {len(values)}")
    values = values.detach().cpu().float()[order]
    for expected, bad in (
        ("finite values of at least 0", ~((values >= 0) & values.isfinite())),
        ("the same value in both directions", values != values[reverse]),
    ):
        if bad.any():
            raise ValueError(f"{name}: expected {expected}, got {float(values[bad][0])} at edge {_first(index, bad)}")
    return values


def _rowptr(source: Tensor, num_vertices: int) -> Tensor:
    """(V + 1,) int64: where the edges of each vertex begin and end."""
    rowptr = torch.zeros(num_vertices + 1, dtype=torch.int64)
    rowptr[1:] = torch.cumsum(torch.bincount(source, minlength=num_vertices), 0)
    return rowptr


def _device(device: torch.device | str | None) -> torch.device:
    """The device by its full name: "cuda" and "cuda:0" are one place and share one copy."""
    device = torch.device("cpu" if device is None else device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _first(edge_index: Tensor, where: Tensor) -> tuple[int, int]:
    """The first edge that `where` marks."""
    source, target = edge_index[:, where][:, 0].tolist()
    return source, target
