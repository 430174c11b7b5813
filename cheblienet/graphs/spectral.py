"""Eigenvalues and eigenvectors of sparse symmetric Laplacians."""

from collections.abc import Callable

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh, splu
from torch import Tensor

# Below this many vertices the whole spectrum of a dense matrix takes a second at most.
SMALL = 1000
# A sparse factorisation of so many times more vertices at one distance than there are distances fills up: 2 to 4 on a grid
# of the plane or the sphere, 20 to 50 with orientations, where Lanczos takes a fifth of the time.
_WIDE = 8
# Restarts of ARPACK after which another method, or an error, is better.
_RESTARTS = 300
_LANCZOS_STEPS = 40
_Apply = Callable[[np.ndarray], np.ndarray]


def to_scipy(matrix: Tensor) -> scipy.sparse.csr_array:
    """A `torch.sparse_csr` matrix on the CPU for scipy, which shares its memory."""
    parts = (matrix.values().numpy(), matrix.col_indices().numpy(), matrix.crow_indices().numpy())
    return scipy.sparse.csr_array(parts, shape=tuple(matrix.shape))


def smallest_eigenpairs(
    laplacian: scipy.sparse.csr_array, null: scipy.sparse.csc_array, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest eigenvalues (k,), ascending, and eigenvectors (V, k) of a Laplacian (V, V) in float64, 0 < k < V.

    `null` (V, C) is an orthonormal basis of its null space, which is not looked for. Long and narrow graphs, those of the
    plane and of the sphere among them, are solved by Lanczos on the inverse, which a sparse factorisation gives; others,
    which it would fill, by Lanczos on the matrix itself. Both are ARPACK's, from the same vector at every call.

    Raises RuntimeError where neither converges.
    """
    wanted = k - null.shape[1]
    if wanted <= 0:
        return np.zeros(k), null[:, :k].toarray()
    inverse, direct = _by_inverse, _by_lanczos
    failures = []
    for method in (inverse, direct) if _is_narrow(laplacian) else (direct, inverse):
        try:
            vectors = method(laplacian, null, wanted)
        except (ArpackError, MemoryError, RuntimeError) as error:  # RuntimeError: a factor that is singular
            failures.append(f"{method.__name__[4:]}: {error}")
            continue
        values, vectors = _rayleigh_ritz(laplacian, null, vectors)
        values = np.append(np.zeros(null.shape[1]), values[:wanted].clip(min=0))
        return values, np.hstack([null.toarray(), vectors[:, :wanted]])
    raise RuntimeError(
        f"get_eigen_space: k: {k} eigenvalues were not found ({'; '.join(failures)}): try a k that does not cut a cluster "
        "of eigenvalues, or None for all of them by a dense matrix"
    )


def _is_narrow(laplacian: scipy.sparse.csr_array) -> bool:
    """Whether a sparse factorisation stays sparse: few vertices are equally far from one, or there are hardly any cycles."""
    if laplacian.nnz - laplacian.shape[0] < 3 * laplacian.shape[0]:
        return True
    label = connected_components(laplacian, directed=False)[1]
    first = int((label == np.bincount(label).argmax()).argmax())
    distance = dijkstra(abs(laplacian), unweighted=True, indices=first)  # which warns of negative entries
    width = np.bincount(distance[np.isfinite(distance)].astype(np.int64))
    return bool(width.max() <= _WIDE * len(width))


def _by_lanczos(laplacian: scipy.sparse.csr_array, null: scipy.sparse.csc_array, k: int) -> np.ndarray:
    def apply(x: np.ndarray) -> np.ndarray:
        return laplacian @ x

    # Eigenvalues are at most 2, so that what is lifted by 4 comes last.
    return _eigenvectors(apply, null, k, "SA", 4.0)


def _by_inverse(laplacian: scipy.sparse.csr_array, null: scipy.sparse.csc_array, k: int) -> np.ndarray:
    size = laplacian.shape[0]
    # Far below the smallest eigenvalue of a path, (pi / V)^2 / 2, so that eigenvalues of the inverse are far apart.
    shift = max(0.1 / size**2, 1e-12)
    shifted = (laplacian + shift * scipy.sparse.eye_array(size)).tocsc()
    factor = splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def apply(x: np.ndarray) -> np.ndarray:
        # The null space is 1 / shift times larger in the inverse, and so are errors along it.
        y = factor.solve(x - null @ (null.T @ x))
        return y - null @ (null.T @ y)

    return _eigenvectors(apply, null, k, "LA", None)


def _eigenvectors(apply: _Apply, null: scipy.sparse.csc_array, k: int, which: str, lift: float | None) -> np.ndarray:
    """Those (V, k) of the smallest ("SA") or largest ("LA") eigenvalues of a symmetric operator, the null space aside.

    Eigenvectors that were found, and the null space where `apply` does not leave it out, are lifted by `lift` to the other
    end of the spectrum: by default as far down as the largest eigenvalue.
    """
    size = null.shape[0]
    start = np.random.default_rng(0).standard_normal(size)
    start -= null @ (null.T @ start)

    def search(count: int, found: np.ndarray, by: float) -> tuple[np.ndarray, np.ndarray]:
        def lifted(x: np.ndarray) -> np.ndarray:
            y = apply(x) + by * (found @ (found.T @ x))
            return y if lift is None else y + lift * (null @ (null.T @ x))

        operator = LinearOperator((size, size), matvec=lifted, dtype=np.float64)
        ncv = min(size, max(2 * count + 1, _LANCZOS_STEPS))
        return eigsh(operator, count, which=which, v0=start, ncv=ncv, maxiter=_RESTARTS)

    values, vectors = search(k, np.zeros((size, 0)), 0.0)
    sign = 1 if which == "SA" else -1
    # From one vector Lanczos sees one direction of every eigenspace, and the others of a multiplet by rounding only. One
    # that was overlooked comes first as soon as those found are lifted.
    while len(values) < size - null.shape[1] - 1:
        value, vector = search(1, vectors, -values.max() if lift is None else lift)
        last = np.sort(sign * values)[k - 1]
        if sign * value[0] >= last - 1e-10 * abs(last):
            break
        values, vectors = np.append(values, value), np.hstack([vectors, vector])
    return vectors[:, np.argsort(sign * values, kind="stable")]


def _rayleigh_ritz(
    laplacian: scipy.sparse.csr_array, null: scipy.sparse.csc_array, vectors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and eigenvectors of the Laplacian in the space of vectors (V, n), orthogonal to `null`."""
    for _ in range(2):  # the second time to rounding
        vectors = vectors - null @ (null.T @ vectors)
    basis, _ = np.linalg.qr(vectors)
    values, rotation = np.linalg.eigh(basis.T @ (laplacian @ basis))
    return values, basis @ rotation


def largest_eigenvalue(matrix: Tensor) -> float:
    """An upper estimate, at most a thousandth too large, of the largest eigenvalue of a sparse CSR matrix in float64."""
    if len(matrix) <= SMALL:
        return float(torch.linalg.eigvalsh(matrix.to_dense())[-1])
    start, tolerance = np.random.default_rng(0).standard_normal(len(matrix)), 5e-4
    value = eigsh(to_scipy(matrix), 1, which="LA", v0=start, tol=tolerance, return_eigenvectors=False)
    return float(value[0]) * (1 + tolerance)


def largest_eigenvalue_bound(matrix: Tensor) -> float:
    """A number that the largest eigenvalue of a symmetric sparse CSR matrix in float64 is not below, but for rounding.

    By 40 steps of Lanczos where the matrix is; below 1,000 vertices it is the eigenvalue.
    """
    if len(matrix) <= SMALL:
        return float(torch.linalg.eigvalsh(matrix.to_dense())[-1])
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(len(matrix), dtype=torch.float64, generator=generator).to(matrix.device)
    vector, before = vector / vector.norm(), torch.zeros_like(vector)
    tridiagonal, beta = np.zeros((_LANCZOS_STEPS, _LANCZOS_STEPS)), 0.0
    for step in range(_LANCZOS_STEPS):
        following = matrix @ vector - beta * before
        alpha = float(following @ vector)
        tridiagonal[step, step] = alpha
        following = following - alpha * vector
        beta = float(following.norm())
        if beta < 1e-10 or step + 1 == _LANCZOS_STEPS:
            break
        tridiagonal[step, step + 1] = tridiagonal[step + 1, step] = beta
        before, vector = vector, following / beta
    return float(np.linalg.eigvalsh(tridiagonal[: step + 1, : step + 1])[-1])
