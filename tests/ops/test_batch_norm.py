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


def operator_arguments(needs_gradient=False):
    """Of every operator of the normalisation, the arguments of some calls."""
    x, residual, dy = (torch.randn(2, 4, 3) for _ in range(3))
    weight, bias = parameters(3, torch.float32)
    if needs_gradient:
        for tensor in (x, residual, weight, bias):
            tensor.requires_grad_()
    mean, var = torch.randn(3), torch.rand(3) + 0.5
    running = [torch.zeros(3), torch.ones(3), torch.tensor(2)]
    operators = torch.ops.cheblienet.batch_norm
    return [
        (operators.default, (x, residual, weight, bias, None, None, 1e-5, True)),
        (operators.default, (x, None, weight, bias, mean, var, 1e-5, False)),
        (operators.fixed, (x, residual, weight, bias, mean, var, 1e-5, True)),
        (operators.fixed, (x, None, weight, bias, mean, var, 1e-5, False)),
    ], [
        (operators.tracked, (x, residual, weight, bias, running, 0.1, 1e-5, True)),
        (operators.tracked, (x, None, weight, bias, running, None, 1e-5, False)),
        (operators.tracked, (x, None, weight, bias, [], 0.1, 1e-5, True)),
        (torch.ops.cheblienet.batch_norm_backward.default, (dy, x, weight, bias, mean, var, 1e-5, True, True)),
    ]


def test_registrations():
    for operator, arguments in operator_arguments(needs_gradient=True)[0]:
        torch.library.opcheck(operator, arguments)
    for operator, arguments in operator_arguments()[1]:
        torch.library.opcheck(operator, arguments)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("batch_statistics", [True, False])
