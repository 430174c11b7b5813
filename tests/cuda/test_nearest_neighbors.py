"""The kernels of nearest_neighbors.cuh against the CPU operator: executed instruction by instruction, or on a GPU."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cheblienet import ops
from cheblienet.groups import GROUPS, R2

STRUCTS = {"r2": "R2", "se2": "SE2", "s2": "S2", "so3": "SO3"}
SAMPLINGS = {"r2": (9, 7), "se2": (4, 4, 4), "s2": (42,), "so3": (12, 5)}
ROWS = (1, 2, 3)

GPU = ["gpu"] if torch.cuda.is_available() else []

# What the launcher does, asked of the functions that it asks.
GEOMETRY = """
#include "math/r2.h"
#include "math/s2.h"
#include "math/se2.h"
#include "math/so3.h"
#include "cuda/pack.cuh"
__global__ void geometry(int64_t items, int64_t k, int64_t* out) {
  using namespace cheblienet;
  const WarpLaunch warps = warp_launch(items);
  const FlatLaunch lanes = flat_launch(padded(items)), threads = flat_launch(items);
  const int levels = tree_levels(items);
  const int64_t facts[] = {warps.grid, warps.block, lanes.grid, lanes.block, threads.grid, threads.block,
                           list_rows(k), padded(items), levels};
  for (int64_t fact : facts) *out++ = fact;
  for (int level = 0; level <= levels; ++level) *out++ = tree_first(items, level);
  for (int level = 0; level < levels; ++level) *out++ = tree_nodes(items, level);
}
template <class Group> __global__ void components(int64_t* out) {
  out[0] = cheblienet::Record<Group>::components;
  out[1] = cheblienet::Record<Group>::dimensions;
}
"""
PER_GROUP = (
    "tree_leaves<{G}>(const double*, const int64_t*, double*, double*, int64_t)",
    "tree_keys<{G}>(const double*, const double*, int64_t, const double*, int64_t*, int64_t)",
    *(
        f"nearest_in_tree<{{G}}, {rows}>(const double*, const double*, const int64_t*, const double*, double*, int*, "
        "int64_t, int64_t)"
        for rows in ROWS
    ),
    *(f"nearest_of_all<{{G}}, {rows}>(const double*, const double*, double*, int*, int64_t, int64_t)" for rows in ROWS),
)


class Simulator:
    """The launches of nearest_neighbors.cu, on the CPU."""

    def __init__(self, module):
        self.module = module
        self.reports = {}

    def launch(self, name, launch, *args, seed=0):
        report = self.module.launch(
            name, grid=(int(launch[0]),), block=(int(launch[1]),), args=args, seed=seed, check=True, race=True
        )
        self.reports[name.split("<")[0]] = report

    def geometry(self, items, k=1):
        out = np.zeros(64, np.int64)
        self.module.launch("geometry", (1,), (1,), [np.int64(items), np.int64(k), out])
        warps, lanes, threads = out[0:2], out[2:4], out[4:6]
        rows, padded, levels = (int(value) for value in out[6:9])
        first, nodes = out[9 : 10 + levels], out[10 + levels : 10 + 2 * levels]
        return {
            "warps": warps, "lanes": lanes, "threads": threads, "rows": rows, "padded": padded, "first": first, "nodes": nodes
        }  # fmt: skip

    def neighbours(self, elements, sigmas, K, group, tree, seed=0, order=None, blocks=None):
        """index and sqdist; with `order`, that of the elements in the tree, and only for the first `blocks` blocks."""
        G, V = rf"<cheblienet::{STRUCTS[group.name]}<double>", len(elements)
        coordinates, metric = elements.numpy(), np.array(sigmas, np.float64)
        facts, sizes = self.geometry(V, K), np.zeros(2, np.int64)
        self.module.launch(rf"components{G}", (1,), (1,), [sizes])
        components, dimensions = (int(size) for size in sizes)
        records = np.full(components * facts["padded"], np.nan)
        boxes = np.full(2 * dimensions * facts["first"][-1], np.nan)

        def leaves(order):
            self.launch(rf"tree_leaves{G}", facts["lanes"], coordinates, order, records, boxes, np.int64(V), seed=seed)

        def parents():
            for first, above, nodes in zip(facts["first"], facts["first"][1:-1], facts["nodes"], strict=False):
                launch = self.geometry(nodes)["lanes"]
                self.launch(rf"tree_parents<\(?(int\))?{dimensions}>", launch, boxes, first, nodes, above, seed=seed)

        distance, vertex = np.full((V, K + 1), np.nan), np.full((V, K + 1), -7, np.int32)
        name = rf"{{}}{G}, \(?(int\))?{facts['rows']}>"
        counts = np.int64(V), np.int64(K + 1)
        leaves(order)
        if tree:
            parents()
            if order is None:
                keys = np.full(V, -1, np.int64)
                self.launch(
                    rf"tree_keys{G}", facts["threads"], records, boxes, facts["first"][-2], metric, keys, np.int64(V)
                )
                assert (keys >= 0).all()
                order = np.argsort(keys)
                leaves(order)
                parents()
            grid = facts["warps"] if blocks is None else (blocks, facts["warps"][1])
            arguments = records, boxes, order, metric, distance, vertex, *counts
            self.launch(name.format("nearest_in_tree"), grid, *arguments, seed=seed)
        else:
            arguments = records, metric, distance, vertex, *counts
            self.launch(name.format("nearest_of_all"), facts["warps"], *arguments, seed=seed)
        if blocks is not None:  # the rows found come first, and only they are completed
            done = order[: 4 * blocks]
            distance[: len(done)], vertex[: len(done)] = distance[done], vertex[done]
        rows = V if blocks is None else 4 * blocks
        index, sqdist = np.full((V, K), -9, np.int64), np.full((V, K), np.nan)
        launch = self.geometry(rows * K)["threads"]
        self.launch("whole_shells", launch, distance, vertex, index, sqdist, np.int64(V), np.int64(K), seed=seed)
        index, sqdist = index[:rows], sqdist[:rows]
        return torch.from_numpy(index), torch.from_numpy(sqdist)


class Gpu:
    """The operator, which chooses for itself whether to build a tree."""

    def neighbours(self, elements, sigmas, K, group, tree, seed=0):
        return tuple(t.cpu() for t in ops.nearest_neighbors(elements.cuda(), sigmas, K, group))


@pytest.fixture(scope="module", params=["sm_80", "sm_90", *GPU])
def executor(request):
    if request.param == "gpu":
        return Gpu()
    return simulator(request, request.param)


@pytest.fixture(scope="module")
def sm_90(request):
    return simulator(request, "sm_90")


def simulator(request, arch):
    instantiations = [
        f"template __global__ void cheblienet::{kernel.format(G=f'cheblienet::{struct}<double>')};"
        for struct in STRUCTS.values()
        for kernel in PER_GROUP
    ]
    instantiations += [
        f"template __global__ void components<cheblienet::{struct}<double>>(int64_t*);" for struct in STRUCTS.values()
    ]
    instantiations += [
        f"template __global__ void cheblienet::tree_parents<{dimensions}>(double*, int64_t, int64_t, int64_t);"
        for dimensions in (2, 3, 4, 7)
    ]
    module = request.getfixturevalue("ptx_module")("nearest_neighbors.cuh", [GEOMETRY, *instantiations], arch)
    return Simulator(module)


def random_elements(group, count):
    scale = {"r2": [1, 1], "se2": [1, 1, torch.pi], "s2": [torch.pi, 6.2], "so3": [torch.pi, torch.pi, 6.2]}
    element = torch.rand(count, len(group.coordinates), dtype=torch.float64)
    return element * torch.tensor(scale[group.name], dtype=torch.float64)


def assert_same(actual, expected):
    assert torch.equal(actual[0], expected[0])
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("sample", ["grid", "random", "duplicates"])
@pytest.mark.parametrize("tree", [True, False], ids=["tree", "all pairs"])
def test_agrees_with_the_cpu(executor, group, sample, tree):
    elements = group.uniform_sampling(*SAMPLINGS[group.name]) if sample == "grid" else random_elements(group, 70)
    if sample == "duplicates":
        elements = elements[:22].repeat(3, 1)
    sigmas = (1.0, 1.0 if group.name == "s2" else 0.1, 0.05)
    expected = ops.nearest_neighbors(elements, sigmas, 9, group)
    results = [executor.neighbours(elements, sigmas, 9, group, tree, seed) for seed in (0, 1)]
    assert_same(results[0], expected)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("sigmas", [(1.0, 1e-4, 1e4), (1e-4, 1.0, 1e-4)])
def test_extreme_metrics(executor, group, sigmas):
    if group.name == "s2":
        sigmas = (sigmas[0], sigmas[0], 1.0)
    elements = random_elements(group, 66)
    assert_same(
        executor.neighbours(elements, sigmas, 16, group, True), ops.nearest_neighbors(elements, sigmas, 16, group)
    )


@pytest.mark.parametrize("K", [1, 31, 32, 63, 64, 95, 96, 109])
@pytest.mark.parametrize("tree", [True, False], ids=["tree", "all pairs"])
def test_any_number_of_neighbours(executor, K, tree):
    elements = R2.uniform_sampling(11, 10)
    elements[7] = elements[100]
    expected = ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), K, R2)
    assert_same(executor.neighbours(elements, (1.0, 1.0, 1.0), K, R2, tree), expected)


@pytest.mark.parametrize("vertices", [2, 3, 32, 33, 65])
def test_few_elements(executor, vertices):
    elements = random_elements(R2, vertices)
    for tree in (True, False):
        for K in {1, min(5, vertices - 1), vertices - 1}:
            expected = ops.nearest_neighbors(elements, (1.0, 2.0, 1.0), K, R2)
            assert_same(executor.neighbours(elements, (1.0, 2.0, 1.0), K, R2, tree), expected)


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_all_elements_are_one(executor, group):
    elements = random_elements(group, 1).repeat(40, 1)
    for tree in (True, False):
        index, sqdist = executor.neighbours(elements, (1.0, 1.0, 1.0), 12, group, tree)
        assert (index == -1).all()
        assert (sqdist == 0).all()


@pytest.mark.parametrize(("vertices", "blocks"), [(1500, 2), (33000, 1)])
@pytest.mark.parametrize("sort", [True, False], ids=["sorted", "shuffled"])
def test_trees_of_several_levels(sm_90, vertices, blocks, sort):
    elements = random_elements(R2, vertices)
    # Shuffled, all boxes overlap and every leaf must be visited; sorted, next to none.
    order = np.argsort(np.floor(elements[:, 0].numpy() * 40) * 2 + elements[:, 1].numpy())
    order = np.roll(order, vertices // 2) if sort else np.random.default_rng(0).permutation(vertices)
    actual = sm_90.neighbours(elements, (1.0, 0.5, 1.0), 16, R2, True, order=order, blocks=blocks)
    expected = ops.nearest_neighbors(elements, (1.0, 0.5, 1.0), 16, R2)
    assert_same(actual, tuple(t[order[: 4 * blocks]] for t in expected))


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_large_samples_on_a_gpu(group):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU here")
    elements, sigmas = random_elements(group, 20000), (1.0, 1.0 if group.name == "s2" else 0.1, 0.05)
    for K in (8, 40, 100, 200):
        expected = ops.nearest_neighbors(elements, sigmas, K, group)
        assert_same(Gpu().neighbours(elements, sigmas, K, group, True), expected)


def test_shapes_on_a_device_that_is_not_here():
    with FakeTensorMode():
        elements = torch.empty(9, 3, dtype=torch.float64, device="cuda")
        sigmas = torch.empty(3, dtype=torch.float64, device="cuda")
        index, sqdist = torch.ops.cheblienet.nearest_neighbors(elements, sigmas, 4, "so3")
    assert (index.shape, index.dtype, index.device.type) == ((9, 4), torch.int64, "cuda")
    assert (sqdist.shape, sqdist.dtype, sqdist.device.type) == ((9, 4), torch.float64, "cuda")
