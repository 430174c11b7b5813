"""What the kernels of a GPU read beside a matrix: where the vertices that a tile of rows needs stand in shared memory.

A block of csrc/cuda/chebyshev_tiles.cuh owns a tile, T = ceil(V / R) of them, each of R consecutive rows. Tables belong to
the pattern alone, not to its values:

- `vertex` (E,) int32, the vertex of the column of each entry;
- `slots` (T, D / 2 + 1, R) int32, two slots of 16 bits in each: row r of tile t finds the vertex of its entry e in slot
  `slots[t, e // 2, r] >> 16 * (e % 2)`, and its own in the low half of `slots[t, D / 2, r]`. D is 16 or 32;
- `halo` (T, plane) int32: the vertex in each slot, -1 for none; the last slot holds zeros.

Slot s lies in group s mod 8 of the banks of shared memory. The vertices that eight lanes read together are spread over the
groups by a greedy colouring of the vertices of each tile.
"""

import torch
from torch import Tensor

from .. import _library  # noqa: F401  (registers the operators)
from .operands import Operands

# Rows of a tile: 16 places with 6 orientations, or 32 with 3. More need more shared memory, fewer are less compact.
TILE_ROWS = 96
# So many packs of 16 bytes leave room for two stages of one pack on every GPU that has the kernels.
_MOST_SLOTS = 2048


def in_tiles(order: Tensor) -> Tensor:
    """`order` (V,) with the vertices of each tile in ascending order: rows of a grid then read alike."""
    tile = torch.arange(len(order), device=order.device) // TILE_ROWS
    return order[torch.argsort(tile * len(order) + order)]


def tables(rows: Tensor, col: Tensor) -> tuple[Tensor, Tensor]:
    """(slots, halo) of a `Csr`, on its device; of no tile, T = 0, where tiles do not fit.

    They do not where a row has more than 32 entries, or the rows of a tile have their neighbours all over the graph. About a
    second for a million vertices, on the CPU.
    """
    slots, halo = torch.ops.cheblienet.tile_tables(rows.cpu(), col.cpu(), TILE_ROWS, _MOST_SLOTS)
    return slots.to(rows.device), halo.to(rows.device)


@torch.library.register_fake("cheblienet::tile_tables")
def _(rows: Tensor, col: Tensor, tile_rows: int, most_slots: int) -> tuple[Tensor, Tensor]:
    operands = Operands("tile_tables", rows)
    operands.check("rows", rows, torch.int32, None, 4)
    operands.check("col", col, torch.int32, None)
    context = torch.library.get_ctx()
    tiles, words, plane = (context.new_dynamic_size() for _ in range(3))
    return rows.new_empty((tiles, words, tile_rows)), rows.new_empty((tiles, plane))