@pytest.mark.parametrize("with_residual", [True, False])
def test_functional_operators_are_differentiable_twice(batch_statistics, relu, with_residual):
    """Compiled and exported programs call them."""
    x, residual = (torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weight, bias = (p.requires_grad_() for p in parameters(3, torch.float64))
    mean, var = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    operators = torch.ops.cheblienet.batch_norm

    def f(x, residual, weight, bias):
        added = residual if with_residual else None
        if batch_statistics:
            return operators.default(x, added, weight, bias, None, None, 1e-5, relu)[0]
        return operators.fixed(x, added, weight, bias, mean, var, 1e-5, relu)[0]

    inputs = x, residual if with_residual else None, weight, bias
    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


def turned(t):
    return None if t is None else t.transpose(1, 2)


@pytest.mark.parametrize("memory", ["vertex-major", "channel-major"])
@pytest.mark.parametrize("batch_statistics", [True, False])
@pytest.mark.parametrize("with_residual", [True, False])
def test_channels_may_be_the_second_dimension(memory, batch_statistics, with_residual):
    shape = (2, 5, 3)
    x, residual = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    if memory == "channel-major":
        x, residual = (turned(turned(t).detach().contiguous()).requires_grad_() for t in (x, residual))
    residual = residual if with_residual else None
    weight, bias = (p.requires_grad_() for p in parameters(3, torch.float64))
    statistics = (None, None) if batch_statistics else (torch.zeros_like(bias).detach(), torch.ones_like(bias).detach())

    def f(x, residual, weight, bias):
        y = ops.batch_norm(
            turned(x), weight, bias, *statistics, residual=turned(residual), relu=True, channels_second=True
        )[0]
        assert turned(y).is_contiguous()
        return turned(y)

    expected = ops.batch_norm(x, weight, bias, *statistics, residual=residual, relu=True)[0]
    assert torch.equal(f(x, residual, weight, bias), expected)
    assert torch.autograd.gradcheck(f, (x, residual, weight, bias))
    assert torch.autograd.gradgradcheck(f, (x, residual, weight, bias))


def test_a_result_may_be_changed_in_place():
    x, (weight, bias) = torch.randn(2, 3, 5, requires_grad=True), parameters(3, torch.float32)
    y = ops.batch_norm(x, weight, bias, channels_second=True)[0].mul_(2)
    expected = 2 * turned(ops.batch_norm(turned(x), weight, bias)[0])
    dy = torch.randn(2, 3, 5)
    assert torch.equal(y, expected)
    assert torch.equal(torch.autograd.grad(y, x, dy)[0], torch.autograd.grad(expected, x, dy)[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.7, 1.0, None])
@pytest.mark.parametrize("shape", [(3, 7, 19), (2, 1, 5), (1, 300, 64)], ids=str)
def test_running_statistics_are_those_of_the_framework(shape, momentum, dtype, assert_close):
    weight, bias = parameters(shape[2], dtype)
    running = torch.zeros_like(bias), torch.ones_like(bias), torch.tensor(0)
    theirs = torch.nn.BatchNorm1d(shape[2], momentum=momentum, dtype=torch.float64)
    for _ in range(3):
        x = (3 * torch.randn(shape) + 1).to(dtype)
        ops.batch_norm(x, weight, bias, running=running, momentum=momentum)
        theirs(turned(x.double()))
    assert_close(running[0], theirs.running_mean)
    assert_close(running[1], theirs.running_var)
    assert running[2] == theirs.num_batches_tracked == 3


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_may_have_another_type(momentum, assert_close):
    """As those of a network that was cast to 16 bits."""
    x, (weight, bias) = torch.randn(2, 7, 3), parameters(3, torch.float32)
    running = torch.zeros(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bfloat16), torch.tensor(1)
    ops.batch_norm(x, weight, bias, running=running, momentum=momentum)
    step = momentum or 0.5
    assert_close(running[0], step * x.double().mean((0, 1)))
    assert_close(running[1], 1 - step + step * x.double().var((0, 1)))
    assert running[2] == 2


def test_statistics_that_a_gradient_needs_may_not_be_moved():
    x, (weight, bias) = torch.randn(2, 7, 3, requires_grad=True), parameters(3, torch.float32)
    running = torch.zeros(3), torch.ones(3), torch.tensor(1)
    y = ops.batch_norm(x, weight, bias, *running[:2])[0]
    ops.batch_norm(x, weight, bias, running=running)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("momentum", [0.1, None])
def test_compiled_code_moves_running_statistics(momentum):
    x, (weight, bias) = torch.randn(2, 3, 5), parameters(3, torch.float32)

    def step(x, running):
        return ops.batch_norm(
            x, weight, bias, residual=x, relu=True, running=running, momentum=momentum, channels_second=True
        )[0]

    start = torch.randn(3), torch.rand(3), torch.tensor(2)
    expected, actual = (tuple(t.clone() for t in start) for _ in range(2))
    compiled = torch.compile(step, fullgraph=True)
    torch.testing.assert_close(compiled(x, actual), step(x, expected))
    torch.testing.assert_close(actual, expected)


def test_a_large_mean_does_not_cost_the_variance_its_digits():
    x = torch.randn(4, 1000, 8) * 0.01 + 1000
    var = ops.batch_norm(x, *parameters(8, torch.float32))[2]
    torch.testing.assert_close(var.double(), x.double().var((0, 1), correction=0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("row", [0, 1, 37, 999])
@pytest.mark.parametrize("channels", [1, 8, 130])
def test_a_row_far_from_all_others_does_not_cost_the_variance_its_digits(row, channels):
    x = torch.randn(1, 1000, channels) + 300
    x[0, row] = 0
    _, mean, var = ops.batch_norm(x, *parameters(channels, torch.float32))
    torch.testing.assert_close(mean.double(), x.double().mean((0, 1)), rtol=1e-6, atol=0)
    torch.testing.assert_close(var.double(), x.double().var((0, 1), correction=0), rtol=2e-6, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_moments_of_any_rows(dtype):
    """An outlier as first row, a constant, a huge offset and a usual channel, of many rows and of few."""
    x = torch.randn(1, 1000, 4, dtype=torch.float64) + 300
    x[0, 0, 0] = 0
    x[..., 1] = 300
    x[..., 2] += 1e6 if dtype in (torch.float64, torch.float32, torch.bfloat16) else 3e4
    for count in (1000, 2):
        part = x[:, :count].to(dtype)
        _, mean, var, _ = torch.ops.cheblienet.batch_norm(part, None, *parameters(4, dtype), None, None, 1e-5, False)
        exact, wanted = part.double().mean((0, 1)), part.double().var((0, 1), correction=0)
        torch.testing.assert_close(mean.double(), exact, rtol=1e-6, atol=0)
        # The mean itself is rounded to the type of sums.
        floor = 0 if dtype == torch.float64 else 1e-12 * exact**2
        assert ((var.double() - wanted).abs() <= 1e-5 * wanted + floor).all()
        assert (var[1] == 0).all()


def test_equal_values_have_no_variance():
    var = ops.batch_norm(torch.full((2, 999, 3), 0.1), *parameters(3, torch.float32), eps=0.0)[2]
    assert (var >= 0).all()
    assert (var < 1e-14).all()


def test_a_nan_stays_in_its_channel():
    x = torch.randn(2, 5, 8)
    x[1, 2, 3] = torch.nan
    for values in ops.batch_norm(x, *parameters(8, torch.float32)):
        assert torch.equal(values.isnan(), torch.arange(8).eq(3).expand_as(values))


def test_parameters_may_be_strided():
    x, columns = torch.randn(2, 4, 3), torch.rand(3, 4) + 0.5
    y = ops.batch_norm(x, *columns.unbind(1), relu=True)[0]
    torch.testing.assert_close(y, reference.batch_norm(x, *columns.unbind(1), relu=True)[0])


def test_empty_batch_in_evaluation():
    x, (weight, bias) = torch.empty(0, 5, 3, requires_grad=True), parameters(3, torch.float32)
    weight.requires_grad_()
    y = ops.batch_norm(x, weight, bias, torch.zeros(3), torch.ones(3))[0]
    assert y.shape == (0, 5, 3)
    dx, dweight = torch.autograd.grad(y, [x, weight], y)
    assert dx.shape == (0, 5, 3)
    assert not dweight.any()


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
    running = torch.zeros(3), torch.ones(3), torch.tensor(0)
    with pytest.raises(ValueError, match=r"running variance: expected shape \(3,\), got \(2,\)"):
        ops.batch_norm(x, weight, bias, running=(running[0], running[1][:2], running[2]))
    with pytest.raises(
        ValueError, match="running mean: expected memory for each channel, got one number expanded to 3"
    ):
        ops.batch_norm(x, weight, bias, running=(torch.zeros(1).expand(3), *running[1:]))
    with pytest.raises(ValueError, match="running: expected None where mean and var are given"):
        ops.batch_norm(x, weight, bias, *running[:2], running=running)
    with pytest.raises(ValueError, match=r"x: expected shape \(B, C, V\), got \(4, 3\)"):
        ops.batch_norm(x[0], weight, bias, channels_second=True)
