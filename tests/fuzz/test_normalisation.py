"""`cheblienet.ops.batch_norm`, against its definition in float64."""

import strategies as some
import torch
from hypothesis import given
from hypothesis import strategies as st
from judge import cases, close, judge

from cheblienet import ops
from cheblienet.ops import reference

SIZES = st.sampled_from([1, 2, 3, 5, 8, 17, 33])
CONTENTS = (*some.CONTENTS, "nonfinite")


@st.composite
def normalisations(draw):
    dtype = draw(st.sampled_from(some.FLOATS))
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    batch, vertices, channels = draw(st.integers(1, 4)), draw(st.integers(2, 20)), draw(SIZES)
    second = draw(st.booleans())
    shape = (batch, channels, vertices) if second else (batch, vertices, channels)
    made = some.Arguments(
        {
            "x": draw(some.tensors(shape, dtype, CONTENTS)),
            "weight": draw(some.tensors((channels,), sums, ("ordinary", "zero"))),
            "bias": draw(some.tensors((channels,), sums, ("ordinary", "mixed"))),
            "mean": None,
            "var": None,
            "residual": draw(st.none() | some.tensors(shape, dtype, ("ordinary", "whole"))),
            "relu": draw(st.booleans()),
            "eps": draw(st.sampled_from([1e-5, 1e-3, 1.0])),
            "running": None,
            "momentum": draw(st.sampled_from([0.1, 0.0, 1.0, None])),
            "channels_second": second,
        }
    )
    statistics = draw(st.sampled_from(["batch", "given", "running"]))
    if statistics == "given":
        made["mean"] = draw(some.tensors((channels,), sums, ("ordinary", "zero"), grad=False))
        made["var"] = draw(some.tensors((channels,), sums, ("ordinary", "zero"), grad=False)).square()
    elif statistics == "running":
        of = draw(st.sampled_from([sums, torch.float64, torch.bfloat16]))
        made["running"] = torch.zeros(channels, dtype=of), torch.ones(channels, dtype=of), torch.tensor(3)
    return made


def right_normalisation(arguments):
    running = arguments.get("running")
    before = (
        [t.clone() for t in running] if isinstance(running, tuple) and isinstance(running[0], torch.Tensor) else None
    )

    def right(found):
        y, mean, var = found
        x, eps = arguments["x"], arguments["eps"]
        assert (y.dtype, y.shape) == (x.dtype, x.shape)
        if y.device.type == "meta" or not y.numel():
            return
        s = x if arguments["residual"] is None else x + arguments["residual"]
        s, y = (t.transpose(1, 2) if arguments["channels_second"] else t for t in (s.detach().double(), y))
        weight, bias = (arguments[name].detach().double() for name in ("weight", "bias"))
        if arguments["mean"] is None:
            wanted, spread = s.mean((0, 1)), s.var((0, 1), correction=0)
            squares = s.square().mean((0, 1))
            close(mean, wanted, s.abs().mean((0, 1)), 4)
            # Of numbers that are all alike, rounding is what is left of the variance.
            close(
                var, spread, spread + squares * torch.finfo(mean.dtype).eps ** 2 * 1e3 + 1e3 * 2.0**-104 * squares, 16
            )
            if before is not None:
                follow(arguments, before, mean, var, s.shape[0] * s.shape[1], squares)
        mean, var = mean.detach().double(), var.detach().double()
        expected, _, _ = reference.batch_norm(s, weight, bias, mean, var, relu=arguments["relu"], eps=eps)
        # What leaves the range on the way, in an order of operations that nobody promised, may be anything.
        finite = s.isfinite() & (mean + var + weight + bias).isfinite()
        expected = torch.where(finite & ~expected.isfinite(), y.detach().double(), expected)
        scale = weight.abs() / torch.sqrt(var + eps)
        bound = (s.abs() + mean.abs()) * scale + bias.abs()
        # What leaves the range of the arithmetic is in no range.
        bound = torch.where(torch.maximum(bound, s.square().amax((0, 1)) + var) < 1e38, bound, torch.inf)
        sums = torch.finfo(torch.float64 if x.dtype == torch.float64 else torch.float32).eps
        close(y, expected, expected.abs() + bound * sums / torch.finfo(x.dtype).eps + 0 * bound, 16)

    return right


def follow(arguments, before, mean, var, count, squares):
    step = 1 / (int(before[2]) + 1) if arguments["momentum"] is None else arguments["momentum"]
    assert int(arguments["running"][2]) == int(before[2]) + 1
    unbiased = var.double() * count / (count - 1)
    for after, was, towards in zip(arguments["running"], before, (mean.double(), unbiased), strict=False):
        close(
            after,
            was.double() * (1 - step) + towards * step,
            was.double().abs() + towards.abs(),
            4,
            max(was.dtype, mean.dtype, key=lambda t: torch.finfo(t).eps),
        )


@cases(1.5)
@given(normalisations(), st.data())
def test_a_normalisation_is_right_or_refused(arguments, data):
    spoilt = data.draw(st.sampled_from([None, None, *arguments]))
    if spoilt:
        arguments = some.Arguments({k: t.detach() if isinstance(t, torch.Tensor) else t for k, t in arguments.items()})
        if spoilt == "running" and arguments["running"] and data.draw(st.booleans()):
            place, parts = data.draw(st.integers(0, 2)), list(arguments["running"])
            parts[place] = data.draw(some.spoilt(parts[place]))
            arguments["running"] = tuple(parts)
        else:
            arguments[spoilt] = data.draw(some.spoilt(arguments[spoilt]))
    names = ("number of batches",)
    judge(ops.batch_norm, arguments, right_normalisation(arguments), valid=spoilt is None, names=names)


@cases(0.5)
@given(normalisations())
def test_gradients_of_a_normalisation_are_right(arguments):
    """In float64, of ordinary numbers, whose rounding is far below the tolerance."""
    for name, t in arguments.items():
        if isinstance(t, torch.Tensor):
            arguments[name] = some.numbers(t.shape, torch.float64, "ordinary", len(name)).requires_grad_(
                t.requires_grad
            )
    arguments["running"] = None
    if arguments["var"] is not None:
        arguments["var"] = arguments["var"].detach().abs() + 0.1
    asked = [t for t in arguments.values() if isinstance(t, torch.Tensor) and t.requires_grad]
    if not asked:
        return

    def right(found):
        names = ("weight", "bias", "mean", "var", "residual", "relu", "eps")
        x, residual = (
            t if t is None or not arguments["channels_second"] else t.transpose(1, 2)
            for t in (arguments["x"], arguments["residual"])
        )
        given_ = {**{name: arguments[name] for name in names}, "residual": residual}
        expected = reference.batch_norm(x, **given_)[0]
        expected = expected.transpose(1, 2) if arguments["channels_second"] else expected
        dy = some.numbers(expected.shape, torch.float64, "ordinary", 3)
        pairs = (torch.autograd.grad(y, asked, dy, materialize_grads=True) for y in (found[0], expected))
        for actual, wanted in zip(*pairs, strict=True):
            torch.testing.assert_close(actual, wanted, rtol=1e-8, atol=1e-7)

    judge(ops.batch_norm, arguments, right, valid=True)
