"""The tables of tiles name every neighbour of every row, and spread what is read together over the banks."""

import pytest
import torch

from cheblienet import ops
from cheblienet.graphs import SE2GEGraph, SO3GEGraph
from cheblienet.graphs.order import spatial_order
from cheblienet.ops import tiles
from cheblienet.ops.csr import csr_from_rows, with_tiles


def random_pattern(vertices, degree, isolated=3):
    present = torch.rand(vertices, vertices) < degree / vertices
    present[-isolated:] = present[:, -isolated:] = False
    return ops.csr((present | present.T).double().to_sparse_csr())


def entries_of(slots, tile_rows):
    """(V, D) slots of entries, and (V,) own slots, of all rows."""
    halves = torch.stack([slots & 0xFFFF, slots >> 16 & 0xFFFF], 2).flatten(1, 2)  # (T, D + 2, rows)
    by_row = halves.transpose(1, 2).flatten(0, 1)
    return by_row[:, :-2], by_row[:, -2]


def assert_fits(rows, col, slots, halo, tile_rows):
    vertices, places = len(rows), torch.arange(len(rows))
    assert slots.shape[0] == halo.shape[0] == -(-vertices // tile_rows)
    assert slots.shape[2] == tile_rows
    assert (halo[:, -1] == -1).all()  # the slot of zeros
    entry, own = entries_of(slots, tile_rows)
    tile, degree = places // tile_rows, rows[:, 2] - rows[:, 1]
    assert torch.equal(halo[tile, own[:vertices].long()], rows[:, 0])
    named = torch.arange(entry.shape[1]) < degree[:, None]
    found = halo[tile[:, None].expand_as(named), entry[:vertices].long()]
    assert torch.equal(found[named], rows[:, 0][col])
    assert (entry[:vertices][~named] == halo.shape[1] - 1).all()
    for vertex in halo:  # each vertex once
        assert len(vertex[vertex >= 0].unique()) == (vertex >= 0).sum()


@pytest.mark.parametrize("tile_rows", [1, 5, 32, 96, 128])
@pytest.mark.parametrize("degree", [0, 3, 8])
def test_every_entry_finds_its_vertex(tile_rows, degree):
    rows, col, _, _ = random_pattern(150, degree)
    slots, halo = torch.ops.cheblienet.tile_tables(rows, col, tile_rows, 2048)
    assert_fits(rows, col, slots, halo, tile_rows)
    again = torch.ops.cheblienet.tile_tables(rows, col, tile_rows, 2048)
    assert all(torch.equal(a, b) for a, b in zip((slots, halo), again, strict=True))


def test_patterns_that_do_not_fit_have_no_tiles():
    rows, col, _, _ = random_pattern(150, 40)  # more than 32 entries
    assert len(tiles.tables(rows, col)[0]) == 0
    rows, col, _, _ = random_pattern(150, 8)
    assert len(torch.ops.cheblienet.tile_tables(rows, col, 96, 100)[0]) == 0
    empty = torch.empty(0, 4, dtype=torch.int32), torch.empty(0, dtype=torch.int32)
    assert len(tiles.tables(*empty)[0]) == 0


def wavefronts(rows, slots, halo, tile_rows):
    """Of shared memory, per phase of eight lanes: how many of the vertices that they read lie in one group of banks."""
    entry, _ = entries_of(slots, tile_rows)
    degree = rows[:, 2] - rows[:, 1]
    total = phases = 0
    for first in range(0, len(rows), 8):
        if first % tile_rows > tile_rows - 8:
            continue
        for e in range(int(degree[first : first + 8].max())):
            read = entry[first : first + 8, e].unique()
            total += int(torch.bincount(read % 8).max())
            phases += 1
    return total / phases


@pytest.mark.parametrize(
    ("graph", "reuse", "ways"),
    [
        (lambda: SE2GEGraph((16, 16, 6), (1.0, 0.1, 2.048 / 256), 16), 4.5, 1.3),
        (lambda: SO3GEGraph((162, 6), (1.0, 0.1, 10 / 162), 16), 4.0, 1.65),
    ],
    ids=["grid", "icosphere"],
)
def test_graphs_in_spatial_order(graph, reuse, ways):
    """How often a vertex of shared memory is read, and the conflicts; without colours those would be 1.5 to 2.4."""
    graph = graph()
    rowptr, col, values = graph._laplacian_rows(True, None)
    order = spatial_order(graph.group, graph.elements, graph.size)
    laplacian = with_tiles(csr_from_rows(rowptr, col, values, order, for_gpu=True))
    vertex, slots, halo = laplacian.tables
    assert torch.equal(vertex, laplacian.rows[:, 0][laplacian.col])
    assert_fits(laplacian.rows, laplacian.col, slots, halo, tiles.TILE_ROWS)
    assert len(laplacian.col) / (halo >= 0).sum() > reuse
    assert wavefronts(laplacian.rows, slots, halo, tiles.TILE_ROWS) < ways
    by_tile = laplacian.rows[:, 0].split(tiles.TILE_ROWS)
    assert all((vertices.diff() > 0).all() for vertices in by_tile)


def test_operator_is_registered_properly():
    rows, col, _, _ = random_pattern(40, 4)
    torch.library.opcheck(torch.ops.cheblienet.tile_tables, (rows, col, 16, 2048), test_utils=["test_schema"])
    with pytest.raises(RuntimeError, match="tile_rows: expected 1 to 128, got 129"):
        torch.ops.cheblienet.tile_tables(rows, col, 129, 2048)
