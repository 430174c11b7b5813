"""Transforms of torch.func and forward-mode differentiation, of operators and layers, against finite differences."""

import pytest
import torch
from torch import func, nn
from torch.autograd import forward_ad

from cheblienet import ops
from cheblienet.graphs import SE2GEGraph
from cheblienet.nn import ChebConv, GlobalPool, SE2SpatialPool, VertexBatchNorm

pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # of the framework: vmap loops over samples, deprecated parts of its own

SIZE = (4, 4, 2)
GRAPH = SE2GEGraph(SIZE, (1.0, 0.1, 0.05), 8)
V = GRAPH.num_vertices
LAPLACIAN = GRAPH.laplacian_csr(dtype=torch.float64)
POOLING = ops.gather_index(torch.tensor([[0, 1, 2], [2, 3, -1], [-1, 5, -1], [31, 0, 1]]), V)
CHOICE = torch.tensor([2, 0, 1, 0], dtype=torch.uint8)
VARIANCE = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
OPS = torch.ops.cheblienet


def values(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def of_norm():
    return values(2, V, 3), VARIANCE.clone(), values(3), values(2, V, 3)


def of_chebyshev():
    return values(2, V, 3), values(4, 3, 2)


# Functions of tensors, all of which are differentiated, and what makes the tensors.
CALLS = {
    "chebyshev": (lambda x, w, b: ops.chebyshev(x, w, LAPLACIAN, b), lambda: (*of_chebyshev(), values(2))),
    "chebyshev of the Laplacian": (
        lambda x, w, v: ops.chebyshev(x, w, LAPLACIAN._replace(values=v)),
        lambda: (*of_chebyshev(), LAPLACIAN.values.clone()),
    ),
    "chebyshev.default": (lambda x, w: OPS.chebyshev(x, w, *LAPLACIAN[:3], None), of_chebyshev),
    "chebyshev.pattern": (
        lambda x, w: OPS.chebyshev.pattern(x, w, list(LAPLACIAN[:2]), LAPLACIAN.values, None),
        of_chebyshev,
    ),
    "gather_reduce max": (lambda x: ops.gather_reduce(x, POOLING, "max"), lambda: (values(2, V, 3),)),
    "gather_reduce avg": (lambda x: ops.gather_reduce(x, POOLING, "avg"), lambda: (values(2, V, 3),)),
    "gather_reduce rand": (lambda x: OPS.gather_reduce(x, *POOLING, CHOICE, "rand")[0], lambda: (values(2, V, 3),)),
    "batch_norm": (lambda x, w, b, r: ops.batch_norm(x, w, b, residual=r)[0], of_norm),
    "batch_norm channels second": (
        lambda x, w, b, r: ops.batch_norm(x.mT, w, b, residual=r.mT, relu=True, channels_second=True)[0],
        of_norm,
    ),
    "batch_norm given": (
        lambda x, w, b, r: ops.batch_norm(x, w, b, -VARIANCE, VARIANCE, residual=r, relu=True)[0],
        of_norm,
    ),
    "batch_norm.default": (lambda x, w, b, r: OPS.batch_norm(x, r, w, b, None, None, 1e-5, True)[0], of_norm),
    "batch_norm.fixed": (
        lambda x, w, b, r: OPS.batch_norm.fixed(x, r, w, b, -VARIANCE, VARIANCE, 0.0, False)[0],
        of_norm,
    ),
}
every_call = pytest.mark.parametrize(("function", "arguments"), CALLS.values(), ids=CALLS)


def difference(function, primals, tangents, step=1e-6):
    """The directional derivative by central differences."""
    ahead = function(*(p + step * t for p, t in zip(primals, tangents, strict=True)))
    behind = function(*(p - step * t for p, t in zip(primals, tangents, strict=True)))
    return (ahead - behind) / (2 * step)


def assert_near(actual, expected, tolerance=1e-7):
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(actual, expected, atol=tolerance * scale, rtol=tolerance)


@every_call
def test_forward_mode(function, arguments):
    primals = arguments()
    tangents = tuple(torch.randn_like(p) for p in primals)
    expected = difference(function, primals, tangents)
    assert expected.abs().max() > 0.1
    y, derivative = func.jvp(function, primals, tangents)
    assert_near(y, function(*primals), 1e-11)
    assert_near(derivative, expected)
    assert_near(func.linearize(function, *primals)[1](*tangents), expected)
    assert_near(torch.autograd.functional.jvp(function, primals, tangents)[1], expected)
    with forward_ad.dual_level():
        y = function(*(forward_ad.make_dual(p, t) for p, t in zip(primals, tangents, strict=True)))
        assert_near(forward_ad.unpack_dual(y).tangent, expected)


@every_call
def test_reverse_mode(function, arguments):
    primals = arguments()
    tangents = tuple(torch.randn_like(p) for p in primals)
    y, pull = func.vjp(function, *primals)
    assert_near(y, function(*primals), 1e-11)
    dy = torch.randn_like(y)
    along = sum((g * t).sum() for g, t in zip(pull(dy), tangents, strict=True))
    assert_near(along, (difference(function, primals, tangents) * dy).sum())
    gradients = func.grad(lambda *p: (function(*p) * dy).sum(), tuple(range(len(primals))))(*primals)
    for gradient, pulled in zip(gradients, pull(dy), strict=True):
        assert_near(gradient, pulled, 1e-12)


@every_call
def test_gradients_of_the_transforms_are_those_of_eager_mode(function, arguments):
    primals = [p.requires_grad_() for p in arguments()]
    y = function(*primals)
    dy = torch.randn(3, *y.shape, dtype=torch.float64)
    detached = [p.detach() for p in primals]
    pull = func.vjp(function, *detached)[1]
    eager = [torch.autograd.grad(y, primals, one, retain_graph=True) for one in dy]
    if function is CALLS["chebyshev.pattern"][0]:
        with pytest.raises(
            RuntimeError, match=r"Batching rule not implemented for cheblienet::chebyshev_backward.pattern"
        ):
            torch.autograd.grad(y, primals, dy, is_grads_batched=True)
        return
    batched = torch.autograd.grad(y, primals, dy, is_grads_batched=True, retain_graph=True)
    for place, gradients in enumerate(zip(*eager, strict=True)):
        expected = torch.stack(gradients)
        assert_near(batched[place], expected, 1e-11)
        assert_near(func.vmap(pull)(dy)[place], expected, 1e-11)


@every_call
def test_hessians(function, arguments):
    primals = arguments()
    weights = torch.randn_like(function(*primals))
    last = len(primals) - 1

    def loss(parameter):
        return (function(*primals[:last], parameter).tanh() * weights).sum()

    direction = torch.randn_like(primals[last])
    gradient = func.grad(loss)
    expected = difference(gradient, (primals[last],), (direction,), 1e-5)
    assert_near(func.jvp(gradient, (primals[last],), (direction,))[1], expected, 1e-6)
    if direction.numel() < 30:
        matrix = func.hessian(loss)(primals[last]).reshape(direction.numel(), -1)
        assert_near(matrix @ direction.flatten(), expected.flatten(), 1e-6)
        assert_near(func.jacrev(loss)(primals[last]), func.jacfwd(loss)(primals[last]), 1e-11)


@every_call
@pytest.mark.parametrize("which", ["first", "others", "all"])
def test_vmap(function, arguments, which):
    several = [arguments() for _ in range(3)]
    count = len(several[0])
    dims = [0 if which == "all" or (place == 0) == (which == "first") else None for place in range(count)]
    if function is CALLS["chebyshev.pattern"][0]:
        with pytest.raises(RuntimeError, match=r"Batching rule not implemented for cheblienet::chebyshev.pattern"):
            func.vmap(function)(*(torch.stack(column) for column in zip(*several, strict=True)))
        return
    if all(dim is None for dim in dims):
        pytest.skip("the function has one argument only")
    stacked = [
        torch.stack(column) if dim == 0 else column[0]
        for column, dim in zip(zip(*several, strict=True), dims, strict=True)
    ]

    def sample(number):
        return [p[number] if dim == 0 else p for p, dim in zip(stacked, dims, strict=True)]

    expected = torch.stack([function(*sample(number)) for number in range(3)])
    assert_near(func.vmap(function, tuple(dims))(*stacked), expected, 1e-11)
    gradient = func.grad(lambda *p: function(*p).square().sum(), dims.index(0))
    expected = torch.stack([gradient(*sample(number)) for number in range(3)])
    assert_near(func.vmap(gradient, tuple(dims))(*stacked), expected, 1e-11)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        coarse = SE2GEGraph((2, 2, 2), (1.0, 0.1, 0.05), 5)
        self.first, self.norm = ChebConv(2, 3, 3, GRAPH), VertexBatchNorm(3)
        self.pool, self.last, self.end = SE2SpatialPool(2, SIZE, "max"), ChebConv(3, 2, 2, coarse), GlobalPool("avg")

    def forward(self, x):
        y = self.norm(self.first(x), relu=True)
        return self.end(self.last(self.pool(y)))


@pytest.mark.filterwarnings("ignore:.*components rather than one")
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_a_network_has_gradients_of_every_sample_and_in_every_direction(training):
    network, x = Network().double(), values(4, 2, V)
    network.norm.running_var.fill_(0.7)
    network.train(training)
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())

    def loss(parameters, buffers, sample):
        return func.functional_call(network, (parameters, buffers), (sample[None],)).square().sum()

    parameters = {name: p.detach() for name, p in parameters.items()}
    if training:  # each sample moves statistics of its own
        buffers = {name: torch.stack(4 * [b]) for name, b in buffers.items()}
    found = func.vmap(func.grad(loss), (None, 0 if training else None, 0))(parameters, buffers, x)
    for number, sample in enumerate(x):
        own = {name: (b[number] if training else b).clone() for name, b in buffers.items()}
        leaves = {name: p.clone().requires_grad_() for name, p in parameters.items()}
        loss(leaves, own, sample).backward()
        for name, leaf in leaves.items():
            assert_near(found[name][number], leaf.grad, 1e-10)
    one = {name: (b[0] if training else b).clone() for name, b in buffers.items()}
    direction = {name: torch.randn_like(p) for name, p in parameters.items()}

    def along(t):
        moved = {name: p + t * direction[name] for name, p in parameters.items()}
        return loss(moved, {name: b.clone() for name, b in one.items()}, x[0])

    zero, unit = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    assert_near(func.jvp(along, (zero,), (unit,))[1], difference(along, (zero,), (unit,)), 1e-6)


