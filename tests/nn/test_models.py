import pytest
import torch

from cheblienet import ops
from cheblienet.data import to_graph_signal
from cheblienet.graphs import Graph, SE2GEGraph
from cheblienet.nn import WideResSE2GEChebNet, capacity
from cheblienet.ops import reference


@pytest.fixture(scope="module")
def graph():
    return SE2GEGraph((6, 6, 4), (1.0, 0.1, 0.05), 16)


# Names and shapes of the original's state dict for in_channels 1, out_channels 10, kernel_size 4, res_depth 1, widen 2.
def original_state(seed=0):
    generator = torch.Generator().manual_seed(seed)
    state = {"conv.weight": (4, 1, 16), "conv.bias": (16,), "fc.weight": (10, 128), "fc.bias": (10,)}
    for block, cin, cout in (("block2", 16, 32), ("block1", 32, 64), ("block0", 64, 128)):
        prefix = f"{block}.layers.0."
        state |= {prefix + "conv1.weight": (4, cin, cout), prefix + "conv1.bias": (cout,)}
        state |= {prefix + "conv2.weight": (4, cout, cout), prefix + "conv2.bias": (cout,)}
        state |= {prefix + "convShortcut.weight": (1, cin, cout)}
        for bn in ("bn1.", "bn2."):
            state |= {prefix + bn + name: (cout,) for name in ("weight", "bias", "running_mean", "running_var")}
            state[prefix + bn + "num_batches_tracked"] = ()
    tensors = {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in state.items()}
    for name in tensors:
        if name.endswith("running_var"):
            tensors[name] = tensors[name].abs() + 0.5
        elif name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(3)
    return tensors


def plain_network(state, graph, x):
    """The network of the paper in evaluation mode, written out on the reference operator, channel-major."""
    laplacian = ops.csr(graph.get_laplacian(dtype=torch.float64))
    state = {name: tensor.double() for name, tensor in state.items()}

    def conv(name, x):
        bias = state.get(name + ".bias")
        return reference.chebyshev(x.transpose(1, 2), state[name + ".weight"], laplacian, bias).transpose(1, 2)

    def bn(name, x):
        mean, var, weight, bias = (
            state[f"{name}.{p}"][:, None] for p in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = conv("conv", x.double())
    for block in ("block2", "block1", "block0"):
        name = f"{block}.layers.0."
        inner = conv(name + "conv2", bn(name + "bn1", conv(name + "conv1", x)).relu())
        x = bn(name + "bn2", conv(name + "convShortcut", x) + inner).relu()
    return (x.amax(-1) @ state["fc.weight"].T + state["fc.bias"]).log_softmax(1)


def test_state_dict_of_the_original_loads_and_gives_its_outputs(graph, assert_close):
    network, state, x = (
        WideResSE2GEChebNet(1, 10, 4, graph, res_depth=1, widen_factor=2),
        original_state(),
        torch.randn(3, 1, 144),
    )
    network.load_state_dict(state, strict=True)
    network.eval()
    assert_close(network(x), plain_network(state, graph, x), factor=10)


def test_scores_do_not_change_under_the_symmetries_of_the_grid(graph):
    network = WideResSE2GEChebNet(1, 10, 4, graph, res_depth=1).eval()
    images = torch.randn(4, 1, 6, 6)
    scores = network(to_graph_signal(images, 4))
    for moved in (images.rot90(1, (-2, -1)), images.rot90(2, (-2, -1)), images.flip(-1), images.flip(-2)):
        torch.testing.assert_close(network(to_graph_signal(moved, 4)), scores, atol=1e-5, rtol=1e-5)
    assert (network(to_graph_signal(images.roll(1, 0), 4)) - scores).abs().max() > 1e-3


def test_pooled_network_trains(graph):
    fine, middle = SE2GEGraph((16, 16, 4), (1.0, 0.1, 0.01), 8), SE2GEGraph((8, 8, 4), (1.0, 0.1, 0.03), 8)
    coarse = SE2GEGraph((4, 4, 4), (1.0, 0.1, 0.1), 8)
    network = WideResSE2GEChebNet(3, 5, 3, coarse, middle, fine, res_depth=1, reduction="max")
    loss = torch.nn.functional.nll_loss(network(torch.randn(2, 3, fine.num_vertices)), torch.tensor([1, 4]))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    with pytest.raises(ValueError, match="reduction: expected None without graph_lvl1 and graph_lvl2"):
        WideResSE2GEChebNet(3, 5, 3, coarse, reduction="max")
    with pytest.raises(ValueError, match="graph_lvl0: expected 64 vertices, those of graph_lvl1 pooled, got 256"):
        WideResSE2GEChebNet(3, 5, 3, middle, middle, fine, reduction="max")
    with pytest.raises(
        TypeError, match="graph_lvl2: expected a graph with a size \\(nx, ny, ntheta\\) of .*, got Graph"
    ):
        WideResSE2GEChebNet(3, 5, 3, coarse, middle, Graph(torch.tensor([[0, 1], [1, 0]])), reduction="max")


def test_finer_graphs_without_a_reduction_are_refused(graph):
    other = SE2GEGraph((8, 8, 2), (1.0, 1.0, 1.0), 8)
    with pytest.raises(ValueError, match="graph_lvl1: expected None without a reduction"):
        WideResSE2GEChebNet(1, 3, 2, graph, other, other)
    with pytest.raises(ValueError, match="graph_lvl2: expected None without a reduction"):
        WideResSE2GEChebNet(1, 3, 2, graph, graph_lvl2=other)


def test_capacity_counts_trainable_parameters(graph):
    network = WideResSE2GEChebNet(1, 10, 4, graph, res_depth=2, widen_factor=2)
    assert capacity(network) == sum(p.numel() for p in network.parameters())
    network.fc.requires_grad_(False)
    assert capacity(network) == sum(p.numel() for p in network.parameters()) - 1290
