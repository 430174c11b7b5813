"""Graphs on regular samplings: attributes, positions, symmetries, arguments."""

import math

import pytest
import torch

from cheblienet.graphs import GEGraph, R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.groups import R2, S2, SE2, SO3
from cheblienet.meshes import icosphere

ISOTROPIC = (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("graph_class", "size", "full_size", "dim", "centroid", "names"),
    [
        (R2GEGraph, (5, 4), (5, 4, 1), (1, 20), 2 + 2 * 5, ["x", "y"]),
        (R2GEGraph, [5, 4, 7], (5, 4, 1), (1, 20), 2 + 2 * 5, ["x", "y"]),
        (SE2GEGraph, [5, 4, 3], (5, 4, 3), (3, 20), 2 + 2 * 5 + 20, ["x", "y", "theta"]),
        (S2GEGraph, (42,), (42, 1), (1, 42), 0, ["beta", "gamma"]),
        (S2GEGraph, [42, 6], (42, 1), (1, 42), 0, ["beta", "gamma"]),
        (SO3GEGraph, (12, 4), (12, 4), (4, 12), 0, ["alpha", "beta", "gamma"]),
    ],
)
def test_attributes(graph_class, size, full_size, dim, centroid, names):
    graph = graph_class(size, ISOTROPIC, 6, kernel="cauchy")
    vertices = math.prod(dim)
    assert (graph.size, graph.dim, graph.centroid_vertex, graph.group_dim) == (full_size, dim, centroid, names)
    assert (graph.sigmas, graph.K, graph.kernel) == (ISOTROPIC, 6, "cauchy")
    assert graph.num_vertices == vertices
    assert graph.manifold == graph_class.__name__[: -len("GEGraph")].lower()
    assert graph.vertex_attributes == tuple(f"vertex_{name}" for name in names)
    assert graph.elements.dtype == torch.float64
    for column, (name, coordinate) in enumerate(zip(graph.vertex_attributes, graph.group_element, strict=True)):
        assert torch.equal(getattr(graph, name), coordinate)
        assert torch.equal(coordinate, graph.elements[:, column].float())
    matrices = graph.general_linear_group_element
    assert matrices.shape == (vertices, 3, 3)
    torch.testing.assert_close(matrices.double(), graph.group.matrix(graph.elements), rtol=0, atol=1e-6)
    positions = graph.cartesian_pos()
    for axis, position in zip("xyz", positions, strict=True):
        assert position.shape == (vertices,)
        assert position.dtype == torch.float32
        assert torch.equal(graph.cartesian_pos(axis), position)
    with pytest.raises(ValueError, match="axis: expected one of 'x', 'y', 'z', got 'w'"):
        graph.cartesian_pos("w")


def test_positions():
    plane, lifted = R2GEGraph((4, 3), ISOTROPIC, 4), SE2GEGraph((4, 3, 2), ISOTROPIC, 4)
    assert torch.equal(torch.stack(plane.cartesian_pos()), torch.stack([*plane.group_element, torch.zeros(12)]))
    assert torch.equal(torch.stack(lifted.cartesian_pos()), torch.stack(lifted.group_element))
    points = icosphere.icosphere(1)[0].float()
    sphere, spheres = S2GEGraph((42,), ISOTROPIC, 4), SO3GEGraph((42, 2), ISOTROPIC, 4, frames="coordinate")
    torch.testing.assert_close(torch.stack(sphere.cartesian_pos(), -1), points, rtol=0, atol=1e-6)
    expected = torch.cat([1.5 * math.pi * points, 2 * math.pi * points])  # alpha = -pi/2 and 0
    torch.testing.assert_close(torch.stack(spheres.cartesian_pos(), -1), expected, rtol=0, atol=1e-5)


def assert_invariant(graph, permutation):
    """The Laplacian has the same bits after vertex i is renamed permutation[i]."""
    assert torch.equal(permutation.sort().values, graph.vertex_index)
    assert not torch.equal(permutation, graph.vertex_index)
    laplacian = graph.get_laplacian().to_dense()
    assert torch.equal(laplacian[permutation][:, permutation], laplacian)


