"""Graphs from given edges: checks, Laplacian, spectrum, and what is kept between calls."""

import copy
import math
import pickle

import pytest
import scipy.sparse
import torch

from cheblienet import ops
from cheblienet.graphs import Graph, R2GEGraph

TRIANGLE_WITH_TAIL = torch.tensor([[0, 0, 1, 1, 2, 2, 2, 3], [1, 2, 0, 2, 0, 1, 3, 2]])
WEIGHTS = torch.tensor([1.0, 2.0, 1.0, 0.5, 2.0, 0.5, 3.0, 3.0])


@pytest.fixture
def graph():
    """Four joined vertices, and a fifth that is isolated."""
    return Graph(TRIANGLE_WITH_TAIL, WEIGHTS, 5, edge_sqdist=WEIGHTS * 2)


def dense_laplacian(graph):
    """-D^-1/2 W D^-1/2, entry by entry."""
    weight = torch.zeros(graph.num_vertices, graph.num_vertices, dtype=torch.float64)
    for (i, j), w in zip(graph.edge_index.T.tolist(), graph.edge_weight.tolist(), strict=True):
        weight[i, j] = w
    degree = weight.sum(1)
    laplacian = torch.zeros_like(weight)
    for i, j in weight.nonzero().tolist():
        laplacian[i, j] = -weight[i, j] / math.sqrt(degree[i]) / math.sqrt(degree[j])
    return laplacian


def test_edges_are_sorted_with_their_values(graph):
    shuffled = torch.randperm(8)
    other = Graph(TRIANGLE_WITH_TAIL[:, shuffled].int(), WEIGHTS[shuffled], 5, edge_sqdist=2 * WEIGHTS[shuffled])
    assert torch.equal(other.edge_index, TRIANGLE_WITH_TAIL)
    assert torch.equal(other.edge_weight, WEIGHTS)
    assert torch.equal(other.edge_sqdist, 2 * WEIGHTS)
    assert (graph.num_vertices, graph.num_edges) == (5, 8)
    assert torch.equal(graph.vertex_index, torch.arange(5))


def test_defaults():
    graph = Graph(TRIANGLE_WITH_TAIL)
    assert graph.num_vertices == 4
    assert graph.edge_weight.tolist() == [1] * 8
    assert graph.edge_sqdist.isnan().all()
    assert graph.edge_weight.dtype == graph.edge_sqdist.dtype == torch.float32


def test_neighborhood(graph):
    for vertex in (2, torch.tensor(2)):
        neighbors, weights, sqdist = graph.neighborhood(vertex)
        assert neighbors.tolist() == [0, 1, 3]
        assert weights.tolist() == [2, 0.5, 3]
        assert sqdist.tolist() == [4, 1, 6]
    assert all(len(part) == 0 for part in graph.neighborhood(4))
    with pytest.raises(ValueError, match="vertex_index: expected an integer between 0 and 4, got 5"):
        graph.neighborhood(5)
    with pytest.raises(TypeError, match="vertex_index"):
        graph.neighborhood(0.5)
    with pytest.raises(ValueError, match="vertex_index: expected a tensor that holds numbers, got one on meta"):
        graph.neighborhood(torch.zeros((), dtype=torch.int64, device="meta"))
    with pytest.raises(TypeError, match="vertex_index: expected an integer"):
        graph.neighborhood(torch.ones(1, dtype=torch.int64).to_sparse())


def test_laplacian_is_the_formula(graph):
    for dtype, tolerance in ((torch.float32, 1e-7), (torch.float64, 1e-15)):
        laplacian = graph.get_laplacian(dtype=dtype)
        assert laplacian.layout == torch.sparse_csr
        assert laplacian.dtype == dtype
        expected = dense_laplacian(graph).to(dtype)
        torch.testing.assert_close(laplacian.to_dense(), expected, rtol=0, atol=tolerance)
        expected += torch.diag(torch.tensor([1, 1, 1, 1, 0], dtype=dtype))
        not_rescaled = graph.get_laplacian(rescale=False, dtype=dtype)
        torch.testing.assert_close(not_rescaled.to_dense(), expected, rtol=0, atol=tolerance)
        assert torch.equal(not_rescaled.to_dense(), not_rescaled.to_dense().T)
    torch.sparse_csr_tensor(  # indices sorted, without duplicates
        not_rescaled.crow_indices(), not_rescaled.col_indices(), not_rescaled.values(), (5, 5), check_invariants=True
    )
    assert graph.get_laplacian().values().numel() == graph.num_edges


