"""What is not finite, denormal or huge, in any input, comes out of the convolution where the reference has it."""

import pytest
import torch

from cheblienet import ops
from cheblienet.ops import reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
INPUTS = ["x", "weight", "bias", "dy"]
# batch, vertices, Cin, Cout, R: both evaluations and both backward forms, off every vector length; shared samples.
CASES = [(2, 60, 5, 19, 4), (2, 60, 19, 5, 4), (1, 60, 33, 35, 3), (2, 60, 35, 33, 3), (3, 60, 3, 2, 1)]


def problem(case, dtype):
    batch, vertices, cin, cout, orders = case
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    present = torch.rand(vertices, vertices) < 0.02
    present |= torch.eye(vertices, dtype=torch.bool).roll(1, 0)  # a vertex without neighbours would take no part in L b
    dense = torch.rand(vertices, vertices, dtype=sums) * present
    dense = -(dense + dense.T) / max(1.0, float((dense + dense.T).sum(1).max()))
    inputs = {
        "x": torch.randn(batch, vertices, cin).to(dtype),
        "weight": torch.randn(orders, cin, cout).to(dtype),
        "bias": torch.randn(cout).to(dtype),
        "dy": torch.randn(batch, vertices, cout).to(dtype),
    }
    return inputs, ops.csr(dense.to_sparse_csr())


def results(chebyshev, inputs, laplacian, dtype):
    """y, and the gradients of x, weight, bias and the Laplacian's values."""
    x, weight, bias, dy = (inputs[name].to(dtype).detach().clone() for name in INPUTS)
    leaves = [t.requires_grad_() for t in (x, weight, bias, laplacian.values.clone())]
    y = chebyshev(x, weight, laplacian._replace(values=leaves[3]), bias)
    return [y.detach(), *torch.autograd.grad(y, leaves, dy, materialize_grads=True)]


def compared(inputs, laplacian, dtype):
    """Pairs of results: of the operator, and of the reference in the type of sums."""
    expected = results(reference.chebyshev, inputs, laplacian, laplacian.values.dtype)
    return list(zip(results(ops.chebyshev, inputs, laplacian, dtype), expected, strict=True))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", INPUTS)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_not_finite_stays_where_the_reference_has_it(dtype, case, where, value, assert_close):
    inputs, laplacian = problem(case, dtype)
    inputs[where].view(-1)[inputs[where].numel() // 2] = value
    pairs = compared(inputs, laplacian, dtype)
    for actual, expected in pairs:
        assert torch.equal(actual.isfinite(), expected.isfinite())
        finite = expected.isfinite()
        assert_close(actual[finite], expected[finite].to(actual.dtype), factor=10)
    y, wanted = pairs[0]
    if case[2] <= case[3]:  # by the recurrence, as the reference
        assert torch.equal(y.isnan(), wanted.isnan())
        infinite = wanted.isinf()
        assert torch.equal(y[infinite], wanted[infinite].to(dtype))


@pytest.mark.parametrize("where", INPUTS)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_huge_and_denormal_values_are_computed(dtype, case, where, assert_close):
    inputs, laplacian = problem(case, dtype)
    info = torch.finfo(dtype)
    for value in (info.max / 1e6, info.tiny / 4):
        inputs[where].view(-1)[inputs[where].numel() // 2] = value
        for actual, expected in compared(inputs, laplacian, dtype):
            assert actual.isfinite().all()
            scale = max(1.0, float(expected.abs().max()))
            assert_close(actual / scale, (expected / scale).to(actual.dtype), factor=10)
