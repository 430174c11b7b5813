"""The CUDA operator `chebyshev` and its gradients against the reference: on a GPU where there is one, and with every
kernel launch of the operator executed instruction by instruction where there is a PTX simulator."""

import pytest
import torch

from cheblienet import ops
from cheblienet.ops import reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and torch sees none")


def laplacian_of(vertices, dtype, isolated=2):
    """A symmetric matrix with spectrum in [-1, 1] and rows of very different lengths; the last vertices have no entry."""
    if vertices == 0:
        return ops.Csr(
            torch.empty(0, 4, dtype=torch.int32),
            torch.empty(0, dtype=torch.int32),
            torch.empty(0, dtype=values_dtype(dtype)),
        )
    present = torch.rand(vertices, vertices, dtype=torch.float64) < torch.linspace(0.02, 0.6, vertices)[:, None]
    present[max(vertices - isolated, 1) :] = False
    present[:, max(vertices - isolated, 1) :] = False
    dense = torch.rand(vertices, vertices, dtype=torch.float64) * present
    dense = dense + dense.T
    dense = -dense / max([1.0, *dense.sum(1).tolist()])
    laplacian = ops.csr(dense.to_sparse_csr())
    return laplacian._replace(values=laplacian.values.to(values_dtype(dtype)))


def values_dtype(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def problem(case, dtype):
    batch, vertices, cin, cout, orders = case
    laplacian = laplacian_of(vertices, dtype)
    x, dy = torch.randn(batch, vertices, cin).to(dtype), torch.randn(batch, vertices, cout).to(dtype)
    weight = (torch.randn(orders, cin, cout) / (orders * cin) ** 0.5).to(dtype)
    return x, weight, laplacian, torch.randn(cout).to(dtype), dy


def expected_of(x, weight, laplacian, bias, dy):
    """The value and the gradients of x, weight, bias and the Laplacian's values, in float64."""
    exact = [t.detach().double().clone().requires_grad_() for t in (x, weight, bias, laplacian.values)]
    y = reference.chebyshev(exact[0], exact[1], laplacian._replace(values=exact[3]), exact[2])
    return y, torch.autograd.grad(y, exact, dy.double(), materialize_grads=True)


# batch, vertices, Cin, Cout, R. Among them: both evaluations and both backward forms, widths of one and several packs
# and off every pack, groups of 1 to 32 lanes with and without idle ones, one and two samples per thread, one vertex, no
# vertex, no sample, order one.
CASES = [
    (2, 12, 4, 8, 4),
    (3, 12, 8, 3, 4),
    (1, 9, 1, 33, 3),
    (5, 20, 33, 8, 3),
    (4, 11, 32, 64, 2),
    (1, 7, 3, 3, 1),
    (2, 1, 3, 5, 3),
    (3, 70, 16, 16, 5),
    (0, 7, 3, 2, 3),
    (2, 0, 3, 2, 3),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradients_agree_with_the_reference(executor, case, dtype, assert_close):
    x, weight, laplacian, bias, dy = problem(case, dtype)
    y, gradients = expected_of(x, weight, laplacian, bias, dy)
    assert_close(executor.chebyshev(x, weight, *laplacian, bias), y)
    assert_close(executor.chebyshev(x, weight, *laplacian, None), y - bias.double())
    for need_values in (False, True):
        actual = executor.chebyshev_backward(dy, x, weight, *laplacian, True, True, True, need_values)
        for got, wanted in zip(actual[: 3 + need_values], gradients, strict=False):
            assert_close(got.to(dtype), wanted, factor=4)
    assert actual[3].dtype == laplacian.values.dtype


@pytest.mark.parametrize("case", [(2, 12, 4, 8, 4), (2, 12, 1, 33, 3), (1, 9, 5, 3, 3)], ids=str)
@pytest.mark.parametrize("needs", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 0, 0, 1), (0, 0, 0, 0)])
def test_only_the_gradients_asked_for(executor, case, needs, assert_close):
    x, weight, laplacian, bias, dy = problem(case, torch.float32)
    _, gradients = expected_of(x, weight, laplacian, bias, dy)
    actual = executor.chebyshev_backward(dy, x, weight, *laplacian, *map(bool, needs))
    for got, wanted, needed in zip(actual, gradients, needs, strict=True):
        if needed:
            assert_close(got, wanted, factor=4)
        else:
            assert got.numel() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_same_bits_whatever_the_schedule(executor, dtype, same_bits):
    x, weight, laplacian, bias, dy = problem((5, 24, 9, 13, 4), dtype)

    def run():
        results = [executor.chebyshev(x, weight, *laplacian, bias)]
        for need_values in (False, True):
            results += executor.chebyshev_backward(dy, x, weight, *laplacian, True, True, True, need_values)
        return tuple(t for t in results if t.numel())

    same_bits(executor, run, (0, 1, 2, 3))


