"""Operators that are called by themselves, as exported programs do: any memory is read right, and what does not fit is
refused by name, by the real kernels as by the fake ones."""

import pytest
import torch

from cheblienet import ops
from cheblienet.ops.csr import csr_from_rows

C = torch.ops.cheblienet


def laplacian(vertices=7):
    torch.manual_seed(0)
    present = torch.rand(vertices, vertices) < 0.5
    return ops.csr((present | present.T).float().to_sparse_csr())


def convolution():
    rows, col, values, _ = laplacian()
    x, weight, bias = torch.randn(2, 7, 5), torch.randn(3, 5, 4), torch.randn(4)
    return C.chebyshev.default, dict(x=x, weight=weight, rows=rows, col=col, values=values, bias=bias)


def convolution_backward():
    arguments = convolution()[1]
    del arguments["bias"]
    needs = dict(need_x=True, need_weight=True, need_bias=True, need_values=True)
    return C.chebyshev_backward.default, dict(grad=torch.randn(2, 7, 4), **arguments, **needs)


def pooling(reduction="max"):
    torch.manual_seed(0)
    members, rowptr, entry = ops.gather_index(torch.tensor([[0, 1], [2, -1], [6, 3]]), 7)
    choice = torch.tensor([1, 0, 0], dtype=torch.uint8)
    arguments = dict(index=members, rowptr=rowptr, entry=entry, choice=choice, reduction=reduction)
    return C.gather_reduce.default, dict(x=torch.randn(2, 7, 5), **arguments)


def random_pooling():
    return pooling("rand")


def pooling_backward(reduction="max"):
    arguments = pooling(reduction)[1]
    winner = torch.randint(2, (2, 3, 5), dtype=torch.uint8) if reduction == "max" else arguments["choice"]
    parts = {name: arguments[name] for name in ("index", "rowptr", "entry", "reduction")}
    return C.gather_reduce_backward.default, dict(grad=torch.randn(2, 3, 5), winner=winner, **parts)


def normalisation():
    torch.manual_seed(0)
    x, residual = torch.randn(2, 2, 7, 5).unbind(0)
    weight, bias, mean, var = torch.rand(4, 5).unbind(0)
    arguments = dict(weight=weight, bias=bias, mean=mean, var=var, eps=1e-5, relu=False)
    return C.batch_norm.default, dict(x=x, residual=residual, **arguments)


def normalisation_backward():
    arguments = normalisation()[1]
    del arguments["x"], arguments["residual"]
    grad, s = torch.randn(2, 2, 7, 5).unbind(0)
    return C.batch_norm_backward.default, dict(grad=grad, s=s, **arguments, batch_statistics=True)


def tracked():
    arguments = normalisation()[1]
    running = [arguments.pop("mean"), arguments.pop("var"), torch.tensor(0)]
    return C.batch_norm.tracked, dict(**arguments, running=running, momentum=0.1)


def search():
    torch.manual_seed(0)
    elements, sigmas = torch.rand(20, 3).double(), torch.tensor([1.0, 2.0, 3.0]).double()
    return C.nearest_neighbors.default, dict(elements=elements, sigmas=sigmas, k=4, group="se2", progress=None)


def mutual():
    _, arguments = search()
    index, sqdist = C.nearest_neighbors(*arguments.values())
    return C.mutual_neighbors.default, dict(index=index, sqdist=sqdist, limit=0.5, progress=None)


def order():
    matrix = torch.ones(3, 3).to_sparse_csr()
    rowptr, col = matrix.crow_indices().long(), matrix.col_indices().long()
    return C.order_rows.default, dict(rowptr=rowptr, col=col, order=torch.tensor([2, 0, 1]))


def tiles():
    rows, col, _, _ = laplacian()
    return C.tile_tables.default, dict(rows=rows, col=col, tile_rows=6, most_slots=2048)


CALLS = [convolution, convolution_backward, pooling, random_pooling, pooling_backward, normalisation]
CALLS += [normalisation_backward, search, mutual, order, tiles]


def with_gaps(t):
    wide = t.new_zeros([2 * n for n in t.shape])[tuple(slice(None, None, 2) for _ in t.shape)]
    return wide.copy_(t)


def at_an_odd_offset(t):
    return t.new_zeros(t.numel() + 1)[1:].view(t.shape).copy_(t)


def last_dimension_first(t):
    return t.movedim(-1, 0).contiguous().movedim(0, -1)


