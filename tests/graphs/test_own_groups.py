"""Graphs of groups of one's own: what they are told apart by, and that all of a graph works."""

import copy
import math
import pickle
import re
import textwrap
import warnings
from pathlib import Path

import pytest
import torch

from cheblienet.graphs import GEGraph, R2GEGraph, RandomSubGraph, SE2GEGraph, order
from cheblienet.graphs.fingerprint import differences
from cheblienet.groups import R2, S2, SE2, SO3, Group, R2Group, S2Group, SE2Group, sample
from cheblienet.nn import ChebConv, SE2SpatialPool

SIGMAS = (1.0, 0.1, 0.05)
CPU = torch.device("cpu")


class DirectionGroup(SE2Group):
    """The plane with a direction, under the name of the group of lines."""

    has_orientation = False

    def uniform_sampling(self, *size, device=None):
        elements = super().uniform_sampling(*size, device=device)
        elements[:, 2] *= 2
        return elements


class DirectionGraph(SE2GEGraph):
    _group = DirectionGroup()


class ThreeSpace(Group):
    """Space under translations, by its distance alone."""

    name = "r3"
    coordinates = ("east", "north", "up")

    def squared_distance(self, g, h, sigmas):
        return (g - h).square() @ torch.tensor(sigmas, dtype=g.dtype)

    def uniform_sampling(self, *size, device=None):
        return torch.rand(math.prod(size), 3, dtype=torch.float64)

    _matrix = _element = _inverse = _log = Group._check_element


def test_a_graph_of_directions():
    graph = DirectionGraph((6, 6, 8), SIGMAS, 12)
    assert graph.num_components == 1
    assert graph.manifold == "se2"
    laplacian = graph.get_laplacian(dtype=torch.float64).to_dense()
    assert torch.equal(laplacian, laplacian.T)
    eigenvalues, _ = graph.get_eigen_space()
    assert abs(float(eigenvalues[0])) < 1e-12
    assert 0.01 < eigenvalues[1] < eigenvalues[-1] < 2
    # A half turn of a square grid of directions is a symmetry, and one that moves every vertex.
    index = torch.arange(6 * 6 * 8).view(8, 6, 6)
    turned = index.flip(1, 2).roll(4, 0).flatten()
    assert torch.equal(laplacian[turned][:, turned], laplacian)
    x = torch.randn(2, 3, 288)
    layer = ChebConv(3, 4, 3, graph)
    y = layer(x)
    expected = (
        sum(
            torch.einsum("uv,bcv,co->bou", t, x, weight)
            for t, weight in zip(chebyshev(laplacian.float()), layer.weight, strict=False)
        )
        + layer.bias[:, None]
    )
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    assert SE2SpatialPool(2, (6, 6, 8), "max")(y).shape == (2, 4, 72)
    for again in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph)):
        assert torch.equal(again.edge_index, graph.edge_index)
        assert torch.equal(again.fingerprint, graph.fingerprint)
    part = RandomSubGraph(graph)
    part.vertices_sampling(0.5)
    assert torch.equal(part.vertex_theta, graph.vertex_theta[part.sub_vertex_index])
    torch.testing.assert_close(graph.diffuse(torch.ones(288), 0.0), torch.ones(288))


def chebyshev(laplacian):
    """T_0, T_1 and T_2."""
    one = torch.eye(len(laplacian))
    return one, laplacian, 2 * laplacian @ laplacian - one


