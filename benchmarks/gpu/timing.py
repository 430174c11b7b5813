"""Times of calls on a device, and of the same calls captured in a CUDA graph."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cheblienet._files import replacing

Step = Callable[[], object]
PRECISIONS = ("float32", "tf32", "bfloat16")


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def milliseconds(step: Step, device: str, budget: float = 0.5) -> float:
    """Of one call: the median of rounds of as many calls as take 5 ms, until `budget` seconds are spent, at least three.

    The device is waited for once a round, so that calls follow one another as they do in training.
    """

    def round_of(calls: int) -> float:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(calls):
            step()
        synchronize(device)
        return (time.perf_counter() - start) / calls

    for _ in range(3):
        step()
    calls = max(1, min(200, int(5e-3 / max(round_of(1), 1e-6))))
    rounds, end = [round_of(calls) for _ in range(3)], time.perf_counter() + budget
    while time.perf_counter() < end:
        rounds.append(round_of(calls))
    return 1e3 * statistics.median(rounds)


def captured(step: Step, device: str) -> Step | None:
    """Replays `step` as one CUDA graph; None on the CPU, which has none."""
    if device != "cuda":
        return None
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


@contextmanager
def precision(name: str) -> Iterator[torch.dtype]:
    """The type of signals; products of float32 are rounded to TF32 within "tf32"."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        yield torch.bfloat16 if name == "bfloat16" else torch.float32
    finally:
        torch.set_float32_matmul_precision(before)


def said(error: Exception) -> str:
    """The first line of an error."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


class Rows:
    """Rows of a table, written to a file after each, so that a process that is ended leaves those it has."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows, self.failed = path, list[dict[str, Any]](), 0
        self.write()

    def add(self, facts: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
        """A row of `facts` and of what `measure` finds, or of its error."""
        try:
            row = {**facts, **measure()}
            self.failed += "error" in row
        except ModuleNotFoundError as error:
            row = {**facts, "error": f"left out: {error}"}
        except Exception as error:
            self.failed += 1
            row = {**facts, "error": said(error)}
        print(json.dumps({key: value for key, value in row.items() if not isinstance(value, list)}))
        self.rows.append(row)
        self.write()

    def close(self) -> None:
        """Ends the process with a status other than 0 if a row could not be measured."""
        if self.failed:
            raise SystemExit(f"{self.failed} of {len(self.rows)} rows could not be measured")

    def write(self) -> None:
        with replacing(self.path) as file:
            file.write(json.dumps(self.rows, indent=1).encode())


def eager_and_captured(step: Step, device: str, budget: float) -> dict[str, Any]:
    """Milliseconds of both; what cannot be captured keeps its first."""
    found: dict[str, Any] = {"eager_ms": milliseconds(step, device, budget), "captured_ms": None}
    try:
        replay = captured(step, device)
    except Exception as error:
        return {**found, "error": f"not captured: {said(error)}"}
    if replay:
        found["captured_ms"] = milliseconds(replay, device, budget)
    return found
