"""Groups of one's own: which they are, and that their own distance finds the neighbours."""

import pickle

import pytest
import torch

from cheblienet import ops
from cheblienet.groups import GROUPS, R2, S2, SE2, SO3, R2Group, S2Group, SE2Group, sample
from cheblienet.groups.builtin import built_in_name, has_built_in_sampling
from cheblienet.ops import measured_neighbors as module
from cheblienet.ops import reference

SAMPLINGS = {"r2": (9, 7), "se2": (6, 6, 4), "s2": (42,), "so3": (12, 4)}
every_group = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)


def measuring(group):
    """The same group, with the same distance, that plain PyTorch has to search."""

    class Measuring(type(group)):
        def squared_distance(self, g, h, sigmas):
            return super().squared_distance(g, h, sigmas)

    return Measuring()


class Line(R2Group):
    """The plane, measured along x and y by a function that tests replace."""

    def __init__(self, distance=lambda g, h: (g - h).square().sum(-1)):
        self.distance = distance

    def squared_distance(self, g, h, sigmas):
        return self.distance(g, h)


@every_group
def test_the_built_in_groups_are_known_by_name(group):
    class Renamed(type(group)):
        name = "mine"

    assert built_in_name(group) == built_in_name(pickle.loads(pickle.dumps(group))) == group.name
    assert built_in_name(Renamed()) == group.name
    assert has_built_in_sampling(Renamed())
    assert built_in_name(measuring(group)) is None
    elements = sample(group, "random", 50)
    assert torch.equal(
        ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), 5, Renamed())[0],
        ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), 5, group)[0],
    )


@pytest.mark.parametrize("name", ["_log", "_matrix", "_inverse", "_element", "squared_distance"])
def test_whatever_is_overridden_makes_a_group_ones_own(name, monkeypatch):
    overridden = type("Overridden", (SE2Group,), {name: lambda *arguments: getattr(SE2, name)(*arguments[1:])})
    assert built_in_name(overridden()) is None
    on_the_instance = SE2Group()
    setattr(on_the_instance, name, lambda *arguments: getattr(SE2, name)(*arguments))
    assert built_in_name(on_the_instance) is None
    monkeypatch.setattr(SE2Group, name, overridden.__dict__[name], raising=False)
    assert built_in_name(SE2) is None


def test_other_coordinates_periods_and_samplings():
    assert built_in_name(type("Directions", (SE2Group,), {"has_orientation": False})()) is None
    assert built_in_name(type("Latitudes", (S2Group,), {"coordinates": ("latitude", "longitude")})()) is None
    denser = type("Denser", (R2Group,), {"uniform_sampling": lambda self, *size, device=None: torch.rand(9, 2)})()
    assert built_in_name(denser) == "r2"
    assert not has_built_in_sampling(denser)


@every_group
@pytest.mark.parametrize("sigmas", [(1.0, 1.0, 1.0), (1.0, 0.1, 0.01), (1e-4, 1.0, 1e4)])
def test_measured_neighbors_are_the_compiled_ones(group, sigmas, monkeypatch):
    monkeypatch.setattr(module, "_PAIRS", 1000)  # blocks of six to twenty rows
    if group is S2:
        sigmas = (1.0, 1.0, 1.0)
    random = sample(group, "random", 90)
    for elements in (random, random[:30].repeat(3, 1), group.uniform_sampling(*SAMPLINGS[group.name]), random[:2]):
        for K in {1, min(16, len(elements) - 1), len(elements) - 1}:
            index, sqdist = ops.nearest_neighbors(elements, sigmas, K, measuring(group))
            expected, expected_sqdist = ops.nearest_neighbors(elements, sigmas, K, group)
            assert torch.equal(index, expected)
            torch.testing.assert_close(sqdist, expected_sqdist, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("pairs", [1, 7, 49, 2**17])
def test_blocks_and_ties(pairs, monkeypatch):
    monkeypatch.setattr(module, "_PAIRS", pairs)
    elements = torch.cartesian_prod(torch.arange(7.0), torch.arange(7.0)).double()
    elements += 1e-9 * torch.rand(49, 2, dtype=torch.float64)  # ties up to rounding
    for K in (3, 7, 48):
        found = ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), K, Line())
        expected = reference.nearest_neighbors(elements, (1.0, 1.0, 1.0), K, Line())
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
    assert ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), 7, Line())[0][24].tolist() == [17, 23, 25, 31, -1, -1, -1]


