"""Types of the programs' flags. What is out of range is refused before any work, with the name of the flag."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from .._checks import check_folder


def integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """The type of integers in [minimum, maximum]."""
    expected = f"an integer at least {minimum}" if maximum is None else f"an integer between {minimum} and {maximum}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _refusal(expected, text) from None
        if value < minimum or (maximum is not None and value > maximum):
            raise _refusal(expected, text)
        return value

    return parse


def positive(text: str) -> float:
    """A finite number above zero."""
    return _number(text, "a positive finite number", lambda value: value > 0)


def not_negative(text: str) -> float:
    """A finite number, 0 or above."""
    return _number(text, "a finite number of at least 0", lambda value: value >= 0)


def share(text: str) -> float:
    """A number above 0, up to 1."""
    return _number(text, "a number above 0, up to 1", lambda value: 0 < value <= 1)


def part(text: str) -> float:
    """A number above 0 and below 1."""
    return _number(text, "a number above 0 and below 1", lambda value: 0 < value < 1)


def folder(text: str) -> Path:
    """A folder, or a name for a new one."""
    try:
        return check_folder("folder", Path(text))
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _number(text: str, expected: str, fits: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _refusal(expected, text) from None
    if not (math.isfinite(value) and fits(value)):
        raise _refusal(expected, text)
    return value


def _refusal(expected: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"expected {expected}, got {text[:40]!r}")
