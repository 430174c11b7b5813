"""What the benchmarks compare with computes the same."""

import sys
from pathlib import Path

import pytest
import torch

from cheblienet.graphs import SE2GEGraph
from cheblienet.nn import ChebConv, WideResSE2GEChebNet

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import baselines, measure


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
