"""Random sub-graphs: what is kept, how it is drawn, and that nothing stale remains."""

import math

import pytest
import torch

from cheblienet.graphs import Graph, RandomSubGraph, SE2GEGraph


@pytest.fixture(scope="module")
def parent():
    return SE2GEGraph((6, 6, 4), (1.0, 0.1, 0.05), 12)


def edge_set(graph):
    return set(map(tuple, graph.edge_index.T.tolist()))


def assert_consistent(graph):
    """Sorted, undirected, and the Laplacian is that of the present edges."""
    checked = Graph(graph.edge_index, graph.edge_weight, graph.num_vertices, edge_sqdist=graph.edge_sqdist)
    assert torch.equal(checked.edge_index, graph.edge_index)
    assert graph.is_undirected
    assert torch.equal(checked.get_laplacian().to_dense(), graph.get_laplacian().to_dense())
    assert torch.equal(graph.laplacian_csr().values.sort().values, graph.get_laplacian().values().sort().values)
    assert len(graph.laplacian_csr().rows) == graph.num_vertices


def test_it_starts_as_its_parent_and_returns_to_it(parent):
    graph = RandomSubGraph(parent)
    graph.edges_sampling(0.5)
    graph.vertices_sampling(0.5)
    graph.get_laplacian()
    graph.reinit("engine", 7)
    for same in (graph, RandomSubGraph(parent)):
        assert edge_set(same) == edge_set(parent)
        assert torch.equal(same.edge_weight, parent.edge_weight)
        assert torch.equal(same.sub_vertex_index, parent.vertex_index)
        assert torch.equal(same.vertex_x, parent.vertex_x)
        assert_consistent(same)
    assert (graph.manifold, graph.size, graph.dim) == ("se2", (6, 6, 4), (4, 36))
    assert graph.graph is parent


def test_while_it_is_whole_it_shares_what_its_parent_has_made():
    parent = SE2GEGraph((6, 6, 4), (1.0, 0.1, 0.05), 12)
    graph = RandomSubGraph(parent)
    whole = parent.laplacian_csr()
    assert graph.laplacian_csr() is whole
    assert parent._laplacian(True, whole.values.device, torch.float64) is graph._laplacian(
        True, whole.values.device, torch.float64
    )
    parent.get_eigen_space()
    assert graph._eigen_spaces is parent._eigen_spaces
    graph.edges_sampling(0.5)
    assert len(graph.laplacian_csr().col) == graph.num_edges < len(whole.col)
    assert parent.laplacian_csr() is whole
    graph.reinit()
    assert graph.laplacian_csr() is whole
    parent.lambda_max = 1.5  # is not that of the sub-graph
    assert graph.laplacian_csr() is whole
    assert not torch.equal(parent.laplacian_csr().values, whole.values)
    graph.reinit()
    assert torch.equal(graph.laplacian_csr().values, whole.values)
    graph.lambda_max = 1.5
    graph.reinit()
    assert graph.laplacian_csr() is parent.laplacian_csr()


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 1.0])
def test_edges_sampling(parent, rate):
    graph = RandomSubGraph(parent)
    before = graph.get_laplacian()
    graph.edges_sampling(rate)
    assert graph.num_vertices == parent.num_vertices
    assert graph.num_edges == 2 * math.ceil(rate * parent.num_edges / 2)
    assert edge_set(graph) <= edge_set(parent)
    for vertex in (0, 17):
        neighbors, weights, sqdist = graph.neighborhood(vertex)
        all_neighbors, all_weights, all_sqdist = parent.neighborhood(vertex)
        where = torch.isin(all_neighbors, neighbors)
        assert torch.equal(weights, all_weights[where])
        assert torch.equal(sqdist, all_sqdist[where])
    assert graph.get_laplacian() is not before
    assert_consistent(graph)


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_vertices_sampling(parent, rate):
    graph = RandomSubGraph(parent)
    graph.vertices_sampling(rate)
    kept = graph.sub_vertex_index
    assert graph.num_vertices == len(kept) == math.floor(rate * parent.num_vertices)
    assert torch.equal(graph.vertex_index, torch.arange(len(kept)))
    assert (kept.diff() > 0).all()
    old = {int(v): i for i, v in enumerate(kept)}
    assert edge_set(graph) == {(old[i], old[j]) for i, j in edge_set(parent) if i in old and j in old}
    for attribute in graph.vertex_attributes:
        assert torch.equal(getattr(graph, attribute), getattr(parent, attribute)[kept])
    assert torch.equal(graph.cartesian_pos("z"), parent.cartesian_pos("z")[kept])
    assert torch.equal(torch.stack(graph.cartesian_pos()), torch.stack(parent.cartesian_pos())[:, kept])
    assert_consistent(graph)


