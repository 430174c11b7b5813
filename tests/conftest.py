"""Fixtures for all tests: one seed, and the comparison tables by dtype."""

import os
import tempfile

import pytest
import torch

pytest.register_assert_rewrite("effects_of_networks", "effects_of_runs")

# Graphs that torch.compile keeps on disk may be from other versions of the operators, which they would call.
_compiled_graphs = tempfile.TemporaryDirectory(prefix="cheblienet-compiled-")
os.environ["TORCHINDUCTOR_CACHE_DIR"] = _compiled_graphs.name

# Rounding of a sum of some dozens of terms of size one.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def assert_close():
    """Compares with the tolerance of the result's dtype, relative to the largest expected value."""

    def compare(actual, expected, factor=1.0):
        actual, expected = actual.detach(), expected.detach()
        assert actual.dtype == expected.dtype or expected.dtype == torch.float64
        scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
        tolerance = TOLERANCE[actual.dtype] * factor
        torch.testing.assert_close(actual.double(), expected.double(), atol=tolerance * scale, rtol=tolerance)

    return compare
