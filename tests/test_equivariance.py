"""Symmetries of samplings, and layers and networks under all of them."""

import math
import re
from pathlib import Path

import pytest
import torch

from cheblienet.data import to_graph_signal
from cheblienet.equivariance import EquivarianceError, assert_equivariant, equivariance_error, symmetries
from cheblienet.equivariance.interpolation import interpolation
from cheblienet.graphs import GEGraph, Graph, R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.groups import S2, SE2, SO3, Group, SE2Group, sample
from cheblienet.nn import (
    ChebConv,
    GlobalPool,
    SE2SpatialPool,
    SE2SpatialUnpool,
    SO3GEUChebNet,
    SO3OrientationPool,
    SO3SpatialPool,
    SO3SpatialUnpool,
    VertexBatchNorm,
    WideResSE2GEChebNet,
)

ISOTROPIC, ANISOTROPIC = (1.0, 1.0, 1.0), (1.0, 0.1, 0.05)


def sampled(group, sampling, *size):
    return GEGraph.from_elements(group, sample(group, sampling, *size), ANISOTROPIC if group is SO3 else ISOTROPIC, 8)


GRAPHS = {
    "R2 6x6": (lambda: R2GEGraph((6, 6), ISOTROPIC, 8), 4, 8),
    "R2 7x7": (lambda: R2GEGraph((7, 7), ISOTROPIC, 8), 4, 8),
    "R2 6x4": (lambda: R2GEGraph((6, 4), ISOTROPIC, 8), 2, 4),
    "SE2 6x6x4": (lambda: SE2GEGraph((6, 6, 4), ANISOTROPIC, 12), 4, 8),
    "SE2 5x5x6": (lambda: SE2GEGraph((5, 5, 6), ANISOTROPIC, 12), 4, 8),
    "SE2 6x6x9": (lambda: SE2GEGraph((6, 6, 9), ANISOTROPIC, 12), 2, 4),
    "SE2 6x4x4": (lambda: SE2GEGraph((6, 4, 4), ANISOTROPIC, 12), 2, 4),
    "S2 12": (lambda: S2GEGraph((12,), ISOTROPIC, 5), 60, 120),
    "S2 42": (lambda: S2GEGraph((42,), ISOTROPIC, 6), 60, 120),
    "S2 equiangular 6x8": (lambda: sampled(S2, "equiangular", 6, 8), 16, 32),
    "S2 equiangular 5x7": (lambda: sampled(S2, "equiangular", 5, 7), 14, 28),
    "S2 fibonacci 50": (lambda: sampled(S2, "fibonacci", 50), 2, 2),
    "S2 healpix 2": (lambda: sampled(S2, "healpix", 2), 8, 16),
    "SO3 12x10": (lambda: SO3GEGraph((12, 10), ANISOTROPIC, 8), 60, 120),
    "SO3 42x5": (lambda: SO3GEGraph((42, 5), ANISOTROPIC, 12), 60, 120),
    "SO3 42x6": (lambda: SO3GEGraph((42, 6), ANISOTROPIC, 12), 1, 2),  # the corners need a multiple of 5
    "SO3 12x6, coordinate": (lambda: SO3GEGraph((12, 6), ANISOTROPIC, 8, frames="coordinate"), 12, 24),
    "SO3 42x4, coordinate": (lambda: SO3GEGraph((42, 4), ANISOTROPIC, 12, frames="coordinate"), 4, 8),
    "SO3 42x3, coordinate": (lambda: SO3GEGraph((42, 3), ANISOTROPIC, 12, frames="coordinate"), 4, 8),
    "SO3 equiangular 5x6x3": (lambda: sampled(SO3, "equiangular", 5, 6, 3), 12, 24),
}


@pytest.fixture(scope="module")
def graphs():
    """Each graph, built at its first use."""
    built = {}

    def get(name):
        if name not in built:
            if "healpix" in name:
                pytest.importorskip("healpix")
            built[name] = GRAPHS[name][0]()
        return built[name]

    return get


