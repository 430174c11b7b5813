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


def test_more_parts_than_rows_of_threads_that_sum_them(executor, assert_close):
    x, residual, weight, bias, mean, var, dy = problem((1, 1100, 257), torch.float32, False, True)
    y, mean, var, gradients = expected_of(x, residual, weight, bias, mean, var, False, dy)
    results = executor.batch_norm(x, residual, weight, bias, None, None, 1e-5, False)
    for got, wanted in zip(results[:3], (y, mean, var), strict=True):
        assert_close(got, wanted, factor=2)
    actual = executor.batch_norm_backward(dy, x, weight, bias, *results[1:3], 1e-5, False, True)
    for got, wanted in zip(actual, gradients, strict=True):
        assert_close(got, wanted, factor=10)


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


def test_a_nan_stays_in_its_channel(executor):
    x = torch.randn(2, 5, 8)
    x[1, 2, 3] = torch.nan
    y = executor.batch_norm(x, None, torch.ones(8), torch.zeros(8), None, None, 1e-5, True)[0]
    assert torch.equal(y.isnan(), torch.arange(8).eq(3).expand(2, 5, 8))


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
    """The names of the operators that are called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.name())
        return function(*args, **(kwargs or {}))


def test_the_layer_uses_the_operator_on_a_gpu():
    with FakeTensorMode(), torch.device("cuda"):
        layer, x = VertexBatchNorm(8), torch.randn(2, 9, 8).transpose(1, 2)
        with Calls() as calls:
            y = layer(x, residual=x, relu=True)
    assert y.device.type == "cuda"
    assert y.transpose(1, 2).is_contiguous()
    assert "cheblienet::batch_norm" in calls.names
    assert not any("aten::native_batch_norm" in name for name in calls.names)
