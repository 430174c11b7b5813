"""The CUDA operator `batch_norm` and its gradients against the reference in double precision, on every executor."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from cheblienet.nn import VertexBatchNorm
from cheblienet.ops import reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
# Among them: one channel, packs and single elements, rows that do not fill a block, several blocks side by side, parts
# that end within the rows, one row.
SHAPES = [(2, 5, 1), (3, 7, 19), (1, 1, 16), (2, 150, 64), (3, 37, 264), (1, 300, 12)]


def problem(shape, dtype, with_residual, batch_statistics):
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    x, dy = (3 * torch.randn(shape) + 1).to(dtype), torch.randn(shape).to(dtype)
    residual = torch.randn(shape).to(dtype) if with_residual else None
    weight, bias = torch.rand(shape[2], dtype=wide) + 0.5, torch.randn(shape[2], dtype=wide)
    statistics = (None, None) if batch_statistics else (torch.randn_like(bias), torch.rand_like(bias) + 1)
    return x, residual, weight, bias, *statistics, dy


def expected_of(x, residual, weight, bias, mean, var, relu, dy):
    """y, mean, var, and the gradients of x, weight and bias, in double; values near the kink of the ReLU get no gradient."""
    s = (x if residual is None else x + residual).double()  # the sum is rounded to their type
    inputs = [t.double().requires_grad_() for t in (s, weight, bias)]
    y, mean, var = reference.batch_norm(
        inputs[0], *inputs[1:], *(None if t is None else t.double() for t in (mean, var)), relu=relu
    )
    if relu:  # rounding decides which side of the kink a value falls on
        dy[(y.abs() < 0.05).detach()] = 0
    return y, mean, var, torch.autograd.grad(y, inputs, dy.double())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("with_residual", "relu", "batch_statistics"),
    [(False, False, True), (True, True, True), (True, True, False), (False, True, False)],
)
def test_value_and_gradients_agree_with_the_reference(
    executor, shape, dtype, with_residual, relu, batch_statistics, assert_close, same_bits
):
    *arguments, dy = problem(shape, dtype, with_residual, batch_statistics)
    y, mean, var, gradients = expected_of(*arguments, relu, dy)
    results = same_bits(executor, lambda: executor.batch_norm(*arguments, 1e-5, relu), (0, 1))
    assert_close(results[0], y, factor=2)
    assert results[3].shape == (shape if with_residual else (0,))
    if with_residual:
        assert torch.equal(results[3], arguments[0] + arguments[1])
    assert_close(results[1], mean)
    assert_close(results[2], var)
    s = results[3] if with_residual else arguments[0]
    used = s, *arguments[2:4], *results[1:3]
    actual = same_bits(executor, lambda: executor.batch_norm_backward(dy, *used, 1e-5, relu, batch_statistics), (0, 1))
    for got, wanted in zip(actual, gradients, strict=True):
        assert_close(got, wanted, factor=10)


# More parts than threads that sum them; as many parts as there may be, which take several turns.
@pytest.mark.parametrize("shape", [(1, 1100, 257), (1, 1300, 1056)], ids=str)
def test_many_parts(executor, shape, assert_close):
    x, residual, weight, bias, mean, var, dy = problem(shape, torch.float32, False, True)
    y, mean, var, gradients = expected_of(x, residual, weight, bias, mean, var, False, dy)
    results = executor.batch_norm(x, residual, weight, bias, None, None, 1e-5, False)
    for got, wanted in zip(results[:3], (y, mean, var), strict=True):
        assert_close(got, wanted, factor=2)
    actual = executor.batch_norm_backward(dy, x, weight, bias, *results[1:3], 1e-5, False, True)
    for got, wanted in zip(actual, gradients, strict=True):
        assert_close(got, wanted, factor=10)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
@pytest.mark.parametrize("channels", [12, 264])
def test_running_statistics_are_moved(executor, dtype, momentum, channels, assert_close, same_bits):
    x, residual, weight, bias, *_ = problem((2, 70, channels), dtype, True, True)
    start = torch.randn_like(bias), torch.rand_like(bias), torch.tensor(3)

    def call():
        running = tuple(t.clone() for t in start)
        results = getattr(executor, "batch_norm.tracked")(x, residual, weight, bias, running, momentum, 1e-5, True)
        return *results, *running[:2], running[2].view(1)

    *results, mean, var, batches = same_bits(executor, call, (0, 1))
    plain = executor.batch_norm(x, residual, weight, bias, None, None, 1e-5, True)
    assert all(torch.equal(a, b) for a, b in zip(results, plain, strict=True))
    assert batches == 4
    step, s = 0.25 if momentum is None else momentum, (x + residual).double()
    assert_close(mean, start[0].double().lerp(s.mean((0, 1)), step))
    assert_close(var, start[1].double().lerp(s.var((0, 1)), step))


def test_channels_may_be_the_second_dimension(executor):
    x, residual, weight, bias, _, _, dy = problem((2, 21, 16), torch.float32, True, True)

    def turned(t):
        return t.transpose(1, 2)

    expected = executor.batch_norm(x, residual, weight, bias, None, None, 1e-5, True)
    actual = executor.batch_norm(turned(x), turned(residual), weight, bias, None, None, 1e-5, True)
    for got, wanted in zip(actual, (turned(expected[0]), *expected[1:3], turned(expected[3])), strict=True):
        assert torch.equal(got, wanted)
        assert got.stride() == wanted.stride()
    backward = *expected[1:3], 1e-5, True, True
    ds, *rest = executor.batch_norm_backward(dy, expected[3], weight, bias, *backward)
    turned_ds, *turned_rest = executor.batch_norm_backward(turned(dy), actual[3], weight, bias, *backward)
    assert torch.equal(turned(turned_ds), ds)
    assert all(torch.equal(a, b) for a, b in zip(turned_rest, rest, strict=True))


def test_launches(sm_90):
    x, residual, weight, bias, mean, var, dy = problem((2, 70, 12), torch.float32, True, True)
    running = torch.zeros(12), torch.ones(12), torch.tensor(0)

    def names(call):
        sm_90.reports = []
        return call(), [name for name, _ in sm_90.reports]

    tracked, fixed = getattr(sm_90, "batch_norm.tracked"), getattr(sm_90, "batch_norm.fixed")
    results, launches = names(lambda: tracked(x, residual, weight, bias, running, None, 1e-5, True))
    assert launches == ["norm_moments", "norm_apply"]
    _, mean, var, s = results
    launches = names(lambda: sm_90.batch_norm_backward(dy, s, weight, bias, mean, var, 1e-5, True, True))[1]
    assert launches == ["norm_gradient_sums", "norm_gradient"]
    assert names(lambda: fixed(x, residual, weight, bias, mean, var, 1e-5, True))[1] == ["norm_apply"]


@pytest.mark.parametrize("who", ["signals", "parameters"])
def test_memory_that_starts_off_16_bytes(executor, who, assert_close):
    shape, signals, parameters = (2, 9, 16), int(who == "signals"), int(who == "parameters")
    x, residual, dy = (torch.randn(signals + 288)[signals:].view(shape) for _ in range(3))
    weight, bias = torch.rand(parameters + 16)[parameters:], torch.randn(parameters + 16)[parameters:]
    y, mean, var, gradients = expected_of(x, residual, weight, bias, None, None, True, dy)
    assert_close(executor.batch_norm(x, residual, weight, bias, None, None, 1e-5, True)[0], y, factor=2)
    statistics = mean.detach().float(), var.detach().float()
    actual = executor.batch_norm_backward(dy, x + residual, weight, bias, *statistics, 1e-5, True, True)
    for got, wanted in zip(actual, gradients, strict=True):
        assert_close(got, wanted, factor=10)


def test_a_large_mean_does_not_cost_the_variance_its_digits(executor):
    x = torch.randn(4, 500, 8) * 0.01 + 1000
    var = executor.batch_norm(x, None, torch.ones(8), torch.zeros(8), None, None, 1e-5, False)[2]
    torch.testing.assert_close(var.double(), x.double().var((0, 1), correction=0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("row", [0, 1, 37, 999])
def test_a_row_far_from_all_others_does_not_cost_the_variance_its_digits(executor, row):
    x = torch.randn(1, 1000, 8) + 300
    x[0, row] = 0
    _, mean, var, _ = executor.batch_norm(x, None, torch.ones(8), torch.zeros(8), None, None, 1e-5, False)
    torch.testing.assert_close(mean.double(), x.double().mean((0, 1)), rtol=1e-6, atol=0)
    torch.testing.assert_close(var.double(), x.double().var((0, 1), correction=0), rtol=2e-6, atol=0)


def test_a_nan_stays_in_its_channel(executor):
    x = torch.randn(2, 5, 8)
    x[1, 2, 3] = torch.nan
    y, *statistics, _ = executor.batch_norm(x, None, torch.ones(8), torch.zeros(8), None, None, 1e-5, True)
    assert torch.equal(y.isnan(), torch.arange(8).eq(3).expand(2, 5, 8))
    for values in statistics:
        assert torch.equal(values.isnan(), torch.arange(8).eq(3))


@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 5, 0)])
def test_nothing_to_do(executor, shape):
    weight, bias, mean, var = (torch.ones(shape[2]) for _ in range(4))
    y, used_mean, used_var, _ = executor.batch_norm(torch.empty(shape), None, weight, bias, mean, var, 1e-5, True)
    assert y.shape == shape
    assert torch.equal(used_mean, mean)
    assert torch.equal(used_var, var)
    dx, dweight, dbias = executor.batch_norm_backward(y, y, weight, bias, mean, var, 1e-5, True, False)
    assert dx.shape == shape
    assert not dweight.any()
    assert not dbias.any()


class Calls(TorchDispatchMode):
    """The names of the operators that are called, without those that launch nothing: views, and memory for results."""

    NO_LAUNCH = ("aten::detach", "aten::empty", "aten::transpose", "aten::view", "aten::alias", "prim::")

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not function.name().startswith(self.NO_LAUNCH):
            self.names.append(function.name())
        return function(*args, **(kwargs or {}))


def test_the_layer_uses_the_operator_on_a_gpu():
    with FakeTensorMode(), torch.device("cuda"):
        layer, x = VertexBatchNorm(8), torch.randn(2, 9, 8).transpose(1, 2)
        with Calls() as calls:
            y = layer(x, residual=x, relu=True)
    assert y.device.type == "cuda"
    assert y.transpose(1, 2).is_contiguous()
    assert calls.names == ["cheblienet::batch_norm.tracked"]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_no_operator_of_the_framework_runs_beside(training, momentum, autocast):
    """On the CPU, where the same Python runs."""
    layer = VertexBatchNorm(8, momentum=momentum).train(training)
    x, residual, dy = (torch.randn(2, 9, 8).transpose(1, 2) for _ in range(3))
    if autocast:  # as a convolution returns them
        x, residual, dy = (t.bfloat16() for t in (x, residual, dy))
    x.requires_grad_()
    with Calls() as calls:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = layer(x, residual, relu=True)
        torch.autograd.grad(y, [x, *layer.parameters()], dy)
    assert calls.names == [
        f"cheblienet::batch_norm.{'tracked' if training else 'fixed'}",
        "cheblienet::batch_norm_backward",
    ]
