import os
import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cheblienet import ops
from cheblienet.ops import reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def ring(vertices, dtype=torch.float32, isolated=0):
    """A symmetric matrix on a ring with chords, numbered at random, with spectrum in [-1, 1]; the last vertices isolated."""
    connected = vertices - isolated
    number = torch.randperm(connected, generator=torch.Generator().manual_seed(5))
    weights = {}
    for step in (1, 3, 4):
        for i in range(connected):
            j = (i + step) % connected
            if i != j:
                weights[min(i, j), max(i, j)] = 0.1 + 0.05 * ((i * j) % 7)
    index = number[torch.tensor(list(weights), dtype=torch.int64).view(-1, 2).T]
    values = (
        -torch.tensor(list(weights.values()), dtype=torch.float64) / 2.4
    )  # row sums of at most six weights below 0.4
    index, values = torch.cat([index, index.flip(0)], 1), values.repeat(2)
    matrix = torch.sparse_coo_tensor(index, values, (vertices, vertices), check_invariants=True)
    laplacian = ops.csr(matrix.to_sparse_csr())
    return laplacian._replace(values=laplacian.values.to(dtype))


def values_dtype(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


# batch, vertices, Cin, Cout, R: both evaluations, both backward forms, widths off every vector length, order one,
# batches below, at and beyond the number of threads; 32 columns and more, which tiles multiply in bfloat16 where the
# processor has them. Rows of more than 8192 vertices are reordered and pass through the orders in blocks, which the
# workspace of a worker does not hold all at once.
CASES = [
    (2, 9000, 3, 5, 4),
    (2, 9000, 6, 2, 5),
    (3, 9000, 16, 33, 3),
    (1, 9000, 3, 4, 3),
    (4, 2500, 16, 33, 3),
    (1, 2500, 3, 4, 3),
    (2, 12, 4, 8, 4),
    (3, 12, 8, 3, 4),
    (1, 9, 5, 5, 3),
    (5, 20, 17, 33, 3),
    (4, 20, 67, 31, 2),
    (2, 7, 1, 16, 5),
    (2, 7, 3, 2, 1),
    (0, 7, 3, 2, 3),
    (2, 1, 3, 5, 3),
    (2, 300, 130, 40, 3),
    (3, 301, 33, 35, 3),
    (5, 301, 33, 101, 4),
    (1, 301, 128, 64, 4),
    (2, 1, 32, 33, 3),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("with_bias", [True, False])
def test_value_and_gradients_agree_with_the_reference(case, dtype, with_bias, assert_close):
    batch, vertices, cin, cout, orders = case
    laplacian = ring(vertices, values_dtype(dtype))
    x = torch.randn(batch, vertices, cin).to(dtype).requires_grad_()
    weight = (torch.randn(orders, cin, cout) / (orders * cin) ** 0.5).to(dtype).requires_grad_()
    bias = torch.randn(cout).to(dtype).requires_grad_() if with_bias else None
    inputs = [t for t in (x, weight, bias) if t is not None]
    y = ops.chebyshev(x, weight, laplacian, bias)
    dy = torch.randn(batch, vertices, cout).to(dtype)
    gradients = torch.autograd.grad(y, inputs, dy)

    exact = [t.detach().double().requires_grad_() for t in inputs]
    expected = reference.chebyshev(exact[0], exact[1], ring(vertices, torch.float64), exact[2] if with_bias else None)
    assert y.dtype == dtype
    assert_close(y, expected)
    for actual, wanted in zip(gradients, torch.autograd.grad(expected, exact, dy.double()), strict=True):
        assert actual.dtype == dtype
        assert_close(actual, wanted, factor=4)


@pytest.mark.parametrize(("cin", "cout"), [(3, 5), (5, 3), (3, 17)])
def test_many_vertices_whose_order_is_that_of_the_rows(cin, cout, assert_close):
    vertices = 9000  # more than a workspace holds, though no row would have to be moved
    index = torch.stack([torch.arange(vertices - 1), torch.arange(1, vertices)])
    values = torch.rand(vertices - 1, dtype=torch.float64) / 2
    path = torch.sparse_coo_tensor(
        torch.cat([index, index.flip(0)], 1), values.repeat(2), (vertices, vertices), check_invariants=True
    )
    laplacian = ops.csr(path.to_sparse_csr())
    assert torch.equal(laplacian.rows[:, 0], torch.arange(vertices, dtype=torch.int32))
    x = torch.randn(3, vertices, cin, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, cin, cout, dtype=torch.float64, requires_grad=True)
    dy = torch.randn(3, vertices, cout, dtype=torch.float64)
    y, expected = (f(x, weight, laplacian) for f in (ops.chebyshev, reference.chebyshev))
    assert_close(y, expected)
    gradients, wanted = (torch.autograd.grad(z, (x, weight), dy) for z in (y, expected))
    for actual, right in zip(gradients, wanted, strict=True):
        assert_close(actual, right)


def default_operator(x, weight, laplacian, bias=None):
    return torch.ops.cheblienet.chebyshev.default(x, weight, *laplacian[:3], bias)


def pattern_operator(x, weight, laplacian, bias=None):
    rows, col, values, tables = laplacian
    return torch.ops.cheblienet.chebyshev.pattern(x, weight, [rows, col, *tables], values, bias)


CALLS = [ops.chebyshev, default_operator, pattern_operator]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("shape", [(4, 8), (8, 3), (3, 3)])
def test_gradcheck_once_and_twice(shape, call):
    cin, cout = shape
    laplacian = ring(6, torch.float64)
    x = torch.randn(3, 6, cin, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, cin, cout, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(cout, dtype=torch.float64, requires_grad=True)

    def f(x, weight, bias):
        return call(x, weight, laplacian, bias)

    assert torch.autograd.gradcheck(f, (x, weight, bias), fast_mode=True)
    assert torch.autograd.gradgradcheck(f, (x, weight, bias), fast_mode=True)


def entries(laplacian):
    """The vertices (i, j) of every entry."""
    vertex = laplacian.rows[:, 0].long()
    i = torch.repeat_interleave(vertex, laplacian.rows[:, 2] - laplacian.rows[:, 1])
    return list(zip(i.tolist(), vertex[laplacian.col].tolist(), strict=True))


@pytest.mark.parametrize(("vertices", "length"), [(40, 40), (8200, 8200), (8200, 100), (8200, 1)])
def test_csr_is_the_matrix_with_neighbours_kept_together(vertices, length):
    path = torch.randperm(vertices)  # paths through vertices in random order: their neighbours can be made consecutive
    joined = torch.arange(1, vertices) % length > 0
    index = torch.stack([path[1:], path[:-1]])[:, joined]
    index = torch.cat([index, index.flip(0)], 1)
    values = torch.rand(int(joined.sum())).repeat(2)
    matrix = torch.sparse_coo_tensor(index, values, (vertices, vertices), check_invariants=True)
    matrix = matrix.coalesce()
    rows, col, values, _ = laplacian = ops.csr(matrix.to_sparse_csr())
    i, j = torch.tensor(entries(laplacian), dtype=torch.int64).view(-1, 2).T
    again = torch.sparse_coo_tensor(torch.stack([i, j]), values, (vertices, vertices), check_invariants=True).coalesce()
    assert torch.equal(again.indices(), matrix.indices())
    assert torch.equal(again.values(), matrix.values())
    row = torch.repeat_interleave(torch.arange(vertices), rows[:, 2] - rows[:, 1])
    if vertices > 8192:
        assert ((row - col).abs() == 1).all()
    else:
        assert torch.equal(rows[:, 0], torch.arange(vertices, dtype=torch.int32))
    farthest = torch.zeros(vertices, dtype=torch.int64).scatter_reduce(0, row, col.long(), "amax")
    expected = torch.maximum(torch.cummax(farthest, 0).values, torch.arange(vertices)) + 1
    assert torch.equal(rows[:, 3].long(), expected)


@pytest.mark.parametrize("call", CALLS)
def test_gradient_of_the_laplacian_once_and_twice(call):
    pattern = ring(6, torch.float64, isolated=1)
    pairs = [tuple(sorted(entry)) for entry in entries(pattern)]
    undirected = sorted(set(pairs))
    edge = torch.tensor([undirected.index(pair) for pair in pairs])
    metric = torch.rand(len(undirected), dtype=torch.float64, requires_grad=True)  # L stays symmetric as it varies
    x = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)

    def f(metric, x, weight):
        return call(x, weight, pattern._replace(values=metric[edge] / 4))

    assert torch.autograd.gradcheck(f, (metric, x, weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(f, (metric, x, weight), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_gradient_of_the_laplacian_agrees_with_the_reference(dtype, assert_close):
    laplacian = ring(9000, dtype)  # several blocks of rows
    x, dy = torch.randn(3, 9000, 5, dtype=dtype), torch.randn(3, 9000, 7, dtype=dtype)
    weight = torch.randn(4, 5, 7, dtype=dtype) / 5
    gradients = []
    for function in (ops.chebyshev, reference.chebyshev):
        values = laplacian.values.clone().requires_grad_()
        gradients += torch.autograd.grad(function(x, weight, laplacian._replace(values=values)), values, dy)
    assert_close(gradients[0], gradients[1], factor=4)


@pytest.mark.parametrize("overload", ["default", "pattern"])
def test_registrations(overload):
    forward, backward = (
        getattr(getattr(torch.ops.cheblienet, name), overload) for name in ("chebyshev", "chebyshev_backward")
    )
    rows, col, values, _ = ring(6, torch.float64)
    laplacian = ([rows, col], values) if overload == "pattern" else (rows, col, values)
    x = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 3, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(forward, (x, weight, *laplacian, bias))
    torch.library.opcheck(forward, (x, weight, *laplacian, None))
    dy = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    for needs in [(True, True, True, False), (False, True, False, False), (True, False, False, True)]:
        torch.library.opcheck(backward, (dy, x, weight, *laplacian, *needs))


@pytest.mark.parametrize("with_bias", [True, False])
def test_every_call_gives_the_same_bits(with_bias):
    """In eager mode, through the operators, and compiled: results, gradients, and gradients of gradients."""
    pattern = ring(12)
    compiled = torch.compile(ops.chebyshev, fullgraph=True, backend="aot_eager")
    wanted = []
    for call in (*CALLS, compiled):
        torch.manual_seed(1)
        x, weight, values = torch.randn(3, 12, 4), torch.randn(3, 4, 8), pattern.values.clone()
        inputs = [t.requires_grad_() for t in (x, weight, values, *([torch.randn(8)] if with_bias else []))]
        y = call(x, weight, pattern._replace(values=values), inputs[3] if with_bias else None)
        twice = call is not compiled  # the compiler differentiates once
        gradients = torch.autograd.grad(y, inputs, torch.randn(3, 12, 8).requires_grad_(), create_graph=twice)
        results = [y, *gradients]
        if twice:
            results += torch.autograd.grad(sum(g.square().sum() for g in gradients), inputs[:3])
        wanted = wanted or results
        assert all(torch.equal(result, right) for result, right in zip(results, wanted, strict=twice))


def test_only_the_input_is_saved():
    x = torch.randn(2, 50, 4, requires_grad=True)
    weight = torch.randn(6, 4, 8, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        ops.chebyshev(x, weight, ring(50))
    assert sum(t.numel() for t in saved if t.ndim == 3) == x.numel() + weight.numel()


def test_non_contiguous_input_gives_the_same_bits():
    laplacian, x, weight = ring(12), torch.randn(2, 4, 12).transpose(1, 2), torch.randn(3, 8, 4).transpose(1, 2)
    assert torch.equal(
        ops.chebyshev(x, weight, laplacian), ops.chebyshev(x.contiguous(), weight.contiguous(), laplacian)
    )
    bias = torch.randn(16)[::2]
    spread = ops.Csr(*(torch.stack([t, torch.zeros_like(t)], -1)[..., 0] for t in laplacian[:3]))
    assert torch.equal(ops.chebyshev(x, weight, spread, bias), ops.chebyshev(x, weight, laplacian, bias.contiguous()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_stays_so(dtype, value):
    laplacian = ring(12, values_dtype(dtype))
    x, weight = torch.ones(1, 12, 40, dtype=dtype), torch.ones(1, 40, 36, dtype=dtype)
    x[0, 3, 7] = value
    y = ops.chebyshev(x, weight, laplacian)
    expected = torch.full_like(y, 40)
    expected[0, 3] = value
    torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)


def test_nan_of_any_bits_stays_nan():
    laplacian = ring(12)
    laplacian = laplacian._replace(values=torch.full(laplacian.values.shape, -1, dtype=torch.int32).view(torch.float32))
    x, weight = torch.ones(1, 12, 36, dtype=torch.bfloat16), torch.ones(2, 36, 40, dtype=torch.bfloat16)
    assert ops.chebyshev(x, weight, laplacian).isnan().all()


def test_bfloat16_is_rounded_to_nearest():
    a = 1 - 0.3 * 2**-8  # next to it are 1 - 2**-8 and 1
    laplacian = ops.csr(torch.tensor([[0, a], [a, 0]]).to_sparse_csr())
    x, weight = torch.ones(1, 2, 36, dtype=torch.bfloat16), torch.zeros(2, 36, 40, dtype=torch.bfloat16)
    weight[1] = 1
    inputs = [x.requires_grad_(), weight.requires_grad_()]
    y = ops.chebyshev(x, weight, laplacian)
    dx, dweight = torch.autograd.grad(y, inputs, torch.ones_like(y))
    assert (y == 36).all()
    assert (dx == 40).all()
    assert (dweight == 2).all()


def test_isolated_vertices_take_part_by_themselves_only():
    laplacian = ring(10, isolated=2)
    x, weight = torch.randn(1, 10, 3), torch.randn(3, 3, 5)
    expected = x[:, 8:] @ (weight[0] - weight[2])  # T_2(0) = -1
    torch.testing.assert_close(ops.chebyshev(x, weight, laplacian)[:, 8:], expected)


def test_the_number_of_threads_does_not_change_the_forward():
    laplacian, x, weight = ring(200), torch.randn(3, 200, 24), torch.randn(4, 24, 40)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(ops.chebyshev(x, weight, laplacian))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(dtype, call):
    laplacian, x, weight, bias = ring(12), torch.randn(2, 12, 4), torch.randn(3, 4, 8), torch.randn(8)
    x.requires_grad_()
    with torch.autocast("cpu", dtype):
        y = call(x, weight, laplacian, bias)
    assert y.dtype == dtype
    assert torch.equal(y, ops.chebyshev(x.to(dtype), weight.to(dtype), laplacian, bias.to(dtype)))
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32
    double = ring(12, torch.float64)
    with torch.autocast("cpu", dtype):
        assert call(x.double(), weight, double, bias).dtype == torch.float64


@pytest.mark.filterwarnings("ignore")  # the one is slow, the other deprecated
def test_vectorised_and_traced_calls_need_no_list_of_tensors():
    laplacian, x, weight = ring(12), torch.randn(3, 2, 12, 4), torch.randn(3, 4, 8)

    def f(x):
        return ops.chebyshev(x, weight, laplacian)

    expected = torch.stack([f(sample) for sample in x])
    assert torch.equal(torch.func.vmap(f)(x), expected)
    assert torch.equal(torch.jit.trace(f, (x[0],))(x[1]), expected[1])


def test_compiles_without_a_break():
    laplacian, x, weight = ring(12), torch.randn(2, 12, 4, requires_grad=True), torch.randn(3, 4, 8)
    compiled = torch.compile(ops.chebyshev, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weight, laplacian), ops.chebyshev(x, weight, laplacian))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_shapes_strides_and_dtypes_on_a_gpu_that_is_not_there(dtype):
    real = ring(12, values_dtype(dtype))
    with FakeTensorMode():
        laplacian = ops.Csr(*(torch.empty(t.shape, dtype=t.dtype, device="cuda") for t in real[:3]))
        x = torch.empty(2, 4, 12, dtype=dtype, device="cuda").transpose(1, 2)
        weight, bias = torch.empty(3, 4, 8, dtype=dtype, device="cuda"), torch.empty(8, dtype=dtype, device="cuda")
        y = ops.chebyshev(x, weight, laplacian, bias)
        x = x.contiguous()
        gradients = torch.ops.cheblienet.chebyshev_backward(y, x, weight, *laplacian[:3], True, True, True, True)
    for got, like in zip((y, *gradients), (None, x, weight, bias, laplacian.values), strict=True):
        assert got.device.type == "cuda"
        assert got.shape == ((2, 12, 8) if like is None else like.shape)
        assert got.dtype == (dtype if like is None else like.dtype)
        assert got.is_contiguous()


@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_every_instruction_set_gives_the_same_result(level):
    script = (
        "import torch, cheblienet\n"
        "from cheblienet import ops\n"
        f"assert cheblienet.build_info()['simd'] in ('baseline', {level!r})\n"
        "torch.manual_seed(0)\n"
        "m = torch.rand(30, 30); m = (m + m.T) / 60; L = ops.csr(m.to_sparse_csr())\n"
        "for cin, cout in ((47, 63), (63, 21)):\n"
        "    for dtype in (torch.float32, torch.float64):\n"
        "        x = torch.randn(2, 30, cin, dtype=dtype); w = torch.randn(3, cin, cout, dtype=dtype)\n"
        "        l = L._replace(values=L.values.to(dtype))\n"
        "        y, expected = ops.chebyshev(x, w, l), ops.reference.chebyshev(x, w, l)\n"
        "        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "CHEBLIENET_SIMD": level})


def test_says_what_is_wrong():
    laplacian, x, weight = ring(12), torch.randn(2, 12, 4), torch.randn(3, 4, 8)
    with pytest.raises(ValueError, match=r"x: expected shape \(B, V, Cin\), got \(12, 4\)"):
        ops.chebyshev(x[0], weight, laplacian)
    with pytest.raises(ValueError, match=r"weight: expected Cin = 4 as in x, got shape \(3, 5, 8\)"):
        ops.chebyshev(x, torch.randn(3, 5, 8), laplacian)
    with pytest.raises(ValueError, match=r"weight: expected R, Cin, Cout of at least 1"):
        ops.chebyshev(x, weight[:0], laplacian)
    with pytest.raises(ValueError, match=r"laplacian: expected V = 11 vertices as in x \(2, 11, 4\), got 12"):
        ops.chebyshev(x[:, 1:], weight, laplacian)
    with pytest.raises(ValueError, match=r"bias: expected shape \(8,\), got \(4,\)"):
        ops.chebyshev(x, weight, laplacian, torch.zeros(4))
    with pytest.raises(TypeError, match=r"x: expected float64, float32, bfloat16 or float16, got torch.int64"):
        ops.chebyshev(x.long(), weight, laplacian)
    with pytest.raises(TypeError, match=r"weight: expected torch.float32 as in x, got torch.float64"):
        ops.chebyshev(x, weight.double(), laplacian)
    with pytest.raises(TypeError, match=r"laplacian: expected torch.float64 values for a torch.float64 signal"):
        ops.chebyshev(x.double(), weight.double(), laplacian)
    with pytest.raises(ValueError, match=r"weight: expected a tensor on cpu, got one on meta"):
        ops.chebyshev(x, weight.to("meta"), laplacian)
    with pytest.raises(TypeError, match=r"x: expected a tensor \(B, V, Cin\), got list"):
        ops.chebyshev([1.0], weight, laplacian)
    with pytest.raises(ValueError, match=r"laplacian: expected E columns and values, got \(72,\) and \(71,\)"):
        ops.chebyshev(x, weight, laplacian._replace(values=laplacian.values[1:]))
    with pytest.raises(TypeError, match=r"laplacian: expected int32 indices, got torch.int32 and torch.int64"):
        ops.chebyshev(x, weight, laplacian._replace(col=laplacian.col.long()))
    with pytest.raises(ValueError, match=r"laplacian: expected a tensor on cpu, got one on meta"):
        ops.chebyshev(x, weight, laplacian._replace(rows=laplacian.rows.to("meta")))
    with pytest.raises(ValueError, match=r"laplacian: expected a tensor on cpu, got one on meta"):
        ops.chebyshev(x, weight, laplacian._replace(tables=(laplacian.col.to("meta"),)))
    with pytest.raises(TypeError, match=r"laplacian: expected int32 tables, got torch.int64"):
        ops.chebyshev(x, weight, laplacian._replace(tables=(laplacian.col.long(),)))
    with pytest.raises(
        ValueError, match=r"laplacian: expected tables .* its E = 72 entries and of tiles, got \[\(71,\)\]"
    ):
        ops.chebyshev(x, weight, laplacian._replace(tables=(laplacian.col[1:],)))
    vertex, slots, halo = laplacian.col, torch.zeros(2, 9, 8, dtype=torch.int32), torch.zeros(2, 16, dtype=torch.int32)
    for tables in [
        (slots[:1], halo[:1]),
        (slots, halo[:1]),
        (slots[0], halo),
        (slots, halo[0]),
        (slots[:, :, :4], halo),
    ]:
        with pytest.raises(ValueError, match=r"laplacian: expected tables .* of T = ceil\(12 / R\) tiles, got \("):
            ops.chebyshev(x, weight, laplacian._replace(tables=(vertex, *tables)))
    with pytest.raises(ValueError, match=r"laplacian: expected tables .*, got \[\(72,\), \(2, 9, 8\)\]"):
        ops.chebyshev(x, weight, laplacian._replace(tables=(vertex, slots)))
    ops.chebyshev(x, weight, laplacian._replace(tables=(vertex, slots, halo)))
    with pytest.raises(ValueError, match=r"csr: expected a square torch.sparse_csr matrix"):
        ops.csr(torch.eye(3))
