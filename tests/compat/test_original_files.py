import hashlib

import pytest
import torch

from cheblienet import nn as gnn
from cheblienet.compat import load_original
from cheblienet.graphs import GEGraph, Graph, R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph

SIZE, SIGMAS, K = [4, 3, 2], (1.0, 0.1, 0.5), 6


def prefix(manifold, size, sigmas, K, kernel="gaussian"):
    return hashlib.sha256(f"{manifold}-{size}-{K}-{sigmas}-{kernel}".encode()).hexdigest()


def ring(num_vertices):
    """Edges that no metric would give: those loaded are those of the file."""
    here = torch.arange(num_vertices)
    there = (here + 1) % num_vertices
    weight = torch.linspace(0.1, 1.0, num_vertices).repeat(2)
    return torch.stack([torch.cat([here, there]), torch.cat([there, here])]), 1 - weight, weight


def write(folder, name, num_vertices, **changes):
    index, sqdist, weight = ring(num_vertices)
    tensors = {"vertex_index": torch.arange(num_vertices), "edge_index": index, "edge_sqdist": sqdist}
    for key, tensor in (tensors | {"edge_weight": weight} | changes).items():
        torch.save(tensor, folder / f"{name}_{key}.pt")


@pytest.mark.parametrize(
    ("kind", "manifold", "size", "sigmas", "num_vertices"),
    [
        (R2GEGraph, "r2", [4, 3, 1], (1.0, 1.0, 1.0), 12),
        (SE2GEGraph, "se2", [4, 3, 2], (1.0, 0.1, 2.048 / 28**2), 24),
        (S2GEGraph, "s2", [42, 1], (1.0, 0.5, 1.0), 42),
        (SO3GEGraph, "so3", [12, 2], (1.0, 0.1, 10.0 / 12), 24),
    ],
)
def test_loads_the_edges_of_the_files(tmp_path, kind, manifold, size, sigmas, num_vertices):
    write(tmp_path, prefix(manifold, size, sigmas, 6), num_vertices)
    for given_size, given_sigmas in ((size, sigmas), (tuple(size), list(sigmas))):
        graph = load_original(kind, given_size, given_sigmas, 6, tmp_path)
        assert type(graph) is kind
        assert isinstance(graph, GEGraph)
        index, sqdist, weight = ring(num_vertices)
        order = torch.argsort(index[0] * num_vertices + index[1])
        assert torch.equal(graph.edge_index, index[:, order])
        assert torch.equal(graph.edge_weight, weight[order])
        assert torch.equal(graph.edge_sqdist, sqdist[order])
        assert graph.size == tuple(size)
        assert graph.manifold == manifold
        assert len(graph.group_element[0]) == num_vertices
        assert graph.centroid_vertex is not None


def test_hash_is_the_originals(tmp_path):
    """Of the text se2-[4, 3, 2]-6-(1.0, 0.1, 0.5)-gaussian."""
    name = "4cc752984c697244ca4b82aefef53fe9f61f00f5b4628a0dede8c3fc4172ded6"
    write(tmp_path, name, 24)
    assert load_original(SE2GEGraph, SIZE, SIGMAS, K, tmp_path).num_edges == 48


def test_networks_use_the_loaded_graph(tmp_path, assert_close):
    write(tmp_path, prefix("se2", SIZE, SIGMAS, K), 24)
    layer = gnn.ChebConv(2, 3, 3, load_original(SE2GEGraph, SIZE, SIGMAS, K, tmp_path))
    index, _, weight = ring(24)
    plain = gnn.ChebConv(2, 3, 3, Graph(index, weight))
    with pytest.warns(UserWarning, match="the state was saved on another graph: K = 6, here None"):
        plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 2, 24)
    assert_close(layer(x), plain(x))


class Code:
    pass


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("vertex_index", torch.arange(25), "expected the vertices 0 to 23"),
        ("edge_index", torch.zeros(3, 5, dtype=torch.int64), r"expected shape \(2, E\)"),
        ("edge_index", ring(25)[0], "expected vertices between 0 and 23"),
        ("edge_index", ring(24)[0].float(), "expected integers"),
        ("edge_weight", -torch.ones(48), "expected finite values of at least 0"),
        ("edge_weight", torch.ones(47), "expected one value for each of 48 edges"),
        ("edge_sqdist", torch.arange(48.0), "expected the same value in both directions"),
        ("edge_sqdist", {"a": 1}, "expected a tensor, got dict"),
        ("edge_weight", Code(), "expected a tensor, cannot be read"),
    ],
)
def test_names_the_file_that_is_wrong(tmp_path, name, tensor, said):
    write(tmp_path, prefix("se2", SIZE, SIGMAS, K), 24, **{name: tensor})
    with pytest.raises(ValueError, match=rf"_{name}\.pt: .*{said}"):
        load_original(SE2GEGraph, SIZE, SIGMAS, K, tmp_path)


@pytest.mark.parametrize("name", ["vertex_index", "edge_index", "edge_sqdist", "edge_weight"])
def test_names_the_file_that_is_missing_or_damaged(tmp_path, name):
    write(tmp_path, prefix("se2", SIZE, SIGMAS, K), 24)
    file = tmp_path / f"{prefix('se2', SIZE, SIGMAS, K)}_{name}.pt"
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a tensor"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=file.name):
            load_original(SE2GEGraph, SIZE, SIGMAS, K, tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=file.name):
        load_original(SE2GEGraph, SIZE, SIGMAS, K, tmp_path)
    with pytest.raises(TypeError, match="kind: expected a graph class"):
        load_original(Graph, SIZE, SIGMAS, K, tmp_path)
