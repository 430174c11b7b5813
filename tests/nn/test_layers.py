import inspect
import weakref

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from cheblienet import nn as gnn
from cheblienet import ops
from cheblienet.data import to_graph_signal
from cheblienet.graphs import Graph, R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.meshes import icosphere
from cheblienet.ops import reference


@pytest.fixture(scope="module")
def graph():
    return SE2GEGraph((6, 6, 4), (1.0, 0.1, 0.05), 16)


def is_vertex_major(x):
    return x.transpose(1, 2).is_contiguous()


def test_convolution_is_the_reference_on_the_graphs_laplacian(graph, assert_close):
    layer, x = gnn.ChebConv(3, 5, 4, graph), torch.randn(2, 3, 144)
    assert layer.weight.shape == (4, 3, 5)
    assert layer.bias.shape == (5,)
    laplacian = ops.csr(graph.get_laplacian())
    expected = reference.chebyshev(x.transpose(1, 2), layer.weight, laplacian, layer.bias).transpose(1, 2)
    assert_close(layer(x), expected)
    assert is_vertex_major(layer(x))
    assert gnn.ChebConv(3, 5, 4, graph, bias=False).bias is None


def test_convolution_moves_with_its_module_and_saves_no_graph(graph):
    layer = gnn.ChebConv(3, 5, 4, graph).double()
    assert layer(torch.randn(1, 3, 144, dtype=torch.float64)).dtype == torch.float64
    assert set(layer.state_dict()) == {"weight", "bias", "_extra_state"}
    assert list(gnn.SE2SpatialPool(2, (4, 4, 2), "max").state_dict()) == []


def test_batch_normalisation_is_the_frameworks_in_vertex_major_memory():
    ours, theirs = gnn.VertexBatchNorm(6), torch.nn.BatchNorm1d(6)
    x = torch.randn(4, 10, 6).transpose(1, 2)
    for _ in range(3):
        torch.testing.assert_close(ours(x), theirs(x))
        assert is_vertex_major(ours(x))
        theirs(x)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    assert ours.num_batches_tracked == theirs.num_batches_tracked
    for module in (ours, theirs):
        module.eval()
    torch.testing.assert_close(ours(x), theirs(x))
    residual = torch.randn(4, 10, 6).transpose(1, 2)
    torch.testing.assert_close(ours(x, residual, relu=True), torch.relu(theirs(x + residual)))
    torch.testing.assert_close(ours(x[..., 0]), theirs(x[..., 0]))
    with pytest.raises(ValueError, match="expected 2D or 3D input"):
        ours(torch.randn(2, 6, 3, 3))


@pytest.mark.parametrize("options", [dict(affine=False), dict(momentum=None), dict(track_running_stats=False)])
def test_batch_normalisation_takes_the_frameworks_options(options):
    ours, theirs = gnn.VertexBatchNorm(6, **options), torch.nn.BatchNorm1d(6, **options)
    for _ in range(3):
        x = torch.randn(4, 10, 6).transpose(1, 2)
        torch.testing.assert_close(ours(x), theirs(x))
    for module in (ours, theirs):
        module.eval()
    torch.testing.assert_close(ours(x), theirs(x))


def test_no_layer_copies_the_signal_to_another_layout(graph):
    """No signal is copied within a network's forward and backward."""
    coarse = SE2GEGraph((3, 3, 4), (1.0, 0.1, 0.2), 8)
    layers = torch.nn.Sequential(
        gnn.ChebConv(3, 8, 3, graph),
        gnn.ResidualBlock(8, 8, gnn.ChebConv, 3, graph=graph),
        gnn.SE2SpatialPool(2, graph.size, "max"),
        gnn.ResidualBlock(8, 12, gnn.ChebConv, 3, graph=coarse),
        gnn.SE2SpatialUnpool(2, coarse.size, "avg"),
        gnn.BasicBlock(12, 4, gnn.ChebConv, 3, graph=graph),
    )
    pool, x = gnn.GlobalPool("max"), torch.randn(2, 144, 3).transpose(1, 2).requires_grad_()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=True) as events:
        y = layers(x)
        assert is_vertex_major(y)
        pool(y).backward(torch.randn(2, 4))
    assert is_vertex_major(x.grad)
    copied = [event for event in events.events() if event.name in ("aten::clone", "aten::contiguous", "aten::copy_")]
    assert not [event.input_shapes for event in copied if event.input_shapes and len(event.input_shapes[0]) == 3]


