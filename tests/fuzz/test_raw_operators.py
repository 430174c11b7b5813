"""The operators that exported programs call, with one argument of a right call in disorder."""

import strategies as some
import torch
from hypothesis import given
from hypothesis import strategies as st
from judge import cases, close, judge
from plain import magnitude

from cheblienet import groups, ops
from cheblienet.ops import reference
from cheblienet.ops.csr import csr_from_rows

C = torch.ops.cheblienet
SIZES = st.sampled_from([1, 2, 3, 5, 8, 17])
FLOATS = st.sampled_from(some.FLOATS)


@st.composite
def convolution(draw):
    dtype, vertices = draw(FLOATS), draw(st.integers(0, 20))
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    matrix = draw(some.matrices(vertices, sums))
    order = torch.randperm(vertices, generator=some.generator(draw(st.integers(0, 99))))
    parts = matrix.crow_indices().long(), matrix.col_indices().long(), matrix.values()
    rows, col, values, _ = csr_from_rows(*parts, order)
    batch, cin, cout = draw(st.integers(0, 3)), draw(SIZES), draw(SIZES)
    x = draw(some.tensors((batch, vertices, cin), dtype, grad=False))
    weight = draw(some.tensors((draw(st.integers(1, 4)), cin, cout), dtype, ("ordinary",), grad=False))
    return {"x": x, "weight": weight, "rows": rows, "col": col, "values": values}


@st.composite
def forward(draw):
    arguments = draw(convolution())
    cout, dtype = arguments["weight"].shape[2], arguments["x"].dtype
    arguments["bias"] = draw(st.none() | some.tensors((cout,), dtype, grad=False))
    return C.chebyshev.default, arguments


@st.composite
def backward(draw):
    arguments = draw(convolution())
    x, weight = arguments["x"], arguments["weight"]
    grad = draw(some.tensors((*x.shape[:2], weight.shape[2]), x.dtype, ("ordinary",), grad=False))
    needs = {f"need_{name}": draw(st.booleans()) for name in ("x", "weight", "bias", "values")}
    return C.chebyshev_backward.default, {"grad": grad, **arguments, **needs}


def with_pattern(call):
    """The overload that takes a list; of two tensors here, as on the CPU."""
    operator, arguments = call
    pattern = [arguments.pop("rows"), arguments.pop("col")]
    place = list(arguments).index("weight") + 1
    items = list(arguments.items())
    name = operator.name().split("::")[1].split(".")[0]
    return getattr(C, name).pattern, dict([*items[:place], ("pattern", pattern), *items[place:]])


@st.composite
def pooling(draw):
    vertices, outputs, members = draw(st.integers(1, 9)), draw(st.integers(0, 6)), draw(st.integers(1, 4))
    index = torch.randint(-1, vertices, (outputs, members), generator=some.generator(draw(st.integers(0, 999))))
    index[:, 0].clamp_(min=0)
    table = ops.gather_index(index, vertices)
    x = draw(some.tensors((draw(st.integers(0, 2)), vertices, draw(st.integers(0, 5))), draw(FLOATS), grad=False))
    choice = torch.zeros(outputs, dtype=torch.uint8)
    return x, {"index": table.members, "rowptr": table.rowptr, "entry": table.entry}, choice


@st.composite
def gather(draw):
    x, table, choice = draw(pooling())
    return C.gather_reduce.default, {
        "x": x, **table, "choice": choice, "reduction": draw(st.sampled_from(["max", "avg", "rand"])),
    }  # fmt: skip


@st.composite
def gather_backward(draw):
    x, table, choice = draw(pooling())
    reduction = draw(st.sampled_from(["max", "avg", "rand"]))
    y, winner = C.gather_reduce(x, *table.values(), choice, reduction)
    return C.gather_reduce_backward.default, {"grad": y, "winner": winner, **table, "reduction": reduction}


@st.composite
def normalisation(draw):
    dtype, channels = draw(FLOATS), draw(SIZES)
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    shape = draw(st.integers(1, 3)), draw(st.integers(2, 9)), channels
    x, residual = (draw(some.tensors(shape, dtype, ("ordinary",), grad=False)) for _ in range(2))
    vectors = [draw(some.tensors((channels,), sums, ("ordinary",), grad=False)).abs() for _ in range(4)]
    return (
        x,
        draw(st.sampled_from([None, residual])),
        dict(zip(("weight", "bias", "mean", "var"), vectors, strict=True)),
    )


@st.composite
def batch_norm(draw):
    x, residual, vectors = draw(normalisation())
    overload = draw(st.sampled_from(["default", "fixed", "tracked"]))
    arguments = {"x": x, "residual": residual, **vectors, "eps": 1e-5, "relu": draw(st.booleans())}
    if overload == "tracked":
        running = [arguments.pop("mean"), arguments.pop("var"), torch.tensor(2)]
        arguments = {"x": x, "residual": residual, "weight": vectors["weight"], "bias": vectors["bias"],
                     "running": running, "momentum": draw(st.sampled_from([None, 0.1])), "eps": 1e-5,
                     "relu": arguments["relu"]}  # fmt: skip
    return getattr(C.batch_norm, overload), arguments


@st.composite
def batch_norm_backward(draw):
    s, grad, vectors = draw(normalisation())
    grad = s.clone() if grad is None else grad
    flags = {"relu": draw(st.booleans()), "batch_statistics": draw(st.booleans())}
    return C.batch_norm_backward.default, {"grad": grad, "s": s, **vectors, "eps": 1e-5, **flags}