def test_laplacian_for_the_operators(graph):
    csr = graph.laplacian_csr(torch.device("cpu"), torch.float64)
    assert isinstance(csr, ops.Csr)
    assert csr.rows.dtype == csr.col.dtype == torch.int32
    vertex = csr.rows[:, 0].long()
    source = torch.repeat_interleave(vertex, csr.rows[:, 2] - csr.rows[:, 1])
    matrix = torch.zeros(5, 5, dtype=torch.float64).index_put((source, vertex[csr.col]), csr.values.double())
    assert torch.equal(matrix, graph.get_laplacian(dtype=torch.float64).to_dense())
    assert graph.laplacian_csr("cpu", torch.float64) is csr
    assert graph.laplacian_csr("cpu", torch.float32).values.dtype == torch.float32


def test_results_are_kept_apart(graph):
    rescaled, plain = graph.get_laplacian(), graph.get_laplacian(rescale=False)
    assert torch.equal(graph.get_laplacian().to_dense(), rescaled.to_dense())
    assert torch.equal(graph.get_laplacian(False).to_dense(), plain.to_dense())
    assert not torch.equal(rescaled.to_dense(), plain.to_dense())
    assert graph.get_laplacian(dtype=torch.float64).dtype == torch.float64
    lowest, norm_lowest = graph.get_eigen_space()[0][0], graph.get_eigen_space(norm=True)[0][0]
    assert abs(lowest) < 1e-14
    assert abs(norm_lowest + 1) < 1e-14
    assert torch.equal(graph.get_eigen_space()[1], graph.get_eigen_space()[1])


def test_an_isolated_vertex_has_zero_rows(graph):
    assert not graph.is_connected
    assert Graph(TRIANGLE_WITH_TAIL).is_connected
    for rescale in (True, False):
        dense = graph.get_laplacian(rescale).to_dense()
        assert dense.isfinite().all()
        assert not dense[4].any()
        assert not dense[:, 4].any()
        eigenvalues, _ = graph.get_eigen_space(norm=rescale)
        torch.testing.assert_close(eigenvalues, torch.linalg.eigvalsh(dense.double()), rtol=0, atol=1e-6)


def test_edges_of_weight_zero_join_nothing():
    graph = Graph(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert not graph.is_connected
    for rescale, corner in ((True, 0), (False, 1)):
        dense = graph.get_laplacian(rescale).to_dense()
        assert dense.tolist() == [[corner, -1, 0], [-1, corner, 0], [0, 0, 0]]


def test_two_components_are_not_connected():
    pairs = Graph(torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]))
    assert not pairs.is_connected
    assert pairs.is_undirected
    assert Graph(torch.empty(2, 0, dtype=torch.int64), num_vertices=1).is_connected
    assert not Graph(torch.empty(2, 0, dtype=torch.int64), num_vertices=2).is_connected


