import pytest
import torch

from cheblienet import ops
from cheblienet.groups import GROUPS, R2, S2, SE2, SO3
from cheblienet.ops import reference

SAMPLINGS = {"r2": (9, 7), "se2": (6, 6, 4), "s2": (162,), "so3": (42, 4)}


def random_elements(group, count):
    element = torch.rand(count, len(group.coordinates), dtype=torch.float64)
    scale = {"r2": [1, 1], "se2": [1, 1, torch.pi], "s2": [torch.pi, 6.2], "so3": [torch.pi, torch.pi, 6.2]}
    return element * torch.tensor(scale[group.name], dtype=torch.float64)


def assert_same(actual, expected):
    assert torch.equal(actual[0], expected[0])
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("K", [1, 8, 16])
@pytest.mark.parametrize("anisotropy", [1.0, 0.1, 1e-4, 1e4])
def test_grids_and_random_samples_agree_with_the_reference(group, K, anisotropy):
    sigmas = (1.0, 1.0 if group is S2 else anisotropy, 0.05)
    for elements in (group.uniform_sampling(*SAMPLINGS[group.name]), random_elements(group, 120)):
        assert_same(
            ops.nearest_neighbors(elements, sigmas, K, group), reference.nearest_neighbors(elements, sigmas, K, group)
        )


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("sigmas", [(1.0, 1.0, 1.0), (1.0, 1e-4, 1.0), (1.0, 0.1, 1e-4), (1.0, 1.0, 1e4)])
@pytest.mark.parametrize("sample", ["random", "clusters", "duplicates"])
def test_many_boxes_agree_with_the_reference(group, sigmas, sample):
    if group is S2:
        sigmas = (sigmas[0], sigmas[0], sigmas[2])
    elements = random_elements(group, 300)
    if sample == "clusters":
        elements = elements[:6].repeat(50, 1) + 1e-3 * torch.randn_like(elements)
    elif sample == "duplicates":
        elements = elements[:100].repeat(3, 1)
    for K in (1, 16, len(elements) - 1):
        assert_same(
            ops.nearest_neighbors(elements, sigmas, K, group), reference.nearest_neighbors(elements, sigmas, K, group)
        )


def grid(nx, ny, theta, at=(0.0, 0.0), step=(1.0, 1.0)):
    x, y = at[0] + step[0] * torch.arange(nx).double(), at[1] + step[1] * torch.arange(ny).double()
    return torch.cartesian_prod(theta.double(), y, x).flip(1)


