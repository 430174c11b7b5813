import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from cheblienet import nn as gnn
from cheblienet import ops
from cheblienet.graphs import Graph, S2GEGraph, SO3GEGraph
from cheblienet.meshes import icosphere
from cheblienet.ops import reference

NALPHA = 2


@pytest.fixture(scope="module")
def graphs():
    """With the original's orientations, of which those of one number correspond."""
    return [SO3GEGraph((n, NALPHA), (1.0, 0.1, 10 / n), 8, frames="coordinate") for n in (12, 42, 162)]


@pytest.fixture(scope="module")
def sphere():
    return S2GEGraph((162, 1), (1.0, 1.0, 1.0), 8)


def network(graphs, sphere, **options):
    return gnn.SO3GEUChebNet(4, 3, 3, graphs=graphs, output_graph=sphere, **options)


# Channels of each block of the original's state dict for in_channels 16, out_channels 3, kernel_size 3.
ORIGINAL_ENCODER = {5: (16, 32), 4: (32, 64), 3: (64, 128), 2: (128, 256), 1: (256, 256), 0: (256, 256)}
ORIGINAL_DECODER = {0: (256, 256), 1: (512, 256), 2: (512, 128), 3: (256, 64), 4: (128, 32), 5: (64, 16)}


def original_shapes():
    shapes = {"encoder.conv.weight": (3, 16, 16), "encoder.conv.bias": (16,), "decoder.conv.weight": (1, 16, 3)}
    for part, blocks in (("encoder", ORIGINAL_ENCODER), ("decoder", ORIGINAL_DECODER)):
        for level, (cin, cout) in blocks.items():
            prefix = f"{part}.block{level}."
            shapes |= {prefix + "conv1.weight": (3, cin, cout), prefix + "conv1.bias": (cout,)}
            shapes |= {prefix + "conv2.weight": (3, cout, cout), prefix + "conv2.bias": (cout,)}
            if cin != cout:
                shapes[prefix + "convShortcut.weight"] = (1, cin, cout)
            for bn in ("bn1.", "bn2."):
                shapes |= {prefix + bn + name: (cout,) for name in ("weight", "bias", "running_mean", "running_var")}
                shapes[prefix + bn + "num_batches_tracked"] = ()
    return shapes


def test_state_dict_has_the_originals_names_and_shapes():
    levels = []
    for level in range(6):
        # The sizes alone matter: a graph with one edge stands for each level.
        levels.append(Graph(torch.tensor([[0, 1], [1, 0]]), num_vertices=10 * 4**level + 2))
        levels[-1].size = (10 * 4**level + 2, 1)
    model = gnn.SO3GEUChebNet(16, 3, 3, *levels, levels[-1], "max", "avg")
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if not name.endswith("_extra_state")} == original_shapes()
    unused = sum(parameter.numel() for parameter in model.decoder.block0.parameters())
    assert gnn.capacity(model) == sum(parameter.numel() for parameter in model.parameters()) - unused