def test_eigen_space_and_diffusion():
    graph = R2GEGraph((5, 4), (1.0, 0.5, 1.0), 8)
    for norm in (False, True):
        eigenvalues, eigenvectors = graph.get_eigen_space(norm)
        laplacian = dense_laplacian(graph) + (0 if norm else torch.eye(20))
        assert eigenvalues.dtype == eigenvectors.dtype == torch.float64
        rebuilt = eigenvectors @ torch.diag(eigenvalues) @ eigenvectors.T
        torch.testing.assert_close(rebuilt, laplacian, rtol=0, atol=1e-14)
        torch.testing.assert_close(eigenvectors.T @ eigenvectors, torch.eye(20).double(), rtol=0, atol=1e-14)
    heat = graph.diff_kernel(lambda eigenvalue: torch.exp(-2 * eigenvalue))
    expected = torch.linalg.matrix_exp(-2 * (dense_laplacian(graph) + torch.eye(20)))
    torch.testing.assert_close(heat, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("convert", [scipy.sparse.csr_array, scipy.sparse.coo_matrix, torch.Tensor.to_sparse])
def test_from_sparse(graph, convert):
    dense = torch.zeros(5, 5).index_put(tuple(TRIANGLE_WITH_TAIL), WEIGHTS)
    other = Graph.from_sparse(convert(dense))
    assert other.num_vertices == 5
    assert torch.equal(other.edge_index, graph.edge_index)
    assert torch.equal(other.edge_weight, graph.edge_weight)


def test_from_sparse_takes_stored_zeros_for_no_edges():
    index = torch.tensor([[0, 1, 2, 2], [1, 0, 2, 0]])
    graph = Graph.from_sparse(
        torch.sparse_coo_tensor(index, torch.tensor([1.0, 1.0, 0.0, 0.0]), (3, 3), check_invariants=True)
    )
    assert graph.edge_index.tolist() == [[0, 1], [1, 0]]
    with pytest.raises(TypeError, match="expected a torch or scipy sparse one, got Tensor"):
        Graph.from_sparse(torch.eye(3))
    with pytest.raises(ValueError, match=r"expected shape \(V, V\), got \(2, 3\)"):
        Graph.from_sparse(torch.zeros(2, 3).to_sparse())
    with pytest.raises(ValueError, match="self loop"):
        Graph.from_sparse(torch.eye(3).to_sparse())


BOTH_WAYS = torch.tensor([[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[0, 1], [1, 0]],), TypeError, r"edge_index: expected a tensor \(2, E\), got list"),
        ((BOTH_WAYS.float(),), TypeError, "edge_index: expected integers, got torch.float32"),
        ((torch.zeros(3, 2, dtype=torch.int64),), ValueError, r"edge_index: expected shape \(2, E\), got \(3, 2\)"),
        ((torch.tensor([[0, 1, 0], [1, 0, 2]]),), ValueError, r"both directions, got \(0, 2\) without \(2, 0\)"),
        ((torch.tensor([[0, 1, 1], [1, 0, 1]]),), ValueError, r"no self loop, got \(1, 1\)"),
        ((torch.tensor([[0, 1, 1, 0], [1, 0, 0, 1]]),), ValueError, r"no edge twice, got \(0, 1\)"),
        ((BOTH_WAYS, None, 1), ValueError, r"vertices between 0 and 0, got \(0, 1\)"),
        ((BOTH_WAYS - 1, None, 2), ValueError, r"vertices between 0 and 1, got \(-1, 0\)"),
        ((BOTH_WAYS, None, 2.0), TypeError, "num_vertices: expected an integer"),
        ((BOTH_WAYS[:, :0],), ValueError, "num_vertices: expected an integer where there are no edges"),
        ((BOTH_WAYS, None, 2**31), ValueError, "num_vertices: expected an integer between 1 and 2147483647"),
        ((BOTH_WAYS, None, 2**62), ValueError, "num_vertices: expected an integer between 1 and 2147483647"),
        ((BOTH_WAYS.to("meta"),), ValueError, "edge_index: expected a tensor that holds numbers, got one on meta"),
        ((BOTH_WAYS, torch.ones(2) > 0), TypeError, "edge_weight: expected real numbers, got torch.bool"),
        ((BOTH_WAYS, torch.ones(2) * 1j), TypeError, "edge_weight: expected real numbers, got torch.complex64"),
        (
            (BOTH_WAYS, torch.full((2,), 1e-50).double() + 1e-50),
            ValueError,
            "edge_weight: expected values that float32 does",
        ),
        ((BOTH_WAYS, torch.ones(3)), ValueError, "edge_weight: expected one value for each of 2 edges, got 3"),
        ((BOTH_WAYS, torch.ones(2, 1)), ValueError, "edge_weight: expected shape"),
        ((BOTH_WAYS, -torch.ones(2)), ValueError, r"edge_weight: expected finite .* got -1.0 at edge \(0, 1\)"),
        ((BOTH_WAYS, torch.tensor([1.0, torch.nan])), ValueError, r"got nan at edge \(1, 0\)"),
        ((BOTH_WAYS, torch.tensor([1.0, 2.0])), ValueError, r"same value in both directions, got 1.0 at edge \(0, 1\)"),
    ],
)
def test_bad_edges(arguments, error, message):
    with pytest.raises(error, match=message):
        Graph(*arguments)


def test_bad_distances_and_types(graph):
    with pytest.raises(ValueError, match="edge_sqdist: expected the same value in both directions"):
        Graph(BOTH_WAYS, edge_sqdist=torch.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match=r"dtype: expected a floating-point type, got torch.int64"):
        graph.get_laplacian(dtype=torch.int64)
    with pytest.raises(TypeError, match="rescale: expected True or False, got 2"):
        graph.get_laplacian(2)
    for call in (graph.get_laplacian, graph.laplacian_csr):
        with pytest.raises(TypeError, match="device: expected a torch.device, its name or None, got True"):
            call(device=True)
        with pytest.raises(ValueError, match="device: expected one that this machine has, got cuda:99"):
            call(device="cuda:99")
    for call in (lambda x: graph.diffuse(x, 1.0), lambda x: graph.apply_kernel(torch.exp, x)):
        with pytest.raises(ValueError, match="x: expected a tensor that holds numbers, got one on meta"):
            call(torch.ones(5, device="meta"))


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, None, torch.zeros(2).numpy()])
def test_operators_take_a_laplacian_of_floating_point_numbers_only(graph, dtype):
    with pytest.raises(TypeError, match="laplacian_csr: dtype: expected a floating-point type"):
        graph.laplacian_csr(dtype=dtype)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda graph: pickle.loads(pickle.dumps(graph))])
def test_a_copy_makes_its_own_results(graph, duplicate):
    laplacian = graph.laplacian_csr()
    heat = graph.diffuse(torch.ones(5), 1.0)
    other = duplicate(graph)
    assert torch.equal(other.laplacian_csr().values, laplacian.values)
    assert torch.equal(other.diffuse(torch.ones(5), 1.0), heat)
    assert other.laplacian_csr() is not laplacian
    assert graph.laplacian_csr() is laplacian
