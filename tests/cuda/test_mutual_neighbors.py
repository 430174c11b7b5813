"""The CUDA operator `mutual_neighbors` against the CPU operator, on every executor."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from cheblienet import ops


@pytest.mark.parametrize(("vertices", "K"), [(2, 1), (9, 8), (80, 20), (500, 3)])
@pytest.mark.parametrize("limit", [math.inf, 0.5, 0.0])
def test_agrees_with_the_cpu(executor, vertices, K, limit, same_bits):
    index = torch.rand(vertices, vertices).fill_diagonal_(2).argsort(1)[:, :K].contiguous()
    index[torch.rand(vertices, K) < 0.2] = -1
    sqdist = torch.rand(vertices, K, dtype=torch.float64)
    expected = ops.mutual_neighbors(index, sqdist, limit)
    actual = same_bits(executor, lambda: executor.mutual_neighbors(index, sqdist, limit))
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def test_vertices_out_of_range_are_no_neighbours(executor):
    index = torch.tensor([[1, 2], [0, 2**40], [-(2**40), 0]])
    edge_index, _ = executor.mutual_neighbors(index, torch.ones(3, 2, dtype=torch.float64), 2.0)
    assert edge_index.tolist() == [[0, 0, 1, 2], [1, 2, 0, 0]]


def test_shapes_on_a_device_that_is_not_here():
    with FakeTensorMode(shape_env=ShapeEnv()):
        index = torch.empty(9, 4, dtype=torch.int64, device="cuda")
        sqdist = torch.empty(9, 4, dtype=torch.float64, device="cuda")
        edge_index, edge_sqdist = torch.ops.cheblienet.mutual_neighbors(index, sqdist, 1.0)
    assert (edge_index.shape[0], edge_index.dtype, edge_index.device.type) == (2, torch.int64, "cuda")
    assert (edge_sqdist.shape[0], edge_sqdist.dtype) == (edge_index.shape[1], torch.float64)
    assert edge_sqdist.device.type == "cuda"