def test_se2_pooling_and_unpooling_by_hand():
    nx, ny, ntheta = 5, 4, 3
    x = torch.arange(nx * ny * ntheta, dtype=torch.float32).view(1, 1, -1)
    image = x.view(ntheta, ny, nx)
    pooled = gnn.SE2SpatialPool(2, (nx, ny, ntheta), "max")(x)
    assert torch.equal(pooled.reshape(3, 2, 2), torch.nn.functional.max_pool2d(image, 2))
    pooled = gnn.SE2SpatialPool(2, (nx, ny, ntheta), "avg")(x)
    assert torch.equal(pooled.reshape(3, 2, 2), torch.nn.functional.avg_pool2d(image, 2))
    grown = gnn.SE2SpatialUnpool(2, (nx, ny, ntheta), "avg")(x)
    assert torch.equal(grown.reshape(3, 8, 10), torch.nn.functional.interpolate(image[None], scale_factor=2)[0])
    assert gnn.SE2SpatialPool(1, (nx, ny, ntheta), "max")(x) is x


def test_so3_pooling_and_unpooling_keep_orientations_apart():
    ns, nalpha, coordinate = 42, 3, {"frames": "coordinate"}
    x = (100 * torch.arange(nalpha)[:, None] + torch.zeros(ns)).view(1, 1, -1)
    assert gnn.SO3SpatialPool(2, (ns, nalpha), "max", **coordinate)(x).view(nalpha, 12).tolist() == [
        [100.0 * k] * 12 for k in range(nalpha)
    ]
    assert gnn.SO3SpatialUnpool(2, (12, nalpha), "avg", **coordinate)(x[..., : 12 * nalpha]).shape == (
        1,
        1,
        ns * nalpha,
    )
    signal = torch.randn(2, 3, ns * nalpha)
    members = icosphere.pooling_index(1)
    pooled = gnn.SO3SpatialPool(2, (ns, nalpha), "avg", **coordinate)(signal)
    for k in range(nalpha):
        for v in (0, 5):
            row = members[v][members[v] >= 0] + ns * k
            torch.testing.assert_close(pooled[..., v + 12 * k], signal[..., row].mean(-1))
    expanded = gnn.SO3SpatialUnpool(2, (12, nalpha), "avg", **coordinate)(pooled)
    ends = icosphere.unpooling_index(1)[30]
    torch.testing.assert_close(expanded[..., 30 + ns], pooled[..., ends + 12].mean(-1))


def test_orientation_and_global_pooling():
    signal = torch.randn(2, 3, 42 * 6)
    layers = signal.view(2, 3, 6, 42)
    torch.testing.assert_close(gnn.SO3OrientationPool(6, (42, 6), "max")(signal), layers.amax(2))
    pairs = gnn.SO3OrientationPool(2, (42, 6), "avg")(signal)
    torch.testing.assert_close(pairs.reshape(2, 3, 3, 42), layers.view(2, 3, 3, 2, 42).mean(3))
    torch.testing.assert_close(gnn.GlobalPool("max")(signal), signal.amax(-1))
    torch.testing.assert_close(gnn.GlobalPool("avg")(signal), signal.mean(-1))
    drawn = gnn.GlobalPool("rand")(signal)
    assert (signal == drawn[..., None]).all(1).any(-1).all()


def test_random_pooling_follows_the_generator():
    pool, x = gnn.SE2SpatialPool(2, (8, 8, 2), "rand"), torch.randn(1, 2, 128)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(pool(x))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("kind", [gnn.BasicBlock, gnn.ResidualBlock])
