"""Names, arguments and attributes that code for the original relies on."""

import inspect

import pytest
import torch

from cheblienet import compat
from cheblienet.meshes import icosphere

# What the original calls the arguments.
ARGUMENTS = {
    ("geometry.se", "r2_uniform_sampling"): "nx ny",
    ("geometry.se", "se2_uniform_sampling"): "nx ny ntheta",
    ("geometry.so", "s2_uniform_sampling"): "num_samples",
    ("geometry.so", "so3_uniform_sampling"): "level nalpha",
    ("geometry.se", "r2_matrix"): "x y device",
    ("geometry.se", "se2_matrix"): "x y theta device",
    ("geometry.so", "s2_matrix"): "beta gamma device",
    ("geometry.so", "so3_matrix"): "alpha beta gamma device",
    ("geometry.se", "se2_inverse"): "G",
    ("geometry.se", "se2_riemannian_sqdist"): "Gg Gh Re",
}


@pytest.mark.parametrize(("module", "name"), ARGUMENTS)
def test_arguments_have_the_originals_names(module, name):
    function = compat.resolve(module, name)
    assert list(inspect.signature(function).parameters) == ARGUMENTS[module, name].split()


def test_matrices_go_to_a_device():
    matrix = compat.resolve("geometry.se", "se2_matrix")
    x, y, theta = torch.rand(3, 5)
    assert torch.equal(matrix(x, y, theta, torch.device("cpu")), matrix(theta=theta, x=x, y=y))
    assert matrix(x, y, theta, "meta").is_meta
    with pytest.raises(TypeError, match="missing a required argument: 'theta'"):
        matrix(x, y)


@pytest.mark.parametrize(
    ("name", "size", "text"),
    [
        ("R2GEGraph", [4, 3, 1], "r2-[4, 3, 1]-4-(1.0, 1.0, 0.5)-gaussian"),
        ("SE2GEGraph", (4, 3, 2), "se2-(4, 3, 2)-4-(1.0, 1.0, 0.5)-gaussian"),
        ("S2GEGraph", [12, 1], "s2-[12, 1]-4-(1.0, 1.0, 0.5)-gaussian"),
        ("SO3GEGraph", [12, 2], "so3-[12, 2]-4-(1.0, 1.0, 0.5)-gaussian"),
    ],
)
def test_graphs_have_the_originals_names(tmp_path, name, size, text):
    graph = compat.resolve("graphs.graphs", name)(size, (1.0, 1.0, 0.5), 4, None)
    assert graph.str_repr == text
    sampled = graph.uniform_sampling(size)
    assert all(torch.equal(*pair) for pair in zip(sampled, graph.group_element, strict=True))
    G = graph.general_linear_group_element
    sqdist = graph.riemannian_sqdist(G[3], G, torch.diag(torch.tensor([1.0, 1.0, 0.5])))
    neighbors, _, expected = graph.neighborhood(3)
    torch.testing.assert_close(sqdist[neighbors], expected, atol=1e-5, rtol=1e-5)
    assert not graph.check_graph_exists(tmp_path)
    names = ("vertex_index", "edge_index", "edge_weight", "edge_sqdist", *graph.vertex_attributes)
    for attribute in names:  # the original's files
        assert not graph.check_graph_exists(tmp_path)
        torch.save(getattr(graph, attribute), tmp_path / f"{graph.hash_repr()}_{attribute}.pt")
    assert graph.check_graph_exists(tmp_path)


@pytest.mark.parametrize("original_edges", [False, True])
def test_a_kept_graph_exists(tmp_path, original_edges):
    SE2GEGraph = compat.resolve("graphs.graphs", "SE2GEGraph")
    options = {"size": [4, 3, 2], "sigmas": (1.0, 0.1, 0.5), "K": 4, "original_edges": original_edges}
    graph = SE2GEGraph(**options, path_to_graph=tmp_path)
    assert graph.check_graph_exists(str(tmp_path))
    assert not SE2GEGraph(**options | {"original_edges": not original_edges}).check_graph_exists(tmp_path)
    assert not SE2GEGraph(**options | {"K": 5}).check_graph_exists(tmp_path)


def test_pools_tell_what_they_reduce():
    def layer(module, name):
        return compat.resolve(f"nn.layers.{module}", name)

    x, y, theta, i, j = torch.meshgrid(*map(torch.arange, (3, 2, 2, 2, 2)), indexing="ij")
    expected = (
        (2 * x + i) + 6 * (2 * y + j) + 24 * theta
    )  # vertex i + nx j + nx ny k, the grid's axes from last to first
    pool = layer("pools", "SE2SpatialPool")(2, (6, 4, 2), "max")
    assert torch.equal(pool.index, expected.permute(2, 1, 0, 4, 3).reshape(12, 4))
    assert torch.equal(pool.get_reduction_index((6, 4, 2), 2), pool.index)
    signal = torch.randn(1, 2, 48)
    assert torch.equal(signal[..., pool.index].amax(-1), pool(signal))
    unpool = layer("unpools", "SE2SpatialUnpool")(2, (3, 2, 2), "avg")
    assert torch.equal(pool.index[unpool.index[:, 0]].eq(torch.arange(48)[:, None]).sum(1), torch.ones(48).long())
    assert torch.equal(unpool.get_expansion_index((3, 2, 2), 2), unpool.index)
    sphere = layer("pools", "SO3SpatialPool")(2, (42, 2), "max")
    members = icosphere.pooling_index(1)
    assert sphere.index.shape == (24, 7)
    assert torch.equal(sphere.index[:12], torch.where(members < 0, torch.arange(12)[:, None], members))
    assert torch.equal(sphere.index[12:], sphere.index[:12] + 42)
    signal = torch.randn(1, 2, 84)
    assert torch.equal(signal[..., sphere.index].amax(-1), sphere(signal))
    none = layer("pools", "SE2SpatialPool")(1, (6, 4, 2), "avg")
    assert none.shortcut
    assert not pool.shortcut
    assert torch.equal(none.index, torch.arange(48)[:, None])