def test_layers_tell_the_groups_apart():
    own, lines = DirectionGraph((4, 4, 4), SIGMAS, 6), SE2GEGraph((4, 4, 4), SIGMAS, 6)
    assert any(
        "class of the group = None, here DirectionGroup" in text
        for text in differences(lines.fingerprint, own.fingerprint)
    )
    # The same edges do not make them the same: elements are compared too.
    told = GEGraph.from_elements(DirectionGroup(), own.elements, SIGMAS, 6)
    assert differences(told.fingerprint, GEGraph.from_elements(SE2, own.elements, SIGMAS, 6).fingerprint)
    state, same = ChebConv(1, 1, 2, own).state_dict(), ChebConv(1, 1, 2, DirectionGraph((4, 4, 4), SIGMAS, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same.load_state_dict(state)
    with pytest.warns(UserWarning, match="class of the group = DirectionGroup, here None"):
        ChebConv(1, 1, 2, lines).load_state_dict(state)
    renamed = type("Renamed", (SE2GEGraph,), {"_group": type("Mine", (SE2Group,), {"name": "mine"})()})
    assert torch.equal(renamed((4, 4, 4), SIGMAS, 6).edge_index, lines.edge_index)


def test_a_cache_has_graphs_of_built_in_groups_only(tmp_path):
    SE2GEGraph((4, 4, 4), SIGMAS, 6, tmp_path)
    with pytest.raises(
        ValueError, match=r"DirectionGraph: path_to_graph: expected None for DirectionGroup \(group 'se2'\)"
    ):
        DirectionGraph((4, 4, 4), SIGMAS, 6, tmp_path)
    denser = type(
        "Denser", (SE2Group,), {"uniform_sampling": lambda self, *size, device=None: torch.rand(64, 3).double()}
    )
    with pytest.raises(ValueError, match=r"path_to_graph: expected None for Denser"):
        type("Graph", (SE2GEGraph,), {"_group": denser()})((4, 4, 4), SIGMAS, 6, tmp_path)
    renamed = type("Renamed", (SE2GEGraph,), {"_group": type("Mine", (SE2Group,), {"name": "r2"})()})
    renamed((4, 4, 4), SIGMAS, 6, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_sampling_of_another_number_of_elements():
    fewer = type("Fewer", (R2Group,), {"uniform_sampling": lambda self, *size, device=None: torch.rand(19, 2).double()})
    with pytest.raises(
        ValueError, match=r"size: expected 20 elements of Fewer.uniform_sampling for \(5, 4, 1\), got 19"
    ):
        type("Graph", (R2GEGraph,), {"_group": fewer()})((5, 4), SIGMAS, 6)


def test_positions_are_the_groups_own():
    own = DirectionGraph((4, 4, 4), SIGMAS, 6)
    assert torch.equal(torch.stack(own.cartesian_pos()), torch.stack(own.group_element))
    assert own.vertex_theta.max() > 1.5
    space = GEGraph.from_elements(ThreeSpace(), torch.rand(40, 3), (1.0, 1.0, 1.0), 6)
    with pytest.raises(NotImplementedError, match=r"ThreeSpace: position: expected a group that says .*'r3'"):
        space.cartesian_pos()
    drawn = type("Drawn", (ThreeSpace,), {"position": lambda self, element: element})()
    graph = GEGraph.from_elements(drawn, space.elements, (1.0, 1.0, 1.0), 6)
    assert torch.equal(graph.cartesian_pos("z"), graph.vertex_up)
    graph.cartesian_pos("z").zero_()
    assert torch.equal(graph.elements, space.elements)


@pytest.mark.parametrize("coordinates", [3, 1, 40])
def test_a_group_of_any_dimension(coordinates):
    names = tuple(f"c{i}" for i in range(coordinates))

    def squared_distance(self, g, h, sigmas):
        return (g - h).square().sum(-1)

    group = type("Euclidean", (ThreeSpace,), {"coordinates": names, "squared_distance": squared_distance})()
    elements = torch.rand(200, coordinates, dtype=torch.float64)
    graph = GEGraph.from_elements(group, elements, (1.0, 1.0, 1.0), 6)
    nearest = torch.cdist(elements, elements).topk(7, largest=False).indices[:, 1:]
    directed = torch.zeros(200, 200, dtype=torch.bool).scatter(1, nearest, True)
    assert torch.equal(graph.edge_index, (directed & directed.T).nonzero().T)
    # The order of rows on a GPU is one of the vertices, whatever the coordinates are.
    assert torch.equal(order.spatial_order(group, elements).sort().values, torch.arange(200))


def test_only_the_built_in_sphere_needs_one_sigma():
    class Isotropic(S2Group):
        """The sphere, whose distance does not look at directions."""

        def squared_distance(self, g, h, sigmas):
            return super().squared_distance(g, h, (1.0, 1.0, 1.0))

    elements = sample(S2, "random", 40)
    assert GEGraph.from_elements(Isotropic(), elements, (1.0, 2.0, 1.0), 6).num_edges
    with pytest.raises(ValueError, match=r"sigma_1 = sigma_2"):
        GEGraph.from_elements(type("Renamed", (S2Group,), {"name": "mine"})(), elements, (1.0, 2.0, 1.0), 6)
    asymmetric = type("Own", (S2Group,), {"_log": lambda self, matrix: S2._log(matrix)})()
    with pytest.raises(ValueError, match=r"Own \(group 's2'\): squared_distance: expected the same in both directions"):
        GEGraph.from_elements(asymmetric, elements, (1.0, 2.0, 1.0), 6)


def test_a_graph_in_parts_measures_by_the_groups_own_distance():
    class Chebyshev(R2Group):
        def squared_distance(self, g, h, sigmas):
            return (g - h).abs().amax(-1).square()

    elements = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))
    with pytest.warns(UserWarning, match="the first whole shell takes K = 8"):
        GEGraph.from_elements(Chebyshev(), elements, (1.0, 1.0, 1.0), 2)


@pytest.mark.parametrize(
    "group", [R2, SE2, S2, SO3, DirectionGroup(), ThreeSpace()], ids=lambda group: type(group).__name__
)
def test_too_few_elements(group):
    for count in (0, 1):
        with pytest.raises(ValueError, match=f"from_elements: elements: expected at least 2, got {count}"):
            GEGraph.from_elements(group, torch.rand(count, len(group.coordinates)), (1.0, 1.0, 1.0), 1)
    with pytest.raises(ValueError, match="K: expected an integer between 1 and 4, got 5"):
        GEGraph.from_elements(group, torch.rand(5, len(group.coordinates)), (1.0, 1.0, 1.0), 5)
    assert GEGraph.from_elements(group, torch.rand(2, len(group.coordinates)), (1.0, 1.0, 1.0), 1).num_edges == 2


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({"coordinates": ("index", "x", "y")}, ValueError, "'index': graphs have another attribute vertex_index"),
        ({"coordinates": ("attributes", "x", "y")}, ValueError, "another attribute vertex_attributes"),
        ({"coordinates": ("x", "x", "y")}, ValueError, r"expected different names, got \('x', 'x', 'y'\)"),
        ({"coordinates": "xyz"}, TypeError, "expected a tuple of one or more names, got 'xyz'"),
        ({"coordinates": ()}, TypeError, "expected a tuple of one or more names"),
        ({"name": 3}, TypeError, "name: expected a string, got 3"),
    ],
)
def test_names_that_a_graph_cannot_have(attributes, error, message):
    group = type("Odd", (ThreeSpace,), attributes)()
    with pytest.raises(error, match=f"GEGraph.from_elements: group: Odd: .*{message}"):
        GEGraph.from_elements(group, torch.rand(9, 3), (1.0, 1.0, 1.0), 4)


def test_the_example_of_the_docs(capsys):
    page = (Path(__file__).resolve().parents[2] / "docs" / "graphs.md").read_text()
    example, output = re.findall(r"```python\n(.*?)```\n\n((?:    [^\n]*\n)*)", page, re.DOTALL)[0]
    exec(compile(example, "docs/graphs.md", "exec"), {})
    assert capsys.readouterr().out == textwrap.dedent(output)
