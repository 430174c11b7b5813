"""The CUDA operator `chebyshev` and its gradients against the reference: on a GPU where there is one, and with every
kernel launch of the operator executed instruction by instruction where there is a PTX simulator."""

import pytest
import torch

from benchmarks.cuda.chebyshev_probe import Device
from cheblienet import ops
from cheblienet.graphs import SE2GEGraph, SO3GEGraph
from cheblienet.graphs.order import spatial_order
from cheblienet.ops import reference
from cheblienet.ops.csr import csr_from_rows, with_tiles

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


def pattern_of(laplacian, tile_rows=None):
    """As the operators take it: with the tables of tiles of so many rows, or without any."""
    rows, col = laplacian.rows, laplacian.col
    if tile_rows is None:
        return [rows, col]
    slots, halo = torch.ops.cheblienet.tile_tables(rows, col, tile_rows, 2048)
    return [rows, col, rows[:, 0][col], slots, halo]


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


@pytest.mark.parametrize("tile_rows", [None, 7], ids=["rows", "tiles"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradients_agree_with_the_reference(executor, case, dtype, tile_rows, assert_close):
    x, weight, laplacian, bias, dy = problem(case, dtype)
    pattern, values = pattern_of(laplacian, tile_rows), laplacian.values
    y, gradients = expected_of(x, weight, laplacian, bias, dy)
    assert_close(executor.chebyshev(x, weight, pattern, values, bias), y)
    assert_close(executor.chebyshev(x, weight, pattern, values, None), y - bias.double())
    for need_values in (False, True):
        actual = executor.chebyshev_backward(dy, x, weight, pattern, values, True, True, True, need_values)
        for got, wanted in zip(actual[: 3 + need_values], gradients, strict=False):
            assert_close(got.to(dtype), wanted, factor=4)
    assert actual[3].dtype == laplacian.values.dtype


@pytest.mark.parametrize("case", [(2, 12, 4, 8, 4), (2, 12, 1, 33, 3), (1, 9, 5, 3, 3)], ids=str)
@pytest.mark.parametrize("needs", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 0, 0, 1), (0, 0, 0, 0)])
def test_only_the_gradients_asked_for(executor, case, needs, assert_close):
    x, weight, laplacian, bias, dy = problem(case, torch.float32)
    _, gradients = expected_of(x, weight, laplacian, bias, dy)
    actual = executor.chebyshev_backward(dy, x, weight, pattern_of(laplacian, 5), laplacian.values, *map(bool, needs))
    for got, wanted, needed in zip(actual, gradients, needs, strict=True):
        if needed:
            assert_close(got, wanted, factor=4)
        else:
            assert got.numel() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_same_bits_whatever_the_schedule(executor, dtype, same_bits):
    x, weight, laplacian, bias, dy = problem((5, 24, 9, 13, 4), dtype)
    for tile_rows in (None, 6):
        matrix = pattern_of(laplacian, tile_rows), laplacian.values

        def run(matrix=matrix):
            results = [executor.chebyshev(x, weight, *matrix, bias)]
            for need_values in (False, True):
                results += executor.chebyshev_backward(dy, x, weight, *matrix, True, True, True, need_values)
            return tuple(t for t in results if t.numel())

        same_bits(executor, run, (0, 1, 2, 3))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("cin", "cout"), [(24, 40), (40, 24), (3, 5), (16, 1)])
def test_the_same_bits_from_every_implementation(sm_90, cin, cout, dtype):
    """Row by row, on tiles by order and on tiles at once; chunks of one, two and four packs, one split and several."""
    x, weight, laplacian, bias, dy = problem((3, 40, cin, cout, 4), dtype)
    matrix = pattern_of(laplacian, 9), laplacian.values
    results = []
    for device in (
        Device(steps="rows"),
        Device(steps="tiles"),
        Device(steps="orders", resident=5),
        Device(steps="orders", resident=17, shared=40 << 10),
        Device(steps="orders", resident=1000, shared=20 << 10),
        Device(steps="orders", resident=4),  # they do not fit: an order at a time
    ):
        y = sm_90.chebyshev(x, weight, *matrix, bias, device=device)
        gradients = sm_90.chebyshev_backward(dy, x, weight, *matrix, True, True, True, False, device=device)
        results.append([t.view(torch.uint8) for t in (y, *gradients[:3])])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("graph", ["plane", "sphere"])
