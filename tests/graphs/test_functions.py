"""Functions of the Laplacian applied to signals, heat above all, against dense matrices."""

import pytest
import torch

from cheblienet.graphs import Graph, R2GEGraph, RandomSubGraph, S2GEGraph, SE2GEGraph, SO3GEGraph, functions

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


def part_of(graph):
    part = RandomSubGraph(graph)
    part.vertices_sampling(0.8)
    part.edges_sampling(0.3)
    return part


def rings():
    """Three rings of 5, 40 and 150 vertices, and two isolated vertices."""
    edges, first = [], 1
    for length in (5, 40, 150):
        vertex = torch.arange(length)
        edges.append(torch.stack([first + vertex, first + (vertex + 1) % length]))
        first += length
    return Graph(torch.cat([*edges, *(part.flip(0) for part in edges)], 1), num_vertices=first + 1)


def dense(graph):
    """Eigenvalues and eigenvectors of the Laplacian; those of the null space, as many as components, are 0."""
    values, vectors = torch.linalg.eigh(graph.get_laplacian(False, dtype=torch.float64).to_dense())
    assert values[: graph.num_components].abs().max() < 1e-14
    values[: graph.num_components] = 0
    return values, vectors


GRAPHS = {
    "R2": lambda: R2GEGraph((28, 28), ISOTROPIC, 8),
    "SE(2)": lambda: SE2GEGraph((8, 7, 6), (1.0, 0.1, 0.02), 16),
    "SE(2), parts": lambda: SE2GEGraph((8, 7, 3), ISOTROPIC, 4),
    "S2": lambda: S2GEGraph((642,), ISOTROPIC, 8),
    "S2, isolated": lambda: S2GEGraph((162,), ISOTROPIC, 5),
    "SO(3)": lambda: SO3GEGraph((42, 6), (1.0, 0.1, 10 / 42), 16),
    "sub-graph": lambda: part_of(R2GEGraph((20, 20), ISOTROPIC, 8)),
    "rings": rings,
    "no edges": lambda: Graph(torch.empty(2, 0, dtype=torch.int64), num_vertices=3),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_heat_of_any_time(name):
    graph = GRAPHS[name]()
    vertices = graph.num_vertices
    values, vectors = dense(graph)
    x = torch.zeros(2, 2, vertices, dtype=torch.float64)
    x[0, 0, vertices // 2] = 1
    x[0, 1] = torch.randn(vertices)
    x[1, 0] = 1
    for time in (0, 1e-9, 0.5, 30.0, 160.0, 3e3, 1.8e5, 1e7):
        exact = (x @ vectors * torch.exp(-time * values)) @ vectors.T
        scale = x.norm(dim=-1).max()
        # The rounding of the matrix moves eigenvalues by some 1e-16, and the exact result by so much more.
        slow = (time * values * torch.exp(-time * values)).max()
        spread = 1e-15 * time if slow > 1e-12 else 0.0
        heat = graph.diffuse(x, time)
        torch.testing.assert_close(heat, exact, rtol=0, atol=float(scale * (5e-14 + min(spread, 1e-9))))
        single = graph.diffuse(x.float(), time)
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), exact, rtol=0, atol=float(scale) * 2e-7)


def test_heat_of_a_point_on_the_grid():
    """Where everything but the null space is gone, a vertex has its share of the degrees."""
    graph = R2GEGraph((28, 28), ISOTROPIC, 8)
    degree = torch.zeros(784, dtype=torch.float64).index_add_(0, graph.edge_index[0], graph.edge_weight.double())
    x = torch.zeros(784, dtype=torch.float64)
    x[0] = 1
    share = degree[0].sqrt() * degree.sqrt() / degree.sum()
    for time in (1.8e5, 1e7, 1e9):
        torch.testing.assert_close(graph.diffuse(x, time), share, rtol=1e-13, atol=0)


@pytest.mark.parametrize("time", [1e3, 1e5])
def test_heat_is_that_of_scipy(time):
    graph = SE2GEGraph((10, 10, 6), (1.0, 0.1, 0.02), 16)
    x = torch.randn(600, dtype=torch.float64)
    exact = torch.linalg.matrix_exp(-time * graph.get_laplacian(False, dtype=torch.float64).to_dense()) @ x
    torch.testing.assert_close(graph.diffuse(x, time), exact, rtol=0, atol=1e-8)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # from within forward mode of torch
@pytest.mark.parametrize("time", [0.0, 3.0, 60.0])
def test_heat_is_differentiable_to_any_order(time, graph):
    x = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: graph.diffuse(x, time), x, check_forward_ad=True)
    torch.autograd.gradgradcheck(lambda x: graph.diffuse(x, time) ** 2, x)
    zero = torch.zeros(8, dtype=torch.float64, requires_grad=True)  # what has decayed in x has not in the gradient
    (gradient,) = torch.autograd.grad(graph.diffuse(zero, time)[0], zero)
    torch.testing.assert_close(gradient, graph.diffuse(torch.eye(8, dtype=torch.float64)[0], time))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # from within forward mode of torch
