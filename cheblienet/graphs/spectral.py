"""Spectra of sparse symmetric matrices, and functions of them applied to signals, without a dense matrix."""

from collections.abc import Callable

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

Kernel = Callable[[Tensor], Tensor]

# Below this many vertices the whole spectrum of a dense matrix takes a second at most.
SMALL = 1000
_MAX_DEGREE = 2**12


def to_scipy(matrix: Tensor) -> scipy.sparse.csr_array:
    """A `torch.sparse_csr` matrix on the CPU for scipy, which shares its memory."""
    parts = (matrix.values().numpy(), matrix.col_indices().numpy(), matrix.crow_indices().numpy())
    return scipy.sparse.csr_array(parts, shape=tuple(matrix.shape))


def smallest_eigenpairs(matrix: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest eigenvalues (k,), ascending, and eigenvectors (V, k) of a sparse CSR matrix in float64, 0 < k < V.

    By ARPACK's Lanczos method, from the same vector at every call. Eigenvalues of the matrix lie in [-1, 2].
    """
    sparse = to_scipy(matrix)
    start = np.random.default_rng(0).standard_normal(len(matrix))
    values, vectors = eigsh(sparse, k, which="SA", v0=start)
    # From one vector Lanczos sees one direction of every eigenspace, and the others of a multiplet by rounding only. One
    # that was overlooked is the lowest as soon as those found are lifted above the spectrum.
    while len(values) < len(matrix) - 1:
        lifted = LinearOperator(
            sparse.shape,
            matvec=lambda x, found=vectors: sparse @ x + 4 * (found @ (found.T @ x)),
            dtype=np.float64,
        )
        value, vector = eigsh(lifted, 1, which="SA", v0=start)
        if value[0] >= values.max() - 1e-10:
            break
        values, vectors = np.append(values, value), np.hstack([vectors, vector])
    order = np.argsort(values, kind="stable")[:k]
    return torch.from_numpy(values[order]), torch.from_numpy(vectors[:, order].copy())


def largest_eigenvalue(matrix: Tensor) -> float:
    """An upper estimate, at most a thousandth too large, of the largest eigenvalue of a sparse CSR matrix in float64."""
    if len(matrix) <= SMALL:
        return float(torch.linalg.eigvalsh(matrix.to_dense())[-1])
    start, tolerance = np.random.default_rng(0).standard_normal(len(matrix)), 5e-4
    value = eigsh(to_scipy(matrix), 1, which="LA", v0=start, tol=tolerance, return_eigenvectors=False)
    return float(value[0]) * (1 + tolerance)


def chebyshev_coefficients(kernel: Kernel, largest: float, dtype: torch.dtype) -> Tensor:
    """The coefficients c (n,) float64 with kernel(lambda) = sum_k c_k T_k(2 lambda / largest - 1) on [0, largest].

    As many as it takes for the rest to be lost in the rounding of `dtype` (Hammond, Vandergheynst, Gribonval, "Wavelets on
    graphs via spectral graph theory", 2011, section 6).

    Raises ValueError for a kernel that is not finite, or not smooth enough for 4096 of them.
    """

    def values(z: np.ndarray) -> np.ndarray:
        found = np.asarray(kernel(torch.from_numpy(largest / 2 * (z + 1))), dtype=np.float64)
        return np.broadcast_to(found, z.shape)  # a constant kernel may return one number

    tolerance = max(torch.finfo(dtype).eps, 1e-14)  # the coefficients themselves are rounded in float64
    degree = 16
    while degree <= _MAX_DEGREE:
        coefficients = np.polynomial.chebyshev.chebinterpolate(values, degree)
        size = np.abs(coefficients)
        if not np.isfinite(size).all():
            raise ValueError(f"kernel: expected finite values on [0, {largest:.6g}]")
        kept = size > tolerance * size.sum()  # at least the largest value of the kernel
        if not kept[-degree // 4 :].any():
            return torch.from_numpy(coefficients[: max(kept.nonzero()[0], default=0) + 1])
        degree *= 2
    raise ValueError(
        f"kernel: expected one that polynomials of degree {_MAX_DEGREE} approximate: it is not smooth enough"
    )


def apply_polynomial(coefficients: Tensor, matrix: Tensor, x: Tensor) -> Tensor:
    """sum_k c_k T_k(matrix) x for coefficients (n,), a sparse CSR matrix (V, V) and x (V, N)."""
    weights = coefficients.tolist()
    result, previous, current = weights[0] * x, x, matrix @ x
    for weight in weights[1:]:
        result = result + weight * current
        previous, current = current, 2 * (matrix @ current) - previous
    return result
