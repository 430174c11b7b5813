"""Graphs on a GPU, by a stand-in that counts what it would do: edges do not travel, and results are the same."""

import copy
import pickle
import sys
from pathlib import Path

import pytest
import torch

from cheblienet.graphs import (
    GEGraph,
    Graph,
    R2GEGraph,
    RandomSubGraph,
    S2GEGraph,
    SE2GEGraph,
    SO3GEGraph,
    edges,
    laplacian,
)
from cheblienet.groups import GROUPS, SE2, sample
from cheblienet.ops.tiles import in_tiles

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.cuda.stand_in import DEVICE, counted

ISOTROPIC = (1.0, 1.0, 1.0)
SMALL = 2000  # bytes; edges of the graphs below take a hundred times as much

# What raises under torch.use_deterministic_algorithms, or sums in any order without it; matrix products raise, too.
NONDETERMINISTIC = {
    "index_add",
    "index_add_",
    "scatter_add",
    "scatter_add_",
    "bincount",
    "histc",
    "put_",
    "median",
    "mm",
    "bmm",
}

GRAPHS = {
    "R2": lambda device: R2GEGraph((60, 50), ISOTROPIC, 8, device=device),
    "SE(2)": lambda device: SE2GEGraph((28, 28, 6), (1.0, 0.1, 2.048 / 28**2), 16, device=device),
    "S2": lambda device: S2GEGraph((2562,), ISOTROPIC, 8, device=device),
    "SO(3)": lambda device: SO3GEGraph((642, 6), (1.0, 0.1, 10 / 642), 16, kernel="cauchy", device=device),
}


def random_graph(device):
    elements = sample(SE2, "random", 3000, generator=torch.Generator().manual_seed(0))
    return GEGraph.from_elements(SE2, elements.to(device), (1.0, 0.1, 2.048 * 6 / 3000), 16)


GRAPHS["SE(2), random"] = random_graph


def inner(*tensors):
    assert all(tensor.device == DEVICE for tensor in tensors)
    return [tensor.inner for tensor in tensors]


@pytest.mark.parametrize("name", GRAPHS)
def test_edges_stay_where_they_were_found(name, monkeypatch):
    monkeypatch.setattr(edges, "_PIECE", 1000)  # for the CPU alone
    expected = GRAPHS[name]("cpu")
    with counted() as counts:
        graph = GRAPHS[name](DEVICE)
        csr = graph.laplacian_csr(DEVICE)
        launches, waits = counts.launches, counts.waits
        both = [(graph.get_laplacian(r, DEVICE), expected.get_laplacian(r)) for r in (True, False)]
    # Grids are made there; the points of a sphere come from the CPU, and so do one's own elements.
    elements = {"S2": [16 * 2562], "SO(3)": [16 * 642, 8 * 642], "SE(2), random": [24 * 3000]}.get(name, [])
    assert [n for n in counts.copies["to"] if n > SMALL] == elements
    assert max(counts.copies["from"]) <= SMALL
    assert launches <= 550
    assert waits <= 18
    assert not NONDETERMINISTIC & set(counts.operators)

    rows, col, values = inner(*csr[:3])
    order = in_tiles(expected._spatial_order(torch.device("cpu")))
    assert torch.equal(rows[:, 0].long(), order)
    index = torch.stack([torch.repeat_interleave(order, rows[:, 2] - rows[:, 1]), order[col.long()]])
    matrix = torch.sparse_coo_tensor(index, values, (graph.num_vertices,) * 2, check_invariants=True).to_sparse_csr()
    for actual, wanted in [(matrix, both[0][1]), *both]:
        for part in ("crow_indices", "col_indices", "values"):
            assert torch.equal(getattr(actual, part)(), getattr(wanted, part)())


def test_attributes_are_on_the_cpu_and_copied_once():
    expected = GRAPHS["SE(2)"]("cpu")
    with counted() as counts:
        graph = GRAPHS["SE(2)"](DEVICE)
        assert graph.num_edges == expected.num_edges
        assert max(counts.copies["from"]) <= SMALL
        for _ in range(2):
            for name in ("edge_index", "edge_sqdist", "edge_weight", "elements", *graph.vertex_attributes):
                assert torch.equal(getattr(graph, name), getattr(expected, name))
            neighborhoods = zip(graph.neighborhood(7), expected.neighborhood(7), strict=True)
            assert all(torch.equal(a, b) for a, b in neighborhoods)
            assert graph.is_connected
            assert graph.is_undirected
            assert graph.lambda_max == 2
            assert torch.equal(graph.get_laplacian().values(), expected.get_laplacian().values())
    assert len([n for n in counts.copies["from"] if n > SMALL]) == 4  # three of edges, and the elements


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda graph: pickle.loads(pickle.dumps(graph))])
def test_a_copy_needs_no_device(duplicate):
    expected = GRAPHS["R2"]("cpu")
    with counted():
        graph = GRAPHS["R2"](DEVICE)
        graph.laplacian_csr(DEVICE)
        other = duplicate(graph)
    assert torch.equal(other.edge_index, expected.edge_index)
    assert torch.equal(other.get_laplacian().values(), expected.get_laplacian().values())
    assert torch.equal(other.vertex_x, expected.vertex_x)