@st.composite
def search(draw):
    group = draw(st.sampled_from(list(groups.GROUPS.values())))
    vertices = draw(st.integers(2, 20))
    elements = groups.sample(group, "random", vertices, generator=some.generator(draw(st.integers(0, 99))))
    sigmas = torch.tensor([1.0, 1.0, draw(some.SIGMA)], dtype=torch.float64)
    k = draw(st.integers(1, vertices - 1))
    progress = draw(st.sampled_from([None, torch.zeros(2, dtype=torch.int64)]))
    return C.nearest_neighbors.default, {
        "elements": elements, "sigmas": sigmas, "k": k, "group": group.name, "progress": progress,
    }  # fmt: skip


@st.composite
def mutual(draw):
    _, arguments = draw(search())
    index, sqdist = C.nearest_neighbors(*arguments.values())
    return C.mutual_neighbors.default, {"index": index, "sqdist": sqdist, "limit": 0.5, "progress": None}


@st.composite
def order(draw):
    vertices = draw(st.integers(0, 9))
    matrix = draw(some.matrices(vertices, torch.float32))
    rowptr, col = matrix.crow_indices().long(), matrix.col_indices().long()
    return C.order_rows.default, {"rowptr": rowptr, "col": col, "order": torch.arange(vertices).flip(0)}


@st.composite
def tiles(draw):
    arguments = draw(convolution())
    return C.tile_tables.default, {
        "rows": arguments["rows"], "col": arguments["col"], "tile_rows": draw(st.sampled_from([1, 6, 96])),
        "most_slots": 2048,
    }  # fmt: skip


CALLS = [forward(), backward(), forward().map(with_pattern), backward().map(with_pattern), gather(), gather_backward()]
CALLS += [batch_norm(), batch_norm_backward(), search(), mutual(), order(), tiles()]


def right(operator, arguments, was):
    """What a call that went through has to fulfil."""

    def convolved(y):
        x, weight, rows, col, values, bias = arguments.values()
        if not weight.isfinite().all():  # a vertex without neighbours may not see those of higher orders
            return
        wide = [None if t is None else t.double() for t in (x, weight, bias)]
        laplacian = ops.Csr(rows, col, values.double())
        expected = reference.chebyshev(wide[0], wide[1], laplacian, wide[2])
        x, weight, bias = (None if t is None else t.abs() for t in wide)
        bound = magnitude(x, weight, ops.Csr(rows, col, laplacian.values.abs()), bias)
        close(y, expected, torch.where(expected.isfinite(), bound.clamp(min=1e-3), torch.inf), 256)

    def ordered(found):
        for actual, wanted in zip(found, reference.order_rows(*arguments.values()), strict=True):
            assert torch.equal(actual, wanted)

    def edges(found):
        index, sqdist, limit, _ = arguments.values()
        wanted = reference.mutual_neighbors(index, sqdist, float(limit))
        assert torch.equal(found[0], wanted[0])
        torch.testing.assert_close(found[1], wanted[1], rtol=1e-15, atol=0)

    def shells(found):
        elements, sigmas, k, name, _ = arguments.values()
        distances = groups.GROUPS[name].squared_distance(elements[:, None], elements, sigmas).fill_diagonal_(torch.inf)
        torch.testing.assert_close(
            found[1].sort(1).values, distances.sort(1).values[:, :k], rtol=1e-6, atol=1e-12 * float(sigmas.sum())
        )

    def as_on_meta(found):
        """Results have the types and shapes that the fake kernels say."""
        found = found if isinstance(found, tuple) else (found,)
        moved = {k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
        moved = {k: [t.to("meta") for t in v] if isinstance(v, list) else v for k, v in moved.items()}
        wanted = operator(**moved)
        for actual, fake in zip(found, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
            assert (actual.shape, actual.dtype) == (fake.shape, fake.dtype)

    # How many tiles there are depends on the numbers, and so do winners of another table.
    meta = any(isinstance(t, torch.Tensor) and t.device.type == "meta" for t in arguments.values())
    if meta or operator is C.tile_tables.default or was in ("progress", "winner"):
        return None
    named = {"chebyshev": convolved, "order_rows": ordered, "mutual_neighbors": edges, "nearest_neighbors": shells}
    return named.get(operator.name().split("::")[1], as_on_meta)


# The dispatcher refuses sparse tensors, and says of which kind.
KINDS = ("SparseCPU", "SparseMeta", "SparseCsrCPU", "SparseCsrMeta")
NAMES = (*KINDS, "rows", "col", "number of batches", "running mean", "running variance", "tables")


@st.composite
def in_disorder(draw, value):
    if isinstance(value, list) and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(some.spoilt(value[place])), *value[place + 1 :]]
    spoilt = draw(some.spoilt(value))
    # In the place of a number the framework reads tensors before the operator does, and fails in words of its own.
    return None if isinstance(spoilt, torch.Tensor) and not isinstance(value, torch.Tensor) else spoilt


@cases(3)
@given(st.sampled_from(CALLS).flatmap(lambda call: call), st.data())
def test_a_call_is_right_or_refused(call, data):
    operator, arguments = call
    judge(operator, some.Arguments(arguments), right(operator, arguments, None), valid=True)
    for name, value in arguments.items():
        changed = some.Arguments(arguments) | {name: data.draw(in_disorder(value))}
        judge(operator, changed, right(operator, changed, name), names=NAMES)
