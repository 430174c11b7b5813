"""Spectra by Lanczos, on the matrix or on its inverse, against dense matrices; the largest eigenvalue."""

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import ArpackNoConvergence

from cheblienet.graphs import (
    Graph,
    R2GEGraph,
    RandomSubGraph,
    S2GEGraph,
    SE2GEGraph,
    SO3GEGraph,
    spectral,
)
from cheblienet.nn import ChebConv

ISOTROPIC = (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def sphere():
    return S2GEGraph((2562,), ISOTROPIC, 8)


@pytest.fixture
def graph():
    """A path of 6 vertices with weights, and two isolated vertices."""
    path = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
    weight = torch.tensor([1.0, 0.5, 2.0, 1.0, 0.3])
    return Graph(torch.cat([path, path.flip(0)], 1), weight.repeat(2), 8)


@pytest.mark.parametrize("norm", [False, True])
def test_lanczos_finds_whole_multiplets(sphere, norm):
    eigenvalues, eigenvectors = sphere.get_eigen_space(norm, k=16)
    assert (eigenvalues.shape, eigenvectors.shape) == ((16,), (2562, 16))
    assert abs(eigenvalues[0] + (1 if norm else 0)) < 1e-13
    for first, last in ((1, 4), (4, 9)):  # and of l = 3 the icosahedron makes 3 + 4
        assert eigenvalues[last - 1] - eigenvalues[first] < 1e-12
        assert eigenvalues[last] - eigenvalues[last - 1] > 1e-3
    laplacian = sphere.get_laplacian(norm, dtype=torch.float64)
    residual = laplacian @ eigenvectors - eigenvectors * eigenvalues
    assert residual.abs().max() < 1e-12
    torch.testing.assert_close(eigenvectors.T @ eigenvectors, torch.eye(16).double(), rtol=0, atol=1e-12)
    assert torch.equal(sphere.get_eigen_space(norm, k=16)[1], eigenvectors)


def test_lanczos_agrees_with_the_dense_matrix(monkeypatch):
    graph = SE2GEGraph((8, 7, 6), (1.0, 0.1, 0.02), 16)
    expected, _ = graph.get_eigen_space()
    assert torch.equal(graph.get_eigen_space(k=7)[0], expected[:7])
    monkeypatch.setattr(spectral, "SMALL", 0)
    found, _ = SE2GEGraph((8, 7, 6), (1.0, 0.1, 0.02), 16).get_eigen_space(k=20)
    torch.testing.assert_close(found, expected[:20], rtol=0, atol=1e-12)


def test_lanczos_overlooks_no_copy_of_an_eigenvalue():
    """Forty rings have the eigenvalue 0 forty times: one for each component."""
    ring = torch.arange(30)
    one = torch.stack([ring, (ring + 1) % 30])
    rings = torch.cat([one + 30 * i for i in range(40)], 1)
    eigenvalues, eigenvectors = Graph(torch.cat([rings, rings.flip(0)], 1)).get_eigen_space(k=11)
    assert eigenvalues.abs().max() < 1e-12
    torch.testing.assert_close(eigenvectors.T @ eigenvectors, torch.eye(11).double(), rtol=0, atol=1e-10)


def path(num_vertices, *weight):
    vertex = torch.arange(num_vertices)
    edges = torch.stack([vertex[:-1], vertex[1:]])
    return Graph(torch.cat([edges, edges.flip(0)], 1), *weight)


def tree(num_vertices):
    child = torch.arange(1, num_vertices)
    edges = torch.stack([(child - 1) // 2, child])
    return Graph(torch.cat([edges, edges.flip(0)], 1))


def assert_eigenpairs(graph, eigenvalues, eigenvectors, norm=False):
    laplacian = graph.get_laplacian(norm, dtype=torch.float64)
    assert (laplacian @ eigenvectors - eigenvectors * eigenvalues).abs().max() < 1e-13
    one = torch.eye(len(eigenvalues), dtype=torch.float64)
    torch.testing.assert_close(eigenvectors.T @ eigenvectors, one, rtol=0, atol=1e-12)


def test_a_long_path_is_solved():
    """Its eigenvalues are 1 - cos(pi k / (V - 1)); Lanczos on the matrix itself does not converge."""
    eigenvalues, eigenvectors = path(3000).get_eigen_space(k=6)
    exact = 2 * torch.sin(torch.arange(6, dtype=torch.float64) * torch.pi / 2 / 2999) ** 2
    torch.testing.assert_close(eigenvalues, exact, rtol=1e-9, atol=1e-15)
    assert_eigenpairs(path(3000), eigenvalues, eigenvectors)


@pytest.mark.parametrize(
    "build",
    [
        lambda: R2GEGraph((36, 34), ISOTROPIC, 8),
        lambda: R2GEGraph((33, 33), ISOTROPIC, 2),  # isolated vertices alone
        lambda: SE2GEGraph((14, 14, 6), (1.0, 0.1, 2.048 / 14**2), 16),
        lambda: SE2GEGraph((20, 20, 3), ISOTROPIC, 4),  # three components with the same spectrum
        lambda: S2GEGraph((2562,), ISOTROPIC, 5),  # many isolated vertices
        lambda: SO3GEGraph((162, 7), (1.0, 1.0, 0.3), 12),  # multiplets
        lambda: tree(1200),
        lambda: part_of(R2GEGraph((40, 40), ISOTROPIC, 8)),
    ],
)
@pytest.mark.parametrize("norm", [False, True])
def test_few_eigenvalues_are_those_of_the_dense_matrix(build, norm):
    graph = build()
    expected = torch.linalg.eigvalsh(graph.get_laplacian(norm, dtype=torch.float64).to_dense())
    for k in (1, 5, 21):
        eigenvalues, eigenvectors = graph.get_eigen_space(norm, k)
        torch.testing.assert_close(eigenvalues, expected[:k], rtol=0, atol=1e-13)
        assert_eigenpairs(graph, eigenvalues, eigenvectors, norm)


def part_of(graph):
    part = RandomSubGraph(graph)
    part.vertices_sampling(0.9)
    part.edges_sampling(0.6)
    return part


@pytest.mark.parametrize("method", ["_by_lanczos", "_by_inverse"])
def test_a_method_that_fails_leaves_it_to_the_other(monkeypatch, method):
    def fail(*_):
        raise ArpackNoConvergence("no convergence", [], [])

    graph = SE2GEGraph((14, 14, 6), (1.0, 0.1, 2.048 / 14**2), 16)
    expected, _ = graph.get_eigen_space(k=6)
    monkeypatch.setattr(spectral, method, fail)
    fail.__name__ = method
    graph = SE2GEGraph((14, 14, 6), (1.0, 0.1, 2.048 / 14**2), 16)
    torch.testing.assert_close(graph.get_eigen_space(k=6)[0], expected, rtol=0, atol=1e-13)
    for name in ("_by_lanczos", "_by_inverse"):
        monkeypatch.setattr(spectral, name, fail)
    with pytest.raises(RuntimeError, match=r"get_eigen_space: k: 7 eigenvalues were not found .*: try a k that"):
        graph.get_eigen_space(k=7)


def test_the_number_of_eigenvalues_is_not_taken_for_the_norm(graph):
    for norm in (10, None, "yes", torch.tensor(True)):
        with pytest.raises(TypeError, match=r"get_eigen_space: norm: expected True or False, got .*: .* is k="):
            graph.get_eigen_space(norm)


@pytest.mark.parametrize("small", [spectral.SMALL, 0])
def test_a_lambda_max_below_the_largest_eigenvalue_is_refused(monkeypatch, small):
    monkeypatch.setattr(spectral, "SMALL", small)
    for graph in (R2GEGraph((12, 11), ISOTROPIC, 8), S2GEGraph((162,), ISOTROPIC, 8), RandomSubGraph(path(50))):
        largest = float(torch.linalg.eigvalsh(graph.get_laplacian(False, dtype=torch.float64).to_dense())[-1])
        for value in (0.3, largest * 0.99, np.float32(largest * 0.99)):
            with pytest.raises(ValueError, match=r"lambda_max: expected at least the largest .* here, got"):
                graph.lambda_max = value
        assert graph.lambda_max == 2
        graph.lambda_max = min(largest * (1 + 1e-9), 2.0)
    assert spectral.largest_eigenvalue_bound(graph.get_laplacian(False, dtype=torch.float64)) <= 2 + 1e-12


def test_the_lambda_max_of_a_part_holds_for_the_part():
    """Parts of a graph can have larger eigenvalues: a single edge has 2."""
    whole = R2GEGraph((8, 8), ISOTROPIC, 8)
    graph = RandomSubGraph(whole)
    graph.lambda_max = 1.6
    for sample in (graph.vertices_sampling, graph.edges_sampling):
        sample(0.3)
        assert graph.lambda_max == 2
        assert torch.linalg.eigvalsh(graph.get_laplacian(dtype=torch.float64).to_dense())[-1] <= 1 + 1e-12
        with pytest.raises(
            ValueError, match=r'lambda_max: expected 2 or "estimate" for a part that was drawn, got 1.6'
        ):
            graph.lambda_max = 1.6
        inner = RandomSubGraph(graph)
        assert inner.lambda_max == 2
        graph.reinit()
        assert graph.lambda_max == 1.6


@pytest.mark.parametrize("small", [spectral.SMALL, 0])
def test_an_estimate_spreads_the_spectrum(monkeypatch, small):
    monkeypatch.setattr(spectral, "SMALL", small)
    graph = R2GEGraph((12, 11), ISOTROPIC, 8)
    largest = torch.linalg.eigvalsh(graph.get_laplacian(False, dtype=torch.float64).to_dense())[-1]
    constant = graph.get_laplacian()
    graph.lambda_max = "estimate"
    assert largest * (1 - 1e-12) <= graph.lambda_max <= min(2.0, largest * 1.001)
    rescaled = graph.get_laplacian(dtype=torch.float64).to_dense()
    eigenvalues = torch.linalg.eigvalsh(rescaled)
    assert eigenvalues[0] == pytest.approx(-1, abs=1e-12)
    assert 0.998 < eigenvalues[-1] <= 1 + 1e-12
    assert torch.equal(rescaled, rescaled.T)
    layer, x = ChebConv(2, 3, 4, graph), torch.randn(1, 2, graph.num_vertices)
    before = layer(x)
    graph.lambda_max = 2.0
    assert torch.equal(graph.get_laplacian().to_dense(), constant.to_dense())
    assert not torch.allclose(layer(x), before)


def test_lambda_max_is_checked_and_follows_the_edges(graph):
    assert graph.lambda_max == 2
    ring = torch.arange(7)
    ring = torch.stack([ring, (ring + 1) % 7])
    odd = Graph(torch.cat([ring, ring.flip(0)], 1), num_vertices=8)
    odd.lambda_max = 1.95
    expected = 2 / 1.95 * odd.get_laplacian(False).to_dense() - torch.diag(torch.tensor([1.0] * 7 + [0.0]))
    torch.testing.assert_close(odd.get_laplacian().to_dense(), expected, rtol=0, atol=1e-6)
    for value, error in (
        ("guess", TypeError),
        (None, TypeError),
        (True, TypeError),
        (torch.tensor(2.0), TypeError),
        (np.array([2.0]), TypeError),
        (2j, TypeError),
        (0, ValueError),
        (5e-324, ValueError),
        (-1.0, ValueError),
        (2.5, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
    ):
        with pytest.raises(error, match=r"lambda_max: expected a number"):
            graph.lambda_max = value
    part = RandomSubGraph(R2GEGraph((6, 6), ISOTROPIC, 8))
    part.lambda_max = "estimate"
    whole = part.lambda_max
    part.edges_sampling(0.5)
    assert part.lambda_max != whole
    empty = Graph(torch.empty(2, 0, dtype=torch.int64), num_vertices=3)
    empty.lambda_max = "estimate"
    assert empty.lambda_max == 2


def test_says_what_is_wrong(graph):
    for k, error in ((0, ValueError), (9, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match=r"get_eigen_space: k: expected an integer"):
            graph.get_eigen_space(k=k)


def test_scipy_shares_the_memory_of_a_matrix(graph):
    laplacian = graph.get_laplacian(dtype=torch.float64)
    matrix = spectral.to_scipy(laplacian)
    assert isinstance(matrix, scipy.sparse.csr_array)
    assert matrix.data.ctypes.data == laplacian.values().data_ptr()
    assert torch.equal(torch.from_numpy(matrix.toarray()), laplacian.to_dense())