@pytest.mark.parametrize("case", [(5, 12, 4, 8, 4), (5, 12, 8, 3, 4), (5, 12, 1, 33, 3)], ids=str)
def test_blocks_of_samples(simulator, case, assert_close):
    x, weight, laplacian, bias, dy = problem(case, torch.float32)
    y, gradients = expected_of(x, weight, laplacian, bias, dy)
    sample = 12 * case[4] * 16 * 4  # bytes of up to 16 channels of every order
    for memory in (1, sample, 2 * sample, 6 * sample):
        assert_close(simulator.chebyshev(x, weight, *laplacian, bias, memory=memory), y)
        for need_values in (False, True):
            actual = simulator.chebyshev_backward(
                dy, x, weight, *laplacian, True, True, True, need_values, memory=memory
            )
            for got, wanted in zip(actual[: 3 + need_values], gradients, strict=False):
                assert_close(got, wanted, factor=4)


def test_values_that_are_not_finite_stay_where_they_belong(executor):
    """A lane without work, and a channel that only fills up a pack, read what others own; they must not spread it."""
    x, weight, laplacian, _, _ = problem((3, 12, 3, 5, 2), torch.float32)
    x[2, 0] = torch.nan
    y = executor.chebyshev(x, weight, *laplacian, None)
    assert torch.equal(y.isnan(), reference.chebyshev(x, weight, laplacian).isnan())


@NEEDS_GPU
def test_gradients_once_and_twice_on_a_gpu():
    laplacian = ops.Csr(*(t.cuda() for t in laplacian_of(6, torch.float64)))
    x = torch.randn(3, 6, 3, dtype=torch.float64, device="cuda", requires_grad=True)
    weight = torch.randn(3, 3, 4, dtype=torch.float64, device="cuda", requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, device="cuda", requires_grad=True)

    def f(x, weight, bias):
        return ops.chebyshev(x, weight, laplacian, bias)

    # The second gradient is made of operations of the framework too, some of which sum in any order on a GPU.
    assert torch.autograd.gradcheck(f, (x, weight, bias), fast_mode=True, nondet_tol=1e-12)
    assert torch.autograd.gradgradcheck(f, (x, weight, bias), fast_mode=True, nondet_tol=1e-12)


@NEEDS_GPU
def test_in_a_cuda_graph_on_a_stream_of_its_own():
    x, weight, laplacian, bias, dy = (
        ops.Csr(*(t.cuda() for t in part)) if isinstance(part, tuple) else part.cuda()
        for part in problem((4, 40, 16, 24, 4), torch.float32)
    )

    def run():
        y = torch.ops.cheblienet.chebyshev(x, weight, *laplacian, bias)
        return y, *torch.ops.cheblienet.chebyshev_backward(dy, x, weight, *laplacian, True, True, True, True)

    expected = run()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    x.normal_()
    expected = run()
    graph.replay()
    for got, wanted in zip(captured, expected, strict=True):
        torch.testing.assert_close(got, wanted)


@NEEDS_GPU
@pytest.mark.filterwarnings("default")  # what a compiler says of a machine, such as on TF32, is no error
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_and_compile_on_a_gpu(dtype):
    x, weight, laplacian, bias, _ = (
        ops.Csr(*(t.cuda() for t in part)) if isinstance(part, tuple) else part.cuda()
        for part in problem((4, 40, 16, 24, 4), torch.float32)
    )
    x.requires_grad_()
    with torch.autocast("cuda", dtype):
        y = torch.compile(ops.chebyshev, fullgraph=True)(x, weight, laplacian, bias)
    assert y.dtype == dtype
    torch.testing.assert_close(y, ops.chebyshev(x.to(dtype), weight.to(dtype), laplacian, bias.to(dtype)))
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32
