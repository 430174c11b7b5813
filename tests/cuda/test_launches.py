"""How many kernels an operator launches: ours as the launchers decide, the framework's as the dispatcher sees them.

Matrix products may take a second launch and a memset of the vendor's library, which nobody sees without a GPU.
"""

from collections import Counter

import pytest
import torch

from benchmarks.cuda.step import Recorder
from cheblienet import ops

B, V, R = 4, 12, 4


def launches(simulator, name, *arguments):
    simulator.reports, simulator.lists = [], True
    try:
        with Recorder(inside=True) as framework:
            getattr(simulator, name)(*arguments)
    finally:
        simulator.lists = False
    found = Counter(kernel for kernel, _ in simulator.reports)
    for node, times in framework.framework.items():
        found[node.kind] += times * round(node.launches)
    return dict(found)


def convolution(cin, cout, dtype, orders=R):
    dense = -torch.rand(V, V, dtype=torch.float64) / V
    laplacian = ops.csr((dense + dense.T).to_sparse_csr())
    laplacian = laplacian._replace(values=laplacian.values.float())
    x, dy = torch.randn(B, V, cin).to(dtype), torch.randn(B, V, cout).to(dtype)
    return x, torch.randn(orders, cin, cout).to(dtype), laplacian, torch.randn(cout).to(dtype), dy


CHEBYSHEV = {
    "wider": (16, 32, {"chebyshev_edges": 1, "chebyshev_step": 3, "copies": 1, "products": 1}),
    "narrower": (32, 16, {"chebyshev_edges": 1, "chebyshev_step": 3, "copies": 1, "products": 1}),
}
CHEBYSHEV_BACKWARD = {
    "wider": (16, 32, {"chebyshev_edges": 1, "chebyshev_step": 3, "copies": 3, "products": 2, "sums": 2, "fills": 3}),
    "narrower": (
        32,
        16,
        {"chebyshev_edges": 1, "chebyshev_step": 3, "copies": 3, "products": 2, "sums": 2, "fills": 3},
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CHEBYSHEV)
def test_of_the_convolution(sm_90, case, dtype):
    cin, cout, expected = CHEBYSHEV[case]
    x, weight, laplacian, bias, _ = convolution(cin, cout, dtype)
    assert launches(sm_90, "chebyshev", x, weight, *laplacian, bias) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CHEBYSHEV_BACKWARD)
def test_of_its_gradients(sm_90, case, dtype):
    cin, cout, expected = CHEBYSHEV_BACKWARD[case]
    x, weight, laplacian, _, dy = convolution(cin, cout, dtype)
    found = launches(sm_90, "chebyshev_backward", dy, x, weight, *laplacian, True, True, True, False)
    assert found == expected


def test_of_a_convolution_of_order_one(sm_90):
    x, weight, laplacian, bias, _ = convolution(16, 32, torch.float32, 1)
    assert launches(sm_90, "chebyshev", x, weight, *laplacian, bias) == {"products": 1}


def test_of_the_normalisation(sm_90):
    x, coefficients = torch.randn(B, V, 16), (torch.ones(16), torch.zeros(16))
    found = launches(sm_90, "batch_norm", x, None, *coefficients, None, None, 1e-5, True)
    assert found == {"norm_moments": 1, "norm_statistics": 1, "norm_apply": 1}
    found = launches(sm_90, "batch_norm_backward", x, x, *coefficients, *coefficients, 1e-5, True, True)
    assert found == {"norm_gradient_sums": 1, "norm_parameter_gradients": 1, "norm_gradient": 1}


def test_autocast_adds_a_cast_of_each_float32_tensor():
    x, weight, laplacian, bias, _ = convolution(16, 32, torch.float32)
    x.requires_grad_()
    with Recorder() as calls, torch.autocast("cpu", torch.bfloat16):
        ops.chebyshev(x, weight, laplacian, bias)
    assert sum(calls.framework.values()) == 3
    assert {node.kind for node in calls.framework} == {"copies"}
    assert sum(calls.ours.values()) == 1
