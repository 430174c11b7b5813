"""A weighted undirected graph, its Laplacian and its spectrum."""

from numbers import Real
from typing import Any

import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from .. import ops
from .._checks import check_integer
from ..ops.csr import csr_from_rows, with_tiles
from . import spectral
from .checks import checked_index, checked_values, sorted_edges
from .edges import Edges, reverse_edges
from .fingerprint import fingerprint
from .held import Held, full_device
from .laplacian import degrees, laplacian_rows


class Graph:
    """An undirected graph with non-negative edge weights, from edges of one's own.

    Its attributes are tensors on the CPU; its Laplacian is made for any device and kept, one copy per device and dtype.
    Tensors that a graph returns are its own: do not write into them.

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
    _lambda_max: float | str = 2.0
    _stays = True  # whether its edges are there for more than a step
    _in_state_dicts = True  # whether layers save its fingerprint

    def __init__(
        self,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        num_vertices: int | None = None,
        *,
        edge_sqdist: Tensor | None = None,
    ) -> None:
        name = type(self).__name__
        index = checked_index(f"{name}: edge_index", edge_index)
        if num_vertices is None:
            if not index.numel():
                raise ValueError(f"{name}: num_vertices: expected an integer where there are no edges, got None")
            num_vertices = int(index.max()) + 1
        num_vertices = check_integer(f"{name}: num_vertices", num_vertices, 1)
        index, order, reverse = sorted_edges(f"{name}: edge_index", index, num_vertices)
        weight, sqdist = torch.ones(len(order)), torch.full((len(order),), torch.nan)
        if edge_weight is not None:
            weight = checked_values(f"{name}: edge_weight", edge_weight, index, order, reverse)
        if edge_sqdist is not None:
            sqdist = checked_values(f"{name}: edge_sqdist", edge_sqdist, index, order, reverse)
        self._set_edges(Held(Edges(index, sqdist, weight)), num_vertices)

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

    def _set_edges(self, edges: Held[Edges], num_vertices: int) -> None:
        """The one place where edges change, and all that was computed from the former ones is dropped."""
        self._edges = edges
        self._num_vertices = num_vertices
        self._forget()

    def _forget(self) -> None:
        self._laplacians: dict[tuple[bool, torch.device, torch.dtype], Tensor] = {}
        self._csrs: dict[tuple[torch.device, torch.dtype], ops.Csr] = {}
        self._eigen_spaces: dict[tuple[bool, int], tuple[Tensor, Tensor]] = {}
        self._estimate: float | None = None
        self._fingerprint: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Copies start without results: CSR tensors cannot be deep-copied, and a pickle may open without the device.
        return {**self.__dict__, "_laplacians": {}, "_csrs": {}, "_eigen_spaces": {}}

    @property
    def fingerprint(self) -> Tensor:
        """(n,) uint8, n a multiple of 512: a hash of the edges, and what made them, as layers save it in state dicts.

        Made at the first request; the edges of a graph on a GPU are copied for it.
        """
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self, self.lambda_max)
        return self._fingerprint.clone()

    @property
    def num_vertices(self) -> int:
        return self._num_vertices

    @property
    def num_edges(self) -> int:
        """The number of directed edges, twice that of undirected ones."""
        return self._edges.made.edge_index.shape[1]

    @property
    def vertex_index(self) -> Tensor:
        """(V,) int64: 0, 1, ..., V - 1."""
        return torch.arange(self._num_vertices)

    @property
    def edge_index(self) -> Tensor:
        """(2, E) int64, source and target of every edge, sorted by (source, target)."""
        return self._edges.on_cpu.edge_index

    @property
    def edge_sqdist(self) -> Tensor:
        """(E,) float32, squared distances."""
        return self._edges.on_cpu.edge_sqdist

    @property
    def edge_weight(self) -> Tensor:
        """(E,) float32."""
        return self._edges.on_cpu.edge_weight

    def neighborhood(self, vertex_index: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The neighbours of a vertex, ascending, and the weights and squared distances of the edges to them."""
        vertex = vertex_index.item() if isinstance(vertex_index, Tensor) else vertex_index
        vertex = check_integer("neighborhood: vertex_index", vertex, 0, self._num_vertices - 1)
        index, sqdist, weight = self._edges.on_cpu
        row = slice(*torch.searchsorted(index[0], torch.tensor([vertex, vertex + 1])).tolist())
        return index[1, row], weight[row], sqdist[row]

    @property
    def is_connected(self) -> bool:
        """Whether edges of positive weight join every two vertices."""
        weighted = self.edge_weight > 0
        index, weight = self.edge_index[:, weighted].numpy(), self.edge_weight[weighted].numpy()
        matrix = scipy.sparse.coo_array((weight, tuple(index)), shape=(self._num_vertices, self._num_vertices))
        return bool(connected_components(matrix, directed=False, return_labels=False) == 1)

    @property
    def is_undirected(self) -> bool:
        """Whether every edge exists in both directions with one weight."""
        try:
            reverse = reverse_edges(self.edge_index, self._num_vertices)
        except ValueError:
            return False
        return torch.equal(self.edge_weight[reverse], self.edge_weight)

    @property
    def lambda_max(self) -> float:
        """What the rescaled Laplacian takes for its largest eigenvalue, before it is rescaled: 2, unless set.

        2 is the largest that any graph can have. A number in (0, 2] that is at least the graph's own, or "estimate", a
        thousandth above it by Lanczos, spreads the eigenvalues over all of [-1, 1]. All Laplacians and all layers on this
        graph follow; set it before a layer is compiled or exported.

        Raises TypeError or ValueError when set to something else.
        """
        if self._lambda_max != "estimate":
            return float(self._lambda_max)
        if self._estimate is None:
            found = spectral.largest_eigenvalue(Graph.get_laplacian(self, False, dtype=torch.float64))
            self._estimate = min(found, 2.0) or 2.0  # zero where there are no edges
        return self._estimate

    @lambda_max.setter
    def lambda_max(self, value: float | str) -> None:
        if value != "estimate":
            if isinstance(value, bool | str) or not isinstance(value, Real):
                raise TypeError(f'lambda_max: expected a number or "estimate", got {value!r}')
            if not 0 < value <= 2:
                raise ValueError(f"lambda_max: expected a number in (0, 2], got {value}")
        self._lambda_max = value
        self._forget()

    def get_laplacian(
        self, rescale: bool = True, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """The symmetric normalised Laplacian (V, V) as a `torch.sparse_csr` tensor.

        With weights W and degrees D it is L = I - D^-1/2 W D^-1/2, eigenvalues in [0, 2], or, rescaled by `lambda_max`,
        2 L / lambda_max - I, eigenvalues in [-1, 1]: for lambda_max = 2 it is -D^-1/2 W D^-1/2, without a diagonal. A
        vertex of degree zero has a zero row in both. Values are computed in float64, then rounded once. Degrees are
        float64 sums of float32 weights: exact, whatever their order, unless weights at one vertex differ by a factor of a
        million.

        Args:
            rescale: whether to rescale.
            device: where to; None for the CPU.
            dtype: floating-point type of the values.
        """
        if not dtype.is_floating_point:
            raise TypeError(f"get_laplacian: dtype: expected a floating-point type, got {dtype}")
        key = (bool(rescale), full_device(device), dtype)
        if key not in self._laplacians:
            rowptr, col, values = self._laplacian_rows(rescale, device)
            shape = (self._num_vertices, self._num_vertices)
            self._laplacians[key] = torch.sparse_csr_tensor(
                rowptr, col, values.to(dtype), shape, check_invariants=False
            )
        return self._laplacians[key]

    def laplacian_csr(
        self, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32, *, tiles: bool = False
    ) -> ops.Csr:
        """The rescaled Laplacian as the operators take it; one copy per device and dtype.

        On a GPU, `tiles` adds the tables by which it convolves faster, as layers ask for: about a second of the CPU for a
        million vertices, once. A sub-graph that is drawn anew at every step goes without.
        """
        key = (full_device(device), dtype)
        if key not in self._csrs:
            rowptr, col, values = self._laplacian_rows(True, device)
            order, for_gpu = self._row_order(key[0]), key[0].type == "cuda"
            self._csrs[key] = csr_from_rows(rowptr, col, values.to(dtype), order, for_gpu=for_gpu)
        if tiles and self._stays and len(self._csrs[key].tables) == 1:
            self._csrs[key] = with_tiles(self._csrs[key])
        return self._csrs[key]

    def get_eigen_space(self, norm: bool = False, k: int | None = None) -> tuple[Tensor, Tensor]:
        """Eigenvalues, ascending, and eigenvectors, in columns, of the Laplacian, in float64.

        Args:
            norm: whether of the rescaled Laplacian, with eigenvalues in [-1, 1].
            k: how many, the smallest ones; None for all V. Few of a large graph are found by Lanczos on the sparse matrix;
                all of them take a dense matrix (V, V).

        Returns:
            (k,) and (V, k).

        Raises TypeError or ValueError for a k that is no integer between 1 and V.
        """
        vertices = self._num_vertices
        k = vertices if k is None else check_integer("get_eigen_space: k", k, 1, vertices)
        norm = bool(norm)
        if (norm, k) not in self._eigen_spaces:
            laplacian = Graph.get_laplacian(self, norm, dtype=torch.float64)  # a derived class may have its own layout
            if vertices <= spectral.SMALL or 4 * k > vertices:
                if (norm, vertices) not in self._eigen_spaces:
                    eigenvalues, eigenvectors = torch.linalg.eigh(laplacian.to_dense())
                    self._eigen_spaces[norm, vertices] = (eigenvalues, eigenvectors)
                eigenvalues, eigenvectors = self._eigen_spaces[norm, vertices]
                return eigenvalues[:k], eigenvectors[:, :k]
            self._eigen_spaces[norm, k] = spectral.smallest_eigenpairs(laplacian, k)
        return self._eigen_spaces[norm, k]

    def diff_kernel(self, kernel: spectral.Kernel) -> Tensor:
        """kernel(L), (V, V) float64: Phi diag(kernel(lambda)) Phi^T for the Laplacian L = Phi diag(lambda) Phi^T.

        To have it act on signals, `apply_kernel` needs no matrix.
        """
        eigenvalues, eigenvectors = self.get_eigen_space()
        return (eigenvectors * torch.as_tensor(kernel(eigenvalues))) @ eigenvectors.T

    def apply_kernel(self, kernel: spectral.Kernel, x: Tensor) -> Tensor:
        """kernel(L) x for the Laplacian L, by its Chebyshev expansion: sparse products only, no matrix (V, V).

        Args:
            kernel: a smooth function of the eigenvalues, elementwise on a float64 tensor of numbers in [0, lambda_max].
            x: (..., V) signals, float64 or float32, on any device.

        Returns:
            (..., V), exact to the rounding of the dtype. Differentiable in x.

        Raises:
            TypeError: for another dtype.
            ValueError: for another shape, or a kernel that is not finite or not smooth enough for degree 4096.
        """
        if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"apply_kernel: x: expected a float64 or float32 tensor (..., V), got {got}")
        if x.ndim == 0 or x.shape[-1] != self._num_vertices:
            raise ValueError(
                f"apply_kernel: x: expected V = {self._num_vertices} in the last place, got {tuple(x.shape)}"
            )
        coefficients = spectral.chebyshev_coefficients(kernel, self.lambda_max, x.dtype)
        laplacian = Graph.get_laplacian(self, device=x.device, dtype=x.dtype)
        signals = x.reshape(-1, self._num_vertices)
        y = spectral.apply_polynomial(coefficients, laplacian, signals.T).T
        # The zero row of an isolated vertex stands for the eigenvalue 0, not for the middle of the spectrum.
        isolated = (degrees(self._edges.made, self._num_vertices) == 0).to(x.device)
        at_zero = torch.as_tensor(kernel(torch.zeros(1, dtype=torch.float64))).to(x)
        return torch.where(isolated, at_zero * signals, y).reshape(x.shape)

    def diffuse(self, x: Tensor, time: float) -> Tensor:
        """exp(-time L) x, signals (..., V) after diffusion of heat for `time` >= 0; see `apply_kernel`."""
        if isinstance(time, bool) or not isinstance(time, Real) or not 0 <= time < float("inf"):
            raise ValueError(f"diffuse: time: expected a number of at least 0, got {time!r}")
        return self.apply_kernel(lambda eigenvalue: torch.exp(-float(time) * eigenvalue), x)

    def _row_order(self, device: torch.device) -> Tensor | None:
        """The order (V,) of the vertices for the rows of a `Csr` on a device; None for that of `csr_from_rows`."""
        return None

    def _laplacian_rows(self, rescale: bool, device: torch.device | str | None) -> tuple[Tensor, Tensor, Tensor]:
        """Assembled where they are used."""
        scale = 2 / self.lambda_max if rescale else 1.0
        edges = self._edges.on(full_device(device))
        return laplacian_rows(edges, self._num_vertices, scale, scale - 1 if rescale else 1.0)