def plain_unet(state, graphs, sphere, x):
    """The network in evaluation mode with "max" and "avg", written out on the reference operator in float64."""
    state = {name: tensor.double() for name, tensor in state.items()}

    def conv(name, x, graph):
        laplacian = ops.csr(graph.get_laplacian(dtype=torch.float64))
        bias = state.get(name + ".bias")
        return reference.chebyshev(x.transpose(1, 2), state[name + ".weight"], laplacian, bias).transpose(1, 2)

    def bn(name, x):
        mean, var, weight, bias = (
            state[f"{name}.{p}"][:, None] for p in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def block(name, x, graph):
        inner = conv(name + ".conv2", bn(name + ".bn1", conv(name + ".conv1", x, graph)).relu(), graph)
        shortcut = conv(name + ".convShortcut", x, graph) if name + ".convShortcut.weight" in state else x
        return bn(name + ".bn2", shortcut + inner).relu()

    def layers(x):
        return x.unflatten(-1, (NALPHA, -1))

    encoded = [block("encoder.block2", conv("encoder.conv", x.double(), graphs[2]).relu(), graphs[2])]
    for level in (1, 0):
        members = icosphere.pooling_index(level + 1)
        values = layers(encoded[0])[..., members].masked_fill(members < 0, -torch.inf)
        encoded.insert(0, block(f"encoder.block{level}", values.amax(-1).flatten(-2), graphs[level]))
    x = encoded[0]
    for level in (1, 2):
        unpooled = layers(x)[..., icosphere.unpooling_index(level)].mean(-1).flatten(-2)
        x = block(f"decoder.block{level}", torch.cat([unpooled, encoded[level]], 1), graphs[level])
    return conv("decoder.conv", layers(x).amax(2), sphere).log_softmax(1)


def test_network_is_the_one_of_the_paper(graphs, sphere, assert_close):
    model, x = network(graphs, sphere), torch.randn(2, 4, graphs[-1].num_vertices)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.normal_()
    model.eval()
    assert_close(model(x), plain_unet(model.state_dict(), graphs, sphere, x), factor=10)


def test_network_trains_in_vertex_major_memory(graphs, sphere):
    """No signal changes its layout. The gradient of two signals side by side is cut in two: one part for each unpooling."""
    model = network(graphs, sphere)
    x = torch.randn(2, graphs[-1].num_vertices, 4).transpose(1, 2).requires_grad_()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as events:
        y = model(x)
        y.backward(torch.randn(2, sphere.num_vertices, 3).transpose(1, 2))
    assert y.transpose(1, 2).is_contiguous()
    assert x.grad.transpose(1, 2).is_contiguous()
    copied = [event.input_shapes[0] for event in events.events() if event.name == "aten::clone"]
    assert sorted(shape for shape in copied if len(shape) == 3) == [[2, 42 * NALPHA, 128], [2, 162 * NALPHA, 32]]
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[1] for name in dict(model.named_parameters()).keys() - trained} == {"block0"}


def test_isotropic_network_lives_on_the_sphere(sphere):
    levels = [S2GEGraph((n, 1), (1.0, 1.0, 1.0), 6) for n in (12, 42)] + [sphere]
    model = network(levels, sphere, reduction="rand", expansion="rand")
    scores = model(torch.randn(2, 4, 162))
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(2, 162))


def test_says_what_is_wrong(graphs, sphere):
    with pytest.raises(ValueError, match="graph_lvl2: expected a graph for each of six levels, or graphs="):
        gnn.SO3GEUChebNet(4, 3, 3, *graphs[:2], output_graph=sphere)
    with pytest.raises(ValueError, match="graphs: expected None beside graph_lvl0"):
        gnn.SO3GEUChebNet(4, 3, 3, graphs[0], graphs=graphs, output_graph=sphere)
    with pytest.raises(ValueError, match="at least two levels, got 1"):
        network(graphs[:1], sphere)
    with pytest.raises(ValueError, match=r"graph of level 0: expected size \(42, 2\), .*, got \(12, 2\)"):
        network([graphs[0], graphs[2]], sphere)
    with pytest.raises(TypeError, match="graph of level 1: expected a graph with a size, .*, got Graph"):
        network([graphs[0], Graph(torch.tensor([[0, 1], [1, 0]]))], sphere)
    other = SO3GEGraph((12, NALPHA), (1.0, 0.1, 10 / 12), 8)
    with pytest.raises(ValueError, match="level 0: expected frames 'coordinate', as level 1 has, got 'icosahedral'"):
        network([other, *graphs[1:]], sphere)
    with pytest.raises(ValueError, match="output_graph: expected 162 vertices, .*, got 84"):
        network(graphs, graphs[1])
    with pytest.raises(TypeError, match="output_graph: expected a Graph, got NoneType"):
        network(graphs, None)
    with pytest.raises(ValueError, match="expansion: expected one of 'max', 'avg', 'rand', got 'min'"):
        network(graphs, sphere, expansion="min")
    model = network(graphs, sphere)
    with pytest.raises(ValueError, match="expected the signals of 3 levels, got 1"):
        model.decoder(torch.randn(1, 128, 24))
    with pytest.raises(ValueError, match=r"signal: expected B = 1 and V = 84, got shape \(2, 64, 84\)"):
        model.decoder(torch.randn(1, 128, 24), torch.randn(2, 64, 84), torch.randn(1, 32, 324))
