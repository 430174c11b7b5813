"""Judges calls with hostile input: the right answer, or a refusal that names an argument. All else is a fault."""

import faulthandler
import json
import os
import re
from collections import Counter
from pathlib import Path

import torch
from hypothesis import settings

QUICK, LONG = 10, 500
_HANG = 120.0  # seconds that no single case takes
_REFUSALS = (ValueError, TypeError, RuntimeError, NotImplementedError)

# Where the run of all parts reads how far this one came; none in the ordinary tests.
_FOLDER = os.environ.get("CHEBLIENET_FUZZ_FOLDER")
_COUNTS: Counter[str] = Counter()


def cases(share=1.0):
    """Decorates a property with a share of the profile's number of cases."""

    def scaled(test):
        number = max(round(share * settings().max_examples), 3)
        return settings(max_examples=number)(test)

    return scaled


def judge(call, arguments, right=None, *, valid=False, names=()):
    """The result of call(**arguments), which `right` has compared, or None where it was refused.

    `valid` input must not be refused. A refusal names an argument, or another of `names`.
    """
    _watch(call, arguments)
    try:
        result = call(**arguments)
    except _REFUSALS as refusal:
        error = refusal
    except Exception as fault:
        raise AssertionError(f"{fault!r}\n{describe(arguments)}") from fault
    else:
        error = None
    if error is not None:
        assert not valid, f"valid input is refused: {error!r}\n{describe(arguments)}"
        named = [name for name in (*arguments, *names) if re.search(rf"\b{name}\b", str(error))]
        assert named, f"names no argument: {error!r}\n{describe(arguments)}"
        _COUNTS["refused"] += 1
        return None
    if right is not None:
        try:
            right(result)
        except Exception as error:
            raise AssertionError(f"{error}\n{describe(arguments)}") from error
    _COUNTS["right"] += 1
    return result


def close(actual, expected, magnitude, units=16.0, dtype=None):
    """That results agree to some units of the last place of `magnitude`, a bound of the sum of absolute terms.

    What overflows in the type of the result or of its arithmetic may be anything; what is infinite or NaN in the
    definition must not be finite.
    """
    dtype = actual.dtype if dtype is None else dtype
    info = torch.finfo(dtype)
    wide = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if actual.device.type == "meta" or not actual.numel():
        return
    actual, expected, magnitude = actual.detach().double(), expected.detach().double(), magnitude.detach().double()
    magnitude = magnitude.expand_as(expected)
    in_range = magnitude < min(info.max, wide.max) / 4
    assert not (in_range & expected.isfinite() & ~actual.isfinite()).any(), f"not finite: {actual}, expected {expected}"
    assert not (~expected.isfinite() & actual.isfinite()).any(), f"finite: {actual}, expected {expected}"
    smallest = info.smallest_normal * info.eps
    allowed = units * (info.eps * magnitude + smallest)
    wrong = in_range & expected.isfinite() & ~((actual - expected).abs() <= allowed)
    assert not wrong.any(), f"{actual[wrong][:4]}, expected {expected[wrong][:4]} within {allowed[wrong][:4]}"


def describe(value):
    """A value in words; a small tensor with its numbers."""
    if isinstance(value, dict):
        return "\n".join(f"  {name} = {describe(part)}" for name, part in value.items())
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(describe, value))}]"
    if not isinstance(value, torch.Tensor):
        return repr(value)[:200]
    text = f"{value.dtype} {tuple(value.shape)} {value.layout} {value.device}".replace("torch.", "")
    if value.layout != torch.strided or value.is_nested:
        return f"<{text}>"
    text += f" stride {value.stride()} offset {value.storage_offset()}{' grad' * value.requires_grad}"
    numbers = value.detach().flatten().tolist() if value.device.type == "cpu" and value.numel() <= 48 else "..."
    return f"<{text} {numbers}>"


def _watch(call, arguments):
    if _FOLDER is None:
        return
    (Path(_FOLDER) / "last").write_text(f"{getattr(call, '__qualname__', call)}\n{describe(arguments)}\n")
    faulthandler.dump_traceback_later(_HANG, exit=True)


def report():
    if _FOLDER is not None:
        (Path(_FOLDER) / "counts").write_text(json.dumps(_COUNTS))
