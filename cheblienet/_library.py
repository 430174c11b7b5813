"""Loads the compiled operators and says how they were built."""

import importlib
import sys
from pathlib import Path
from typing import TypedDict

import torch

try:
    from . import _C
except ImportError as error:
    folder = Path(__file__).parent
    if any(folder.glob("_C.*")):
        raise ImportError(
            f"cheblienet: the compiled module in {folder} cannot be loaded by Python {sys.version.split()[0]} with torch "
            f"{torch.__version__}; it needs torch >= 2.11, and the platform that it was built on. The cause: {error}"
        ) from error
    raise ImportError(
        f"cheblienet: {folder} holds no compiled module, and no other folder on sys.path has the package. Install it with "
        "`pip install .` in the clone, or `pip install -e . --no-build-isolation` to work on the sources."
    ) from error


def _load_cuda() -> tuple[str, str]:
    """Registers the CUDA kernels where torch can run them: their status, and the architectures they hold."""
    if _C.CUDA_STATUS != "built":
        return f"not built: {_C.CUDA_STATUS}", ""
    if torch.version.cuda is None:
        return f"built, not loaded: torch {torch.__version__} is built without CUDA", ""
    try:
        module = importlib.import_module("cheblienet._C_cuda")
    except ImportError as error:
        return f"built, not loaded: {error}", ""
    return "built and loaded", module.ARCHITECTURES


_CUDA_STATUS, _CUDA_ARCHITECTURES = _load_cuda()


class BuildInfo(TypedDict):
    version: str
    torch: str
    cuda: str
    cuda_architectures: str
    simd: str
    threads: int


def build_info() -> BuildInfo:
    """What was built and what it runs on.

    `cuda` is "built and loaded" or says why not; `cuda_architectures` lists the GPU targets; `simd` is the instruction
    set that the CPU kernels use on this machine, "avx512", "avx2" or "baseline" (the environment variable
    CHEBLIENET_SIMD may name a lower one before the import); `threads` is `torch.get_num_threads()`.
    """
    from . import __version__

    return BuildInfo(
        version=__version__,
        torch=torch.__version__,
        cuda=_CUDA_STATUS,
        cuda_architectures=_CUDA_ARCHITECTURES,
        simd=_C.SIMD_LEVEL,
        threads=torch.get_num_threads(),
    )
