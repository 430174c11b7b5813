"""Edges against their definition, written out for every pair of vertices."""

import math
from types import SimpleNamespace

import pytest
import torch

from cheblienet.graphs import GEGraph, R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph, edges
from cheblienet.graphs.edges import edge_weights, mutual_edges, reverse_edges, snap_
from cheblienet.groups import GROUPS, SE2Group


def brute_force(group, elements, sigmas, K, centroid):
    """{(i, j): d2} of all edges, pair by pair."""
    vertices = range(len(elements))
    sqdist = group.squared_distance(elements[:, None], elements[None], sigmas)
    neighbors, reach = [], []
    for i in vertices:
        ranked = sorted((float(sqdist[i, j]), j) for j in vertices if j != i)
        reach.append(ranked[K - 1][0])
        shells = [[ranked[0]]]
        for candidate in ranked[1:]:
            if candidate[0] <= shells[-1][-1][0] * (1 + 1e-5):
                shells[-1].append(candidate)
            else:
                shells.append([candidate])
        chosen = set()
        for shell in shells:
            if len(chosen) + len(shell) > K:
                break
            chosen |= {j for _, j in shell}
        neighbors.append(chosen)
    cap = float("inf") if centroid is None else reach[centroid] * (1 + 1e-5)
    return {
        (i, j): float(sqdist[i, j])
        for i in vertices
        for j in vertices
        if j in neighbors[i] and i in neighbors[j] and sqdist[i, j] <= cap
    }


def assert_same_edges(graph, expected):
    assert expected, "the case has no edges to compare"
    assert list(map(tuple, graph.edge_index.T.tolist())) == sorted(expected)
    sqdist = torch.tensor([expected[edge] for edge in sorted(expected)])
    torch.testing.assert_close(graph.edge_sqdist, sqdist, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("graph_class", "size", "sigmas", "K"),
    [
        (R2GEGraph, (6, 5), (1.0, 1.0, 1.0), 8),
        (R2GEGraph, (6, 5), (1.0, 0.3, 1.0), 5),
        (SE2GEGraph, (6, 5, 4), (1.0, 1.0, 0.05), 10),
        (SE2GEGraph, (5, 5, 6), (1.0, 0.1, 0.02), 16),
        (SE2GEGraph, (4, 4, 4), (0.2, 3.0, 0.01), 7),
        (S2GEGraph, (42,), (1.0, 1.0, 1.0), 6),
        (S2GEGraph, (162,), (0.5, 0.5, 1.0), 8),
        (SO3GEGraph, (42, 4), (1.0, 1.0, 0.1), 9),
        (SO3GEGraph, (42, 4), (1.0, 0.1, 0.1), 16),
        (SO3GEGraph, (12, 6), (2.0, 0.3, 0.5), 11),
    ],
)
def test_regular_samplings(graph_class, size, sigmas, K):
    graph = graph_class(size, sigmas, K)
    group = GROUPS[graph.manifold]
    assert_same_edges(graph, brute_force(group, graph.elements, sigmas, K, graph.centroid_vertex))


@pytest.mark.parametrize("centroid", [None, 3])
@pytest.mark.parametrize("name", sorted(GROUPS))
def test_random_elements(name, centroid):
    group, sigmas = GROUPS[name], (1.0, 1.0 if name == "s2" else 0.2, 0.3)
    elements = torch.rand(60, len(group.coordinates), dtype=torch.float64) * 3
    graph = GEGraph.from_elements(group, elements, sigmas, 7, centroid=centroid)
    assert_same_edges(graph, brute_force(group, elements, sigmas, 7, centroid))


class DirectionGroup(SE2Group):
    """The plane with a direction, which has a head: theta counts modulo 2 pi."""

    name = "directions"
    has_orientation = False


def sqdist_of_directions(g, h, sigmas):
    """The closed form of arXiv:2111.12139, section 3.1, with an angle in [-pi, pi)."""
    dx, dy = (h - g)[..., :2].unbind(-1)
    c, s = g[..., 2].cos(), g[..., 2].sin()
    x, y = c * dx + s * dy, c * dy - s * dx
    half = (torch.remainder((h - g)[..., 2] + math.pi, 2 * math.pi) - math.pi) / 2
    cot = torch.where(half == 0, 1.0, half / half.tan())
    logarithm = torch.stack([half * y + cot * x, -half * x + cot * y, 2 * half], -1)
    return logarithm.square() @ torch.tensor(sigmas, dtype=torch.float64)


