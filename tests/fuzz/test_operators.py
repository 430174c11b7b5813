"""The functions of cheblienet.ops, against their definitions in float64."""

import strategies as some
import torch
from hypothesis import given
from hypothesis import strategies as st
from judge import cases, close, judge
from plain import absolute, compare_gradients, in_float64, magnitude

from cheblienet import ops
from cheblienet.ops import reference

SIZES = st.sampled_from([1, 2, 3, 5, 8, 17, 33])
CONTENTS = (*some.CONTENTS, "nonfinite")


@st.composite
def convolutions(draw, contents=CONTENTS):
    dtype = draw(st.sampled_from(some.FLOATS))
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    vertices, cin, cout = draw(st.integers(1, 30)), draw(SIZES), draw(SIZES)
    laplacian = ops.csr(draw(some.matrices(vertices, sums)))
    if draw(st.booleans()):
        laplacian = laplacian._replace(values=laplacian.values.requires_grad_())
    return some.Arguments(
        {
            "x": draw(some.tensors((draw(st.integers(0, 3)), vertices, cin), dtype, contents)),
            "weight": draw(some.tensors((draw(st.integers(1, 5)), cin, cout), dtype)),
            "laplacian": laplacian,
            "bias": draw(st.none() | some.tensors((cout,), dtype)),
        }
    )


def right_convolution(arguments):
    def right(y):
        x = arguments["x"]
        assert y.dtype == x.dtype
        if y.device.type == "meta":
            assert y.shape == (*x.shape[:2], arguments["weight"].shape[2])
            return
        if not arguments["weight"].isfinite().all():  # a vertex without neighbours may not see those of higher orders
            return
        wide = {name: in_float64(t) for name, t in arguments.items()}
        bounds = absolute(wide)
        expected, bound = reference.chebyshev(**wide), magnitude(**bounds)
        lost = 0.0
        if x.dtype == torch.bfloat16 and min(wide["weight"].shape[1:]) >= 32 and x.numel():
            # The tiles of a processor (AMX) take denormal factors for zero.
            info, largest = torch.finfo(x.dtype), bounds["x"].detach().nan_to_num().amax()
            lost = (
                info.smallest_normal
                / info.eps
                * max(x.shape[0] * x.shape[1], *wide["weight"].shape[1:])
                * (1 + largest)
            )
        # Terms of one sum are added in any order, in the type of the arithmetic or with one rounding more of each.
        units = 64.0
        close(y, expected, bound + lost, units)
        if all(part.detach().isfinite().all() for part in (x, arguments["weight"])):
            compare_gradients(y, arguments, expected, wide, bound, bounds, units, lost)

    return right


@cases(1.5)
@given(convolutions())
def test_a_convolution_is_right(arguments):
    judge(ops.chebyshev, arguments, right_convolution(arguments), valid=True)


@cases(0.5)
@given(convolutions(some.CONTENTS))
def test_a_convolution_on_meta_has_the_shape(arguments):
    laplacian = ops.Csr(*(t.to("meta") for t in arguments["laplacian"][:3]))
    moved = {k: t.to("meta") if isinstance(t, torch.Tensor) else t for k, t in arguments.items()}
    moved["laplacian"] = laplacian
    judge(ops.chebyshev, moved, right_convolution(moved), valid=True)


@cases(1.5)
@given(convolutions(), st.data())
def test_a_convolution_of_anything_is_right_or_refused(arguments, data):
    arguments = some.Arguments({k: t.detach() if isinstance(t, torch.Tensor) else t for k, t in arguments.items()})
    name = data.draw(st.sampled_from(list(arguments)))
    if name == "laplacian" and data.draw(st.integers(0, 3)):
        part = data.draw(st.sampled_from(ops.Csr._fields))
        spoilt = data.draw(some.spoilt(getattr(arguments[name], part)))
        arguments[name] = arguments[name]._replace(**{part: spoilt})
    else:
        arguments[name] = data.draw(some.spoilt(arguments[name]))
    judge(ops.chebyshev, arguments, right_convolution(arguments), names=ops.Csr._fields)


