"""What the benchmarks compare with computes the same."""

import sys
from pathlib import Path

import pytest
import torch

from cheblienet import ops
from cheblienet.graphs import SE2GEGraph
from cheblienet.groups import SE2
from cheblienet.nn import ChebConv, WideResSE2GEChebNet

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import baselines, graphs, growth, measure
from benchmarks.cuda import construction


@pytest.fixture(scope="module")
def graph():
    return SE2GEGraph((5, 5, 4), (1.0, 0.1, 0.05), 16)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_baselines_agree(graph, order):
    layer, x = ChebConv(3, 5, order, graph), torch.randn(2, 100, 3)
    expected = layer(x.transpose(1, 2)).transpose(1, 2)
    dy = torch.randn_like(expected)
    gradient = torch.autograd.grad(expected, layer.weight, dy)[0]
    layouts = {baselines.ReferenceChebConv: (0, 2, 1), baselines.CsrChebConv: (1, 0, 2)}
    for kind, layout in layouts.items():
        y = kind(layer)(x.permute(layout).contiguous())
        torch.testing.assert_close(y, expected.permute(layout), rtol=1e-4, atol=1e-5)
        actual = torch.autograd.grad(y, layer.weight, dy.permute(layout))[0]
        torch.testing.assert_close(actual, gradient, rtol=1e-4, atol=1e-4)


def test_the_reference_construction_has_the_metric_of_the_graph(graph):
    index, sqdist, weight = baselines.reference_edges(graph)
    dense = torch.sparse_coo_tensor(index, sqdist, (100, 100), check_invariants=True).to_dense()
    assert torch.equal(dense, dense.T)
    expected = SE2.squared_distance(graph.elements[index[0]], graph.elements[index[1]], graph.sigmas)
    torch.testing.assert_close(sqdist.double(), expected, rtol=0, atol=2e-6)  # rounded to six digits
    torch.testing.assert_close(weight, torch.exp(-sqdist / (0.8 * sqdist.mean())))
    # It keeps K whatever their ties, so at most as many; the edges of both are mutual.
    assert index[0].bincount().max() <= graph.K
    own = set(map(tuple, graph.edge_index.T.tolist()))
    assert len(own & set(map(tuple, index.T.tolist()))) > 0.8 * len(own)


def test_network_on_reference_layers_agrees(graph):
    network = WideResSE2GEChebNet(1, 10, 3, graph, res_depth=1)
    reference = baselines.on_reference_layers(network)
    x = torch.randn(3, 1, 100)
    torch.testing.assert_close(reference(x), network(x), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, ChebConv) for module in reference.modules())


def test_ratios_compare_round_by_round():
    assert measure.median_ratio([2.0, 40.0, 6.0], [1.0, 10.0, 2.0]) == 3.0
    times = measure.interleaved({"a": lambda: None, "b": lambda: None}, budget=0.0)
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_keops_baseline_agrees(graph):
    pytest.importorskip("pykeops", reason="pykeops is an optional contender of the benchmarks")
    sqdist, index = baselines.keops_neighbors(graph.elements, graph.sigmas, 16)()
    expected = ops.nearest_neighbors(graph.elements, graph.sigmas, 16, SE2)[1]
    assert torch.equal(index[:, 0], torch.arange(100))
    torch.testing.assert_close(sqdist[:, 1:], expected, rtol=1e-9, atol=1e-15)


def test_growth_is_fitted_by_family(tmp_path):
    rows = [
        {"family": family, "vertices": v, "median_ms": 3.0 * v**power, "peak_mib": 2.0 * v}
        for family, power in (("linear", 1.0), ("quadratic", 2.0), (None, 1.0))
        for v in (1000, 10, 100)
    ]
    said = growth.describe(rows)
    assert "V^1.00 (reached" in said
    assert "V^2.00 (NOT reached" in said
    growth.draw(rows, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    assert growth.families(rows[:1]) == {}


def test_construction_is_predicted_from_its_counts():
    small, large = (construction.count(graphs.se2, n) for n in (8, 24))
    assert small.moved < large.moved
    assert small.waits == large.waits
    assert 1.0 < construction.predicted(small, 1.0) < construction.predicted(large, 1.0) < 1.002
