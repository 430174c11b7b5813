"""Networks compile as one graph, and run where only the operators are loaded."""

import subprocess
import sys

import pytest
import torch

from cheblienet.graphs import S2GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.nn import SO3GEUChebNet, WideResSE2GEChebNet


def image_network():
    coarse, middle, fine = (SE2GEGraph((n, n, 4), (1.0, 0.1, 2 / n**2), 8) for n in (2, 4, 8))
    return WideResSE2GEChebNet(3, 5, 3, coarse, middle, fine, res_depth=1, reduction="max"), fine


def sphere_network():
    levels = [SO3GEGraph((n, 2), (1.0, 0.1, 10 / n), 8) for n in (12, 42)]
    return SO3GEUChebNet(3, 5, 3, graphs=levels, output_graph=S2GEGraph((42,), (1.0, 1.0, 1.0), 6)), levels[-1]


NETWORKS = {"WideResSE2GEChebNet": image_network, "SO3GEUChebNet": sphere_network}

RUN = """
import sys
import torch
import cheblienet.ops

program, inputs, outputs = sys.argv[1:]
torch.save(torch.export.load(program).module()(torch.load(inputs)), outputs)
print(sorted(name for name in sys.modules if name.startswith("cheblienet.")))
"""


@pytest.mark.parametrize("name", NETWORKS)
def test_exported_network_needs_the_operators_alone(name, tmp_path):
    network, graph = NETWORKS[name]()
    network.eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(network, (torch.randn(2, 3, graph.num_vertices),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, tmp_path / "network.pt2")
    x = torch.randn(3, 3, graph.num_vertices)
    torch.save(x, tmp_path / "x.pt")
    command = [sys.executable, "-c", RUN, *(str(tmp_path / file) for file in ("network.pt2", "x.pt", "y.pt"))]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cheblienet.ops" in loaded
    assert "cheblienet.nn" not in loaded
    assert "cheblienet.graphs" not in loaded
    assert torch.equal(torch.load(tmp_path / "y.pt"), network(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_network_compiles_as_one_graph(name):
    network, graph = NETWORKS[name]()
    x = torch.randn(2, 3, graph.num_vertices)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    network.eval()
    torch.testing.assert_close(compiled(x), network(x))
    network.train()
    compiled(x).square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.requires_grad]
    network.zero_grad()
    network(x).square().sum().backward()
    expected = [parameter.grad for parameter in network.parameters() if parameter.requires_grad]
    torch.testing.assert_close(gradients, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_state_dict_holds_no_graph(name):
    network, _ = NETWORKS[name]()
    learned = {key for key, _ in network.named_parameters()}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert {key for key in network.state_dict() if not key.endswith(statistics)} == learned