@pytest.mark.parametrize(
    ("distance", "error", "message"),
    [
        (lambda g, h: (g - h).sum(-1), ValueError, r"finite numbers of at least 0, got -\d"),
        (
            lambda g, h: (g - h).square().sum(-1).log(),
            ValueError,
            "finite numbers of at least 0, got -inf from element 0",
        ),
        (lambda g, h: (g - h).square().sum(-1) / (g - h).square().sum(-1), ValueError, "got nan from element 0 to 0"),
        (lambda g, h: (g - h).clamp(min=0).square().sum(-1), ValueError, "the same in both directions, got "),
        (lambda g, h: (g - h).square().sum(-1) * (1 + 1e-3 * g[..., 0]), ValueError, "the same in both directions"),
        (lambda g, h: (g - h).square().sum(-1).float(), TypeError, "a tensor of torch.float64 .*, got torch.float32"),
        (lambda g, h: (g - h).square().sum(-1).numpy(), TypeError, "a tensor of torch.float64 .*, got ndarray"),
        (lambda g, h: (g - h).square(), ValueError, r"shape \(30, 30\) on cpu for elements of .*, got "),
    ],
)
def test_a_distance_that_is_none_is_refused_by_name(distance, error, message):
    elements = torch.rand(30, 2, dtype=torch.float64) + 1
    with pytest.raises(error, match=rf"Line \(group 'r2'\): squared_distance: expected .*{message}"):
        ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), 5, Line(distance))


def test_a_distance_may_return_a_view_and_require_a_gradient():
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    elements = torch.rand(30, 2, dtype=torch.float64)
    same = Line(lambda g, h: (scale * 0 * g[..., 0]).expand(torch.broadcast_shapes(g.shape, h.shape)[:-1]))
    index, sqdist = ops.nearest_neighbors(elements, (1.0, 1.0, 1.0), 29, same)
    assert (index.sort(1).values[0] == torch.arange(1, 30)).all()
    assert not sqdist.requires_grad


def test_says_what_is_wrong():
    with pytest.raises(TypeError, match=r"nearest_neighbors: group: expected a cheblienet.groups.Group, got str"):
        ops.nearest_neighbors(torch.rand(9, 2, dtype=torch.float64), (1.0, 1.0, 1.0), 2, "r2")
    with pytest.raises(TypeError, match=r"sample: group: expected a cheblienet.groups.Group, got str"):
        sample("r2", "random", 9)
    with pytest.raises(ValueError, match=r"expected 'regular' for Measuring \(group 'se2'\), whose .* got 'random'"):
        sample(measuring(SE2), "random", 9)
    with pytest.raises(ValueError, match=r"expected 'regular' for Measuring \(group 's2'\), .* got 'fibonacci'"):
        sample(measuring(S2), "fibonacci", 9)


def test_samplings_of_a_renamed_group():
    renamed = type("Renamed", (SE2Group,), {"name": "mine"})()
    drawn, expected = (sample(g, "random", 9, generator=torch.Generator().manual_seed(0)) for g in (renamed, SE2))
    assert torch.equal(drawn, expected)
    assert torch.equal(sample(measuring(SO3), "regular", 12, 3), SO3.uniform_sampling(12, 3))
    assert torch.equal(sample(measuring(R2), "regular", 3, 4), R2.uniform_sampling(3, 4))
