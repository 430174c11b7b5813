"""The kernels of mutual_neighbors.cuh against the CPU operator: executed instruction by instruction, or on a GPU."""

import math

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from cheblienet import ops

GPU = ["gpu"] if torch.cuda.is_available() else []

GEOMETRY = """
#include "cuda/pack.cuh"
__global__ void geometry(int64_t items, int64_t* out) {
  const cheblienet::FlatLaunch launch = cheblienet::flat_launch(items);
  out[0] = launch.grid;
  out[1] = launch.block;
}
"""


class Simulator:
    """The launches of mutual_neighbors.cu, on the CPU."""

    def __init__(self, module):
        self.module = module

    def launch(self, name, items, *args, seed):
        launch = np.zeros(2, np.int64)
        self.module.launch("geometry", (1,), (1,), [np.int64(items), launch])
        grid, block = (int(n) for n in launch)
        self.module.launch(name, (grid,), (block,), list(args), seed=seed, check=True, race=True)

    def mutual_neighbors(self, index, sqdist, limit, seed):
        (V, K), (vertex, slot) = index.shape, (t.contiguous().numpy() for t in index.sort())
        mutual, mean = np.full(V * K, 7, np.uint8), np.full(V * K, np.nan)
        sizes = np.int64(V), np.int64(K)
        arguments = vertex, slot, sqdist.numpy(), np.float64(limit), mutual, mean, *sizes
        self.launch("find_mutual", V * K, *arguments, seed=seed)
        assert np.isin(mutual, (0, 1)).all()
        entry = mutual.nonzero()[0]
        edge_index, edge_sqdist = np.full((2, len(entry)), -7), np.full(len(entry), np.nan)
        if len(entry):
            arguments = entry, vertex, mean, edge_index, edge_sqdist, np.int64(len(entry)), np.int64(K)
            self.launch("write_edges", len(entry), *arguments, seed=seed)
        return torch.from_numpy(edge_index), torch.from_numpy(edge_sqdist)


class Gpu:
    def mutual_neighbors(self, index, sqdist, limit, seed):
        return tuple(t.cpu() for t in ops.mutual_neighbors(index.cuda(), sqdist.cuda(), limit))


@pytest.fixture(scope="module", params=["sm_80", "sm_90", *GPU])
def executor(request):
    if request.param != "gpu":
        return Simulator(request.getfixturevalue("ptx_module")("mutual_neighbors.cuh", [GEOMETRY], request.param))
    return Gpu()


@pytest.mark.parametrize(("vertices", "K"), [(2, 1), (9, 8), (80, 20), (500, 3)])
@pytest.mark.parametrize("limit", [math.inf, 0.5, 0.0])
def test_agrees_with_the_cpu(executor, vertices, K, limit):
    index = torch.rand(vertices, vertices).fill_diagonal_(2).argsort(1)[:, :K].contiguous()
    index[torch.rand(vertices, K) < 0.2] = -1
    sqdist = torch.rand(vertices, K, dtype=torch.float64)
    expected = ops.mutual_neighbors(index, sqdist, limit)
    for seed in (0, 1, 2):
        actual = executor.mutual_neighbors(index, sqdist, limit, seed)
        assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def test_vertices_out_of_range_are_no_neighbours(executor):
    if isinstance(executor, Gpu):
        pytest.skip("the operator refuses them before its kernels see them")
    index = torch.tensor([[1, 2], [0, 2**40], [-(2**40), 0]])
    edge_index, _ = executor.mutual_neighbors(index, torch.ones(3, 2, dtype=torch.float64), 2.0, 0)
    assert edge_index.tolist() == [[0, 0, 1, 2], [1, 2, 0, 0]]


def test_shapes_on_a_device_that_is_not_here():
    with FakeTensorMode(shape_env=ShapeEnv()):
        index = torch.empty(9, 4, dtype=torch.int64, device="cuda")
        sqdist = torch.empty(9, 4, dtype=torch.float64, device="cuda")
        edge_index, edge_sqdist = torch.ops.cheblienet.mutual_neighbors(index, sqdist, 1.0)
    assert (edge_index.shape[0], edge_index.dtype, edge_index.device.type) == (2, torch.int64, "cuda")
    assert (edge_sqdist.shape[0], edge_sqdist.dtype) == (edge_index.shape[1], torch.float64)
    assert edge_sqdist.device.type == "cuda"
