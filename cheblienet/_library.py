"""Loads the compiled operators and says how they were built."""

import importlib
from typing import TypedDict

import torch

try:
    from . import _C
except ImportError as error:
    raise ImportError(
        "cheblienet: the compiled module cheblienet._C cannot be loaded. Install the package with `pip install .` "
        f"(or `pip install -e . --no-build-isolation` from a clone), with torch >= 2.11. The cause: {error}"
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