@cases(1.5)
@given(st.data())
def test_a_csr_is_its_matrix_or_refused(data):
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32]))
    matrix = data.draw(some.matrices(data.draw(st.integers(0, 12)), dtype))
    how = data.draw(st.sampled_from(["as it is", "junk", "parts"]))
    if how == "junk":
        matrix = data.draw(some.spoilt(matrix.to_dense()))
    elif how == "parts":
        parts = [matrix.crow_indices(), matrix.col_indices(), matrix.values()]
        place = data.draw(st.integers(0, 2))
        parts[place] = data.draw(some.changed(parts[place]))
        matrix = torch.sparse_csr_tensor(*parts, matrix.shape, check_invariants=False)

    def right(found):
        rows, col, values, _ = found
        dense = torch.zeros(len(rows), len(rows), dtype=torch.float64)
        for vertex, first, last, _ in rows.tolist():
            dense[vertex, rows[:, 0].long()[col[first:last].long()]] = values[first:last].double()
        torch.testing.assert_close(dense, matrix.to_dense().double(), rtol=0, atol=0)

    judge(ops.csr, {"matrix": matrix}, right, valid=how == "as it is")


@st.composite
def tables(draw):
    vertices, outputs, members = draw(st.integers(1, 12)), draw(st.integers(0, 9)), draw(st.integers(1, 5))
    index = torch.randint(-1, vertices, (outputs, members), generator=some.generator(draw(st.integers(0, 999))))
    index[:, 0].clamp_(min=0)
    return some.placed(index, draw(st.sampled_from(some.MEMORIES))), vertices


@cases()
@given(tables(), st.data())
def test_a_gather_index_is_right_or_refused(table, data):
    arguments = {"index": table[0], "num_vertices": table[1]}
    spoilt = data.draw(st.sampled_from([None, *arguments]))
    if spoilt:
        arguments[spoilt] = data.draw(some.spoilt(arguments[spoilt]))

    def right(found):
        named = found.members.flatten()
        for v in range(arguments["num_vertices"]):
            entries = found.entry[found.rowptr[v] : found.rowptr[v + 1]]
            assert torch.equal(entries, (named == v).nonzero()[:, 0])
        assert torch.equal(found.members, arguments["index"])

    judge(ops.gather_index, arguments, right, valid=spoilt is None)


@st.composite
def poolings(draw):
    index, vertices = draw(tables())
    dtype = draw(st.sampled_from(some.FLOATS))
    return some.Arguments(
        {
            "x": draw(some.tensors((draw(st.integers(0, 3)), vertices, draw(st.integers(0, 9))), dtype, CONTENTS)),
            "pooling": ops.gather_index(index, vertices),
            "reduction": draw(st.sampled_from(["max", "avg", "rand"])),
        }
    )


def right_pooling(arguments):
    def right(y):
        x, (index, _, _), reduction = arguments.values()
        assert y.dtype == x.dtype
        assert y.shape == (len(x), len(index), x.shape[2])
        if y.device.type == "meta":
            return
        wide = x.detach().double().requires_grad_()
        if reduction == "rand":
            members = torch.where(index[None, :, :, None] >= 0, x.detach()[:, index.clamp(min=0)], torch.inf)
            same = ((members == y[:, :, None]) | (members.isnan() & y[:, :, None].isnan())).all(3).all(0)
            assert (same & (index >= 0)).any(1).all()
            return
        expected = reference.gather_reduce(wide, index, None, reduction)
        bound = reference.gather_reduce(wide.detach().abs(), index, None, reduction)
        close(y, expected, bound * (1 if reduction == "max" else index.shape[1]), 2 if reduction == "avg" else 0)
        if x.requires_grad and y.numel() and x.isfinite().all():
            dy = some.numbers(y.shape, y.dtype, "whole", 2)
            (actual,), (expected,) = (
                torch.autograd.grad(a, b, g) for a, b, g in ((y, x, dy), (expected, wide, dy.double()))
            )
            close(actual, expected, torch.full_like(expected, 8.0 * len(index)), 2)

    return right


@cases(1.5)
@given(poolings(), st.data())
def test_a_pooling_is_right_or_refused(arguments, data):
    spoilt = data.draw(st.sampled_from([None, *arguments]))
    if spoilt:
        arguments["x"] = arguments["x"].detach()
        part = data.draw(st.sampled_from([None, *ops.GatherIndex._fields]))
        if spoilt == "pooling" and part:
            changed = data.draw(some.spoilt(getattr(arguments["pooling"], part)))
            # The numbers of the transposed index are for the gradient, which reads them.
            arguments["pooling"] = arguments["pooling"]._replace(**{part: changed})
        else:
            arguments[spoilt] = data.draw(some.spoilt(arguments[spoilt]))
    # The operator calls the members its index.
    judge(ops.gather_reduce, arguments, right_pooling(arguments), valid=spoilt is None, names=("index",))
