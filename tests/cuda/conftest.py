"""Who executes the CUDA operators: a GPU where there is one, and the PTX simulator that CHEBLIENET_PTXSIM names."""

import functools
import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.cuda import executor as executors

simulator_for = functools.cache(executors.Simulator)
_left_out = {"a GPU": 0, "a PTX simulator": 0}


def _lacks(item):
    """What would have to be here to run a test, or None."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    executes = parameters.get("executor") or parameters.get("simulator") or "sm_90" in item.fixturenames
    if executes and executes != "gpu":
        return None if os.environ.get("CHEBLIENET_PTXSIM") else "a PTX simulator"
    needs_gpu = any(mark.kwargs.get("reason", "").startswith("needs a GPU") for mark in item.iter_markers("skipif"))
    return "a GPU" if needs_gpu and not torch.cuda.is_available() else None


def pytest_collection_modifyitems(config, items):
    """Leaves out what nothing on this machine can execute; the summary has a line on it, not a skip for each."""
    here = Path(__file__).parent
    lacking = {item: _lacks(item) for item in items if item.path.is_relative_to(here)}
    for lack in filter(None, lacking.values()):
        _left_out[lack] += 1
    config.hook.pytest_deselected(items=[item for item in items if lacking.get(item)])
    items[:] = [item for item in items if not lacking.get(item)]


def pytest_terminal_summary(terminalreporter):
    parts = [f"{count} for want of {lack}" for lack, count in _left_out.items() if count]
    if parts:
        terminalreporter.write_line(f"Tests of CUDA kernels that were left out: {', '.join(parts)}. See docs/cuda.md.")


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