def test_samplings_compose(parent):
    graph = RandomSubGraph(parent)
    graph.edges_sampling(0.5)
    half = edge_set(graph)
    graph.vertices_sampling(0.8)
    first = graph.sub_vertex_index
    graph.vertices_sampling(0.8)
    kept = graph.sub_vertex_index
    assert len(kept) == math.floor(0.8 * len(first))
    assert set(kept.tolist()) < set(first.tolist())
    assert torch.equal(graph.vertex_theta, parent.vertex_theta[kept])
    in_parent = {(int(kept[i]), int(kept[j])) for i, j in edge_set(graph)}
    assert in_parent == {(i, j) for i, j in half if i in kept and j in kept}
    edges = graph.num_edges
    graph.edges_sampling(0.5)
    assert graph.num_edges == 2 * math.ceil(edges / 4)
    assert {(int(kept[i]), int(kept[j])) for i, j in edge_set(graph)} < in_parent
    assert_consistent(graph)


def test_a_seed_reproduces_a_draw(parent):
    def draw(seed):
        torch.manual_seed(seed)
        graph = RandomSubGraph(parent)
        graph.vertices_sampling(0.7)
        graph.edges_sampling(0.4)
        return graph.sub_vertex_index.tolist(), graph.edge_index.tolist()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_edges_are_drawn_in_proportion_to_weight():
    weight = torch.tensor([6.0, 6.0, 3.0, 1.0, 3.0, 1.0])
    graph = RandomSubGraph(Graph(torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 3, 1, 2]]), weight[[0, 1, 2, 3, 4, 5]]))
    draws = 2000
    count = torch.zeros(3)
    for _ in range(draws):
        graph.reinit()
        graph.edges_sampling(1 / 3)
        count[int(graph.edge_index[0, 0])] += 1
    expected = torch.tensor([0.6, 0.3, 0.1])
    deviation = (expected * (1 - expected) / draws).sqrt()
    assert ((count / draws - expected).abs() < 4 * deviation).all()


def test_edges_of_weight_zero_come_last():
    graph = RandomSubGraph(Graph(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.tensor([0.0, 0.0, 1.0, 1.0])))
    for _ in range(5):
        graph.reinit()
        graph.edges_sampling(0.5)
        assert edge_set(graph) == {(1, 2), (2, 1)}
    graph.reinit()
    graph.edges_sampling(1.0)
    assert graph.num_edges == 4


def test_it_is_silent(parent, capsys):
    RandomSubGraph(parent).edges_sampling(0.5)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("rate", [0, -0.5, 1.1, float("nan")])
def test_bad_rates(parent, rate):
    graph = RandomSubGraph(parent)
    for sample in (graph.edges_sampling, graph.vertices_sampling):
        with pytest.raises(ValueError, match=r"rate: expected a number in \(0, 1\], got"):
            sample(rate)
    assert graph.num_edges == parent.num_edges


def test_bad_arguments(parent):
    with pytest.raises(TypeError, match="graph: expected a Graph, got int"):
        RandomSubGraph(3)
    with pytest.raises(ValueError, match=r"expected at least 1 / V = 1 / 144, got 0\.001"):
        RandomSubGraph(parent).vertices_sampling(0.001)
    plain = RandomSubGraph(Graph(torch.tensor([[0, 1], [1, 0]])))
    with pytest.raises(TypeError, match="the parent has no positions"):
        plain.cartesian_pos()
    assert not hasattr(plain, "size")