@pytest.mark.parametrize("centroid", [None, 3])
@pytest.mark.parametrize(("sigmas", "K"), [((1.0, 1.0, 1.0), 8), ((1.0, 0.1, 0.02), 16), ((0.2, 3.0, 0.01), 7)])
@pytest.mark.parametrize("grid", [False, True])
def test_directions_against_the_closed_form(sigmas, K, centroid, grid):
    if grid:
        angle = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
        elements = torch.cartesian_prod(torch.arange(4).double(), torch.arange(4).double(), angle)
    else:
        elements = torch.rand(120, 3, dtype=torch.float64) * torch.tensor([3, 3, 7.0]).double()
    graph = GEGraph.from_elements(DirectionGroup(), elements, sigmas, K, centroid=centroid)
    assert_same_edges(
        graph, brute_force(SimpleNamespace(squared_distance=sqdist_of_directions), elements, sigmas, K, centroid)
    )
    if not grid:
        lines = GEGraph.from_elements(GROUPS["se2"], elements, sigmas, K, centroid=centroid)
        assert not torch.equal(graph.edge_index, lines.edge_index)


@pytest.mark.parametrize("sigma", [1e39, 1e-50, 1e308, 1e-320])
def test_a_metric_whose_distances_float32_does_not_hold_is_refused(sigma):
    elements = 30 * torch.rand(30, 2, dtype=torch.float64)
    with pytest.raises(
        ValueError, match="sigmas: expected (squared distances of edges up to a number between|numbers from)"
    ):
        GEGraph.from_elements(GROUPS["r2"], elements, (sigma, sigma, 1.0), 5)


def test_a_large_metric_of_near_elements_has_the_weights_of_any_other():
    elements = torch.rand(30, 2, dtype=torch.float64)
    expected = GEGraph.from_elements(GROUPS["r2"], elements, (1.0, 0.5, 1.0), 5)
    for scale in (2.0**100, 2.0**-100):
        graph = GEGraph.from_elements(GROUPS["r2"], elements, (scale, 0.5 * scale, 1.0), 5)
        assert torch.equal(graph.edge_index, expected.edge_index)
        torch.testing.assert_close(graph.edge_weight, expected.edge_weight)
        torch.testing.assert_close(graph.edge_sqdist / scale, expected.edge_sqdist)


def test_a_pair_needs_both_sides_and_the_reach_of_the_centroid():
    index = torch.tensor([[1, 2], [0, -1], [3, 0], [2, -1]])
    sqdist = torch.tensor([[1.0, 4.0], [1.0, 9.0], [2.0, 4.0], [2.0, 9.0]], dtype=torch.float64)
    edges, distances = mutual_edges(index, sqdist, None)
    assert edges.tolist() == [[0, 0, 1, 2, 2, 3], [1, 2, 0, 0, 3, 2]]
    assert distances.tolist() == [1, 4, 1, 4, 2, 2]
    sqdist[1, 1] = 3.0  # vertex 1 reaches no further than 3
    assert mutual_edges(index, sqdist, 1)[0].tolist() == [[0, 1, 2, 3], [1, 0, 3, 2]]
    sqdist[1, 1] = 4.0 * (1 - 1e-6)  # a tie up to rounding is within reach
    assert mutual_edges(index, sqdist, 1)[0].shape[1] == 6


def test_snap_unites_what_agrees_and_nothing_else():
    exact = torch.tensor([3.0, 1.0, 2.0, 1.0, 1.0 + 1e-6, 3.0, 0.0, 0.0], dtype=torch.float64)
    noise = torch.tensor([1e-13, 2e-13, 0, -1e-13, 1e-13, -3e-13, 0, 0], dtype=torch.float64)
    snapped = snap_(exact * (1 + noise))
    assert torch.equal(snapped[:, None] == snapped, exact[:, None] == exact)
    torch.testing.assert_close(snapped, exact, rtol=1e-12, atol=0)
    assert snap_(exact[:0]).shape == (0,)


