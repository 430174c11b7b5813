"""Graphs that edges do not join to one: told at construction and by `repr`. And what a graph returns is not what it keeps."""

import copy
import warnings

import pytest
import torch

from cheblienet.graphs import (
    GEGraph,
    Graph,
    R2GEGraph,
    RandomSubGraph,
    S2GEGraph,
    SE2GEGraph,
    SO3GEGraph,
    load_graph,
)
from cheblienet.groups import R2, S2, SE2, sample

ISOTROPIC = (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: R2GEGraph((8, 8), ISOTROPIC, 2),
            r"64 vertices to 64 components .* 64 of .* first whole shell takes K = 4",
        ),
        (lambda: S2GEGraph((162,), ISOTROPIC, 5), r"162 vertices to .* 60 of them isolated .* takes K = 6"),
        (
            lambda: GEGraph.from_elements(R2, torch.zeros(9, 2), ISOTROPIC, 4),
            r"9 vertices to 9 components .* 9 of .* takes K = 8",
        ),
        (
            lambda: R2GEGraph((8, 8), ISOTROPIC, 4, kernel="rectangular"),
            "64 vertices to 64 components .* a larger K, other sigmas",
        ),
        (
            lambda: SE2GEGraph((4, 4, 3), ISOTROPIC, 4),
            "48 vertices to 3 components rather than one, 0 of them isolated vertices, with K = 4",
        ),
        (
            lambda: GEGraph.from_elements(S2, sample(S2, "equiangular", 18, 36), ISOTROPIC, 16),
            r"648 vertices to \d+ components .* a sampling of more even density",
        ),
    ],
)
def test_a_graph_in_parts_warns_once(build, message):
    with pytest.warns(UserWarning, match=message) as caught:
        build()
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_graph_that_is_read_warns_as_well(tmp_path):
    for _ in range(2):
        with pytest.warns(UserWarning, match="64 components"):
            R2GEGraph((8, 8), ISOTROPIC, 2, tmp_path)


@pytest.mark.parametrize(
    "build",
    [
        lambda: R2GEGraph((9, 8), ISOTROPIC, 8),
        lambda: SE2GEGraph((8, 8, 6), (1.0, 0.1, 0.02), 16),
        lambda: S2GEGraph((162,), ISOTROPIC, 8),
        lambda: SO3GEGraph((162, 6), (1.0, 0.1, 10 / 162), 16),
        lambda: GEGraph.from_elements(S2, sample(S2, "fibonacci", 500), ISOTROPIC, 8),
        lambda: GEGraph.from_elements(S2, sample(S2, "equiangular", 18, 36), ISOTROPIC, 48),
    ],
)
def test_a_whole_graph_does_not_warn(build):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert build().num_components == 1


def test_a_graph_says_what_it_is():
    graph = R2GEGraph((40, 30), ISOTROPIC, 4)
    assert repr(graph) == ("R2GEGraph(size 40 x 30 x 1, 1,200 vertices, 2,330 edges, mean degree 3.88, 1 component)")
    two = Graph(torch.tensor([[0, 1], [1, 0]]), num_vertices=3)
    assert repr(two) == "Graph(3 vertices, 1 edges, mean degree 0.67, 2 components)"
    part = RandomSubGraph(graph)
    part.vertices_sampling(0.1)
    assert repr(part).startswith("RandomSubGraph(size 40 x 30 x 1, 120 vertices, ")
    assert part.num_components > 1


def everything(graph):
    """What the public methods and properties of a graph return, but for what layers hold."""
    found = {}
    for name in sorted({*dir(type(graph)), *graph.__dict__, *graph.vertex_attributes} - {"graph", "laplacian_csr"}):
        if not name.startswith("_"):
            value = getattr(graph, name)
            found[name] = value if not callable(value) else None
    found["get_laplacian"] = [
        graph.get_laplacian(r, dtype=d) for r in (False, True) for d in (torch.float32, torch.float64)
    ]
    found["get_eigen_space"] = [graph.get_eigen_space(), graph.get_eigen_space(True), graph.get_eigen_space(k=3)]
    found["neighborhood"] = graph.neighborhood(1)
    found["diff_kernel"] = graph.diff_kernel(torch.exp)
    x = torch.ones(graph.num_vertices)
    found["apply"] = [graph.apply_kernel(torch.exp, x), graph.diffuse(x, 3.0), graph.diffuse(x, 0)]
    if hasattr(graph, "manifold"):
        found["cartesian_pos"] = graph.cartesian_pos()
    return found


def tensors(value):
    if isinstance(value, torch.Tensor):
        if value.layout == torch.sparse_csr:
            return [value.crow_indices(), value.col_indices(), value.values()]
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for part in value for tensor in tensors(part)] if isinstance(value, list | tuple) else []


def part_of(graph):
    part = RandomSubGraph(graph)
    part.edges_sampling(0.8)
    part.vertices_sampling(0.7)
    return part


@pytest.mark.parametrize(
    "build",
    [
        lambda: Graph(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.ones(4), 5, edge_sqdist=torch.ones(4)),
        lambda: R2GEGraph((6, 5), ISOTROPIC, 8),
        lambda: SE2GEGraph((4, 4, 3), ISOTROPIC, 8),
        lambda: S2GEGraph((42,), ISOTROPIC, 6),
        lambda: SO3GEGraph((12, 3), ISOTROPIC, 8),
        lambda: GEGraph.from_elements(SE2, torch.rand(30, 3), ISOTROPIC, 8),
        lambda: RandomSubGraph(R2GEGraph((6, 5), ISOTROPIC, 8)),
        lambda: part_of(SE2GEGraph((4, 4, 3), ISOTROPIC, 8)),
    ],
)
def test_writing_into_what_a_graph_returns_changes_nothing(build):
    graph = build()
    values = graph.laplacian_csr().values.clone()
    first = everything(graph)
    expected = copy.deepcopy([tensor.clone() for tensor in tensors(first)])
    assert len(expected) > 20
    for tensor in tensors(first):
        tensor.fill_(-7)
    for actual, wanted in zip(tensors(everything(graph)), expected, strict=True):
        assert torch.equal(actual, wanted)
    assert torch.equal(graph.laplacian_csr().values, values)


def test_what_a_graph_is_made_of_stays_the_callers():
    index, weight, elements = torch.tensor([[0, 1], [1, 0]]), torch.ones(2), torch.rand(20, 2, dtype=torch.float64)
    graph, own = Graph(index, weight), GEGraph.from_elements(R2, elements, ISOTROPIC, 8)
    x = own.vertex_x
    for tensor in (index, weight, elements):
        tensor.zero_()
    assert graph.edge_index.tolist() == [[0, 1], [1, 0]]
    assert graph.edge_weight.tolist() == [1, 1]
    assert torch.equal(own.vertex_x, x)


def test_a_file_gives_a_graph_of_its_own(tmp_path):
    R2GEGraph((6, 5), ISOTROPIC, 8, tmp_path)
    (file,) = tmp_path.iterdir()
    graph = load_graph(file)
    with pytest.raises(ValueError, match=r"lambda_max: expected at least the largest eigenvalue"):
        graph.lambda_max = 0.3
    graph.edge_weight.zero_()
    assert graph.edge_weight.min() > 0