@pytest.mark.parametrize("memory", [with_gaps, at_an_odd_offset, last_dimension_first])
@pytest.mark.parametrize("call", CALLS)
def test_any_memory_is_read_right(call, memory):
    operator, arguments = call()
    expected = operator(**arguments)
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor):
            actual = operator(**{**arguments, name: memory(value)})
            torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def changed(t, value, place=0):
    t = t.clone()
    t.view(-1)[place] = value
    return t


CONTENTS = [
    (convolution, "col", lambda t: changed(t, 7), "col: expected rows from 0 to 6, got 7"),
    (convolution, "col", lambda t: changed(t, -1), "col: expected rows from 0 to 6, got -1"),
    (convolution, "rows", lambda t: changed(t, 7), "rows: expected vertices from 0 to 6"),
    (convolution, "rows", lambda t: changed(t, -1, 4 * 6), "rows: expected vertices from 0 to 6"),
    (convolution, "rows", lambda t: changed(t, 1), "rows: expected each vertex once, got 1 twice"),
    (convolution, "rows", lambda t: changed(t, -1, 1), "rows: .* entries one row after the other"),
    (convolution, "rows", lambda t: changed(t, 2**31 - 1, 4 * 6 + 2), "rows: .* entries one row after the other"),
    (convolution, "rows", lambda t: changed(t, 2**31 - 1, 4 * 3 + 2), "rows: .* entries one row after the other"),
    (convolution_backward, "col", lambda t: changed(t, 2**31 - 1), "col: expected rows from 0 to 6"),
    (pooling, "index", lambda t: changed(t, 7), "index: expected numbers from -1 to 6, got -1 to 7"),
    (pooling, "index", lambda t: changed(t, -2), "index: expected numbers from -1 to 6, got -2 to 6"),
    (pooling, "index", lambda t: changed(t, -1, 2), "index: expected a member for each output, got none for 1"),
    (random_pooling, "choice", lambda t: changed(t, 2), "choice: expected the slot of a member .* got 2 for 0"),
    (random_pooling, "choice", lambda t: changed(t, 1, 1), "choice: expected the slot of a member .* got 1 for 1"),
    (pooling_backward, "entry", lambda t: changed(t, 6), "entry: expected numbers from 0 to 5"),
    (pooling_backward, "entry", lambda t: changed(t, -1), "entry: expected numbers from 0 to 5"),
    (pooling_backward, "rowptr", lambda t: changed(t, 100, 3), "rowptr: expected ascending numbers from 0 to n = 5"),
    (pooling_backward, "rowptr", lambda t: changed(t, -5), "rowptr: expected ascending numbers from 0 to n = 5"),
    (pooling_backward, "winner", lambda t: changed(t, 9), "winner: expected numbers from 0 to 1"),
    (search, "elements", lambda t: changed(t, torch.nan), "elements: expected finite coordinates"),
    (search, "sigmas", lambda t: changed(t, 0.0), "sigmas: expected three positive finite numbers"),
    (mutual, "index", lambda t: changed(t, 20), "index: expected vertices below 20, or -1 for none"),
    (search, "elements", lambda t: changed(t, 1e101), "elements: expected finite coordinates up to 1e\\+100"),
    (search, "sigmas", lambda t: changed(t, 1e-101), "sigmas: expected three positive finite numbers from 1e-100"),
    (mutual, "index", lambda t: changed(t, 0), "index: expected neighbours other than the vertex, got 0 for itself"),
    (mutual, "index", lambda t: t[:, [0, 0, 1, 2]], "index: expected each neighbour of a vertex once, got one twice"),
    (mutual, "sqdist", lambda t: changed(t, -1.0), "sqdist: expected non-negative numbers, got -1"),
    (tiles, "col", lambda t: changed(t, 7), "col: expected rows from 0 to 6, got 7"),
    (tiles, "rows", lambda t: changed(t, 100, 2), "rows: .* entries one row after the other"),
]


@pytest.mark.parametrize(("call", "name", "change", "message"), CONTENTS)
def test_numbers_out_of_range_are_refused(call, name, change, message):
    operator, arguments = call()
    with pytest.raises(RuntimeError, match=message):
        operator(**{**arguments, name: change(arguments[name])})


