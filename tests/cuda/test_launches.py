"""How many kernels an operator launches: ours as the launchers decide, the framework's as the dispatcher sees them.

Matrix products may take a second launch and a memset of the vendor's library, which nobody sees without a GPU.
"""

from collections import Counter

import pytest
import torch

from benchmarks.cuda.chebyshev_probe import Device
from benchmarks.cuda.step import Recorder
from cheblienet import ops

B, V, R = 4, 12, 4


def launches(simulator, name, *arguments, **options):
    simulator.reports, simulator.lists = [], True
    try:
        with Recorder(inside=True) as framework:
            getattr(simulator, name)(*arguments, **options)
    finally:
        simulator.lists = False
    found = Counter(kernel for kernel, _ in simulator.reports)
    for node, times in framework.framework.items():
        found[node.kind] += times * round(node.launches)
    return dict(found)


def convolution(cin, cout, dtype, orders=R):
    dense = -torch.rand(V, V, dtype=torch.float64) / V
    laplacian = ops.csr((dense + dense.T).to_sparse_csr())
    rows, col = laplacian.rows, laplacian.col
    tables = torch.ops.cheblienet.tile_tables(rows, col, 6, 2048)
    matrix = [rows, col, rows[:, 0][col], *tables], laplacian.values.float()
    x, dy = torch.randn(B, V, cin).to(dtype), torch.randn(B, V, cout).to(dtype)
    return x, torch.randn(orders, cin, cout).to(dtype), matrix, torch.randn(cout).to(dtype), dy


# Cin, Cout, and own kernels beside the products. Widths that are no whole packs, and orders of the result where it is
# narrower, take one launch more, which prepares operands.
ALL_AT_ONCE, BY_ORDER, BY_ROW = {"tile_orders": 1}, {"tile_orders": 3}, {"chebyshev_step": 3}
PREPARED = {"chebyshev_prepare": 1}
AROUND = {"chebyshev_prepare": 1, "chebyshev_finish": 1}
STEPS = {"orders": ALL_AT_ONCE, "tiles": BY_ORDER, "rows": BY_ROW}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("cin", "cout", "more"), [(16, 32, {}), (32, 16, PREPARED), (3, 16, PREPARED)])
def test_of_the_convolution(sm_90, cin, cout, more, steps, dtype):
    x, weight, matrix, bias, _ = convolution(cin, cout, dtype)
    found = launches(sm_90, "chebyshev", x, weight, *matrix, bias, device=Device(steps=steps))
    assert found == {**STEPS[steps], **more, "products": 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("cin", "cout"), [(16, 32), (32, 16)])
def test_of_its_gradients(sm_90, cin, cout, steps, dtype):
    """Of x, weight and bias: five in all where orders take one launch."""
    x, weight, matrix, _, dy = convolution(cin, cout, dtype)
    needs = (True, True, True, False)
    found = launches(sm_90, "chebyshev_backward", dy, x, weight, *matrix, *needs, device=Device(steps=steps))
    assert found == {**STEPS[steps], **AROUND, "products": 2}
    first = launches(sm_90, "chebyshev_backward", dy, x, weight, *matrix, False, True, True, False)
    assert first == {**ALL_AT_ONCE, **AROUND, "products": 1}  # of a first layer


def test_of_a_convolution_of_order_one(sm_90):
    x, weight, matrix, bias, dy = convolution(16, 32, torch.float32, 1)
    assert launches(sm_90, "chebyshev", x, weight, *matrix, bias) == {"products": 1}
    needs = (True, True, True, False)
    assert launches(sm_90, "chebyshev_backward", dy, x, weight, *matrix, *needs) == {**AROUND, "products": 2}
    x, weight, matrix, _, dy = convolution(3, 5, torch.float32, 1)
    found = launches(sm_90, "chebyshev_backward", dy, x, weight, *matrix, True, True, False, False)
    assert found == {"chebyshev_finish": 1, "products": 2}  # without a bias, whatever the widths


def test_of_the_gradient_of_the_laplacian(sm_90):
    x, weight, matrix, _, dy = convolution(16, 32, torch.float32)
    found = launches(sm_90, "chebyshev_backward", dy, x, weight, *matrix, False, False, False, True)
    assert found == {"tile_orders": 2, "tile_dots": 1, "add_shares": 1, "products": 1}


def test_of_the_normalisation(sm_90):
    x, coefficients = torch.randn(B, V, 16), (torch.ones(16), torch.zeros(16))
    running = torch.zeros(16), torch.ones(16), torch.tensor(0)
    found = launches(sm_90, "batch_norm_tracked", x, None, *coefficients, running, 0.1, 1e-5, True)
    assert found == {"norm_moments": 1, "norm_apply": 1}
    found = launches(sm_90, "batch_norm_backward", x, x, *coefficients, *coefficients, 1e-5, True, True)
    assert found == {"norm_gradient_sums": 1, "norm_gradient": 1}


def test_autocast_adds_a_cast_of_each_float32_tensor():
    x, weight, ((rows, col, *_), values), bias, _ = convolution(16, 32, torch.float32)
    x.requires_grad_()
    with Recorder() as calls, torch.autocast("cpu", torch.bfloat16):
        ops.chebyshev(x, weight, ops.Csr(rows, col, values), bias)
    assert sum(calls.framework.values()) == 3
    assert {node.kind for node in calls.framework} == {"copies"}
    assert sum(calls.ours.values()) == 1
