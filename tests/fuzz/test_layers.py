"""The layers of cheblienet.nn and, lightly, the networks made of them."""

import functools

import strategies as some
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from judge import cases, judge

from cheblienet import graphs, nn, ops
from cheblienet.ops import reference

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 2e-1}
REDUCTIONS = st.sampled_from(["max", "avg", "rand"])
SIZES = st.integers(1, 4)
NAMES = ("x", "size", "num_sphere", "nalpha", "nx", "ny", "ntheta", "num_vertices", "shape")


def of_some_size(value):
    """Memory for what an integer asks: little, or more than there is at sight."""
    if isinstance(value, dict | list | tuple):
        return all(map(of_some_size, value.values() if isinstance(value, dict) else value))
    return isinstance(value, bool) or not isinstance(value, int | float) or abs(value) < 50 or abs(value) >= 2**62


@functools.cache
def graph(name):
    made = {
        "plane": lambda: graphs.R2GEGraph((4, 3), (1.0, 1.0, 1.0), 4),
        "se2": lambda: graphs.SE2GEGraph((4, 4, 2), (1.0, 0.5, 0.3), 9),
        "edges": lambda: graphs.Graph(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_vertices=5),
        "finest": lambda: graphs.SE2GEGraph((8, 8, 2), (1.0, 0.5, 0.3), 9),
        "coarsest": lambda: graphs.SE2GEGraph((2, 2, 2), (1.0, 0.5, 0.3), 5),
        "sphere": lambda: graphs.SO3GEGraph((12, 2), (1.0, 1.0, 0.3), 6),
    }
    return made[name]()


GRAPHS = st.sampled_from(["plane", "se2", "edges"]).map(graph)


@st.composite
def signals(draw, channels, vertices, dtypes=some.FLOATS):
    shape = draw(st.integers(0, 3)), channels, vertices
    return draw(some.tensors(shape, draw(st.sampled_from(dtypes)), ("ordinary", "whole", "zero")))


def spoil_one(data, arguments, of=None):
    spoilt = data.draw(st.sampled_from([None, *(of or arguments)]))
    if spoilt:
        arguments[spoilt] = data.draw(some.spoilt(arguments[spoilt]))
        assume(of_some_size(arguments[spoilt]))
    return spoilt


@cases(2)
@given(GRAPHS, st.data())
def test_a_convolution_is_right_or_refused(graph, data):
    keys = "in_channels", "out_channels", "kernel_size"
    arguments = some.Arguments({key: data.draw(SIZES) for key in keys})
    arguments |= {"graph": graph, "bias": data.draw(st.booleans())}
    spoilt = spoil_one(data, arguments)
    layer = judge(nn.ChebConv, some.Arguments(arguments), valid=spoilt is None)
    if layer is None:
        return
    x = data.draw(signals(layer.in_channels, layer.graph.num_vertices))
    dtype, device = x.dtype, data.draw(st.sampled_from(["cpu", "cpu", "meta"]))
    layer = layer.to(dtype).to(device)
    call = some.Arguments(x=x.detach().to(device))
    spoilt = spoil_one(data, call)

    def right(y):
        x = call["x"]
        assert y.shape == (x.shape[0], layer.out_channels, x.shape[2])
        if device == "meta":
            return
        laplacian = ops.csr(layer.graph.get_laplacian(dtype=torch.float64))
        bias = None if layer.bias is None else layer.bias.double()
        wanted = reference.chebyshev(x.double().transpose(1, 2), layer.weight.double(), laplacian, bias)
        if wanted.isfinite().all() and wanted.abs().amax().lt(1e4) if wanted.numel() else False:
            scale = TOLERANCE[dtype] * (1 + float(wanted.detach().abs().max()))
            torch.testing.assert_close(y.double(), wanted.transpose(1, 2), rtol=0, atol=scale)

    # What it multiplies is refused by the name of the weight where the types do not go together.
    judge(layer, call, right, valid=spoilt is None, names=("weight", "laplacian"))


POOLS = {
    nn.SE2SpatialPool: ("reduction", (4, 4, 2)),
    nn.SE2SpatialUnpool: ("expansion", (2, 3, 2)),
    nn.SO3SpatialPool: ("reduction", (42, 2)),
    nn.SO3SpatialUnpool: ("expansion", (12, 2)),
    nn.SO3OrientationPool: ("reduction", (12, 4)),
}


@cases(2)
@given(st.sampled_from(list(POOLS)), st.data())
def test_a_pooling_is_right_or_refused(kind, data):
    name, size = POOLS[kind]
    arguments = some.Arguments({"kernel_size": 2, "size": size, name: data.draw(REDUCTIONS)})
    arguments["eval_reduction"] = data.draw(REDUCTIONS)
    spoilt = data.draw(st.sampled_from([None, *arguments]))
    if spoilt == "size" and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(size) - 1))
        arguments["size"] = (*size[:place], data.draw(some.NUMBERS), *size[place + 1 :])
    elif spoilt:
        arguments[spoilt] = data.draw(some.spoilt(arguments[spoilt]))
    assume(of_some_size(dict(arguments)))
    layer = judge(kind, arguments, valid=spoilt is None, names=NAMES)
    if layer is None:
        return
    layer.train(data.draw(st.booleans()))
    device = data.draw(st.sampled_from(["cpu", "cpu", "meta"]))
    call = some.Arguments(x=data.draw(signals(3, layer.num_vertices)).detach().to(device))
    broken = spoil_one(data, call)

    def right(y):
        x = call["x"]
        assert y.shape == (*x.shape[:2], layer.num_outputs)
        assert y.dtype == x.dtype
        if x.device.type == "meta" or layer.identity or layer._present == "rand":
            return
        members = layer.table(x.device).members
        wanted = reference.gather_reduce(x.double().transpose(1, 2), members, None, layer._present).transpose(1, 2)
        torch.testing.assert_close(y.double(), wanted, rtol=TOLERANCE[x.dtype], atol=TOLERANCE[x.dtype], equal_nan=True)

    judge(layer, call, right, valid=broken is None)