def test_cached_graphs(tmp_path):
    expected = GRAPHS["R2"]("cpu")
    with counted() as counts:
        found, read = (R2GEGraph((60, 50), ISOTROPIC, 8, tmp_path, device=DEVICE) for _ in range(2))
        assert torch.equal(inner(*found._edges.made)[0], expected.edge_index)
    assert counts.operators["nearest_neighbors"] == 1
    assert torch.equal(read.edge_weight, expected.edge_weight)


def test_edges_from_the_cpu_travel_for_a_laplacian():
    expected = GRAPHS["R2"]("cpu")
    graph = Graph(expected.edge_index, expected.edge_weight)
    with counted() as counts:
        values = graph.get_laplacian(device=DEVICE).values()
    assert len([n for n in counts.copies["to"] if n > SMALL]) == 3
    assert torch.equal(values, expected.get_laplacian().values())


def test_a_sub_graph_takes_rows_in_the_order_of_its_parent():
    with counted():
        graph = GRAPHS["SE(2)"](DEVICE)
        part = RandomSubGraph(graph)
        assert part.laplacian_csr(DEVICE) is graph.laplacian_csr(DEVICE)
        part.vertices_sampling(0.5)
        kept = part.sub_vertex_index
        (rows,) = inner(part.laplacian_csr(DEVICE).rows)
        twice = RandomSubGraph(part)
        twice.vertices_sampling(0.9)
        part.reinit()
        assert len(twice.laplacian_csr(DEVICE).rows) == twice.num_vertices
    order = GRAPHS["SE(2)"]("cpu")._spatial_order(torch.device("cpu"))
    assert torch.equal(rows[:, 0].long(), in_tiles(torch.searchsorted(kept, order[torch.isin(order, kept)])))


def test_tables_of_tiles_are_made_when_a_layer_asks_and_for_graphs_that_stay():
    with counted():
        graph = GRAPHS["SE(2)"](DEVICE)
        assert len(graph.laplacian_csr(DEVICE).tables) == 1
        vertex, slots, halo = graph.laplacian_csr(DEVICE, tiles=True).tables
        assert graph.laplacian_csr(DEVICE).tables[1] is slots
        part = RandomSubGraph(graph)
        assert part.laplacian_csr(DEVICE, tiles=True).tables[1] is slots
        part.edges_sampling(0.5)
        assert len(part.laplacian_csr(DEVICE, tiles=True).tables) == 1
        part.reinit()
        assert part.laplacian_csr(DEVICE, tiles=True).tables[1] is slots
    assert len(slots) == len(halo) == 49
    assert vertex.dtype == torch.int32
    assert len(GRAPHS["SE(2)"]("cpu").laplacian_csr(tiles=True).tables) == 0


def test_degrees_have_the_same_bits_everywhere():
    counts = torch.randint(0, 40, (200,))
    source = torch.repeat_interleave(torch.arange(200), counts)
    weight = 10.0 ** torch.empty(len(source)).uniform_(-20, 20)  # so that the order of a sum matters
    given = edges.Edges(torch.stack([source, source]), weight, weight)
    assert torch.equal(laplacian.row_pointers(source, 200).diff(), counts)
    one_by_one = torch.zeros(200, dtype=torch.float64)
    for vertex, value in zip(source, weight.double(), strict=True):
        one_by_one[vertex] += value
    assert torch.equal(laplacian.degrees(given, 200), one_by_one)
    with counted():
        (elsewhere,) = inner(laplacian.degrees(given.to(DEVICE), 200))
        (empty,) = inner(laplacian.degrees(edges.Edges(*(tensor[..., :0] for tensor in given)).to(DEVICE), 2))
    assert torch.equal(elsewhere, one_by_one)
    assert empty.tolist() == [0, 0]


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_samplings_have_the_same_bits_everywhere(name):
    size = {"r2": (7, 5), "se2": (7, 5, 3), "s2": (42,), "so3": (42, 3)}[name]
    with counted():
        (elements,) = inner(GROUPS[name].uniform_sampling(*size, device=DEVICE))
    assert torch.equal(elements, GROUPS[name].uniform_sampling(*size))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_gpu_gives_the_same_bits_every_time(name):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU here")
    graphs = []
    torch.use_deterministic_algorithms(True)  # raises where an operation is not deterministic
    try:
        for _ in range(2):
            graphs.append(GRAPHS[name]("cuda"))
            graphs[-1].laplacian_csr("cuda")
            graphs[-1].get_laplacian(False, "cuda")
    finally:
        torch.use_deterministic_algorithms(False)
    first, second = ([*g.laplacian_csr("cuda")[:3], g.get_laplacian(False, "cuda").values()] for g in graphs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    torch.testing.assert_close(first[3].cpu(), GRAPHS[name]("cpu").get_laplacian(False).values())
