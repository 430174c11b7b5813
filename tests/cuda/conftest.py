"""Who executes the CUDA operators: a GPU where there is one, and the PTX simulator that CHEBLIENET_PTXSIM names."""

import functools
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.cuda import executor as executors

_simulator = functools.cache(executors.Simulator)


def simulator_for(arch):
    try:
        return _simulator(arch)
    except executors.NoSimulatorError as error:
        pytest.skip(str(error))


@pytest.fixture(params=["sm_80", "sm_90", *(["gpu"] if torch.cuda.is_available() else [])])
def executor(request):
    """`executor.NAME(...)` is `torch.ops.cheblienet.NAME(...)` on CPU tensors."""
    return executors.Gpu() if request.param == "gpu" else simulator_for(request.param)


@pytest.fixture(params=["sm_80", "sm_90"])
def simulator(request):
    return simulator_for(request.param)


@pytest.fixture
def sm_90():
    return simulator_for("sm_90")


@pytest.fixture
def same_bits():
    """Calls f(), whatever the schedule of the executor's warps and blocks: the result, which must have the same bits."""

    def call(executor, f, seeds=(0, 1, 2)):
        results = []
        try:
            for executor.seed in seeds:
                results.append(f())
        finally:
            executor.seed = 0
        tensors = [r if isinstance(r, tuple) else (r,) for r in results]
        for other in tensors[1:]:
            for a, b in zip(tensors[0], other, strict=True):
                assert torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
        return results[0]

    return call