@cases()
@given(REDUCTIONS, REDUCTIONS, st.booleans(), st.data())
def test_a_global_pooling_is_right_or_refused(reduction, in_evaluation, training, data):
    layer = nn.GlobalPool(reduction, eval_reduction=in_evaluation).train(training)
    call = some.Arguments(x=data.draw(signals(3, data.draw(st.integers(1, 9)))))
    spoilt = spoil_one(data, call)

    def right(y):
        x = call["x"].detach()
        assert y.shape == x.shape[:2]
        if x.device.type == "cpu" and layer._present != "rand" and x.isfinite().all():
            wanted = x.double().amax(2) if layer._present == "max" else x.double().mean(2)
            torch.testing.assert_close(y.detach().double(), wanted, rtol=TOLERANCE[x.dtype], atol=TOLERANCE[x.dtype])

    judge(layer, call, right, valid=spoilt is None)


@cases(2)
@given(st.booleans(), st.booleans(), st.booleans(), st.data())
def test_a_normalisation_is_right_or_refused(training, affine, tracking, data):
    arguments = some.Arguments(
        num_features=data.draw(SIZES), eps=1e-5, momentum=data.draw(st.sampled_from([None, 0.1]))
    )
    arguments |= {"affine": affine, "track_running_stats": tracking}
    spoilt = spoil_one(data, arguments, ("num_features", "eps", "momentum"))
    layer = judge(nn.VertexBatchNorm, arguments, valid=spoilt is None)
    if layer is None or layer.num_features > 100:
        return
    dtype = data.draw(st.sampled_from(some.FLOATS))
    shape = data.draw(st.integers(2, 3)), layer.num_features, data.draw(st.integers(1, 6))
    made = [data.draw(some.tensors(shape, dtype, ("ordinary",))).detach() for _ in range(2)]
    device = data.draw(st.sampled_from(["cpu", "cpu", "meta"]))
    layer = layer.train(training).to(torch.float64 if dtype == torch.float64 else torch.float32).to(device)
    call = some.Arguments(x=made[0].to(device), residual=data.draw(st.sampled_from([None, made[1].to(device)])))
    call["relu"] = data.draw(st.booleans())
    plain = torch.nn.BatchNorm1d(
        layer.num_features, max(layer.eps, 1e-300), layer.momentum, affine, tracking, dtype=torch.float64
    ).train(training)
    broken = spoil_one(data, call, ("x", "residual"))

    def right(y):
        x, residual, relu = call.values()
        assert y.shape == x.shape
        if y.device.type == "meta" or x.ndim != 3 or not x.numel() or not x.isfinite().all():
            return
        s = x if residual is None else x + residual.to(x.dtype)
        wanted = plain(s.double())
        wanted = torch.relu(wanted) if relu else wanted
        # Where values are all alike or huge, digits are lost.
        spread = float(s.double().var((0, 2), correction=0).min())
        if spread > 1e-2 and s.abs().max() < 100:
            tolerance = TOLERANCE[y.dtype] * 4
            torch.testing.assert_close(y.detach().double(), wanted.detach(), rtol=tolerance, atol=tolerance)

    judge(layer, call, right, valid=broken is None, names=("input", "expected more than 1 value"))


@cases(0.3)
@given(st.data())
def test_a_network_is_made_or_refused(data):
    arguments = some.Arguments(in_channels=2, out_channels=3, kernel_size=2, graph_lvl0=graph("coarsest"))
    arguments |= {"graph_lvl1": None, "graph_lvl2": None, "res_depth": 1, "widen_factor": 1, "reduction": None}
    if data.draw(st.booleans()):
        arguments |= {"graph_lvl1": graph("se2"), "graph_lvl2": graph("finest"), "reduction": data.draw(REDUCTIONS)}
    spoilt = data.draw(st.sampled_from([None, *arguments]))
    if spoilt:
        other = st.sampled_from([None, "avg", *map(graph, ("plane", "se2", "edges", "finest", "coarsest", "sphere"))])
        arguments[spoilt] = data.draw(other | some.spoilt(arguments[spoilt]))
        assume(of_some_size(dict(arguments)))
    network = judge(nn.WideResSE2GEChebNet, arguments, valid=spoilt is None, names=("graph",))
    if network is None:
        return
    call = some.Arguments(x=torch.randn(2, network.conv.in_channels, network.conv.graph.num_vertices))
    broken = spoil_one(data, call)

    def right(y):
        assert y.shape == (call["x"].shape[0], network.fc.out_features)
        if broken is None:
            torch.testing.assert_close(y.exp().sum(1), torch.ones(len(y)), rtol=0, atol=1e-5)

    judge(network, call, right, valid=broken is None, names=("weight", "laplacian"))
