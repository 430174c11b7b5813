"""The Chebyshev operators in a simulator: the package's own C++ code, compiled for CPU tensors, decides what is launched,
and hands the launches to Python."""

import ctypes
import functools
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import cpp_extension

from .executor import Simulator

MANY_BYTES = 1 << 30


@dataclass(frozen=True)
class Device:
    """What the launcher believes to run on: bytes that a workspace may take, shared memory of a block, blocks that are
    resident at a time, and how steps run: "rows", "tiles" (a launch for each order) or "orders" (one for all)."""

    memory: int = MANY_BYTES
    shared: int = 227 << 10
    resident: int = 12
    steps: str = "orders"


class _Argument(ctypes.Structure):
    """Of a kernel: memory read (0) or written (1), or a value (2)."""

    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_int64), ("kind", ctypes.c_int32)]


_HOOK = ctypes.CFUNCTYPE(
    None,
    ctypes.c_char_p,
    *[ctypes.c_uint32] * 4,
    ctypes.c_int32,
    ctypes.POINTER(_Argument),
)


@functools.cache
def _library() -> ctypes.CDLL:
    target = Path(tempfile.mkdtemp()) / "chebyshev_probe.so"
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    includes = [
        argument for folder in cpp_extension.include_paths("cpu") for argument in ("-isystem", folder)
    ]  # system headers: their warnings are not ours
    flags = ["-O1", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    flags += ["-DTORCH_TARGET_VERSION=0x020b000000000000", "-DCHEBLIENET_POISON"]
    libraries = [f"-L{Path(torch.__path__[0]) / 'lib'}", "-ltorch_cpu", "-lc10"]
    source = Path(__file__).with_name("chebyshev_probe.cpp")
    subprocess.run([*compiler, *flags, *includes, str(source), "-o", str(target), *libraries], check=True)
    torch.ops.load_library(target)
    return ctypes.CDLL(str(target))


def _memory(data: int, size: int, kind: int) -> Any:
    if kind == 2:
        return ctypes.string_at(data, size)
    if not data:
        return None
    array = np.frombuffer((ctypes.c_uint8 * size).from_address(data), np.uint8)
    array.flags.writeable = kind == 1
    return array


def _call(sim: Simulator, operator: Callable[..., Any], device: Device, arguments: tuple[Any, ...]) -> Any:
    failure: list[Exception] = []  # an exception does not pass through the C++ code

    def launch(kernel: bytes, grid: int, block: int, shared: int, resident: int, count: int, given: Any) -> None:
        try:
            values = [_memory(a.data, a.bytes, a.kind) for a in given[:count]]
            sim.launch("chebyshev", kernel.decode(), (grid,), block, *values, shared=shared, resident=resident)
        except Exception as error:
            failure.append(error)

    hook = _HOOK(launch)
    sizes = (ctypes.c_int64(n) for n in (device.memory, device.shared, device.resident))
    _library().cheblienet_probe(hook, *sizes, device.steps.encode())
    result = operator(*arguments)
    if failure:
        raise failure[0]
    return result


def step_launches(vertices: int, samples: int, channels: int, pack: int) -> list[tuple[int, int, int]]:
    """First row, rows and blocks of the launches of one step."""
    out = (ctypes.c_int64 * 300)()
    function = _library().cheblienet_step_launches
    function.argtypes = [ctypes.c_int64, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p]
    function.restype = ctypes.c_int64
    return [tuple(out[3 * i : 3 * i + 3]) for i in range(function(vertices, samples, channels, pack, out))]


def fastest(times: list[list[float]]) -> str:
    """What is chosen among "rows", "tiles" and "orders" by the times of eight runs of each."""
    flat = [time for runs in times for time in runs]
    return ("rows", "tiles", "orders")[_library().cheblienet_fastest((ctypes.c_float * len(flat))(*flat))]


def chebyshev(
    sim: Simulator,
    x: Tensor,
    weight: Tensor,
    pattern: list[Tensor],
    values: Tensor,
    bias: Tensor | None,
    device: Device = Device(),
) -> Tensor:
    """The overload `chebyshev.pattern`."""
    _library()
    result: Tensor = _call(sim, torch.ops.cheblienet_probe.chebyshev, device, (x, weight, pattern, values, bias))
    return result


def chebyshev_backward(
    sim: Simulator,
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    pattern: list[Tensor],
    values: Tensor,
    *needs: bool,
    device: Device = Device(),
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The overload `chebyshev_backward.pattern`."""
    _library()
    arguments = grad, x, weight, pattern, values, *needs
    result: tuple[Tensor, Tensor, Tensor, Tensor] = _call(
        sim, torch.ops.cheblienet_probe.chebyshev_backward, device, arguments
    )
    return result