TYPES = [
    (convolution, "x", lambda t: t[0], r"x: expected float32 \(any, any, any\), got .*float32 \(7, 5\)"),
    (convolution, "x", torch.Tensor.long, "chebyshev: x: expected a floating-point tensor, got"),
    (convolution, "x", lambda _: None, "x: expected a tensor, got None"),
    (convolution, "weight", lambda _: None, "weight: expected a tensor, got None"),
    (pooling, "index", lambda _: None, "index: expected a tensor, got None"),
    (normalisation, "weight", lambda _: None, "weight: expected a tensor, got None"),
    (normalisation_backward, "s", lambda t: t[None], r"s: expected float32 \(any, any, any\)"),
    (normalisation_backward, "mean", lambda _: None, "mean: expected a tensor, got None"),
    (search, "elements", lambda _: None, "elements: expected a tensor, got None"),
    (mutual, "index", lambda _: None, "index: expected a tensor, got None"),
    (convolution, "weight", lambda t: t[:, :4], r"weight: expected float32 \(any, 5, any\), got .* \(3, 4, 4\)"),
    (convolution, "weight", lambda t: t[:0], "weight: expected R, Cin, Cout of at least 1"),
    (convolution, "weight", torch.Tensor.double, "weight: expected float32 .*, got .*float64"),
    (convolution, "rows", torch.Tensor.long, r"rows: expected int32 \(7, 4\), got .*int64"),
    (convolution, "rows", lambda t: t[:6], r"rows: expected int32 \(7, 4\), got .* \(6, 4\)"),
    (convolution, "col", lambda t: t[:3], "col: expected int32"),
    (convolution, "values", lambda t: t[:3], r"col: expected int32 \(3\)"),
    (convolution, "values", torch.Tensor.half, "values: expected float32"),
    (convolution, "bias", lambda t: t[:3], r"bias: expected float32 \(4\), got .* \(3\)"),
    (convolution_backward, "grad", lambda t: t[:, :6], r"grad: expected float32 \(2, 7, 4\)"),
    (pooling, "x", lambda t: t[:, :6], r"x: expected float32 \(any, 7, any\), got .* \(2, 6, 5\)"),
    (pooling, "index", torch.Tensor.int, "index: expected int64"),
    (pooling, "reduction", lambda _: "mean", "expected a reduction of max, avg, rand, got mean"),
    (random_pooling, "choice", lambda _: None, "choice: expected the slot of each output for rand, got None"),
    (random_pooling, "choice", lambda t: t[:2], r"choice: expected uint8 \(3\), got .* \(2\)"),
    (pooling_backward, "winner", lambda t: t[:, :2], r"winner: expected uint8 \(2, 3, 5\)"),
    (pooling_backward, "grad", lambda t: t[:, :2], r"grad: expected float32 \(any, 3, any\)"),
    (normalisation, "residual", lambda t: t[:1], r"residual: expected float32 \(2, 7, 5\)"),
    (normalisation, "weight", lambda t: t[:4], r"(weight|bias|x): expected"),
    (normalisation, "bias", torch.Tensor.double, "bias: expected float32"),
    (normalisation, "var", lambda _: None, "mean, var: expected both or neither"),
    (normalisation, "mean", lambda _: None, "mean, var: expected both or neither"),
    (normalisation_backward, "grad", lambda t: t[:, :6], r"grad: expected float32 \(2, 7, 5\)"),
    (tracked, "running", lambda r: r[:2], "running: expected mean, variance and number of batches, got 2 tensors"),
    (tracked, "running", lambda r: [r[0][:4], *r[1:]], r"running mean: expected float32 \(5\)"),
    (tracked, "running", lambda r: [r[0], r[1].double(), r[2]], r"running variance: expected float32 \(5\)"),
    (tracked, "running", lambda r: [*r[:2], r[2].int()], r"number of batches: expected int64 \(\)"),
    (search, "elements", lambda t: t[:, :2], r"elements: expected float64 \(any, 3\), got .* \(20, 2\)"),
    (search, "sigmas", torch.Tensor.float, r"sigmas: expected float64 \(3\)"),
    (search, "sigmas", lambda t: t[:2], r"sigmas: expected float64 \(3\), got .* \(2\)"),
    (search, "k", lambda _: -1, "expected 1 <= k < V"),
    (search, "k", lambda _: 20, "expected 1 <= k < V"),
    (search, "group", lambda _: "se3", "group: expected one of r2, se2, s2, so3, got se3"),
    (mutual, "sqdist", lambda t: t[:, 1:], r"sqdist: expected float64 \(20, 4\)"),
    (order, "rowptr", lambda t: t[1:], r"rowptr: expected int64 \(4\), got .* \(3\)"),
    (tiles, "rows", lambda t: t[:, :3], r"rows: expected int32 \(any, 4\)"),
]


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("call", "name", "change", "message"), TYPES)
def test_what_does_not_fit_is_refused(call, name, change, message, device):
    operator, arguments = call()
    arguments[name] = change(arguments[name])

    def moved(value):
        return value.to(device) if isinstance(value, torch.Tensor) else value

    arguments = {k: list(map(moved, v)) if isinstance(v, list) else moved(v) for k, v in arguments.items()}
    with pytest.raises(RuntimeError, match=message):
        operator(**arguments)


