"""csrc/math against the Python groups, which tests/groups holds to scipy's matrix logarithm."""

import math

import numpy as np
import pytest
import torch

from cheblienet.groups import GROUPS

METRICS = [(1.0, 1.0, 1.0), (1.0, 0.1, 0.0026), (0.01, 30.0, 2.0), (1e4, 1.0, 1e-4)]
ISOTROPIC = [(1.0, 1.0, 1.0), (0.3, 0.3, 7.0)]


def random_elements(name, count, seed=0):
    """Elements of the whole group, angles beyond the sampled range included."""
    u = np.random.default_rng(seed).uniform(-1, 1, (count, 3))
    angle, polar = math.pi * u[:, 2], math.pi * (u[:, 1] + 1) / 2
    return {
        "r2": u[:, :2],
        "se2": np.column_stack([2 * u[:, 0], 2 * u[:, 1], 1.5 * angle]),
        "s2": np.column_stack([polar, angle]),
        "so3": np.column_stack([math.pi * u[:, 0], polar, angle]),
    }[name]


def special_pairs(name):
    """Pairs at and beside the removable singularities: the identity, and orientations or rotations by pi."""
    base = random_elements(name, 24, seed=5)
    pairs = [(base, base)]
    for step in (0.0, 1e-12, 1e-9, 1e-6, 1e-3, math.pi / 2, math.pi - 1e-6, math.pi - 1e-9, math.pi, math.pi + 1e-9):
        for axis in range(base.shape[1]):
            moved = base.copy()
            moved[:, axis] += step
            pairs.append((base, moved))
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])


def metrics_of(name):
    return ISOTROPIC if name == "s2" else METRICS


@pytest.mark.parametrize("name", GROUPS)
def test_logarithm_agrees_with_python(probe, name):
    g, h = random_elements(name, 500), random_elements(name, 500, seed=1)
    group = GROUPS[name]
    relative = group.inverse(group.matrix(torch.from_numpy(g))) @ group.matrix(torch.from_numpy(h))
    np.testing.assert_allclose(getattr(probe, f"{name}_float64").log(g, h), group.log(relative), atol=1e-9)


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("which", ["random", "special"])
def test_squared_distance_agrees_with_python(probe, name, which):
    g, h = (
        (random_elements(name, 500), random_elements(name, 500, seed=1)) if which == "random" else special_pairs(name)
    )
    for sigmas in metrics_of(name):
        actual = getattr(probe, f"{name}_float64").squared_distance(g, h, sigmas)[:, 0]
        expected = GROUPS[name].squared_distance(torch.from_numpy(g), torch.from_numpy(h), sigmas).numpy()
        assert np.isfinite(actual).all()
        np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-13 * max(sigmas))


@pytest.mark.parametrize("name", GROUPS)
def test_lower_bound_is_below_and_close_for_near_elements(probe, name):
    functions = getattr(probe, f"{name}_float64")
    g, h = random_elements(name, 2000), random_elements(name, 2000, seed=1)
    near = g + 0.01 * (h - g)
    for sigmas in metrics_of(name):
        for other in (h, near, special_pairs(name)[1][:2000]):
            first = g[: len(other)] if other is not special_pairs else g
            bound, distance = (
                functions.lower_bound(first, other, sigmas),
                functions.squared_distance(first, other, sigmas),
            )
            assert (bound <= distance * (1 + 1e-12) + 1e-300).all()
    ratio = functions.lower_bound(g, near, (1.0, 1.0, 1.0)) / functions.squared_distance(g, near, (1.0, 1.0, 1.0))
    assert np.median(ratio) > 0.99  # a bound of zero would prune nothing


@pytest.mark.parametrize("name", GROUPS)
def test_an_element_is_at_distance_zero_from_itself_exactly(probe, name):
    g = random_elements(name, 500)
    assert (getattr(probe, f"{name}_float64").squared_distance(g, g, (1.0, 1.0, 1.0)) == 0).all()


@pytest.mark.parametrize("name", GROUPS)
def test_symmetry(probe, name):
    g, h = special_pairs(name)
    for sigmas in metrics_of(name):
        d2 = getattr(probe, f"{name}_float64").squared_distance
        np.testing.assert_allclose(d2(g, h, sigmas), d2(h, g, sigmas), rtol=1e-9, atol=1e-14 * max(sigmas))


@pytest.mark.parametrize("name", GROUPS)
def test_single_precision_is_as_good_as_its_coordinates(probe, name):
    g = random_elements(name, 500).astype(np.float32)
    h = (g + 0.3 * random_elements(name, 500, seed=1)).astype(np.float32)
    for sigmas in metrics_of(name):
        single = getattr(probe, f"{name}_float32").squared_distance(g, h, sigmas)[:, 0]
        double = getattr(probe, f"{name}_float64").squared_distance(g, h, sigmas)[:, 0]
        np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-6 * max(sigmas))


def test_nearest_keeps_whole_shells_and_orders_them_by_index(probe):
    distances = [3.0, 1.0, 2.0, 1.0 + 1e-7, 2.0 - 1e-7, 5.0, 2.0]
    assert probe.nearest(distances, 2)[0] == [1, 3]
    assert probe.nearest(distances, 4)[0] == [1, 3]  # the shell of three at distance 2 does not fit
    assert probe.nearest(distances, 5)[0] == [1, 3, 2, 4, 6]
    assert probe.nearest(distances, 6)[0] == [1, 3, 2, 4, 6, 0]
    assert probe.nearest(distances, 1) == ([], [1.0, 1.0 + 1e-7])
    assert probe.nearest([4.0, 4.0], 3)[0] == [0, 1]  # fewer candidates than room


def test_nearest_prefers_the_lower_index_among_equals(probe):
    index, distance = probe.nearest([1.0] * 9 + [0.5], 9)
    assert index == [9]
    assert distance == [0.5] + [1.0] * 9
