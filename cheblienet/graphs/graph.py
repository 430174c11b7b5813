"""A weighted undirected graph, its Laplacian and its spectrum."""

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from .. import ops
from .._checks import MAX_VERTICES, check_flag, check_has_numbers, check_integer
from ..ops.csr import csr_from_rows, with_tiles
from . import spectral
from .checks import checked_index, checked_values, sorted_edges
from .components import components, null_space, to_torch
from .edges import Edges, reverse_edges
from .fingerprint import fingerprint
from .functions import Kernel, Operator, SelfAdjoint, apply_heat, chebyshev_coefficients, kernel_values
from .held import Held, full_device
from .laplacian import laplacian_rows

# How far below the largest eigenvalue a `lambda_max` may be: the rounding of float32, which changes no layer.
_SLACK = 1e-6
# Of a graph without edges, whose eigenvalues are 0: 2 / lambda_max has to be finite in float32.
_LEAST = torch.finfo(torch.float32).tiny


class Graph:
    """An undirected graph with non-negative edge weights, from edges of one's own.

    Its attributes are tensors on the CPU; its Laplacian is made for any device and kept, one copy per device and dtype.
    Tensors that a graph returns are copies, which may be written into, but for those of `laplacian_csr`, which layers hold.

    Args:
        edge_index: (2, E) integers, source and target of every edge, each edge in both directions, in any order.
        edge_weight: (E,) non-negative and the same in both directions; default 1.
        num_vertices: V, less than 2^31; default the largest index plus one.
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
    _whole = True  # whether it is no part that was drawn, for which a number given as `lambda_max` does not hold

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
        # The number of an edge, source * V + target, is an int64, and that of a vertex in a `Csr` an int32.
        num_vertices = check_integer(f"{name}: num_vertices", num_vertices, 1, MAX_VERTICES)
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
        self._operators: dict[torch.device, Operator] = {}
        self._labels: np.ndarray | None = None
        self._estimate: float | None = None
        self._fingerprint: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Copies start without results: CSR tensors cannot be deep-copied, and a pickle may open without the device.
        return {**self.__dict__, "_laplacians": {}, "_csrs": {}, "_eigen_spaces": {}, "_operators": {}}

    def __repr__(self) -> str:
        size = f"size {' x '.join(map(str, self.size))}, " if hasattr(self, "size") else ""
        mean, parts = self.num_edges / self._num_vertices, self.num_components
        return (
            f"{type(self).__name__}({size}{self._num_vertices:,} vertices, {self.num_edges // 2:,} edges, mean degree "
            f"{mean:.2f}, {parts:,} component{'s' * (parts != 1)})"
        )

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
        return self._edges.on_cpu.edge_index.clone()

    @property
    def edge_sqdist(self) -> Tensor:
        """(E,) float32, squared distances."""
        return self._edges.on_cpu.edge_sqdist.clone()

    @property
    def edge_weight(self) -> Tensor:
        """(E,) float32."""
        return self._edges.on_cpu.edge_weight.clone()

    def neighborhood(self, vertex_index: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The neighbours of a vertex, ascending, and the weights and squared distances of the edges to them."""
        vertex: object = vertex_index
        if isinstance(vertex_index, Tensor) and vertex_index.layout == torch.strided and vertex_index.numel() == 1:
            vertex = check_has_numbers("neighborhood: vertex_index", vertex_index).item()
        vertex = check_integer("neighborhood: vertex_index", vertex, 0, self._num_vertices - 1)
        index, sqdist, weight = self._edges.on_cpu
        first, last = torch.searchsorted(index[0], torch.tensor([vertex, vertex + 1])).tolist()
        return index[1, first:last].clone(), weight[first:last].clone(), sqdist[first:last].clone()

    @property
    def num_components(self) -> int:
        """How many parts no edge of positive weight joins; found at the first request, on the CPU."""
        return int(self._component_labels().max()) + 1

    @property
    def is_connected(self) -> bool:
        """Whether edges of positive weight join every two vertices."""
        return self.num_components == 1

    def _component_labels(self) -> np.ndarray:
        if self._labels is None:
            self._labels = components(self._edges.on_cpu, self._num_vertices)
        return self._labels

    @property
    def is_undirected(self) -> bool:
        """Whether every edge exists in both directions with one weight."""
        try:
            reverse = reverse_edges(self._edges.on_cpu.edge_index, self._num_vertices)
        except ValueError:
            return False
        weight = self._edges.on_cpu.edge_weight
        return torch.equal(weight[reverse], weight)

    @property
    def lambda_max(self) -> float:
        """What the rescaled Laplacian takes for its largest eigenvalue, before it is rescaled: 2, unless set.

        2 is the largest that any graph can have. A number in (0, 2] that is at least the graph's own, or "estimate", a
        thousandth above it by Lanczos, spreads the eigenvalues over all of [-1, 1]. All Laplacians and all layers on this
        graph follow; set it before a layer is compiled or exported. A number is compared with the largest eigenvalue of up
        to 1,000 vertices, and with what 40 steps of Lanczos find of more, which it may not exceed.

        Raises TypeError or ValueError when set to something else.
        """
        if self._lambda_max != "estimate":
            return float(self._lambda_max) if self._whole else 2.0
        if self._estimate is None:
            found = spectral.largest_eigenvalue(self._laplacian(False, torch.device("cpu"), torch.float64))
            self._estimate = min(found, 2.0) or 2.0  # zero where there are no edges
        return self._estimate

    @lambda_max.setter
    def lambda_max(self, value: float | str) -> None:
        if not isinstance(value, str):
            value = self.checked_lambda_max("lambda_max", value)
        elif value != "estimate":
            raise TypeError(f'lambda_max: expected a number or "estimate", got {value!r}')
        self._lambda_max = value
        self._forget()

    def checked_lambda_max(self, name: str, value: object) -> float:
        """`value` as a float if it can be the `lambda_max` of this graph; TypeError or ValueError otherwise."""
        if isinstance(value, bool | Tensor) or not isinstance(value, Real):
            raise TypeError(f'{name}: expected a number or "estimate", got {value!r} of type {type(value).__name__}')
        if not _LEAST <= value <= 2:
            raise ValueError(f"{name}: expected a number in [{_LEAST:.2g}, 2], got {value}")
        if value < 2 and not self._whole:
            raise ValueError(
                f'{name}: expected 2 or "estimate" for a part that was drawn, got {value}: a number holds for a whole graph'
            )
        if value < 2:
            least = spectral.largest_eigenvalue_bound(self._laplacian(False, self._edges.made.device, torch.float64))
            if value < least * (1 - _SLACK):
                raise ValueError(
                    f"{name}: expected at least the largest eigenvalue of the Laplacian, {least:.9g} or more here, "
                    f'got {value}: Chebyshev polynomials grow without bound beyond it; "estimate" finds it'
                )
        return float(value)

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
        _check_floating_type("get_laplacian: dtype", dtype)
        return self._laplacian(check_flag("get_laplacian: rescale", rescale), full_device(device), dtype).clone()

    def _laplacian(self, rescale: bool, device: torch.device, dtype: torch.dtype) -> Tensor:
        """What `get_laplacian` keeps."""
        key = (rescale, device, dtype)
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
        """The rescaled Laplacian as the operators take it; one copy per device and dtype, which all layers on the graph
        share: do not write into it.

        On a GPU, `tiles` adds the tables by which it convolves faster, as layers ask for: about a second of the CPU for a
        million vertices, once. A sub-graph that is drawn anew at every step goes without.

        TypeError for a `dtype` that is not floating point, or `tiles` that are not True or False.
        """
        _check_floating_type("laplacian_csr: dtype", dtype)
        check_flag("laplacian_csr: tiles", tiles)
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
            k: how many, the smallest ones; None for all V. Few of a large graph are found by Lanczos on the sparse matrix
                or on its inverse, whichever is cheaper; all of them take a dense matrix (V, V).

        Returns:
            (k,) and (V, k).

        Raises:
            TypeError, ValueError: for a norm that is not True or False, or a k that is no integer between 1 and V.
            RuntimeError: where Lanczos does not converge.
        """
        if not isinstance(norm, bool | np.bool_):
            raise TypeError(
                f"get_eigen_space: norm: expected True or False, got {norm!r}: the number of eigenvalues is k={norm!r}"
            )
        vertices = self._num_vertices
        k = vertices if k is None else check_integer("get_eigen_space: k", k, 1, vertices)
        if vertices <= spectral.SMALL or 4 * k > vertices:
            eigenvalues, eigenvectors = self._eigen_space(bool(norm), vertices)
        else:
            eigenvalues, eigenvectors = self._eigen_space(bool(norm), k)
        return eigenvalues[:k].clone(), eigenvectors[:, :k].clone()

    def _eigen_space(self, norm: bool, k: int) -> tuple[Tensor, Tensor]:
        """What `get_eigen_space` keeps: all V by a dense matrix, or k < V."""
        if (norm, k) not in self._eigen_spaces:
            laplacian = self._laplacian(norm, torch.device("cpu"), torch.float64)
            if k == self._num_vertices:
                self._eigen_spaces[norm, k] = torch.linalg.eigh(laplacian.to_dense())
            else:
                self._eigen_spaces[norm, k] = self._smallest_eigenpairs(norm, k)
        return self._eigen_spaces[norm, k]

    def _smallest_eigenpairs(self, norm: bool, k: int) -> tuple[Tensor, Tensor]:
        laplacian = spectral.to_scipy(self._laplacian(False, torch.device("cpu"), torch.float64))
        label = self._component_labels()
        null = null_space(self._edges.on_cpu, self._num_vertices, label)
        # The zero row of an isolated vertex is an eigenvalue 0 of both Laplacians, in the middle of the rescaled one.
        alone = np.bincount(label)[label] == 1
        joined, isolated = (~alone).nonzero()[0], alone.nonzero()[0][:k]
        found, values = min(k, len(joined)), np.zeros(0)
        vectors = np.zeros((self._num_vertices, found + len(isolated)))
        if found:
            inner = null[joined][:, np.unique(label[joined])]
            values, vectors[joined, :found] = spectral.smallest_eigenpairs(laplacian[joined][:, joined], inner, found)
            if norm:
                values = 2 / self.lambda_max * values - 1
        vectors[isolated, found + np.arange(len(isolated))] = 1
        values = np.append(values, np.zeros(len(isolated)))
        order = np.argsort(values, kind="stable")[:k]
        return torch.from_numpy(values[order]), torch.from_numpy(vectors[:, order])

    def diff_kernel(self, kernel: Kernel) -> Tensor:
        """kernel(L), (V, V) float64: Phi diag(kernel(lambda)) Phi^T for the Laplacian L = Phi diag(lambda) Phi^T.

        To have it act on signals, `apply_kernel` needs no matrix.
        """
        eigenvalues, eigenvectors = self._eigen_space(False, self._num_vertices)
        values = kernel_values(kernel, eigenvalues.numpy().copy())
        return (eigenvectors * torch.tensor(values)) @ eigenvectors.T

    def apply_kernel(self, kernel: Kernel, x: Tensor) -> Tensor:
        """kernel(L) x for the Laplacian L, by its Chebyshev expansion: sparse products only, no matrix (V, V).

        Args:
            kernel: a smooth function of the eigenvalues, elementwise on a float64 tensor of numbers in [0, 2].
            x: (..., V) signals, float64 or float32, on any device.

        Returns:
            (..., V), differentiable in x, computed in float64 and rounded once. The polynomial has at most degree 65,536;
            it is within 1e-13, for float32 1e-7, of the kernel's largest value, and rounding in n products adds at most
            some n times 1e-16. The kernel is sampled at 262,145 points, 1.2e-5 apart in the middle of [0, 2] and closer to
            its ends, so narrower features of it can be overlooked. exp(-t lambda) takes a polynomial of degree 9 sqrt(t),
            1 / (1 + t lambda) one of 25 sqrt(t), and what changes over a width w away from the ends some 25 / w.

        Raises:
            TypeError: for another dtype, or a kernel that is no function or gives no real numbers.
            ValueError: for another shape, or a kernel that is not finite or not smooth enough for degree 65,536.
        """
        self._check_signals("apply_kernel", x)
        coefficients = chebyshev_coefficients(kernel, torch.finfo(x.dtype).eps)
        at_zero = float(kernel_values(kernel, np.zeros(1))[0])

        def apply(operator: Operator, signals: Tensor) -> Tensor:
            constant, rest = operator.split(signals)
            return at_zero * constant + operator.polynomial(coefficients, rest)

        return self._apply(apply, x)

    def diffuse(self, x: Tensor, time: float) -> Tensor:
        """exp(-time L) x: signals after diffusion of heat for a time.

        Args:
            x: (..., V) signals, float64 or float32, on any device.
            time: at least 0, in units in which every eigenvalue of L is at most 2. It takes about 9 sqrt(time) sparse
                products, and no more after a time by which all has decayed that does.

        Returns:
            (..., V), differentiable in x, computed in float64 and rounded once. Errors are some 1e-15 of a signal's norm,
            and up to time times 1e-16 of its slowest parts, as the rounding of L itself makes; what does not decay is exact
            to rounding.

        Raises TypeError or ValueError for other signals or times.
        """
        self._check_signals("diffuse", x)
        if isinstance(time, bool) or not isinstance(time, Real) or not 0 <= time < float("inf"):
            raise ValueError(f"diffuse: time: expected a number of at least 0, got {time!r}")
        return self._apply(lambda operator, signals: apply_heat(operator, float(time), signals), x)

    def _check_signals(self, name: str, x: object) -> None:
        if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"{name}: x: expected a float64 or float32 tensor (..., V), got {got}")
        if x.layout != torch.strided:
            raise TypeError(f"{name}: x: expected a dense tensor (..., V), got {x.layout}")
        check_has_numbers(f"{name}: x", x)
        if x.ndim == 0 or x.shape[-1] != self._num_vertices:
            raise ValueError(f"{name}: x: expected V = {self._num_vertices} in the last place, got {tuple(x.shape)}")

    def _apply(self, function: Callable[[Operator, Tensor], Tensor], x: Tensor) -> Tensor:
        """A function of the Laplacian, of columns (V, N) in float64, on signals (..., V)."""
        operator = self._operator(full_device(x.device))

        def apply(x: Tensor) -> Tensor:
            if not x.numel():
                return x.clone()
            columns = x.reshape(-1, x.shape[-1]).double().T.contiguous()
            return function(operator, columns).T.reshape(x.shape).to(x.dtype)

        return SelfAdjoint.apply(x, apply)

    def _operator(self, device: torch.device) -> Operator:
        if device not in self._operators:
            vertices = self._num_vertices
            rowptr, col, values = laplacian_rows(self._edges.on(device), vertices, 1.0, 0.0)
            shifted = torch.sparse_csr_tensor(rowptr, col, values, (vertices, vertices), check_invariants=False)
            null = null_space(self._edges.on_cpu, vertices, self._component_labels())
            both = (to_torch(scipy.sparse.csr_array(matrix), device) for matrix in (null, null.T))
            self._operators[device] = Operator(shifted, *both)
        return self._operators[device]

    def _row_order(self, device: torch.device) -> Tensor | None:
        """The order (V,) of the vertices for the rows of a `Csr` on a device; None for that of `csr_from_rows`."""
        return None

    def _laplacian_rows(self, rescale: bool, device: torch.device | str | None) -> tuple[Tensor, Tensor, Tensor]:
        """Assembled where they are used."""
        scale = 2 / self.lambda_max if rescale else 1.0
        edges = self._edges.on(full_device(device))
        return laplacian_rows(edges, self._num_vertices, scale, scale - 1 if rescale else 1.0)


def _check_floating_type(name: str, dtype: object) -> None:
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"{name}: expected a floating-point type, got {dtype}")
