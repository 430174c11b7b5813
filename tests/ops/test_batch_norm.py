import pytest
import torch
from torch.nn.functional import batch_norm as framework

from cheblienet import ops
from cheblienet.ops import reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def parameters(channels, dtype):
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.rand(channels, dtype=wide) + 0.5, torch.randn(channels, dtype=wide)


def expected(x, weight, bias, mean, var, residual, relu):
    """By the framework, channels second, in double."""
    s = (x if residual is None else x + residual).transpose(1, 2)
    y = framework(s, mean, var, weight, bias, training=mean is None).transpose(1, 2)
    return torch.relu(y) if relu else y


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(2, 5, 1), (3, 7, 19), (1, 300, 64), (4, 11, 130)], ids=str)
@pytest.mark.parametrize(
    ("with_residual", "relu", "batch_statistics"),
    [(False, False, True), (True, True, True), (True, True, False), (False, True, False)],
)
def test_value_and_gradients_agree_with_the_framework(
    shape, dtype, with_residual, relu, batch_statistics, assert_close
):
    x = (3 * torch.randn(shape) + 1).to(dtype).requires_grad_()
    residual = torch.randn(shape).to(dtype).requires_grad_() if with_residual else None
    weight, bias = (p.requires_grad_() for p in parameters(shape[2], dtype))
    mean, var = (
        (None, None) if batch_statistics else (torch.randn_like(bias).detach(), torch.rand_like(bias).detach() + 1)
    )
    inputs = [t for t in (x, residual, weight, bias) if t is not None]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    exact_residual = None
    if with_residual:  # their sum is rounded to their type
        exact_residual = exact[1] + ((x + residual).double() - exact[0] - exact[1]).detach()
    exact_statistics = [None if t is None else t.double() for t in (mean, var)]
    wanted = expected(exact[0], *exact[-2:], *exact_statistics, exact_residual, relu)
    definition = reference.batch_norm(exact[0], *exact[-2:], *exact_statistics, residual=exact_residual, relu=relu)
    torch.testing.assert_close(definition[0], wanted)
    y, used_mean, used_var = ops.batch_norm(x, weight, bias, mean, var, residual=residual, relu=relu)
    assert_close(y, wanted, factor=2)
    if batch_statistics:
        s = (exact[0] + exact_residual if with_residual else exact[0]).detach()
        assert_close(used_mean, s.mean((0, 1)))
        assert_close(used_var, s.var((0, 1), correction=0))
    dy = torch.randn(shape).to(dtype)
    if relu:  # rounding decides which side of the kink a value falls on
        dy[(wanted.abs() < 0.05).detach()] = 0
    gradients = torch.autograd.grad(y, inputs, dy)
    for actual, value in zip(gradients, torch.autograd.grad(wanted, exact, dy.double()), strict=True):
        assert_close(actual, value, factor=10)


@pytest.mark.parametrize("batch_statistics", [True, False])
@pytest.mark.parametrize("relu", [True, False])
def test_gradcheck_once_and_twice(batch_statistics, relu):
    x, residual = (torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weight, bias = (p.requires_grad_() for p in parameters(3, torch.float64))
    statistics = (
        (None, None) if batch_statistics else (torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    )

    def f(x, residual, weight, bias):
        return ops.batch_norm(x, weight, bias, *statistics, residual=residual, relu=relu)[0]

    assert torch.autograd.gradcheck(f, (x, residual, weight, bias))
    assert torch.autograd.gradgradcheck(f, (x, residual, weight, bias))


def test_registrations():
    x, residual = (torch.randn(2, 4, 3, requires_grad=True) for _ in range(2))
    weight, bias = (p.requires_grad_() for p in parameters(3, torch.float32))
    for args in (
        (x, residual, weight, bias, None, None, 1e-5, True),
        (x, None, weight, bias, torch.zeros(3), torch.ones(3), 1e-5, False),
    ):
        torch.library.opcheck(torch.ops.cheblienet.batch_norm.default, args)
    with torch.no_grad():
        backward = (x, x, weight, bias, torch.zeros(3), torch.ones(3), 1e-5, True, True)
        torch.library.opcheck(
            torch.ops.cheblienet.batch_norm_backward,
            [t.detach() if isinstance(t, torch.Tensor) else t for t in backward],
        )


def test_a_large_mean_does_not_cost_the_variance_its_digits():
    x = torch.randn(4, 1000, 8) * 0.01 + 1000
    var = ops.batch_norm(x, *parameters(8, torch.float32))[2]
    torch.testing.assert_close(var.double(), x.double().var((0, 1), correction=0), rtol=1e-3, atol=0)


def test_parameters_may_be_strided():
    x, columns = torch.randn(2, 4, 3), torch.rand(3, 4) + 0.5
    y = ops.batch_norm(x, *columns.unbind(1), relu=True)[0]
    torch.testing.assert_close(y, reference.batch_norm(x, *columns.unbind(1), relu=True)[0])


def test_empty_batch_in_evaluation():
    y = ops.batch_norm(torch.empty(0, 5, 3), *parameters(3, torch.float32), torch.zeros(3), torch.ones(3))[0]
    assert y.shape == (0, 5, 3)


def test_says_what_is_wrong():
    x, (weight, bias) = torch.randn(2, 4, 3), parameters(3, torch.float32)
    with pytest.raises(ValueError, match=r"weight: expected shape \(3,\), got \(4,\)"):
        ops.batch_norm(x, torch.ones(4), bias)
    with pytest.raises(TypeError, match="bias: expected torch.float32 for a torch.bfloat16 signal, got torch.bfloat16"):
        ops.batch_norm(x.bfloat16(), weight, bias.bfloat16())
    with pytest.raises(ValueError, match="mean, var: expected both or neither"):
        ops.batch_norm(x, weight, bias, torch.zeros(3))
    with pytest.raises(
        ValueError, match=r"residual: expected torch.float32 \(2, 4, 3\) as x, got torch.float32 \(2, 4, 2\)"
    ):
        ops.batch_norm(x, weight, bias, residual=x[..., :2])
    with pytest.raises(ValueError, match="x: expected more than one value per channel"):
        ops.batch_norm(x[:1, :1], weight, bias)