def test_transforms_of_functions(graph):
    x, v = torch.randn(3, 8, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    expected = graph.diffuse(x, 2.0)
    torch.testing.assert_close(torch.func.vmap(lambda x: graph.diffuse(x, 2.0))(x), expected)
    torch.testing.assert_close(torch.func.vmap(lambda x: graph.diffuse(x, 2.0), 1, 1)(x.T), expected.T)
    value, tangent = torch.func.jvp(lambda x: graph.diffuse(x, 2.0), (x,), (v,))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(tangent, graph.diffuse(v, 2.0))
    gradient = torch.func.vmap(torch.func.grad(lambda x: graph.diffuse(x, 2.0)[0]))(x)
    torch.testing.assert_close(gradient[1], graph.diffuse(torch.eye(8, dtype=torch.float64)[0], 2.0))


KERNELS = {
    "heat, 160": lambda v: torch.exp(-160 * v),
    "heat, 1e4": lambda v: torch.exp(-1e4 * v),
    "heat, 1.8e5": lambda v: torch.exp(-1.8e5 * v),
    "band": lambda v: torch.exp(-(((v - 0.7) / 0.003) ** 2)),
    "low pass": lambda v: torch.exp(-((v / 1e-4) ** 2)),
    "resolvent": lambda v: 1 / (1 + 1e4 * v),
    "step": lambda v: torch.sigmoid((v - 1.01) / 2e-3),
    "large": lambda v: 1e200 * torch.exp(-v),
    "small": lambda v: 1e-200 * torch.cos(9 * v),
    "rounded": lambda v: torch.exp(-3 * v).to(torch.int64) * 0 + 2,
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_that_decay_fast(name):
    kernel = KERNELS[name]
    for graph in (R2GEGraph((14, 13), ISOTROPIC, 8), part_of(R2GEGraph((14, 13), ISOTROPIC, 8))):
        values, vectors = dense(graph)
        x = torch.randn(3, graph.num_vertices, dtype=torch.float64)
        exact = (x @ vectors * kernel(values)) @ vectors.T
        scale = float(x.norm(dim=-1).max() * kernel(values).abs().max())
        torch.testing.assert_close(graph.apply_kernel(kernel, x) / scale, exact / scale, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "kernel",
    [
        lambda v: (v > 0.77).double(),
        lambda v: torch.exp(-(((v - 0.7) / 3e-5) ** 2)),
        lambda v: torch.sigmoid((v - 0.7) / 1e-5),
        lambda v: 1 / (1 + 1e9 * v),
        torch.sqrt,
        lambda v: torch.exp(-v.float()),
        lambda v: torch.where(v == 0, 1.0, 0.0),
    ],
)
def test_kernels_that_are_not_smooth_are_refused(graph, kernel):
    with pytest.raises(
        ValueError, match=r"kernel: expected one that polynomials of degree 65536 approximate to 2.2e-16"
    ):
        graph.apply_kernel(kernel, torch.ones(8, dtype=torch.float64))


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
    for call, name in (
        (lambda x: graph.apply_kernel(torch.exp, x), "apply_kernel"),
        (lambda x: graph.diffuse(x, 1.0), "diffuse"),
    ):
        for wrong in (x.long(), x.half(), [1.0] * 8, x.to_sparse()):
            with pytest.raises(TypeError, match=rf"{name}: x: expected a .*tensor \(..., V\), got"):
                call(wrong)
        with pytest.raises(ValueError, match=rf"{name}: x: expected V = 8 in the last place, got \(2, 7\)"):
            call(torch.ones(2, 7))
        assert call(torch.ones(0, 3, 8)).shape == (0, 3, 8)
        assert call(torch.full((8,), torch.nan)).isnan().all()
    for time in (-1.0, float("nan"), float("inf"), "long", True, None, x):
        with pytest.raises(ValueError, match=r"time: expected a number of at least 0"):
            graph.diffuse(x, time)
    for kernel in (None, 3.0, "exp"):
        with pytest.raises(TypeError, match=r"kernel: expected a function of the eigenvalues, got"):
            graph.apply_kernel(kernel, x)
    with pytest.raises(TypeError, match=r"kernel: expected real values, got torch.complex"):
        graph.apply_kernel(lambda eigenvalue: torch.exp(1j * eigenvalue), x)
    with pytest.raises(ValueError, match=r"kernel: expected as many values as eigenvalues, got \(3,\)"):
        graph.apply_kernel(lambda _: torch.ones(3), x)
    with pytest.raises(ValueError, match=r"kernel: expected finite values on \[0, 2\]"):
        graph.apply_kernel(lambda eigenvalue: (eigenvalue - 1.5).sqrt(), x)


def test_heat_that_spreads_too_slowly_is_refused(monkeypatch):
    monkeypatch.setattr(functions, "_MAX_HEAT_DEGREE", 1000)
    graph = Graph(torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]), torch.tensor([1, 1, 1e-9, 1e-9, 1, 1]))
    x = torch.eye(4, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"diffuse: time: expected one that 1000 sparse products reach"):
        graph.diffuse(x, 1e40)
    assert graph.diffuse(torch.ones(2, 4), 0.5).isfinite().all()
