"""Networks compile as one graph, and run where only the operators are loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cheblienet.graphs import R2GEGraph, RandomSubGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.nn import SO3GEChebDecoder, SO3GEChebEncoder, SO3GEUChebNet, WideResSE2GEChebNet


def image_network():
    coarse, middle, fine = (SE2GEGraph((n, n, 4), (1.0, 0.1, 2 / n**2), 8) for n in (2, 4, 8))
    return WideResSE2GEChebNet(3, 5, 3, coarse, middle, fine, res_depth=1, reduction="max"), [(3, 256)]


def plane_network():
    """Without pooling, on a view of a graph, as the program for MNIST has it."""
    graph = RandomSubGraph(R2GEGraph((4, 4), (1.0, 1.0, 1.0), 4))
    return WideResSE2GEChebNet(1, 5, 3, graph, res_depth=1), [(1, 16)]


def sphere_network(kind):
    levels = [SO3GEGraph((n, 2), (1.0, 0.1, 10 / n), 8) for n in (12, 42)]
    if kind is SO3GEChebEncoder:
        return kind(3, 5, 3, graphs=levels), [(3, 84)]
    inputs = [(64, 24), (32, 84)] if kind is SO3GEChebDecoder else [(3, 84)]
    return kind(3, 5, 3, graphs=levels, output_graph=S2GEGraph((42,), (1.0, 1.0, 1.0), 6)), inputs


# Functions that make a network and the shapes of its inputs without the batch.
NETWORKS = {
    "WideResSE2GEChebNet": image_network,
    "WideResSE2GEChebNet on a sub-graph": plane_network,
    "SO3GEChebEncoder": lambda: sphere_network(SO3GEChebEncoder),
    "SO3GEChebDecoder": lambda: sphere_network(SO3GEChebDecoder),
    "SO3GEUChebNet": lambda: sphere_network(SO3GEUChebNet),
}


def signals(batch, shapes):
    return tuple(torch.randn(batch, *shape) for shape in shapes)


RUN = """
import sys
import torch
import cheblienet.ops

for program in sys.argv[1:]:
    inputs = torch.load(program + ".in")
    torch.save(torch.export.load(program).module()(*inputs), program + ".out")
print(sorted(name for name in sys.modules if name.startswith("cheblienet.")))
"""


def test_exported_networks_need_the_operators_alone(tmp_path):
    """Of every network; with batches of another size than it was exported with."""
    expected = {}
    for name, make in NETWORKS.items():
        network, shapes = make()
        network.eval()
        dynamic = tuple({0: torch.export.Dim("batch", min=1, max=64)} for _ in shapes)
        if name == "SO3GEChebDecoder":  # it takes any number of signals: one argument to the exporter
            dynamic = (dynamic,)
        program, x = str(tmp_path / f"{name}.pt2"), signals(3, shapes)
        torch.export.save(torch.export.export(network, signals(2, shapes), dynamic_shapes=dynamic), program)
        torch.save(x, program + ".in")
        expected[program] = network(*x)
    command = [sys.executable, "-c", RUN, *expected]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cheblienet.ops" in loaded
    assert "cheblienet.nn" not in loaded
    assert "cheblienet.graphs" not in loaded
    for program, y in expected.items():
        torch.testing.assert_close(torch.load(program + ".out"), y, atol=0, rtol=0, msg=program)


# Exported with a dynamic batch by torch 2.14, before `chebyshev` and `batch_norm` had overloads, and what those networks made
# of a batch of three: a WideResSE2GEChebNet with pooling, an SO3GEUChebNet, and a ChebConv without bias in float64. They
# cannot be made again: they call the operators as they were then.
PROGRAMS = ("wide_res_net", "u_net", "layer_without_bias")

RUN_FIXTURE = """
import sys
import numpy
import torch
import cheblienet.ops

try:
    program = torch.export.load(sys.argv[1])
except Exception as error:
    if torch.torch_version.TorchVersion(torch.__version__) >= (2, 14):
        raise
    print(f"torch {torch.__version__} cannot read what torch 2.14 exported: {type(error).__name__}")
    sys.exit()
data = numpy.load(sys.argv[1].replace(".pt2", ".npz"))
inputs, outputs = ([torch.from_numpy(data[key]) for key in sorted(data) if word in key] for word in ("input", "output"))
got = program.module()(*inputs)
torch.testing.assert_close([got] if isinstance(got, torch.Tensor) else list(got), outputs, atol=1e-4, rtol=1e-4)
"""


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_exported_by_an_earlier_version_run(name):
    command = [sys.executable, "-c", RUN_FIXTURE, str(Path(__file__).parent / "data" / f"{name}.pt2")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if said:
        pytest.skip(said)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_compiles_as_one_graph(name):
    network, shapes = NETWORKS[name]()
    x = signals(2, shapes)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    network.eval()
    torch.testing.assert_close(compiled(*x), network(*x))
    network.train()

    def gradients(call):
        network.zero_grad()
        outputs = call(*x)
        sum(y.square().sum() for y in (outputs if isinstance(outputs, tuple) else [outputs])).backward()
        return [parameter.grad.clone() for parameter in network.parameters() if parameter.requires_grad]

    torch.testing.assert_close(gradients(compiled), gradients(network), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_state_dict_holds_no_graph_but_its_fingerprint(name):
    network, _ = NETWORKS[name]()
    learned = {key for key, _ in network.named_parameters()}
    beside = ("running_mean", "running_var", "num_batches_tracked", "_extra_state")
    state = network.state_dict()
    assert {key for key in state if not key.endswith(beside)} == learned
    assert {tensor.numel() for key, tensor in state.items() if key.endswith("_extra_state")} == {512}
    assert {key for key, _ in network.named_buffers()} == {key for key in state if key.endswith(beside[:3])}
