"""Where the CUDA kernels of csrc/cuda can be executed: by the PTX simulator that CHEBLIENET_PTXSIM points to."""

import importlib
import os
import sys
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "csrc"


@pytest.fixture(scope="session")
def ptx_module():
    """Compiles a header of csrc/cuda with the instantiations given, for execution: ptx_module(header, instantiations)."""
    folder = os.environ.get("CHEBLIENET_PTXSIM")
    if not folder or not Path(folder, "ptxsim.py").exists():
        pytest.skip("CHEBLIENET_PTXSIM names no PTX simulator, so the CUDA kernels can only be compiled here")
    sys.path.insert(0, folder)
    try:
        ptxsim = importlib.import_module("ptxsim")
    finally:
        sys.path.remove(folder)

    def compile_module(header, instantiations, arch="sm_90"):
        source = f'#include "{CSRC / "cuda" / header}"\n' + "\n".join(instantiations)
        return ptxsim.Module.from_cuda(source, include_dirs=[str(CSRC)], arch=arch)

    return compile_module
