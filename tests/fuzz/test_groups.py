"""The groups and their methods, against the same formulas in float64."""

import math

import strategies as some
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from judge import cases, judge

from cheblienet import groups
from cheblienet.meshes import icosphere

GROUPS = st.sampled_from(list(groups.GROUPS.values()))
FLOATS = st.sampled_from(some.FLOATS)
CONTENTS = ("ordinary", "whole", "zero", "denormal")
# Some digits of angles and of sums of three products are lost.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def elements(draw, group, dtype, contents=CONTENTS):
    return draw(some.tensors((*draw(SHAPES), len(group.coordinates)), dtype, contents))


def near(actual, expected, factor=1.0):
    assert actual.shape == expected.shape
    if actual.device.type == "meta":
        return
    actual, expected = actual.detach().double(), expected.detach().double()
    assert not actual.isnan().any(), f"NaN, expected {expected[actual.isnan()][:4]}"
    scale = 1 + float(expected.abs().max()) if expected.numel() else 1.0
    torch.testing.assert_close(actual, expected, rtol=0, atol=factor * scale)


@cases()
@given(GROUPS, FLOATS, st.data())
def test_matrices_and_elements_are_inverse_to_each_other(group, dtype, data):
    element = data.draw(elements(group, dtype))
    factor = TOLERANCE[dtype]
    matrix = judge(group.matrix, some.Arguments(element=element), valid=True)
    near(matrix, group.matrix(element.detach().double()), factor)
    inverse = judge(group.inverse, some.Arguments(matrix=matrix.detach()), valid=True)
    if group.name != "s2":
        unit = torch.eye(3, dtype=torch.float64).expand(matrix.shape)
        near(inverse.double() @ matrix.double(), unit, 10 * factor)
    back = judge(group.element, some.Arguments(matrix=matrix.detach()), valid=True)
    there = group.matrix(back.double())
    if group.name == "s2":  # an element is a point, which the last column holds
        there, matrix = there[..., 2], matrix[..., 2]
    near(there, matrix.double(), 10 * factor)


@cases()
@given(GROUPS, FLOATS, st.sampled_from(["matrix", "element", "inverse", "log"]), st.data())
def test_methods_take_anything_or_refuse_it(group, dtype, method, data):
    name = "element" if method == "matrix" else "matrix"
    given_ = data.draw(elements(group, dtype, (*CONTENTS, "huge", "mixed", "nonfinite")))
    given_ = given_ if method == "matrix" else group.matrix(given_.detach())
    spoilt = data.draw(some.spoilt(given_))

    def right(found):
        assert isinstance(found, torch.Tensor)
        assert found.dtype == spoilt.dtype
        assert found.shape[: spoilt.ndim - (1 if method == "matrix" else 2)] == spoilt.shape[: found.ndim - (
            2 if method in ("matrix", "inverse") else 1
        )]  # fmt: skip

    judge(getattr(group, method), some.Arguments({name: spoilt}), right)


@cases(1.5)
@given(GROUPS, FLOATS, st.data())
def test_squared_distances_are_right_or_refused(group, dtype, data):
    g = data.draw(elements(group, dtype))
    same = data.draw(st.booleans())
    h = g.detach().clone() if same else data.draw(some.tensors((len(group.coordinates),), dtype, CONTENTS))
    sigmas = tuple(data.draw(st.lists(some.SIGMA | st.floats(1e-320, 1e300), min_size=3, max_size=3)))
    arguments = some.Arguments(g=g, h=h, sigmas=sigmas)
    spoilt = data.draw(st.sampled_from([None, None, *arguments]))
    if spoilt:
        arguments = some.Arguments(g=g.detach(), h=h.detach(), sigmas=sigmas)
        arguments[spoilt] = data.draw(some.spoilt(arguments[spoilt]))
    # What the arithmetic of the elements holds, float32 for those of half precision.
    info = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
    valid = spoilt is None and all(info.tiny <= sigma <= info.max for sigma in sigmas)

    def right(found):
        if spoilt or found.device.type == "meta":
            return
        expected = group.squared_distance(g.detach().double(), h.detach().double(), sigmas)
        scale = max(sigmas) * (1 + max((float(t.detach().abs().max()) for t in (g, h) if t.numel()), default=0)) ** 2
        assert (found >= 0).all()
        if scale < torch.finfo(dtype).max / 100:
            assert found.isfinite().all()
            # Near an angle of pi its sign, and so what is nearer, is that of the rounding.
            torch.testing.assert_close(found.double(), expected, rtol=TOLERANCE[dtype], atol=scale * TOLERANCE[dtype])
        leaves = [t for t in (g, h) if t.requires_grad]
        if leaves and scale < min(1e6, torch.finfo(dtype).max / 100):
            gradients = torch.autograd.grad(found.sum(), leaves, allow_unused=True, materialize_grads=True)
            assert all(gradient.isfinite().all() for gradient in gradients)

    judge(group.squared_distance, arguments, right, valid=valid)


@cases()
@given(GROUPS, st.lists(st.integers(-1, 12) | some.NUMBERS | st.just("three"), max_size=4))
def test_samplings_are_right_or_refused(group, size):
    huge = [n for n in size if isinstance(n, int | float) and not abs(n) < 1e4]
    assume(not any(isinstance(n, int) for n in huge))  # so many elements fill the memory, as asked

    def right(found):
        assert found.dtype == torch.float64
        assert found.shape[1] == len(group.coordinates)
        assert found.isfinite().all()
        assert len(found) == math.prod(int(n) for n in size)

    names = ("size", "nx", "ny", "ntheta", "nalpha", "num_vertices")
    judge(lambda size: group.uniform_sampling(*size), some.Arguments(size=size), right, names=names)


@cases()
@given(GROUPS | some.junk(), st.sampled_from(groups.SAMPLINGS) | some.junk(), st.lists(st.integers(-1, 12), max_size=4))
def test_samples_are_right_or_refused(group, sampling, size):
    def right(found):
        assert found.dtype == torch.float64
        assert found.shape[1] == len(group.coordinates)
        assert found.isfinite().all()

    def call(group, sampling, size):
        return groups.sample(group, sampling, *size)

    names = ("num_elements", "nx", "ny", "ntheta", "nalpha", "num_vertices", "nside", "nlat", "nlon", "num_points")
    judge(call, some.Arguments(group=group, sampling=sampling, size=size), right, names=(*names, "random", "healpix"))


@cases(0.5)
@given(
    st.sampled_from(["icosphere_level", "icosphere", "pooling_index", "unpooling_index"]),
    st.integers(-2, 5) | some.junk(),
)
def test_icospheres_are_right_or_refused(function, number):
    assume(isinstance(number, bool) or not isinstance(number, int) or number < 6)
    name = "num_vertices" if function == "icosphere_level" else "level"
    judge(getattr(icosphere, function), some.Arguments({name: number}))
