"""Time and memory of steps that run in turn, in one process."""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from cheblienet import ops

Step = Callable[[], object]


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def timed(step: Step, device: str = "cpu") -> float:
    """Seconds of one call."""
    synchronize(device)
    start = time.perf_counter()
    step()
    synchronize(device)
    return time.perf_counter() - start


def interleaved(steps: dict[str, Step], budget: float, device: str = "cpu") -> dict[str, list[float]]:
    """Seconds per call of all steps, which take turns until `budget` seconds are spent, at least three turns each.

    A machine that slows down for a while slows all of them, so ratios hold where single times do not. A turn is a call
    that is not timed, for caches and allocator to forget the step before, and then the median of calls for 0.1 s.
    """
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    start, rounds = time.perf_counter(), 0
    while rounds < 3 or (time.perf_counter() - start < budget and rounds < 200):
        for name, step in steps.items():
            step()
            turn, end = [timed(step, device)], time.perf_counter() + 0.1
            while time.perf_counter() < end and len(turn) < 100:
                turn.append(timed(step, device))
            times[name].append(statistics.median(turn))
        rounds += 1
    return times


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """The median of the ratios round by round."""
    return statistics.median(s / f for s, f in zip(slow, fast, strict=True))


def peak_extra_memory(step: Step, device: str = "cpu") -> float:
    """Bytes that a call holds at its peak beyond what is held before it: the median of three calls.

    On the CPU a call fills the gaps that others left in the heap, which are not the same every time.
    """
    step()
    gc.collect()
    peak = _peak_on_gpu if device == "cuda" else peak_of_process
    return statistics.median(peak(step) for _ in range(3))


def _peak_on_gpu(step: Step) -> float:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def peak_of_process(step: Step) -> float:
    """Bytes that one call on the CPU holds at its peak beyond what the process holds before it."""
    ops.empty_cache()
    with suppress(OSError, AttributeError):  # hands freed pages back, so that the call has to ask for them again
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    except OSError:
        return float("nan")
    before = _status("VmRSS")
    step()
    return max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def read_bandwidth(device: str = "cpu", bytes_per_thread: int = 256 * 1024) -> float:
    """Bytes per second that all threads together read from the second-level cache."""
    if device == "cuda":  # copies of a fourth of it, so that both sides stay there
        size = torch.cuda.get_device_properties("cuda").L2_cache_size // 4
        a, b = (torch.zeros(size // 4, device=device) for _ in range(2))
        return 2 * size / (min(timed(lambda: [b.copy_(a) for _ in range(100)], device) for _ in range(10)) / 100)
    threads = torch.get_num_threads()
    a, b = (torch.ones(bytes_per_thread // 8) for _ in range(2))
    torch.set_num_threads(1)
    try:
        seconds = min(timed(lambda: [torch.dot(a, b) for _ in range(200)]) for _ in range(10)) / 200
    finally:
        torch.set_num_threads(threads)
    return threads * bytes_per_thread / seconds