def test_snap_does_not_depend_on_its_pieces(monkeypatch):
    torch.manual_seed(0)
    values = torch.rand(200, dtype=torch.float64)[torch.randint(200, (20_000,))]
    values *= 1 + 1e-11 * torch.rand(20_000, dtype=torch.float64)
    chain = 0.5 * (1 + 5e-10) ** torch.arange(3_000, dtype=torch.float64)  # one group, wider than the tolerance
    whole = snap_(values.clone())
    assert len(whole.unique()) == 200
    monkeypatch.setattr(edges, "_PIECE", 100)
    assert torch.equal(snap_(values), whole)
    assert torch.equal(snap_(chain[torch.randperm(3_000)]), torch.full((3_000,), 0.5, dtype=torch.float64))


def test_snap_of_few_lengths():
    torch.manual_seed(0)
    lengths = torch.tensor([0.0, 0.25, 1.0, 1.0 + 1e-12, 2.0], dtype=torch.float64)
    values = lengths[torch.randint(5, (20_000,))]
    # A sample does not have these: a new length, the start of a group, its end, and values below and above all others.
    values[[1, 2, 3, 5, 7]] = torch.tensor([0.5, 1 - 5e-10, 1 + 8e-10, -1e-3, 3.0], dtype=torch.float64)
    expected = values.clone()
    expected[(values - 1).abs() < 1e-8] = 1 - 5e-10
    assert torch.equal(snap_(values), expected)


def test_ties_survive_rounding():
    middle = 1 + 2**-24  # between two float32 numbers
    a, b = math.sqrt(middle * (1 - 1e-12)), math.sqrt(middle * (1 + 1e-12))
    elements = torch.tensor([[0, 0], [a, 0], [9, 0], [9 + b, 0]], dtype=torch.float64)
    graph = GEGraph.from_elements(GROUPS["r2"], elements, (1.0, 1.0, 1.0), 1)
    assert graph.edge_index.tolist() == [[0, 1, 2, 3], [1, 0, 3, 2]]
    assert len(graph.edge_sqdist.unique()) == len(graph.edge_weight.unique()) == 1


def test_both_directions_have_one_distance_and_one_weight():
    graph = SE2GEGraph((7, 7, 5), (1.0, 0.13, 0.017), 12)
    reverse = reverse_edges(graph.edge_index, graph.num_vertices)
    assert torch.equal(graph.edge_index[:, reverse], graph.edge_index.flip(0))
    assert torch.equal(graph.edge_sqdist[reverse], graph.edge_sqdist)
    assert torch.equal(graph.edge_weight[reverse], graph.edge_weight)


@pytest.mark.parametrize(
    ("kernel", "formula"),
    [
        ("gaussian", lambda d2, w: torch.exp(-d2 / w)),
        ("laplace", lambda d2, w: torch.exp(-torch.sqrt(d2 / w))),
        ("cauchy", lambda d2, w: 1 / (1 + d2 / w)),
        ("rectangular", lambda d2, w: torch.where(d2 <= w, 1.0, 0.0)),
    ],
)
def test_weights(kernel, formula):
    sqdist = torch.tensor([0.5, 0.5, 1.0, 4.0], dtype=torch.float64)  # w = 1.2
    weight = edge_weights(sqdist, kernel)
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, formula(sqdist, 1.2).float(), rtol=1e-7, atol=0)
    assert edge_weights(sqdist[:0], kernel).shape == (0,)
    assert edge_weights(torch.zeros(3, dtype=torch.float64), kernel).tolist() == [1, 1, 1]
    graph = R2GEGraph((5, 5), (1.0, 0.5, 1.0), 8, kernel=kernel)
    width = 0.8 * graph.edge_sqdist.double().mean()
    torch.testing.assert_close(graph.edge_weight, formula(graph.edge_sqdist.double(), width).float(), rtol=1e-5, atol=0)


def test_coinciding_elements_weigh_one():
    elements = torch.zeros(3, 2, dtype=torch.float64)
    graph = GEGraph.from_elements(GROUPS["r2"], elements, (1.0, 1.0, 1.0), 2)
    assert graph.num_edges == 6
    assert graph.edge_weight.tolist() == [1] * 6


def test_an_edge_without_its_reverse_is_named():
    with pytest.raises(ValueError, match=r"got \(0, 2\) without \(2, 0\)"):
        reverse_edges(torch.tensor([[0, 0, 1], [1, 2, 0]]), 3)
    with pytest.raises(ValueError, match=r"got \(2, 0\) without \(0, 2\)"):
        reverse_edges(torch.tensor([[0, 1, 2], [1, 0, 0]]), 3)
