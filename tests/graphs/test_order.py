"""The spatial order of vertices: a permutation whose runs are compact clusters."""

import pytest
import torch

from cheblienet.graphs import GEGraph, Graph, R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.graphs.order import hilbert_code
from cheblienet.groups import SE2, SO3, sample
from cheblienet.ops.csr import breadth_first, csr_from_rows

CPU = torch.device("cpu")
ISOTROPIC = (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("axes", "bits"), [(2, 1), (2, 5), (3, 1), (3, 4)])
def test_the_curve_visits_all_cells_step_by_step(axes, bits):
    cell = torch.stack(torch.meshgrid(*[torch.arange(2**bits)] * axes, indexing="ij")).flatten(1)
    code = hilbert_code(cell, bits)
    assert torch.equal(code.sort().values, torch.arange(2 ** (axes * bits)))
    steps = cell[:, code.argsort()].diff().abs().sum(0)
    assert (steps == 1).all()


def random_elements(group, vertices):
    return sample(group, "random", vertices, generator=torch.Generator().manual_seed(0))


GRAPHS = {
    "R2": lambda: R2GEGraph((20, 17), ISOTROPIC, 8),
    "SE(2)": lambda: SE2GEGraph((28, 28, 6), (1.0, 0.1, 2.048 / 28**2), 16),
    "SE(2), odd": lambda: SE2GEGraph((27, 33, 6), (1.0, 0.1, 2.048 / 28**2), 16),
    "SE(2), large": lambda: SE2GEGraph((64, 64, 6), (1.0, 0.1, 2.048 / 64**2), 16),
    "S2": lambda: S2GEGraph((2562,), ISOTROPIC, 8),
    "SO(3)": lambda: SO3GEGraph((2562, 6), (1.0, 0.1, 10 / 2562), 16),
    "SE(2), random": lambda: GEGraph.from_elements(SE2, random_elements(SE2, 5000), (1.0, 0.1, 2.048 * 6 / 5000), 16),
    "SO(3), random": lambda: GEGraph.from_elements(SO3, random_elements(SO3, 5000), (1.0, 0.1, 10 * 6 / 5000), 16),
}


def halo(graph, order, run):
    """How many other vertices the edges of a run of so many vertices lead to, on average."""
    rank = torch.argsort(order)
    source, target = rank[graph.edge_index]
    leaves = target // run != source // run
    reached = torch.unique(source[leaves] // run * graph.num_vertices + target[leaves])
    return len(reached) / -(-graph.num_vertices // run)


# At most so many vertices in the mean halo of runs of 96 and of 128.
HALOS = {
    "R2": (32, 35),
    "SE(2)": (145, 190),
    "SE(2), odd": (172, 214),
    "SE(2), large": (162, 208),
    "S2": (58, 68),
    "SO(3)": (192, 227),
    "SE(2), random": (162, 182),
    "SO(3), random": (175, 204),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_runs_are_clusters(name):
    graph = GRAPHS[name]()
    order = graph._spatial_order(CPU)
    assert torch.equal(order.sort().values, graph.vertex_index)
    assert torch.equal(order, graph._spatial_order(CPU))
    laplacian = graph.get_laplacian()
    by_distance = breadth_first(laplacian.crow_indices(), laplacian.col_indices())
    for run, most in zip((96, 128), HALOS[name], strict=True):
        found = halo(graph, order, run)
        assert found <= most
        assert found <= (0.95 if name == "R2" else 0.55) * halo(graph, by_distance, run)
        assert found <= 0.25 * halo(graph, torch.randperm(graph.num_vertices), run)


@pytest.mark.parametrize(("size", "side"), [((28, 28, 6), 4), ((12, 20, 5), 4), ((16, 24, 3), 8), ((6, 10, 4), 2)])
def test_runs_of_a_grid_are_boxes(size, side):
    nx, ny, orientations = size
    order = SE2GEGraph(size, ISOTROPIC, 4)._spatial_order(CPU)
    assert torch.equal(order[:orientations], nx * ny * torch.arange(orientations))  # a place with all its orientations
    for run in order.split(side**2 * orientations):
        x, y, orientation = run % nx, run // nx % ny, run // (nx * ny)
        assert (x // side).unique().numel() == (y // side).unique().numel() == 1
        assert orientation.bincount(minlength=orientations).tolist() == [side**2] * orientations


def test_orientations_of_a_place_stay_together():
    elements = SE2.uniform_sampling(7, 5, 4)[torch.randperm(140)]
    run = elements[GEGraph.from_elements(SE2, elements, ISOTROPIC, 4)._spatial_order(CPU)].unflatten(0, (35, 4))
    assert (run[..., :2] == run[:, :1, :2]).all()
    assert (run[..., 2].diff() > 0).all()


def test_elements_at_one_place():
    assert GEGraph.from_elements(SE2, torch.zeros(5, 3), ISOTROPIC, 4)._spatial_order(CPU).tolist() == [0, 1, 2, 3, 4]


def test_rows_take_the_given_order():
    graph = SE2GEGraph((8, 8, 4), ISOTROPIC, 9)
    laplacian, order = graph.get_laplacian(), graph._spatial_order(CPU)
    rows, col, values = csr_from_rows(laplacian.crow_indices(), laplacian.col_indices(), laplacian.values(), order)[:3]
    assert torch.equal(rows[:, 0].long(), order)
    source, target = torch.repeat_interleave(order, rows[:, 2] - rows[:, 1]), order[col.long()]
    assert torch.equal(torch.zeros(256, 256).index_put((source, target), values), laplacian.to_dense())


def test_who_asks_for_it():
    cuda = torch.device("cuda", 0)
    graph = SE2GEGraph((4, 4, 3), ISOTROPIC, 4)
    assert graph._row_order(CPU) is None
    assert Graph(graph.edge_index)._row_order(cuda) is None