@pytest.mark.parametrize("name", GRAPHS)
def test_every_symmetry_of_a_sampling_is_found(graphs, name):
    """As many as the sampling has, which form a group, move no distance and map the graph to itself."""
    graph, (_, rotations, total) = graphs(name), GRAPHS[name]
    found = symmetries(graph)
    assert (sum(s.is_rotation for s in found), len(found)) == (rotations, total)
    assert found[0].name == "identity"
    assert torch.equal(found[0].permutation, graph.vertex_index)
    assert len({s.name for s in found}) == total
    assert all(s.preserves_graph for s in found)
    permutations = {tuple(s.permutation.tolist()) for s in found}
    assert len(permutations) == total
    for s in found[:: max(1, total // 8)]:
        for t in found[:: max(1, total // 8)]:
            assert tuple(s.permutation[t.permutation].tolist()) in permutations
    g, h = torch.randint(graph.num_vertices, (2, 50))
    for s in found:
        before = graph.group.squared_distance(graph.elements[g], graph.elements[h], graph.sigmas)
        p = s.permutation
        after = graph.group.squared_distance(graph.elements[p[g]], graph.elements[p[h]], graph.sigmas)
        torch.testing.assert_close(after, before, atol=1e-9, rtol=1e-9)


def test_a_grid_turns_as_images_do(graphs):
    n, ntheta = 6, 4
    found = {s.name: s for s in symmetries(graphs("SE2 6x6x4"))}
    theta, y, x = torch.meshgrid(torch.arange(ntheta), torch.arange(n), torch.arange(n), indexing="ij")
    quarter = (n - 1 - y) + n * x + n * n * ((theta + ntheta // 2) % ntheta)
    across = x + n * (n - 1 - y) + n * n * (-theta % ntheta)
    assert torch.equal(found["rotation by 90 degrees"].permutation, quarter.flatten())
    assert torch.equal(found["reflection across the line at 0 degrees"].permutation, across.flatten())
    image = torch.randn(1, 2, n, n)
    turned = to_graph_signal(image.rot90(-1, (-2, -1)), ntheta)  # rows are drawn downwards
    assert torch.equal(found["rotation by 90 degrees"].move(to_graph_signal(image, ntheta)), turned)


@pytest.mark.parametrize("name", ["SO3 12x6, coordinate", "SO3 42x5", "SO3 equiangular 5x6x3"])
def test_rotations_are_products_from_the_left(graphs, name):
    graph = graphs(name)
    matrices = SO3.matrix(graph.elements)
    for s in symmetries(graph):
        if s.is_rotation:
            relative = matrices[s.permutation].mT @ s.matrix @ matrices
            torch.testing.assert_close(relative.abs(), torch.eye(3, dtype=torch.float64).expand_as(relative))
            assert (relative[:, 2, 2] > 0).all()  # the same, or turned by pi about the place


@pytest.mark.parametrize(("side", "second"), [(7, 0.3), (3, 0.9)])
def test_what_permutes_vertices_may_not_preserve_the_graph(side, second):
    """Of 7 x 7 vertices other edges are there after a quarter turn; of 3 x 3, other weights."""
    stretched = R2GEGraph((side, side), (1.0, second, 1.0), 8)
    kept = {s.name for s in symmetries(stretched) if s.preserves_graph}
    assert len(symmetries(stretched)) == 8
    assert kept == {"identity", "rotation by 180 degrees"} | {
        f"reflection across the line at {a} degrees" for a in (0, 90)
    }


def signal(graph, channels=2, batch=2):
    return torch.randn(batch, channels, graph.num_vertices)


@pytest.mark.parametrize("name", [name for name in GRAPHS if name not in ("S2 42", "S2 equiangular 5x7")])
def test_convolutions_and_normalisations(graphs, name):
    graph = graphs(name)
    layers = torch.nn.Sequential(ChebConv(2, 3, 4, graph), VertexBatchNorm(3))
    assert_equivariant(layers, graph, signal(graph))
    assert_equivariant(layers.eval(), graph, signal(graph))


@pytest.mark.parametrize("reduction", ["max", "avg"])
def test_pools_and_unpools(graphs, reduction):
    plane, finer = graphs("SE2 6x6x4"), SE2GEGraph((12, 12, 4), ANISOTROPIC, 12)
    assert_equivariant(SE2SpatialPool(2, finer.size, reduction), finer, signal(finer), target_graph=plane)
    assert_equivariant(SE2SpatialUnpool(2, plane.size, reduction), plane, signal(plane), target_graph=finer)
    odd = SE2GEGraph((2, 2, 9), ANISOTROPIC, 8)
    assert_equivariant(
        SE2SpatialPool(3, (6, 6, 9), reduction), graphs("SE2 6x6x9"), torch.randn(1, 1, 324), target_graph=odd
    )
    sphere = graphs("SO3 42x5")
    whole = SO3OrientationPool(5, sphere.size, reduction)
    assert_equivariant(whole, sphere, signal(sphere), target_graph=graphs("S2 42"))
    assert_equivariant(GlobalPool(reduction), sphere, signal(sphere))


@pytest.mark.parametrize(
    ("frames", "nalpha", "places", "expected"),
    [("icosahedral", 5, (42, 162), 120), ("icosahedral", 10, (12, 42), 120), ("coordinate", 4, (42, 162), 8)],
)
@pytest.mark.parametrize("reduction", ["max", "avg"])
def test_pools_and_unpools_of_the_sphere(frames, nalpha, places, expected, reduction):
    coarse, fine = (SO3GEGraph((n, nalpha), ANISOTROPIC, 8, frames=frames) for n in places)
    assert [len(symmetries(graph)) for graph in (coarse, fine)] == [expected] * 2
    pool = SO3SpatialPool(2, fine.size, reduction, frames=frames)
    unpool = SO3SpatialUnpool(2, coarse.size, reduction, frames=frames)
    for layer, source, target in ((pool, fine, coarse), (unpool, coarse, fine)):
        assert_equivariant(layer, source, signal(source), target_graph=target, tolerance=1e-6)


def test_pools_on_the_sphere_follow_all_symmetries_of_the_icosahedron(graphs):
    fine, coarse = graphs("S2 42"), graphs("S2 12")
    assert_equivariant(SO3SpatialPool(2, fine.size, "max"), fine, signal(fine), target_graph=coarse)
    assert_equivariant(SO3SpatialUnpool(2, coarse.size, "avg"), coarse, signal(coarse), target_graph=fine)


def test_the_network_for_images(graphs):
    levels = [SE2GEGraph((n, n, 4), ANISOTROPIC, 12) for n in (3, 6, 12)]
    network = WideResSE2GEChebNet(1, 5, 3, *levels, res_depth=1, reduction="max").eval()
    x = signal(levels[-1], 1)
    assert_equivariant(network, levels[-1], x)
    assert (network(x.roll(1, -1)) - network(x)).abs().max() > 1e-3
    alone = WideResSE2GEChebNet(1, 5, 3, graphs("SE2 6x6x9"), res_depth=1).eval()
    assert_equivariant(alone, graphs("SE2 6x6x9"), signal(graphs("SE2 6x6x9"), 1))


@pytest.mark.parametrize(("nalpha", "places"), [(5, (12, 42, 162)), (10, (12, 42))])
def test_the_network_for_the_sphere(nalpha, places):
    """All levels under all rotations and reflections of the icosahedron."""
    levels = [SO3GEGraph((n, nalpha), (1.0, 0.1, 10 / n), min(n, 16)) for n in places]
    sphere = S2GEGraph((places[-1],), ISOTROPIC, 8)
    network = SO3GEUChebNet(2, 3, 3, graphs=levels, output_graph=sphere, reduction="max", expansion="avg").eval()
    x = signal(levels[-1], batch=1)
    found = symmetries(levels[-1])
    assert sum(s.is_rotation for s in found) == 60
    assert_equivariant(network, levels[-1], x, target_graph=sphere, tolerance=1e-5)
    assert (network(found[1].move(x)) - network(x)).abs().max() > 1e-2


def test_the_network_for_the_sphere_with_coordinate_frames():
    levels = [SO3GEGraph((n, 4), ANISOTROPIC, 8, frames="coordinate") for n in (12, 42)]
    sphere = S2GEGraph((42,), ISOTROPIC, 6)
    network = SO3GEUChebNet(2, 3, 3, graphs=levels, output_graph=sphere).eval()
    assert_equivariant(network, levels[-1], signal(levels[-1]), target_graph=sphere)


def test_the_isotropic_network_follows_all_symmetries_of_the_icosahedron(graphs):
    levels = [graphs("S2 12"), graphs("S2 42")]
    network = SO3GEUChebNet(2, 3, 2, graphs=levels, output_graph=levels[-1]).eval()
    assert_equivariant(network, levels[-1], signal(levels[-1], batch=1))


def test_what_is_not_equivariant_is_found_out(graphs):
    graph, odd = graphs("R2 6x6"), graphs("R2 7x7")
    x = signal(graph)
    with pytest.raises(AssertionError, match=r"all 8 symmetries of .*, got \S+ under the (rotation|reflection)"):
        assert_equivariant(lambda x: x * torch.arange(36), graph, x)
    with pytest.raises(AssertionError, match="; 7 are above"):  # all but the identity
        assert_equivariant(lambda x: x.roll(1, -1), graph, x)
    with pytest.raises(AssertionError, match="got nan under the identity"):
        assert_equivariant(lambda x: x * torch.nan, graph, x)
    with pytest.raises(AssertionError, match="; 7 are above"):
        assert_equivariant(ChebConv(2, 3, 3, sampled(SE2, "random", 49)), odd, signal(odd))
    stretched = R2GEGraph((7, 7), (1.0, 0.3, 1.0), 8)
    layer = ChebConv(2, 3, 3, stretched)
    with pytest.raises(AssertionError, match="got .* under the .*; 4 are above"):
        assert_equivariant(layer, odd, signal(odd))
    with pytest.raises(AssertionError, match="which maps edges of the graph to none or to others in weight"):
        assert_equivariant(layer, stretched, signal(odd))


def test_pools_that_leave_a_border_out_are_found_out():
    odd, rest = SE2GEGraph((7, 7, 4), ANISOTROPIC, 12), SE2GEGraph((3, 3, 4), ANISOTROPIC, 12)
    with pytest.raises(AssertionError, match="; 6 are above"):  # not the identity, nor the swap of x and y
        assert_equivariant(SE2SpatialPool(2, odd.size, "avg"), odd, signal(odd), target_graph=rest)


@pytest.mark.parametrize(("frames", "nalpha"), [("coordinate", 4), ("icosahedral", 10)])
def test_pools_of_some_orientations_do_not_follow_reflections(frames, nalpha):
    graph, target = (SO3GEGraph((42, n), ANISOTROPIC, 8, frames=frames) for n in (nalpha, nalpha // 2))
    pool = SO3OrientationPool(2, graph.size, "max")
    for s in symmetries(graph):
        error = equivariance_error(pool, graph, s, signal(graph), target_graph=target).error
        assert error == 0 if s.is_rotation else error > 0.1


LINE = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)


@pytest.mark.parametrize("manifold", ["se2", "so3", "s2"])
@pytest.mark.parametrize("angle", [0.3, -2.0, math.pi / 2])
def test_interpolation_moves_a_smooth_signal_as_its_formula(manifold, angle):
    """A bump whose height depends on the orientation: bump and preferred orientation turn by the angle, not against it."""
    c, s = math.cos(angle), math.sin(angle)
    rotation = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)
    if manifold == "se2":
        graph, middle = SE2GEGraph((24, 24, 12), ANISOTROPIC, 8), torch.tensor([0.2, 0.1, 0.0], dtype=torch.float64)
        theta = graph.elements[:, 2]
        at = torch.nn.functional.pad(graph.elements[:, :2] - 23 / 48, (0, 1))
        along, width = torch.stack([theta.cos(), theta.sin(), 0 * theta], -1), 0.12
    else:
        graph = S2GEGraph((642,), ISOTROPIC, 6) if manifold == "s2" else SO3GEGraph((642, 12), ANISOTROPIC, 8)
        matrix, middle = graph.group.matrix(graph.elements), torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
        at, along, width = matrix[..., 2], matrix[..., 0], 0.5

    def bump(rotation):
        height = 1.0 if manifold == "s2" else (along @ rotation @ LINE) ** 2
        return height * torch.exp(-(at - rotation @ middle).square().sum(-1) / width**2)

    moved = interpolation("graph", graph, rotation).move(bump(torch.eye(3, dtype=torch.float64)))
    expected = bump(rotation)
    assert (moved - expected).norm() < 0.06 * expected.norm()


def test_an_angle_of_the_sampling_is_its_symmetry(graphs):
    graph, x = graphs("SE2 6x6x4"), signal(graphs("SE2 6x6x4")).double()
    layer = ChebConv(2, 3, 3, graph).double()
    error = equivariance_error(layer, graph, math.pi / 2, x)
    assert error.error < 1e-12
    assert error.interpolation < 1e-12
    quarter = next(s for s in symmetries(graph) if s.name == "rotation by 90 degrees")
    rotated = interpolation("graph", graph, quarter.matrix).move(x)
    torch.testing.assert_close(rotated, quarter.move(x))
    sphere = graphs("S2 42")
    fifth = next(s for s in symmetries(sphere) if "by 72" in s.name)
    error = equivariance_error(ChebConv(2, 3, 3, sphere).double(), sphere, fifth.matrix, x[..., :42])
    assert error.error < 1e-12
    assert error.interpolation < 1e-12


def test_other_angles_give_the_error_of_interpolation_beside(graphs):
    graph, sphere = graphs("SE2 6x6x4"), graphs("SO3 42x5")
    error = equivariance_error(lambda x: 2 * x, graph, 0.4, signal(graph))
    assert error.error < 1e-6
    assert error.interpolation > 0.1
    assert equivariance_error(GlobalPool("avg"), graph, 0.4, torch.ones(1, 1, 144)).error > 0.01  # corners are lost
    pool = SO3OrientationPool(5, sphere.size, "avg")
    error = equivariance_error(pool, sphere, 0.4, torch.ones(1, 1, 210), target_graph=graphs("S2 42"))
    assert error.error < 1e-6
    assert error.interpolation < 1e-6


def test_an_output_of_zeros():
    graph = S2GEGraph((12,), ISOTROPIC, 5)
    assert equivariance_error(torch.zeros_like, graph, 0.3, torch.ones(1, 1, 12)).error == 0
    x, s = signal(graph), symmetries(graph)[1]
    outputs = [0 * x, x]
    assert equivariance_error(lambda _: outputs.pop(0), graph, s, x) == EquivarianceError(math.inf, 0.0)


class OwnGroup(Group):
    name, coordinates = "own", ("x",)
    uniform_sampling = _matrix = _element = _inverse = _log = None

    def squared_distance(self, g, h, sigmas):
        return (g - h).square().sum(-1)


def test_says_what_is_wrong(graphs):
    graph, odd, x = graphs("R2 6x6"), graphs("R2 6x4"), torch.randn(1, 1, 36)
    quarter = symmetries(graph)[1]
    with pytest.raises(TypeError, match="graph: expected a graph of group elements, .*, got a Graph without elements"):
        symmetries(Graph(torch.tensor([[0, 1], [1, 0]])))
    with pytest.raises(ValueError, match="expected a graph on R2, .*, got the group 'own'"):
        symmetries(GEGraph.from_elements(OwnGroup(), torch.rand(5, 1), ISOTROPIC, 4))
    with pytest.raises(ValueError, match=r"signal: expected V = 24, got shape \(1, 1, 36\)"):
        equivariance_error(torch.relu, odd, quarter, x)
    with pytest.raises(ValueError, match=r"move: signal: expected V = 36 in the last place, got \(1, 24\)"):
        quarter.move(torch.randn(1, 24))
    with pytest.raises(ValueError, match="target_graph: expected one of the output's 24 vertices"):
        equivariance_error(lambda x: x[..., :24], graph, quarter, x)
    with pytest.raises(ValueError, match="target_graph: expected a sampling that the rotation by 90 degrees permutes"):
        equivariance_error(lambda x: x[..., :24], graph, quarter, x, target_graph=odd)
    with pytest.raises(TypeError, match="model: expected a function that returns a tensor, got tuple"):
        equivariance_error(lambda x: (x,), graph, quarter, x)
    with pytest.raises(TypeError, match="transformation: expected a symmetry, an angle or a rotation, got str"):
        equivariance_error(torch.relu, graph, "90", x)
    with pytest.raises(TypeError, match="transformation: expected a symmetry or an angle for a graph on the plane"):
        equivariance_error(torch.relu, graph, torch.eye(3), x)
    with pytest.raises(ValueError, match=r"transformation: expected a rotation \(3, 3\)"):
        equivariance_error(torch.relu, graphs("S2 42"), 2 * torch.eye(3), torch.randn(1, 1, 42))
    scattered = sampled(SE2, "random", 36)
    with pytest.raises(ValueError, match="expected a grid of the plane, or places on the sphere with the same evenly"):
        equivariance_error(torch.relu, scattered, 0.3, x)
    with pytest.raises(ValueError, match="expected a sampling with symmetries, .*, which has none"):
        assert_equivariant(torch.relu, scattered, x)


def test_directions_have_a_head():
    """Of a group of one's own that counts modulo 2 pi, half of the orientations are no sampling that turns."""
    directions = type("Directions", (SE2Group,), {"name": "directions", "has_orientation": False})()
    half = directions.uniform_sampling(4, 4, 4)
    whole = half * torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)
    found = [symmetries(GEGraph.from_elements(directions, e, ANISOTROPIC, 12)) for e in (half, whole)]
    assert [len(symmetries_) for symmetries_ in found] == [1, 8]
    assert all(s.preserves_graph for s in found[1])


def test_the_example_of_the_page(capsys):
    page = Path(__file__).resolve().parents[1] / "docs" / "equivariance.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    exec(compile(example, str(page), "exec"), {})
    assert capsys.readouterr().out.count("True True") == 8