@pytest.mark.parametrize(("sigmas", "K"), [((1.0, 0.1, 0.02), 16), ((1.0, 0.37, 0.004), 9), ((0.2, 1.0, 0.1), 24)])
@pytest.mark.parametrize("ntheta", [6, 4])
def test_grid_symmetries_are_exact(sigmas, K, ntheta):
    n = 8
    graph = SE2GEGraph((n, n, ntheta), sigmas, K)
    assert graph.num_edges > 4 * graph.num_vertices
    theta, y, x = torch.meshgrid(torch.arange(ntheta), torch.arange(n), torch.arange(n), indexing="ij")

    def index(x, y, theta):
        return (x + n * y + n * n * (theta % ntheta)).flatten()

    assert_invariant(graph, index(n - 1 - y, x, theta + ntheta // 2))  # by 90 degrees about the middle
    assert_invariant(graph, index(x, n - 1 - y, -theta))  # -(-pi/2 + k pi/n) = -pi/2 - k pi/n modulo pi


def turn(axis, angle):
    """The rotation by `angle` about `axis`."""
    x, y, z = (axis / axis.norm()).tolist()
    return torch.linalg.matrix_exp(angle * torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))


@pytest.mark.parametrize("K", [6, 8, 18])
def test_icosahedral_rotations_are_exact(K):
    graph = S2GEGraph((162,), ISOTROPIC, K)
    points, _ = icosphere.icosphere(2)
    _, faces = icosphere.icosphere(0)
    vertex, face = points[0], points[faces[0]].mean(0)
    for rotation in (turn(vertex, 2 * math.pi / 5), turn(face, 2 * math.pi / 3)):
        distance, permutation = torch.cdist(points @ rotation.T, points).min(1)
        assert distance.max() < 1e-6
        assert_invariant(graph, permutation)


def test_multiplets_of_the_sphere():
    eigenvalues, _ = S2GEGraph((642,), ISOTROPIC, 8).get_eigen_space()
    assert abs(eigenvalues[0]) < 1e-13
    for multiplet, value in ((eigenvalues[1:4], 0.0110945), (eigenvalues[4:9], 0.0329394)):
        assert multiplet.max() - multiplet.min() < 1e-13
        assert abs(multiplet[0] - value) < 5e-8
    assert eigenvalues[4] - eigenvalues[3] > 0.02
    assert eigenvalues[9] - eigenvalues[8] > 0.02


def test_pairs_on_the_grid():
    eigenvalues, _ = SE2GEGraph((8, 8, 6), (1.0, 0.1, 0.02), 16).get_eigen_space()
    pairs = (eigenvalues.diff() < 1e-13).sum()
    # Symmetric under the square's group, whose regular representation on 8 vertices has one doublet twice.
    assert pairs >= 2 * 384 // 8


def test_elements_of_ones_own():
    elements = torch.rand(30, 3)
    graph = GEGraph.from_elements(SE2, elements, torch.tensor([1.0, 0.5, 0.1]), 5, "laplace", centroid=2)
    assert (graph.size, graph.dim, graph.centroid_vertex, graph.K) == ((30, 1), (1, 30), 2, 5)
    assert graph.manifold == "se2"
    assert torch.equal(graph.vertex_theta, elements[:, 2])
    reach = graph.group.squared_distance(elements[2], elements, graph.sigmas).sort().values[5]
    assert graph.edge_sqdist.max() <= reach * 1.001
    assert GEGraph.from_elements(SE2, elements, ISOTROPIC, 5).centroid_vertex is None


@pytest.mark.parametrize(
    ("graph_class", "size"),
    [(R2GEGraph, (60, 50)), (SE2GEGraph, (16, 16, 6)), (S2GEGraph, (642,)), (SO3GEGraph, (642, 6))],
)
def test_a_gpu_finds_the_same_edges(graph_class, size):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU here")
    graph, found = graph_class(size, ISOTROPIC, 9), graph_class(size, ISOTROPIC, 9, device="cuda")
    own = GEGraph.from_elements(graph.group, graph.elements.cuda(), ISOTROPIC, 9, centroid=graph.centroid_vertex)
    for other in (found, own):
        assert torch.equal(other.edge_index, graph.edge_index)
        torch.testing.assert_close(other.edge_weight, graph.edge_weight)
        assert {t.device.type for t in (other.edge_index, other.edge_sqdist, other.edge_weight, other.elements)} == {
            "cpu"
        }


def test_the_device_of_the_search_changes_nothing_else():
    graph = R2GEGraph((6, 5), ISOTROPIC, 8, device="cpu")
    assert torch.equal(graph.edge_weight, R2GEGraph((6, 5), ISOTROPIC, 8).edge_weight)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: SE2GEGraph((8, 8, 6), ISOTROPIC, 384), ValueError, "SE2GEGraph: K: .* between 1 and 383, got 384"),
        (lambda: SE2GEGraph((8, 8, 6), ISOTROPIC, 0), ValueError, "K: expected an integer between 1 and 383, got 0"),
        (lambda: SE2GEGraph((8, 8, 6), ISOTROPIC, 4.0), TypeError, "K: expected an integer, got 4.0"),
        (lambda: SE2GEGraph((8, 8), ISOTROPIC, 4), ValueError, r"size: expected \(nx, ny, ntheta\), got \(8, 8\)"),
        (lambda: SE2GEGraph((8, 8, 6.5), ISOTROPIC, 4), TypeError, "size: ntheta: expected an integer"),
        (lambda: SE2GEGraph((8, 8, 1), ISOTROPIC, 4), ValueError, "ntheta: expected an integer at least 2, got 1"),
        (lambda: R2GEGraph((8,), ISOTROPIC, 4), ValueError, r"R2GEGraph: size: expected \(nx, ny\), got \(8,\)"),
        (lambda: S2GEGraph(42, ISOTROPIC, 4), ValueError, r"S2GEGraph: size: expected \(num_vertices\), got 42"),
        (lambda: S2GEGraph((43,), ISOTROPIC, 4), ValueError, "such as 42 or 162, got 43"),
        (lambda: S2GEGraph((42,), (1.0, 0.1, 1.0), 4), ValueError, "no invariant direction field.*SO3GEGraph"),
        (lambda: SO3GEGraph((42, 4, 1), ISOTROPIC, 4), ValueError, r"size: expected \(num_vertices, nalpha\)"),
        (lambda: R2GEGraph((4, 4), (1.0, 0.0, 1.0), 4), ValueError, "sigmas: expected three positive finite numbers"),
        (lambda: R2GEGraph((4, 4), (1.0, 1.0), 4), ValueError, "sigmas: expected three positive numbers"),
        (lambda: R2GEGraph((4, 4), ISOTROPIC, 4, kernel="box"), ValueError, "kernel: expected one of .*, got 'box'"),
        (lambda: GEGraph.from_elements("r2", torch.rand(9, 2), ISOTROPIC, 4), TypeError, "group: expected .* got str"),
        (lambda: GEGraph.from_elements(R2, torch.rand(9, 3), ISOTROPIC, 4), ValueError, "2 coordinates x, y of r2"),
        (lambda: GEGraph.from_elements(R2, torch.ones(9, 2).int(), ISOTROPIC, 4), TypeError, "expected float"),
        (lambda: GEGraph.from_elements(R2, torch.rand(9, 2), ISOTROPIC, 9), ValueError, "K: .* between 1 and 8, got 9"),
        (lambda: GEGraph.from_elements(S2, torch.rand(9, 2), (1, 2, 1), 4), ValueError, "sigma_1 = sigma_2"),
        (lambda: GEGraph.from_elements(SO3, torch.rand(9, 3), ISOTROPIC, 4, "cauchy", 9), ValueError, "centroid: "),
    ],
)
def test_bad_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()
