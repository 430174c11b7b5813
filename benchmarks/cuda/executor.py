"""Who executes the CUDA operators: a GPU, or a simulator that runs their PTX on the CPU.

Both are called alike: `executor.NAME(...)` takes the arguments of `torch.ops.cheblienet.NAME` on the CPU, and so are its
results.
"""

import functools
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

CSRC = Path(__file__).resolve().parents[2] / "csrc"
C_TYPES = {torch.float64: "double", torch.float32: "float", torch.float16: "__half", torch.bfloat16: "__nv_bfloat16"}


class NoSimulatorError(RuntimeError):
    """CHEBLIENET_PTXSIM names no PTX simulator."""


def _ptxsim() -> Any:
    """The simulator, from the folder that the environment variable CHEBLIENET_PTXSIM names."""
    folder = os.environ.get("CHEBLIENET_PTXSIM")
    if not folder or not Path(folder, "ptxsim.py").exists():
        raise NoSimulatorError(
            f"CHEBLIENET_PTXSIM: expected the folder of a PTX simulator, got {folder!r}; without it and without a GPU the "
            "CUDA kernels can only be compiled"
        )
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("ptxsim")
    finally:
        sys.path.remove(folder)


class Gpu:
    """The operators of the package on the current GPU."""

    on_gpu = True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operator = getattr(torch.ops.cheblienet, name)

        def run(*arguments: Any) -> Any:
            result = operator(*tree_map(lambda a: a.cuda() if isinstance(a, Tensor) else a, arguments))
            return result.cpu() if isinstance(result, Tensor) else tuple(t.cpu() for t in result)

        return run


class Simulator:
    """The operators of the package, every launch executed instruction by instruction, with checks of memory and races.

    Attributes:
        arch: what the kernels are compiled for, such as "sm_90".
        seed: 0 runs warps and blocks in order, other values interleave them at random.
        profile: whether to count instructions and traffic, without checks.
        reports: of every launch since it was last cleared, the kernel's name and its report.
    """

    on_gpu = False

    def __init__(self, arch: str) -> None:
        self.arch, self.seed, self.profile = arch, 0, False
        self.reports: list[tuple[str, Any]] = []
        self._ptxsim = _ptxsim()

    @functools.cache  # noqa: B019  (a simulator lives as long as the process)
    def module(self, name: str) -> Any:
        """The compiled kernels of csrc/cuda/instances/NAME.cu."""
        source = f'#include "{CSRC / "cuda" / "instances" / name}.cu"\n'
        return self._ptxsim.Module.from_cuda(source, include_dirs=[str(CSRC)], arch=self.arch)

    def launch(
        self,
        module: str,
        kernel: str,
        grid: tuple[int, ...],
        block: int,
        *arguments: Any,
        shared: int = 0,
        resident: int = 1,
    ) -> None:
        """`kernel` as in `instance`; tensors and arrays are memory that the kernel may write to. `shared` bytes are the
        dynamic shared memory of a block, and `resident` blocks run side by side."""
        checks = not self.profile
        report = self.module(module).launch(
            kernel,
            tuple(int(n) for n in grid),
            (int(block),),
            [as_numpy(a) if isinstance(a, Tensor) else a for a in arguments],
            check=checks,
            race=checks,
            shared=shared,
            resident=resident,
            seed=self.seed,
            profile=self.profile,
        )
        self.reports.append((kernel.split("<")[0].removeprefix(r"\b"), report))

    def geometry(self, module: str, facts: np.ndarray, *arguments: Any) -> list[int]:
        """What the launcher learns of the functions that it asks for the geometry of its launches."""
        self.module(module).launch("geometry", (1,), (1,), [*arguments, facts])
        return [int(fact) for fact in facts]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        operators = importlib.import_module(f"{__package__}.operators")
        return functools.partial(getattr(operators, name), self)


def instance(name: str, *arguments: object) -> str:
    """A regular expression for the demangled name of a kernel, or of an instance of its template."""
    if not arguments:
        return rf"\b{name}"
    return rf"\b{name}<" + ", ".join(rf"(\([\w:]+\))?{a}" if isinstance(a, int) else str(a) for a in arguments) + " ?>"


def as_numpy(tensor: Tensor) -> np.ndarray:
    """The memory of a contiguous tensor; bfloat16 travels as its bits."""
    if tensor.dtype == torch.bfloat16:
        return tensor.detach().view(torch.int16).numpy().view(np.uint16)
    return tensor.detach().numpy()


def poisoned(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory for a result, in which an element that no kernel writes shows."""
    return torch.full(tuple(int(n) for n in shape), torch.nan if dtype.is_floating_point else 99, dtype=dtype)
