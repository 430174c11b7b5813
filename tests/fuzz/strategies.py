"""What calls are made of: tensors of any dtype, memory and content, and things that are no tensors."""

import math

import numpy as np
import torch
from hypothesis import strategies as st

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
OTHERS = (torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64)
CONTENTS = ("ordinary", "whole", "zero", "huge", "denormal", "mixed")
MEMORIES = ("whole", "gaps", "transposed", "offset", "expanded")
SIGMA = st.sampled_from([1.0, 0.1, 10.0, 1e-3, 1e3]) | st.floats(1e-6, 1e6)
# Numbers that are no sizes, no coefficients, or hardly any.
NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 7, 2**31, 2**63 - 1, 2**63, -(2**63), 0.0, -0.5, 0.5, 1e39, 1e-50, 1e308, 5e-324]
)
NUMBERS |= st.sampled_from([math.nan, math.inf, -math.inf, True, False, 1j])
OBJECTS = st.sampled_from([None, "three", "", [1, 2], [], (1, 2, 3), {}, [None] * 3, "max", b"x"]) | st.builds(object)


class Arguments(dict):
    """Of one call, by name. `judge` shows them; hypothesis would print each number, and twice."""

    def __repr__(self):
        return f"Arguments({', '.join(self)})"


def generator(seed):
    return torch.Generator().manual_seed(seed)


def numbers(shape, dtype, content, seed):
    """Floating-point numbers of some content; "nonfinite" has a few that are not finite among ordinary ones."""
    g, info = generator(seed), torch.finfo(dtype)
    values = torch.randn(shape, generator=g, dtype=torch.float64)
    if content == "whole":
        values = values.mul(2).round()
    elif content == "zero":
        values = torch.zeros_like(values)
    elif content == "huge":
        values = values * (info.max / 1e3)
    elif content == "denormal":
        values = values * (info.smallest_normal / 4)
    elif content == "mixed":
        scale = torch.tensor([1.0, info.max / 1e4, info.smallest_normal, 1e-3, -0.0, 1e3], dtype=torch.float64)
        values = values * scale[torch.randint(6, values.shape, generator=g)]
    elif content == "nonfinite" and values.numel():
        place = torch.randint(values.numel(), (3,), generator=g)
        values.view(-1)[place] = torch.tensor([math.nan, math.inf, -math.inf], dtype=torch.float64)
    return values.clamp(info.min, info.max).to(dtype) if content != "nonfinite" else values.to(dtype)


def placed(t, memory):
    """The same tensor elsewhere in memory."""
    if memory == "gaps" and t.ndim:
        wide = t.new_zeros([2 * n + 1 for n in t.shape])
        return wide[tuple(slice(1, 2 * n + 1, 2) for n in t.shape)].copy_(t)
    if memory == "transposed" and t.ndim > 1:
        return t.movedim(-1, 0).contiguous().movedim(0, -1)
    if memory == "offset":
        return t.new_zeros(t.numel() + 3)[3:].view(t.shape).copy_(t)
    if memory == "expanded" and t.ndim and t.shape[0]:
        return t[:1].clone().expand_as(t)
    return t


@st.composite
def tensors(draw, shape, dtype, contents=CONTENTS, memories=MEMORIES, grad=True):
    made = numbers(shape, dtype, draw(st.sampled_from(contents)), draw(st.integers(0, 2**32)))
    made = placed(made, draw(st.sampled_from(memories)))
    return made.requires_grad_() if grad and draw(st.booleans()) else made


@st.composite
def matrices(draw, vertices, dtype, scale=1.0):
    """Symmetric sparse CSR matrices whose rows sum to at most `scale`, so that eigenvalues are in [-scale, scale]."""
    g = generator(draw(st.integers(0, 2**32)))
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    present = torch.rand(vertices, vertices, generator=g) < density
    dense = torch.randn(vertices, vertices, generator=g, dtype=torch.float64) * (present | present.T)
    dense = (dense + dense.T) / 2
    most = float(dense.abs().sum(1).max()) if vertices else 1.0
    return (dense * (scale / max(most, 1e-3))).to(dtype).to_sparse_csr()


@st.composite
def junk(draw):
    """What no argument should be."""
    kind = draw(st.sampled_from(["object", "number", "tensor", "array"]))
    if kind == "object":
        return draw(OBJECTS)
    if kind == "number":
        return draw(NUMBERS)
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 7]), max_size=4))
    if kind == "array":
        return np.zeros(shape)
    made = torch.zeros(shape, dtype=draw(st.sampled_from(FLOATS + OTHERS)))
    layout = draw(st.sampled_from(["strided", "strided", "coo", "csr", "meta"]))
    if layout == "coo":
        return made.to_sparse_coo()
    if layout == "csr" and made.ndim == 2:
        return made.to_sparse_csr()
    return made.to("meta") if layout == "meta" else made


@st.composite
def spoilt(draw, value):
    """Something in the place of a value: its like with another type, shape, content or device, or junk."""
    if not isinstance(value, torch.Tensor) or draw(st.integers(0, 4)) == 0:
        return draw(junk())
    value = value.detach()
    how = draw(st.sampled_from(["dtype", "cut", "rank", "device", "layout", "content", "empty", "memory"]))
    if how == "dtype":
        return value.to(draw(st.sampled_from(FLOATS + OTHERS)))
    if how == "cut" and value.ndim:
        axis = draw(st.integers(0, value.ndim - 1))
        return value.narrow(axis, 0, max(value.shape[axis] - draw(st.integers(1, 2)), 0))
    if how == "empty" and value.ndim:
        return value.narrow(draw(st.integers(0, value.ndim - 1)), 0, 0)
    if how == "rank":
        return value[None] if draw(st.booleans()) or not value.ndim else value.sum(0).to(value.dtype)
    if how == "device":
        return value.to("meta")
    if how == "layout":
        return value.to_sparse_coo() if value.device.type == "cpu" else value
    if how == "memory":
        return placed(value, draw(st.sampled_from(MEMORIES)))
    return draw(changed(value))


@st.composite
def changed(draw, value):
    """The tensor with one number changed, often to one out of range."""
    value = value.detach().clone(memory_format=torch.contiguous_format)
    if not value.numel():
        return value
    place = draw(st.integers(0, value.numel() - 1))
    if value.is_floating_point():
        number = draw(st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 1e30, 1e-30, 1e300]))
        number = torch.tensor(number, dtype=torch.float64).to(value.dtype)
    elif value.dtype == torch.bool:
        number = draw(st.booleans())
    else:
        info = torch.iinfo(value.dtype)
        number = draw(st.sampled_from([-1, -2, 0, 1, value.numel(), 7, info.max, info.min, info.max - 1]))
        number = min(max(number, info.min), info.max)
    value.reshape(-1)[place] = number
    return value
