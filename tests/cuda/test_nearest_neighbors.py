"""The CUDA operator `nearest_neighbors` against the CPU operator, on every executor."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.cuda import executor as executors
from benchmarks.cuda import operators
from cheblienet import ops
from cheblienet.groups import GROUPS, R2

SAMPLINGS = {"r2": (9, 7), "se2": (4, 4, 4), "s2": (42,), "so3": (12, 5)}


def neighbours(executor, elements, sigmas, K, group, tree, **options):
    """A GPU chooses for itself whether to build a tree; the other executors do as `tree` says."""
    if executor.on_gpu:
        return executor.nearest_neighbors(elements, torch.tensor(sigmas, dtype=torch.float64), K, group.name)
    metric = torch.tensor(sigmas, dtype=torch.float64)
    return executor.nearest_neighbors(elements, metric, K, group.name, tree=tree, **options)


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
def test_agrees_with_the_cpu(executor, group, sample, tree, same_bits):
    elements = group.uniform_sampling(*SAMPLINGS[group.name]) if sample == "grid" else random_elements(group, 70)
    if sample == "duplicates":
        elements = elements[:22].repeat(3, 1)
    sigmas = (1.0, 1.0 if group.name == "s2" else 0.1, 0.05)
    expected = ops.nearest_neighbors(elements, sigmas, 9, group)
    assert_same(same_bits(executor, lambda: neighbours(executor, elements, sigmas, 9, group, tree), (0, 1)), expected)


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("sigmas", [(1.0, 1e-4, 1e4), (1e-4, 1.0, 1e-4)])
def test_extreme_metrics(executor, group, sigmas):
    if group.name == "s2":
        sigmas = (sigmas[0], sigmas[0], 1.0)
    elements = random_elements(group, 66)
    assert_same(
        neighbours(executor, elements, sigmas, 16, group, True), ops.nearest_neighbors(elements, sigmas, 16, group)
    )


@pytest.mark.parametrize("K", [1, 31, 32, 63, 64, 95, 96, 109])
@pytest.mark.parametrize("tree", [True, False], ids=["tree", "all pairs"])
def test_any_number_of_neighbours(executor, K, tree):
    elements = R2.uniform_sampling(11, 10)
    elements[7] = elements[100]
    expected = ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), K, R2)
    assert_same(neighbours(executor, elements, (1.0, 1.0, 1.0), K, R2, tree), expected)


@pytest.mark.parametrize("vertices", [2, 3, 32, 33, 65])
def test_few_elements(executor, vertices):
    elements = random_elements(R2, vertices)
    for tree in (True, False):
        for K in {1, min(5, vertices - 1), vertices - 1}:
            expected = ops.nearest_neighbors(elements, (1.0, 2.0, 1.0), K, R2)
            assert_same(neighbours(executor, elements, (1.0, 2.0, 1.0), K, R2, tree), expected)


def test_several_tiles_of_candidates(executor, same_bits):
    elements = random_elements(R2, 260)
    expected = ops.nearest_neighbors(elements, (1.0, 2.0, 1.0), 9, R2)
    actual = same_bits(executor, lambda: neighbours(executor, elements, (1.0, 2.0, 1.0), 9, R2, False), (0, 1))
    assert_same(actual, expected)


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_all_elements_are_one(executor, group):
    elements = random_elements(group, 1).repeat(40, 1)
    for tree in (True, False):
        index, sqdist = neighbours(executor, elements, (1.0, 1.0, 1.0), 12, group, tree)
        assert (index == -1).all()
        assert (sqdist == 0).all()


@pytest.mark.parametrize(("vertices", "blocks"), [(1500, 2), (33000, 1)])
@pytest.mark.parametrize("sort", [True, False], ids=["sorted", "shuffled"])
def test_trees_of_several_levels(sm_90, vertices, blocks, sort):
    elements = random_elements(R2, vertices)
    # Shuffled, all boxes overlap and every leaf must be visited; sorted, next to none.
    order = torch.argsort(torch.floor(elements[:, 0] * 40) * 2 + elements[:, 1])
    order = order.roll(vertices // 2) if sort else torch.randperm(vertices)
    actual = neighbours(sm_90, elements, (1.0, 0.5, 1.0), 16, R2, True, order=order, blocks=blocks)
    expected = ops.nearest_neighbors(elements, (1.0, 0.5, 1.0), 16, R2)
    assert_same(actual, tuple(t[order[: 4 * blocks]] for t in expected))


def test_elements_are_sorted_by_the_cells_of_repeated_halving(sm_90):
    """A wrong order costs time only, so nothing else shows it."""
    elements = torch.rand(70, 2, dtype=torch.float64) * torch.tensor([3.0, 1.0])
    keys = operators.Tree(sm_90, elements, torch.ones(3, dtype=torch.float64), "r2").keys()
    low, high = elements.amin(0), elements.amax(0)
    cell, width = torch.zeros(70, dtype=torch.int64), high - low
    low = low.expand(70, 2).clone()
    for _ in range(20):
        side = int(width.argmax())
        width[side] /= 2
        upper = elements[:, side] >= low[:, side] + width[side]
        low[:, side] += upper * width[side]
        cell = 2 * cell + upper
    assert torch.equal(keys >> 42, cell)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and torch sees none")
@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_large_samples_on_a_gpu(group):
    elements, sigmas = random_elements(group, 20000), (1.0, 1.0 if group.name == "s2" else 0.1, 0.05)
    for K in (8, 40, 100, 200):
        expected = ops.nearest_neighbors(elements, sigmas, K, group)
        assert_same(neighbours(executors.Gpu(), elements, sigmas, K, group, True), expected)


def test_shapes_on_a_device_that_is_not_here():
    with FakeTensorMode():
        elements = torch.empty(9, 3, dtype=torch.float64, device="cuda")
        sigmas = torch.empty(3, dtype=torch.float64, device="cuda")
        index, sqdist = torch.ops.cheblienet.nearest_neighbors(elements, sigmas, 4, "so3")
    assert (index.shape, index.dtype, index.device.type) == ((9, 4), torch.int64, "cuda")
    assert (sqdist.shape, sqdist.dtype, sqdist.device.type) == ((9, 4), torch.float64, "cuda")