@pytest.mark.parametrize("sigmas", [(1.0, 0.1, 0.003), (1.0, 1.0, 1e-4), (1e-4, 1.0, 1e-3), (1.0, 1e4, 10.0)])
@pytest.mark.parametrize(
    "elements",
    [
        SE2.uniform_sampling(11, 8, 6),
        SE2.uniform_sampling(2, 2, 2),
        SE2.uniform_sampling(3, 4, 11),  # many orientations: the search may give up its offsets for the tree
        grid(7, 12, torch.tensor([0.3, -1.0, 0.3, 3.0]), at=(-50.0, 2.0), step=(-0.1, 0.03)),
        R2.uniform_sampling(18, 13),
        grid(16, 9, torch.zeros(1), step=(1e-3, 7.0))[:, :2].contiguous(),
    ],
    ids=["se2", "two by two", "orientations", "other steps", "r2", "oblong"],
)
def test_a_grid_is_searched_as_any_sample(elements, sigmas):
    """Translated offsets find the neighbours that the search tree finds among the same elements in another order."""
    group = SE2 if elements.shape[1] == 3 else R2
    shuffled = torch.randperm(len(elements))
    for K in (3, min(16, len(elements) - 1), min(100, len(elements) - 1)):
        index, sqdist = ops.nearest_neighbors(elements, sigmas, K, group)
        found, found_sqdist = ops.nearest_neighbors(elements[shuffled], sigmas, K, group)
        expected, expected_sqdist = torch.empty_like(index), torch.empty_like(sqdist)
        expected[shuffled] = torch.where(found >= 0, shuffled[found], -1)
        expected_sqdist[shuffled] = found_sqdist
        assert torch.equal(index.sort(1).values, expected.sort(1).values)  # within shells the order is by index
        torch.testing.assert_close(sqdist.sort(1).values, expected_sqdist.sort(1).values, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("moved", [(0, 40, 1e-6), (1, 40, 1e-6), (2, 40, 1e-6), (0, 1, 1e-6), (1, 209, 1e-6)])
def test_almost_a_grid_is_none(moved):
    elements = SE2.uniform_sampling(6, 7, 5)
    coordinate, vertex, distance = moved
    elements[vertex, coordinate] += distance
    sigmas = (1.0, 0.1, 0.05)
    assert_same(ops.nearest_neighbors(elements, sigmas, 9, SE2), reference.nearest_neighbors(elements, sigmas, 9, SE2))


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_all_others_and_duplicates(group):
    elements = random_elements(group, 20)
    elements[7] = elements[3]
    elements[11] = elements[3]
    for K in (1, 2, 3, 18, 19):
        index, sqdist = ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), K, group)
        assert_same((index, sqdist), reference.nearest_neighbors(elements, (1.0, 1.0, 1.0), K, group))
        assert index[3, 0] == (-1 if K == 1 else 7)  # two copies at distance 0 are one shell
    assert (index.sort(1).values[0] == torch.arange(1, 20)).all()
    one_of_two = ops.nearest_neighbors(elements[:2], (1.0, 1.0, 1.0), 1, group)[0]
    assert one_of_two.tolist() == [[1], [0]]


def test_shells_are_whole():
    index, sqdist = ops.nearest_neighbors(R2.uniform_sampling(5, 5), (1.0, 1.0, 1.0), 6, R2)
    assert index[12].tolist() == [7, 11, 13, 17, -1, -1]  # four at one step; of the four diagonal ones none
    torch.testing.assert_close(sqdist[12] * 25, torch.tensor([1.0, 1, 1, 1, 2, 2], dtype=torch.float64))


def test_registration():
    sigmas = torch.ones(3, dtype=torch.float64)
    torch.library.opcheck(torch.ops.cheblienet.nearest_neighbors, (random_elements(SE2, 9), sigmas, 3, "se2"))


def test_says_what_is_wrong():
    elements = random_elements(SO3, 9)
    with pytest.raises(ValueError, match=r"K: expected an integer between 1 and 8, got 9"):
        ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), 9, SO3)
    with pytest.raises(ValueError, match=r"K: expected an integer between 1 and 8, got 0"):
        ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), 0, SO3)
    with pytest.raises(TypeError, match=r"K: expected an integer, got 2.5"):
        ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), 2.5, SO3)
    with pytest.raises(ValueError, match=r"expected the 2 coordinates x, y of r2, got shape \(9, 3\)"):
        ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), 2, R2)
    with pytest.raises(TypeError, match=r"elements: expected float64, got torch.float32"):
        ops.nearest_neighbors(elements.float(), (1.0, 1.0, 1.0), 2, SO3)
    with pytest.raises(ValueError, match=r"sigmas: expected three positive finite numbers, got \(1.0, -1.0, 1.0\)"):
        ops.nearest_neighbors(elements, (1.0, -1.0, 1.0), 2, SO3)
    with pytest.raises(ValueError, match=r"sigmas: expected three positive finite numbers, got \(True, 1.0, 1.0\)"):
        ops.nearest_neighbors(elements, (True, 1.0, 1.0), 2, SO3)
    with pytest.raises(ValueError, match=r"elements: expected finite coordinates up to 1e\+100, got NaN"):
        ops.nearest_neighbors(elements.fill_(torch.nan), (1.0, 1.0, 1.0), 2, SO3)
    with pytest.raises(ValueError, match=r"elements: expected at least 2 elements, got 1"):
        ops.nearest_neighbors(torch.zeros(1, 3, dtype=torch.float64), (1.0, 1.0, 1.0), 1, SO3)