@pytest.mark.parametrize("channels", [(4, 4), (4, 6)])
def test_blocks_keep_the_memory_format(kind, channels, graph):
    block, x = kind(*channels, gnn.ChebConv, 3, graph=graph), torch.randn(2, 144, 4).transpose(1, 2)
    y = block(x)
    assert y.shape == (2, channels[1], 144)
    assert is_vertex_major(y)
    assert (y >= 0).all()


def plain_residual_block(block, x):
    first = block.bn1(block.conv1(x), relu=True)
    return block.bn2(block.conv2(first), residual=x if block.equalInOut else block.convShortcut(x), relu=True)


@pytest.mark.parametrize("channels", [(4, 4), (4, 6)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_a_residual_block_computes_what_it_does_not_keep_once_more(channels, training, autocast, graph):
    block = gnn.ResidualBlock(*channels, gnn.ChebConv, 3, graph=graph).train(training)
    x, dy = torch.randn(2, 144, 4).transpose(1, 2).requires_grad_(), torch.randn(2, 144, channels[1]).transpose(1, 2)
    gradients = []
    for forward in (lambda: block(x), lambda: plain_residual_block(block, x)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = forward()
        gradients.append(torch.autograd.grad(y, [x, *block.parameters()], dy.to(y.dtype)))
    for actual, expected in zip(*gradients, strict=True):
        assert torch.equal(actual, expected)


def test_a_residual_block_keeps_no_normalised_signal(graph, monkeypatch):
    normalised, operator = [], ops.batch_norm

    def spy(*args, **kwargs):
        result = operator(*args, **kwargs)
        normalised.append(weakref.ref(result[0]))
        return result

    monkeypatch.setattr(ops, "batch_norm", spy)
    y = gnn.ResidualBlock(4, 4, gnn.ChebConv, 3, graph=graph)(torch.randn(2, 4, 144))
    assert [ref() is None for ref in normalised] == [True, False]
    y.sum().backward()  # which needs it


def test_a_residual_block_is_differentiable_twice():
    small = SE2GEGraph((2, 2, 2), (1.0, 0.1, 0.2), 4)
    block = gnn.ResidualBlock(2, 2, gnn.ChebConv, 2, graph=small).double()
    x = torch.randn(2, 2, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, x)
    assert torch.autograd.gradgradcheck(block, x)


def test_images_become_signals_in_vertex_order():
    images = torch.randn(2, 3, 4, 5)  # height 4, width 5
    signal = to_graph_signal(images, 6)
    assert signal.shape == (2, 3, 120)
    assert is_vertex_major(signal)
    assert torch.equal(signal.reshape(2, 3, 6, 4, 5), images[:, :, None].expand(-1, -1, 6, -1, -1))
    graph = R2GEGraph((5, 4), (1.0, 1.0, 1.0), 4)
    assert graph.vertex_x[1 + 5 * 2] == pytest.approx(0.2)  # pixel in row 2, column 1
    assert graph.vertex_y[1 + 5 * 2] == pytest.approx(0.5)


def test_says_what_is_wrong(graph):
    layer = gnn.ChebConv(3, 5, 4, graph)
    with pytest.raises(ValueError, match=r"x: expected shape \(B, Cin = 3, V = 144\), got \(2, 4, 144\)"):
        layer(torch.randn(2, 4, 144))
    with pytest.raises(ValueError, match=r"x: expected shape \(B, Cin = 3, V = 144\), got \(2, 3, 100\)"):
        layer(torch.randn(2, 3, 100))
    with pytest.raises(ValueError, match=r"x: expected shape \(B, Cin, V\), got \(3, 144\)"):
        layer(torch.randn(3, 144))
    with pytest.raises(TypeError, match="weight: expected torch.float64 as in x, got torch.float32"):
        layer(torch.randn(2, 3, 144, dtype=torch.float64))
    with pytest.raises(ValueError, match="kernel_size: expected an integer between 1 and 1048576, got 0"):
        gnn.ChebConv(3, 5, 0, graph)
    with pytest.raises(TypeError, match="graph: expected a Graph, got Tensor"):
        gnn.ChebConv(3, 5, 2, torch.eye(3))
    with pytest.raises(ValueError, match="SE2SpatialPool: reduction: expected one of 'max', 'avg', 'rand', got 'min'"):
        gnn.SE2SpatialPool(2, (4, 4, 2), "min")
    with pytest.raises(ValueError, match=r"SE2SpatialPool: size: expected \(nx, ny, ntheta\), got \(4, 4\)"):
        gnn.SE2SpatialPool(2, (4, 4), "max")
    with pytest.raises(ValueError, match="kernel_size: expected an integer between 1 and 4, got 5"):
        gnn.SE2SpatialPool(5, (4, 4, 2), "max")
    with pytest.raises(ValueError, match=r"SE2SpatialPool: x: expected shape \(B, C, V = 32\), got \(1, 2, 30\)"):
        gnn.SE2SpatialPool(2, (4, 4, 2), "max")(torch.randn(1, 2, 30))
    with pytest.raises(ValueError, match="kernel_size: expected 1 .* or 2"):
        gnn.SO3SpatialPool(4, (162, 2), "max")
    with pytest.raises(ValueError, match="expected an icosphere of level 1 or finer"):
        gnn.SO3SpatialPool(2, (12, 2), "max")
    with pytest.raises(ValueError, match="expected a divisor of nalpha = 6, got 4"):
        gnn.SO3OrientationPool(4, (42, 6), "max")


def test_the_layers_work_on_every_graph():
    ring = torch.arange(8)
    edges = torch.stack([torch.cat([ring, (ring + 1) % 8]), torch.cat([(ring + 1) % 8, ring])])
    for graph in (Graph(edges), S2GEGraph((42,), (1.0, 1.0, 1.0), 6), SO3GEGraph((42, 2), (1.0, 0.1, 1.0), 8)):
        assert gnn.ChebConv(2, 3, 3, graph)(torch.randn(1, 2, graph.num_vertices)).shape == (1, 3, graph.num_vertices)


GRAPH = SE2GEGraph((4, 4, 2), (1.0, 0.1, 0.05), 6)
SIGNAL = torch.zeros(2, 3, 32)
NORM, CONV = gnn.VertexBatchNorm(3), gnn.ChebConv(3, 4, 2, GRAPH)
POOLS = gnn.SE2SpatialPool(2, (4, 4, 2), "max"), gnn.SE2SpatialPool(1, (4, 4, 2), "max"), gnn.GlobalPool("avg")


@pytest.mark.parametrize("layer", [NORM, CONV, *POOLS], ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize(
    "x", [None, [1.0], SIGNAL.numpy(), SIGNAL.long(), SIGNAL.to(torch.complex64), SIGNAL.to_sparse()]
)
def test_signals_are_dense_and_floating(layer, x):
    with pytest.raises(TypeError, match=r": x: expected "):
        layer(x)


@pytest.mark.parametrize("layer", [NORM, CONV, *POOLS], ids=lambda layer: type(layer).__name__)
def test_no_samples_are_no_error_in_evaluation(layer):
    y = layer.eval()(SIGNAL[:0])
    assert y.shape[0] == 0
    layer.train()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: NORM(SIGNAL[:, :2]), r"x: expected 2D or 3D input with C = 3, got shape \(2, 2, 32\)"),
        (lambda: NORM(SIGNAL[0]), r"x: expected 2D or 3D input with C = 3, got shape \(3, 32\)"),
        (lambda: NORM(SIGNAL, SIGNAL[..., :1]), r"residual: expected shape \(2, 3, 32\) as x, got \(2, 3, 1\)"),
        (lambda: NORM(SIGNAL[..., 0], SIGNAL[0, :, 0]), r"residual: expected shape \(2, 3\) as x, got \(3,\)"),
        (lambda: NORM(SIGNAL, 3), "residual: expected a tensor, got int"),
        (lambda: NORM(SIGNAL.to("meta")), "x: expected a tensor on cpu, got one on meta"),
        (lambda: NORM(SIGNAL.long()), "x: expected float64, float32, bfloat16 or float16, got torch.int64"),
        (lambda: NORM(SIGNAL, SIGNAL.to("meta")), "residual: expected a tensor on cpu, got one on meta"),
        (lambda: NORM(SIGNAL, SIGNAL + 1j), "residual: expected float64, float32, bfloat16 or float16"),
        (lambda: gnn.VertexBatchNorm(3, eps="small"), "eps: expected a number, got 'small'"),
        (lambda: gnn.VertexBatchNorm(3, momentum=True), "momentum: expected a number, got True"),
        (lambda: gnn.VertexBatchNorm(0), "num_features: expected an integer between 1 and 1048576, got 0"),
        (lambda: gnn.VertexBatchNorm(3, eps=-1.0), "eps: expected a finite number of at least 0, got -1.0"),
        (lambda: gnn.VertexBatchNorm(3, momentum=2), "momentum: expected a finite number between 0 and 1, got 2"),
        (lambda: gnn.GlobalPool("max")(SIGNAL[..., :0]), "x: expected at least one vertex"),
        (lambda: gnn.SE2SpatialPool(2, None, "max"), r"size: expected \(nx, ny, ntheta\), got None"),
        (lambda: gnn.SE2SpatialPool(2, torch.tensor(3), "max"), r"size: expected \(nx, ny, ntheta\), got tensor"),
        (lambda: gnn.SO3SpatialPool(2, (42, 2**62), "max"), "size: expected at most 2147483647 vertices"),
        (lambda: gnn.SE2SpatialUnpool(2**40, (4, 4, 2), "max"), "kernel_size: expected an integer between 1 and"),
        (
            lambda: gnn.SE2SpatialPool(16, (32, 32, 1), "max"),
            "kernel_size: expected an integer between 1 and 15, got 16",
        ),
        (lambda: gnn.SO3OrientationPool(300, (12, 300), "max"), "kernel_size: expected an integer between 1 and 255"),
        (lambda: gnn.BasicBlock(3, 4, "ChebConv", 3), "BasicBlock: conv: expected a layer's class, got 'ChebConv'"),
        (lambda: gnn.NetworkBlock(3, 4, 1, None, None, 3), "NetworkBlock: block: expected a layer's class, got None"),
        (
            lambda: gnn.NetworkBlock(3, 4, 0, gnn.BasicBlock, gnn.ChebConv, 3),
            "num_layers: expected an integer at least 1",
        ),
        (lambda: gnn.capacity(None), "capacity: model: expected a torch.nn.Module, got NoneType"),
        (lambda: gnn.convert_sync_batchnorm(3), "convert_sync_batchnorm: model: expected a torch.nn.Module, got int"),
        (lambda: gnn.SO3GEChebEncoder(3, 5, 3, graphs=5), "SO3GEChebEncoder: graphs: expected graphs, got int"),
    ],
)
def test_arguments_that_do_not_fit_are_named(call, said):
    with pytest.raises((TypeError, ValueError), match=said):
        call()


@pytest.mark.skipif(
    "bias" not in inspect.signature(torch.nn.BatchNorm1d).parameters,
    reason="BatchNorm1d of this torch always has a bias",
)
def test_batch_normalisation_without_a_bias():
    ours, theirs = gnn.VertexBatchNorm(6, bias=False), torch.nn.BatchNorm1d(6, bias=False)
    x = torch.randn(4, 10, 6).transpose(1, 2)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("momentum", [None, 0.1])
@pytest.mark.parametrize("training", [False, True])
def test_a_normalisation_on_meta_has_the_shape(momentum, training):
    layer = gnn.VertexBatchNorm(3, momentum=momentum, device="meta").train(training)
    x = torch.randn(2, 3, 4, device="meta", requires_grad=True)
    y = layer(x, residual=x, relu=True)
    y.sum().backward()
    assert y.shape == x.grad.shape == x.shape
    assert y.device.type == "meta"
