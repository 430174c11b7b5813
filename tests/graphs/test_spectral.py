"""Spectra by Lanczos and functions of the Laplacian by Chebyshev expansion, against dense matrices."""

import pytest
import scipy.sparse
import torch

from cheblienet.graphs import Graph, R2GEGraph, RandomSubGraph, S2GEGraph, SE2GEGraph, functions, spectral
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
        (0, ValueError),
        (2.5, ValueError),
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


@pytest.mark.parametrize("lambda_max", [2.0, "estimate"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_kernels_act_without_a_dense_matrix(graph, lambda_max, dtype):
    graph.lambda_max = lambda_max
    x = torch.randn(2, 3, 8, dtype=dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for kernel in (
        lambda eigenvalue: torch.exp(-3 * eigenvalue),
        lambda eigenvalue: eigenvalue / (0.1 + eigenvalue),
        lambda eigenvalue: eigenvalue**2,
    ):
        expected = (graph.diff_kernel(kernel) @ x.double().mT).mT
        torch.testing.assert_close(graph.apply_kernel(kernel, x).double(), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(graph.apply_kernel(lambda _: 0.7, x), 0.7 * x)
    one = graph.apply_kernel(torch.sin, x[0, 0])
    torch.testing.assert_close(one, graph.apply_kernel(torch.sin, x)[0, 0])


def test_heat_spreads_and_its_gradient_as_well(sphere):
    eigenvalues, eigenvectors = sphere.get_eigen_space(k=9)
    heat = sphere.diffuse(eigenvectors.T, 40.0)
    torch.testing.assert_close(heat, (eigenvectors * torch.exp(-40 * eigenvalues)).T, rtol=0, atol=1e-12)
    x, y = torch.randn(2562, dtype=torch.float64, requires_grad=True), torch.randn(2562, dtype=torch.float64)
    torch.testing.assert_close(sphere.diffuse(y, 0), y)
    (gradient,) = torch.autograd.grad(sphere.diffuse(x, 5.0) @ y, x)
    torch.testing.assert_close(gradient, sphere.diffuse(y, 5.0))


def test_coefficients_are_as_many_as_it_takes():
    epsilon = torch.finfo(torch.float64).eps
    linear = functions.chebyshev_coefficients(lambda eigenvalue: 3 + 2 * eigenvalue, epsilon)
    assert len(linear) < 8  # others are of the rounding of the transform
    assert linear[:2] == pytest.approx([5, 2], abs=1e-14)
    few = functions.chebyshev_coefficients(lambda eigenvalue: torch.exp(-eigenvalue), 1e-7)
    many = functions.chebyshev_coefficients(lambda eigenvalue: torch.exp(-100 * eigenvalue), epsilon)
    assert 5 < len(few) < 12 < 50 < len(many) < 150
    heat = functions.heat_coefficients(100.0)
    assert len(heat) == pytest.approx(len(many), abs=8)
    torch.testing.assert_close(torch.tensor(heat[:70]), torch.tensor(many[:70]), rtol=0, atol=1e-15)
    assert functions.chebyshev_coefficients(lambda _: 0.0, epsilon).tolist() == [0]
    assert functions.heat_coefficients(0.0).tolist() == [1]


def test_says_what_is_wrong(graph):
    x = torch.ones(8)
    with pytest.raises(TypeError, match=r"x: expected a float64 or float32 tensor \(..., V\), got torch.int64"):
        graph.apply_kernel(torch.exp, x.long())
    with pytest.raises(ValueError, match=r"x: expected V = 8 in the last place, got \(2, 7\)"):
        graph.diffuse(torch.ones(2, 7), 1.0)
    for time in (-1.0, float("nan"), "long"):
        with pytest.raises(ValueError, match=r"time: expected a number of at least 0"):
            graph.diffuse(x, time)
    with pytest.raises(ValueError, match=r"kernel: expected one that polynomials of degree 65536 approximate"):
        graph.apply_kernel(lambda eigenvalue: (eigenvalue > 0.77).double(), x)
    with pytest.raises(ValueError, match=r"kernel: expected finite values on \[0, 2\]"):
        graph.apply_kernel(lambda eigenvalue: (eigenvalue - 1.5).sqrt(), x)
    for k, error in ((0, ValueError), (9, ValueError), (2.0, TypeError)):
        with pytest.raises(error, match=r"get_eigen_space: k: expected an integer"):
            graph.get_eigen_space(k=k)


def test_scipy_shares_the_memory_of_a_matrix(graph):
    laplacian = graph.get_laplacian(dtype=torch.float64)
    matrix = spectral.to_scipy(laplacian)
    assert isinstance(matrix, scipy.sparse.csr_array)
    assert matrix.data.ctypes.data == laplacian.values().data_ptr()
    assert torch.equal(torch.from_numpy(matrix.toarray()), laplacian.to_dense())