@pytest.mark.parametrize("progress", [torch.zeros(1, dtype=torch.int64), torch.zeros(2), torch.zeros(4).long()[::2]])
@pytest.mark.parametrize("call", [search, mutual])
def test_progress_of_another_shape_is_refused(call, progress):
    operator, arguments = call()
    with pytest.raises(RuntimeError, match=r"progress: expected a contiguous int64 tensor \(2,\) on the CPU"):
        operator(**{**arguments, "progress": progress})


def test_running_statistics_with_gaps_are_refused():
    operator, arguments = tracked()
    arguments["running"][0] = with_gaps(arguments["running"][0])
    with pytest.raises(RuntimeError, match="running: expected tensors without gaps"):
        operator(**arguments)


def test_a_batch_of_one_value_has_no_variance():
    operator, arguments = tracked()
    for name in ("x", "residual"):
        arguments[name] = arguments[name][:1, :1]
    with pytest.raises(RuntimeError, match=r"x: expected more than one value per channel, got shape \(1, 1, 5\)"):
        operator(**arguments)


@pytest.mark.parametrize("tables", [0, 2, 4])
def test_a_pattern_has_whole_tables(tables):
    _, (x, weight, rows, col, values, bias) = convolution()[0], convolution()[1].values()
    for device in ("cpu", "meta"):
        pattern = [rows, col, col, col, col, col][:tables] if tables != 2 else [rows, col, col, col]
        with pytest.raises(RuntimeError, match="pattern: expected .*2, 3 or 5 tensors, got"):
            C.chebyshev.pattern(
                *(t.to(device) for t in (x, weight)),
                [t.to(device) for t in pattern],
                values.to(device),
                bias.to(device),
            )


def test_no_vertices_and_no_samples_give_empty_results():
    weight, bias, col = torch.randn(3, 5, 4), torch.randn(4), torch.zeros(0, dtype=torch.int32)
    for batch, vertices in ((2, 0), (0, 0)):
        rows, x = torch.zeros(vertices, 4, dtype=torch.int32), torch.randn(batch, vertices, 5)
        y = C.chebyshev(x, weight, rows, col, torch.zeros(0), bias)
        assert y.shape == (batch, vertices, 4)
        gradients = C.chebyshev_backward(y, x, weight, rows, col, torch.zeros(0), True, True, True, True)
        assert [g.abs().sum() for g in gradients] == [0, 0, 0, 0]


@pytest.mark.parametrize(("vertices", "jump"), [(9000, 5), (9000, 8990), (40000, 3000)])
@pytest.mark.parametrize("channels", [(3, 8), (8, 3)])
def test_any_pattern_is_convolved_right(vertices, jump, channels):
    """Of more vertices than are in cache at once, whose edges lead one way: i -> i - jump."""
    torch.manual_seed(0)
    i, j = torch.arange(vertices - 1), torch.arange(jump, vertices)
    edges = torch.cat([torch.stack([i, i + 1]), torch.stack([i + 1, i]), torch.stack([j, j - jump])], 1)
    matrix = torch.sparse_coo_tensor(edges, torch.rand(edges.shape[1]) / 3, (vertices, vertices)).to_sparse_csr()
    parts = matrix.crow_indices().long(), matrix.col_indices().long(), matrix.values()
    # As many samples as give every thread some, and one that all share.
    x, weight = torch.randn(torch.get_num_threads() + 1, vertices, channels[0]), torch.randn(4, *channels)
    for order in (None, torch.arange(vertices), torch.arange(vertices).flip(0)):
        rows, col, values, _ = oriented = csr_from_rows(*parts, order)
        actual = C.chebyshev(x, weight, rows, col, values, None)
        torch.testing.assert_close(actual, ops.reference.chebyshev(x, weight, oriented), rtol=1e-4, atol=1e-4)
    with pytest.raises(RuntimeError, match=f"col: expected rows from 0 to {vertices - 1}"):
        C.chebyshev(x, weight, rows, changed(col, vertices, -1), values, None)
