"""Samplings by name: where the elements lie, how evenly, and that graphs join them."""

import math

import pytest
import torch

from cheblienet.graphs import GEGraph
from cheblienet.groups import GROUPS, R2, S2, SAMPLINGS, SE2, SO3, sample

SPHERE = {"healpix": (4,), "equiangular": (8, 16), "fibonacci": (200,)}


def points(elements):
    beta, gamma = elements[:, -2:].unbind(1)
    return torch.stack([beta.sin() * gamma.cos(), beta.sin() * gamma.sin(), beta.cos()], 1)


def on_the_sphere(sampling):
    if sampling == "healpix":
        pytest.importorskip("healpix", reason="healpix is an optional dependency, of the extra 'sphere'")
    return SPHERE[sampling]


def test_regular_is_the_sampling_of_the_group():
    for group, size in ((R2, (4, 3)), (SE2, (4, 3, 2)), (S2, (42,)), (SO3, (42, 3))):
        assert torch.equal(sample(group, "regular", *size), group.uniform_sampling(*size))


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_random_elements_are_uniform(group):
    elements = sample(group, "random", 20_000, generator=torch.Generator().manual_seed(0))
    assert elements.shape == (20_000, len(group.coordinates))
    assert elements.dtype == torch.float64
    assert elements.is_contiguous()
    again = sample(group, "random", 20_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again, elements)
    if group.has_orientation:
        orientation = elements[:, 0 if group is SO3 else 2]
        assert_uniform(orientation, -math.pi / 2, math.pi / 2)
    if group in (R2, SE2):
        assert_uniform(elements[:, 0], 0, 1)
        assert_uniform(elements[:, 1], 0, 1)
    else:
        for coordinate in points(elements).unbind(1):  # Archimedes: each is uniform on a sphere
            assert_uniform(coordinate, -1, 1)


def assert_uniform(values, low, high):
    assert low <= values.min()
    assert values.max() <= high
    fraction = (values.sort().values - low) / (high - low)
    steps = torch.arange(1, len(values) + 1, dtype=torch.float64) / len(values)
    assert (fraction - steps).abs().max() < 1.63 / math.sqrt(len(values))  # Kolmogorov-Smirnov, 1 %


@pytest.mark.parametrize("sampling", SPHERE)
def test_samplings_of_the_sphere(sampling):
    size = on_the_sphere(sampling)
    elements = sample(S2, sampling, *size)
    count = {"healpix": 192, "equiangular": 128, "fibonacci": 200}[sampling]
    assert elements.shape == (count, 2)
    assert ((elements[:, 0] > 0) & (elements[:, 0] < math.pi)).all()
    assert ((elements[:, 1] >= -math.pi) & (elements[:, 1] < math.pi)).all()
    place = points(elements)
    nearest = (torch.cdist(place, place) + 9 * torch.eye(count)).amin(1)
    if sampling == "equiangular":
        assert torch.allclose(elements[:16, 0], torch.full((16,), math.pi / 16, dtype=torch.float64))
        assert elements[17, 1] == pytest.approx(2 * math.pi / 16)
        assert nearest.max() / nearest.min() > 2
    else:
        spacing = math.sqrt(4 * math.pi / count)
        assert 0.6 * spacing < nearest.min()
        assert nearest.max() < 1.3 * spacing
        assert place.mean(0).norm() < 2e-3
        second = place.T @ place / count  # as that of the sphere
        torch.testing.assert_close(second, torch.eye(3).double() / 3, rtol=0, atol=4e-3)
    lifted = sample(SO3, sampling, *size, 3)
    assert lifted.shape == (3 * count, 3)
    assert torch.equal(lifted[count : 2 * count, 1:], elements)
    assert lifted[:, 0].unique().tolist() == pytest.approx([-math.pi / 2, -math.pi / 6, math.pi / 6])


@pytest.mark.parametrize("sampling", [name for name in SAMPLINGS if name != "regular"])
def test_graphs_join_them(sampling):
    size = (150,) if sampling == "random" else (*on_the_sphere(sampling), 3)
    elements = sample(SO3, sampling, *size)
    shape = None if sampling == "random" else (len(elements) // 3, 3)
    graph = GEGraph.from_elements(SO3, elements, (1.0, 0.3, 0.1), 10, size=shape)
    assert graph.dim == ((1, 150) if sampling == "random" else (3, len(elements) // 3))
    assert graph.num_edges > 4 * graph.num_vertices
    assert graph.is_undirected
    with pytest.raises(ValueError, match=r"from_elements: size: expected numbers whose product is V = "):
        GEGraph.from_elements(SO3, elements, (1.0, 0.3, 0.1), 10, size=(7, 3))


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"sample: sampling: expected one of 'regular', .*, got 'gauss'"):
        sample(S2, "gauss", 4)
    with pytest.raises(ValueError, match=r"expected 'regular' or 'random' for se2, got 'fibonacci'"):
        sample(SE2, "fibonacci", 100)
    with pytest.raises(ValueError, match=r"so3: equiangular: expected nlat, nlon, nalpha, got \(8, 16\)"):
        sample(SO3, "equiangular", 8, 16)
    with pytest.raises(ValueError, match=r"s2: fibonacci: num_points: expected an integer at least 1, got 0"):
        sample(S2, "fibonacci", 0)
    with pytest.raises(TypeError, match=r"r2: random: num_elements: expected an integer"):
        sample(R2, "random", 2.5)