def test_tiles_of_a_graph_in_spatial_order(sm_90, graph, assert_close):
    """Of the size of a package's tiles, with several of them, samples and chunks."""
    if graph == "plane":
        graph = SE2GEGraph((8, 9, 6), (1.0, 0.1, 2.048 / 72), 16)
    else:
        graph = SO3GEGraph((42, 6), (1.0, 0.1, 10 / 42), 16)
    order = spatial_order(graph.group, graph.elements, graph.size)
    rowptr, col, values = graph._laplacian_rows(True, None)
    laplacian = with_tiles(csr_from_rows(rowptr, col, values.float(), order, for_gpu=True))
    assert len(laplacian.tables) == 3
    x, weight = torch.randn(2, graph.num_vertices, 24), torch.randn(3, 24, 32) / 8
    sm_90.reports = []
    y = sm_90.chebyshev(x, weight, [laplacian.rows, laplacian.col, *laplacian.tables], laplacian.values, None)
    assert [name for name, _ in sm_90.reports] == ["tile_orders"]
    assert_close(y, reference.chebyshev(x, weight, laplacian))


@pytest.mark.parametrize(
    ("case", "forward", "backward"),
    [
        ((2, 12, 16, 16, 4), ["tile_orders"], ["chebyshev_prepare", "tile_orders", "chebyshev_finish"]),
        ((2, 12, 3, 16, 4), ["chebyshev_prepare", "tile_orders"], None),
        ((2, 12, 16, 16, 1), [], ["chebyshev_prepare", "chebyshev_finish"]),
        ((2, 12, 32, 16, 4), ["chebyshev_prepare", "tile_orders"], ["chebyshev_prepare", "tile_orders", "chebyshev_finish"]),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_launches(sm_90, case, forward, backward, dtype):
    """Beside them, the forward is one product, the backward two: each one call of the framework."""
    x, weight, laplacian, bias, dy = problem(case, dtype)
    matrix = pattern_of(laplacian, 6), laplacian.values
    for call, own, products in (
        (lambda: sm_90.chebyshev(x, weight, *matrix, bias), forward, 1),
        (lambda: sm_90.chebyshev_backward(dy, x, weight, *matrix, True, True, True, False), backward, 2),
    ):
        sm_90.reports = []
        with torch.profiler.profile() as profile:
            call()
        if own is not None:
            assert [name for name, _ in sm_90.reports] == own
        called = [e.name for e in profile.events() if e.cpu_parent is not None and "probe" in e.cpu_parent.name]
        # The simulator has no 16-bit products with sums in float32; there, operands are cast.
        assert [name for name in called if name not in (*VIEWS, "aten::to")] == ["aten::linear"] * products


VIEWS = [f"aten::{name}" for name in ("view", "transpose", "narrow", "select", "new_empty")]


@pytest.mark.parametrize("case", [(5, 12, 4, 8, 4), (5, 12, 8, 3, 4), (5, 12, 1, 33, 3)], ids=str)
def test_blocks_of_samples(simulator, case, assert_close):
    x, weight, laplacian, bias, dy = problem(case, torch.float32)
    y, gradients = expected_of(x, weight, laplacian, bias, dy)
    sample = 12 * case[4] * 16 * 4  # bytes of up to 16 channels of every order
    matrix = pattern_of(laplacian, 5), laplacian.values
    for memory in (1, sample, 2 * sample, 6 * sample):
        device = Device(memory=memory)
        assert_close(simulator.chebyshev(x, weight, *matrix, bias, device=device), y)
        for need_values in (False, True):
            actual = simulator.chebyshev_backward(dy, x, weight, *matrix, True, True, True, need_values, device=device)
            for got, wanted in zip(actual[: 3 + need_values], gradients, strict=False):
                assert_close(got, wanted, factor=4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_shares_of_blocks_are_not_rounded_before_they_are_summed(sm_90, dtype):
    """The gradient of 12 blocks of a sample is that of one block, but for the order of float32 sums."""
    x, weight, laplacian, _, dy = problem((12, 12, 8, 8, 3), dtype)
    matrix = pattern_of(laplacian, 5), laplacian.values
    needs = (False, True, True, False)
    one = sm_90.chebyshev_backward(dy, x, weight, *matrix, *needs)
    many = sm_90.chebyshev_backward(dy, x, weight, *matrix, *needs, device=Device(memory=1))
    assert torch.equal(one[2], many[2])
    assert (one[1] != many[1]).double().mean() < 0.02


def test_values_that_are_not_finite_stay_where_they_belong(executor):
    """A lane without work, and a channel that only fills up a pack, read what others own; they must not spread it."""
    x, weight, laplacian, _, _ = problem((3, 12, 3, 5, 2), torch.float32)
    x[2, 0] = torch.nan
    for tile_rows in (None, 5):
        y = executor.chebyshev(x, weight, pattern_of(laplacian, tile_rows), laplacian.values, None)
        assert torch.equal(y.isnan(), reference.chebyshev(x, weight, laplacian).isnan())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("case", [(2, 12, 3, 5, 3), (2, 12, 5, 3, 3), (2, 12, 1, 5, 2)], ids=str)
def test_gradients_that_are_not_finite_stay_where_they_belong(executor, case, value):
    """Channels that fill up a pack are zero times dy: no such product reaches what is read."""
    x, weight, laplacian, bias, dy = problem(case, torch.float32)
    dy[1, 4, 2] = value
    _, gradients = expected_of(x, weight, laplacian, bias, dy)
    for tile_rows in (None, 5):
        matrix = pattern_of(laplacian, tile_rows), laplacian.values
        for need_values in (False, True):
            actual = executor.chebyshev_backward(dy, x, weight, *matrix, True, True, True, need_values)
            for got, wanted in zip(actual[: 3 + need_values], gradients, strict=False):
                assert torch.equal(got.isfinite(), wanted.isfinite())
                if case[2] == 1 and got is actual[3]:  # one product, where others add up infinities of either sign
                    assert torch.equal(got.isnan(), wanted.isnan())


def test_signals_at_any_address(executor):
    """A view at an odd offset gives the bits of its copy."""
    x, weight, laplacian, bias, dy = problem((2, 12, 8, 16, 3), torch.float32)
    matrix = pattern_of(laplacian, 5), laplacian.values
    memory, gradient_memory = torch.randn(x.numel() + 1), torch.randn(dy.numel() + 1)
    odd, odd_dy = memory[1:].view(x.shape), gradient_memory[1:].view(dy.shape)
    y, copied = (executor.chebyshev(t, weight, *matrix, bias) for t in (odd, odd.clone()))
    torch.testing.assert_close(y, copied, rtol=0, atol=0)
    gradients = (
        executor.chebyshev_backward(g, t, weight, *matrix, True, True, True, True)
        for g, t in ((odd_dy, odd), (odd_dy.clone(), odd.clone()))
    )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


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
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_same_bits_from_every_implementation_on_a_gpu(monkeypatch, dtype):
    graph = SE2GEGraph((14, 14, 6), (1.0, 0.1, 2.048 / 196), 16)
    rows, col, values, tables = graph.laplacian_csr("cuda", values_dtype(dtype), tiles=True)
    x, dy = (torch.randn(16, graph.num_vertices, channels, device="cuda").to(dtype) for channels in (24, 40))
    weight = (torch.randn(4, 24, 40, device="cuda") / 8).to(dtype)
    assert len(tables) == 3
    results = []
    for steps in ("rows", "tiles", "orders", "auto"):
        monkeypatch.setenv("CHEBLIENET_STEPS", steps)
        y = torch.ops.cheblienet.chebyshev(x, weight, [rows, col, *tables], values, None)
        needs = (True, True, True, False)
        gradients = torch.ops.cheblienet.chebyshev_backward(dy, x, weight, [rows, col, *tables], values, *needs)
        results.append([t.view(torch.uint8) for t in (y, *gradients[:3])])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    monkeypatch.setenv("CHEBLIENET_STEPS", "columns")
    with pytest.raises(RuntimeError, match="CHEBLIENET_STEPS: expected auto, rows, tiles or orders, got columns"):
        torch.ops.cheblienet.chebyshev(x, weight, [rows, col, *tables], values, None)


@NEEDS_GPU
def test_in_a_cuda_graph_on_a_stream_of_its_own():
    x, weight, laplacian, bias, dy = (
        ops.Csr(*(t.cuda() for t in part)) if isinstance(part, tuple) else part.cuda()
        for part in problem((4, 40, 16, 24, 4), torch.float32)
    )

    def run():
        matrix = pattern_of(laplacian), laplacian.values
        y = torch.ops.cheblienet.chebyshev(x, weight, *matrix, bias)
        return y, *torch.ops.cheblienet.chebyshev_backward(dy, x, weight, *matrix, True, True, True, True)

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