def test_running_statistics_move_inside_a_transform_or_are_refused():
    x, norm = values(4, 3, V), VertexBatchNorm(3).double()
    with pytest.raises(
        NotImplementedError, match=r"batch_norm: running: a transform of torch.func changes in place only"
    ):
        func.vmap(lambda sample: norm(sample[None]))(x)
    with pytest.raises(NotImplementedError, match=r"batch_norm: running: "):
        func.grad(lambda x: norm(x).square().sum())(x)
    assert norm.num_batches_tracked == 0
    assert torch.equal(norm.running_mean, torch.zeros(3, dtype=torch.float64))
    buffers = dict(norm.named_buffers())
    parameters = {name: p.detach() for name, p in norm.named_parameters()}

    def loss(x, buffers):
        y = func.functional_call(norm, (parameters, buffers), (x,))
        return (y**3).sum(), {name: b.clone() for name, b in buffers.items()}

    _, moved = func.grad(loss, has_aux=True)(x, {name: b.clone() for name, b in buffers.items()})
    norm(x)
    for name, buffer in norm.named_buffers():
        assert_near(moved[name].double(), buffer.double(), 1e-12)


def test_rand_draws_as_vmap_is_told():
    x = values(3, 1, V, 2)

    def pool(x):
        return ops.gather_reduce(x, POOLING, "rand")

    with pytest.raises(RuntimeError, match=r"random"):
        func.vmap(pool)(x)
    torch.manual_seed(5)
    same = func.vmap(pool, randomness="same")(x)
    torch.manual_seed(5)
    assert torch.equal(same, torch.stack([torch.manual_seed(5) and pool(sample) for sample in x]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_narrow_types_keep_their_dtype(dtype, assert_close):
    x, weight = values(2, V, 3).to(dtype), values(3, 3, 2).to(dtype)
    laplacian = LAPLACIAN._replace(values=LAPLACIAN.values.float())
    for function, exact in (
        (lambda x: ops.chebyshev(x, weight, laplacian), lambda x: ops.chebyshev(x, weight.double(), LAPLACIAN)),
        (lambda x: ops.gather_reduce(x, POOLING, "avg"),) * 2,
        (
            lambda x: ops.batch_norm(x, VARIANCE.float(), VARIANCE.float())[0],
            lambda x: ops.batch_norm(x, VARIANCE, VARIANCE)[0],
        ),
    ):
        y, derivative = func.jvp(function, (x,), (x,))
        expected, exact_derivative = func.jvp(exact, (x.double(),), (x.double(),))
        assert y.dtype == derivative.dtype == dtype
        assert_close(y, expected, factor=2)
        assert_close(derivative, exact_derivative, factor=4)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = func.jvp(lambda x: ops.chebyshev(x, weight.float(), laplacian), (x.float(),), (x.float(),))
    assert y.dtype == torch.bfloat16


def test_what_has_no_derivative_says_so():
    elements, ones = GRAPH.elements, torch.ones(3, dtype=torch.float64)
    index, sqdist = ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), 4, GRAPH.group)
    none = r"it has no derivative and no batched form"
    with pytest.raises(NotImplementedError, match=rf"nearest_neighbors: {none}"):
        func.jvp(lambda e: ops.nearest_neighbors(e, (1.0, 1.0, 1.0), 4, GRAPH.group)[1], (elements,), (elements,))
    with pytest.raises(NotImplementedError, match=rf"mutual_neighbors: {none}"):
        func.grad(lambda d: ops.mutual_neighbors(index, d)[1].sum())(sqdist)
    with pytest.raises(NotImplementedError, match=r"cheblienet::nearest_neighbors: it has no derivative of this kind"):
        OPS.nearest_neighbors(elements.requires_grad_(), ones, 4, "se2")
    dy, x, weight = values(2, V, 2), values(2, V, 3), values(4, 3, 2)
    with pytest.raises(NotImplementedError, match=r"cheblienet::chebyshev_backward: it has no derivative"):
        func.jvp(
            lambda g: OPS.chebyshev_backward(g, x, weight, *LAPLACIAN[:3], True, True, True, False)[0], (dy,), (dy,)
        )
    with pytest.raises(NotImplementedError, match=r"cheblienet::batch_norm_backward: it has no derivative"):
        func.jvp(
            lambda g: OPS.batch_norm_backward(g, x, VARIANCE, VARIANCE, VARIANCE, VARIANCE, 1e-5, True, True)[0],
            (x,),
            (x,),
        )
    # A graph in the transformed function is no part of what is transformed.
    assert torch.equal(
        func.vmap(lambda s: s * SE2GEGraph(SIZE, (1.0, 0.1, 0.05), 8).num_edges)(sqdist), sqdist * GRAPH.num_edges
    )
