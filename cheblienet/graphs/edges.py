"""From nearest neighbours to weighted edges (arXiv:2111.12139, section 3.2).

Every decision is made on float64 distances with a tolerance, never by comparing rounded numbers, so that a symmetry of
the sampling is a symmetry of the edges and of their weights, bit for bit.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from .. import ops
from .._checks import check_choice
from ..groups import Group
from ..ops.reference import SHELL_TOLERANCE

# Far above the rounding of a distance, about 1e-15, and far below the difference of two that are not the same.
_SNAP_TOLERANCE = 1e-9
# So many edges are worked on at a time on the CPU. Ctrl-C waits for the framework's operators to end, and their results
# beyond 32 MiB are made of fresh memory, which costs several times the arithmetic. On a GPU every piece would be launched,
# and some waited for.
_PIECE = 2**21

# Weight of an edge as a function of its squared distance in units of the kernel width, which it overwrites.
_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda ratio: ratio.neg_().exp_(),
    "laplace": lambda ratio: ratio.sqrt_().neg_().exp_(),
    "cauchy": lambda ratio: ratio.add_(1).reciprocal_(),
    "rectangular": lambda ratio: (ratio <= 1).double(),
}
KERNELS = tuple(_KERNELS)


class Edges(NamedTuple):
    """Undirected edges, once per direction, sorted by (source, target).

    `edge_index` (2, E) int64, `edge_sqdist` (E,) and `edge_weight` (E,) float32.
    """

    edge_index: Tensor
    edge_sqdist: Tensor
    edge_weight: Tensor

    @property
    def device(self) -> torch.device:
        return self.edge_index.device

    def to(self, device: torch.device) -> "Edges":
        return Edges(*(tensor.to(device) for tensor in self))


def neighbor_edges(
    group: Group,
    elements: Tensor,
    sigmas: tuple[float, float, float],
    K: int,
    kernel: str,
    centroid: int | None,
    progress: bool = False,
) -> Edges:
    """The edges between nearest neighbours among `elements` (V, d) float64, with their weights, on their device."""
    neighbors = ops.nearest_neighbors(elements, sigmas, K, group, progress=progress)
    index, sqdist = mutual_edges(*neighbors, centroid, progress)
    snap_(sqdist)
    return Edges(index, sqdist.float(), edge_weights(sqdist, kernel))


def mutual_edges(index: Tensor, sqdist: Tensor, centroid: int | None, progress: bool = False) -> tuple[Tensor, Tensor]:
    """The pairs of vertices that are neighbours of each other and no further apart than neighbours of the centroid.

    Args:
        index: (V, K) int64, neighbours of each vertex, -1 = none.
        sqdist: (V, K) float64, the K smallest squared distances from each vertex, ascending.
        centroid: the vertex whose K-th smallest squared distance, ties included, bounds all edges: vertices near a
            boundary reach no further than it. None for no bound.

    Returns:
        `edge_index` (2, E) int64, sorted by (source, target), and `edge_sqdist` (E,) float64, the same in both
        directions.
    """
    limit = math.inf if centroid is None else float(sqdist[centroid, -1]) * (1 + SHELL_TOLERANCE)
    return ops.mutual_neighbors(index, sqdist, limit, progress=progress)


def snap_(sqdist: Tensor) -> Tensor:
    """`sqdist` (E,), in place, with values that agree within a relative 1e-9 made equal, to the smallest of them.

    Values belong together when they follow each other in ascending order without a larger gap.
    """
    sample = sqdist[::64].sort().values
    known = torch.unique_consecutive(sample)
    if 8 * len(known) < len(sample):
        return _snap_few_(sqdist, known)
    pieces: Iterable[slice | Tensor] = [slice(None)]
    if _piece_of(sqdist) < len(sqdist):
        pivots = sample[_PIECE // 64 :: _PIECE // 64].contiguous()
        piece = torch.bucketize(sqdist, pivots, out_int32=True)
        pieces = ((piece == number).nonzero()[:, 0] for number in range(len(pivots) + 1))
    last, smallest = sqdist.new_tensor([-1.0]), sqdist.new_tensor([0.0])  # what the pieces before end with
    for members in pieces:
        ranked, rank = torch.unique(sqdist[members], return_inverse=True)
        first = _first_of_groups(ranked, last)
        group = torch.cat([smallest, ranked[first]])[torch.cumsum(first, 0)]
        sqdist[members] = group[rank]
        last, smallest = torch.cat([last, ranked])[-1:], torch.cat([smallest, group])[-1:]
    return sqdist


def _snap_few_(sqdist: Tensor, known: Tensor) -> Tensor:
    """`snap_` for a regular sampling, whose edges have few lengths: finding a value among them takes less than sorting.

    `known` are values of a sample, in ascending order; there may be more.
    """
    missing = (piece[_floor(piece, known) != piece] for (piece,) in in_pieces(sqdist))
    ranked = torch.unique(torch.cat([known, *missing]))
    smallest = ranked[_first_of_groups(ranked, ranked.new_tensor([-1.0]))]
    for (piece,) in in_pieces(sqdist):
        piece.copy_(_floor(piece, smallest))
    return sqdist


def _first_of_groups(ranked: Tensor, last: Tensor) -> Tensor:
    """Whether each value, in ascending order and after `last` (1,), is beyond the tolerance from the one before."""
    return ranked > torch.cat([last, ranked[:-1]]) * (1 + _SNAP_TOLERANCE)


def _floor(values: Tensor, ranked: Tensor) -> Tensor:
    """The largest of `ranked`, in ascending order, that is not above each value, or the smallest of all."""
    return ranked[torch.bucketize(values, ranked[1:], right=True, out_int32=True)]


def edge_weights(sqdist: Tensor, kernel: str) -> Tensor:
    """The weights (E,) float32 of edges with squared distances (E,) float64.

    With the kernel width w = 0.8 mean(d2): "gaussian" exp(-d2 / w), "laplace" exp(-sqrt(d2 / w)), "cauchy"
    1 / (1 + d2 / w), "rectangular" 1 where d2 <= w, else 0. If all elements joined coincide, w = 0, edges weigh 1.

    Raises ValueError where the largest squared distance is none that float32, in which graphs keep them, has all digits of.
    """
    check_choice("kernel", kernel, KERNELS)
    largest = float(sqdist.amax()) if len(sqdist) else 0.0
    if largest == 0:
        return torch.ones_like(sqdist, dtype=torch.float32)
    bounds = torch.finfo(torch.float32)
    if not bounds.tiny <= largest <= bounds.max:
        raise ValueError(
            f"sigmas: expected squared distances of edges up to a number between {bounds.tiny:.2g} and {bounds.max:.2g}, "
            f"got up to {largest:.2g}: divided by one number, all three give the same weights"
        )
    width = 0.8 * sqdist.mean()
    weights = torch.empty_like(sqdist, dtype=torch.float32)
    for weight, piece in in_pieces(weights, sqdist):
        weight.copy_(_KERNELS[kernel](piece / width))
    return weights


def in_pieces(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Views of tensors (E,), a piece at a time."""
    return zip(*(tensor.split(_piece_of(tensor)) for tensor in tensors), strict=True)


def _piece_of(tensor: Tensor) -> int:
    return _PIECE if tensor.device.type == "cpu" else max(len(tensor), 1)


def reverse_edges(edge_index: Tensor, num_vertices: int) -> Tensor:
    """(E,) int64: where the reverse of each edge stands among edges (2, E) sorted by (source, target).

    Raises ValueError naming an edge without a reverse.
    """
    source, target = edge_index
    key = source * num_vertices + target
    reverse_key, reverse = torch.sort(target * num_vertices + source)
    different = (key != reverse_key).nonzero()
    if len(different):
        position = int(different[0])
        # All smaller keys have their partner, so the smaller one of these two has none.
        alone, wanted = int(key[position]), int(reverse_key[position])
        edge = divmod(alone, num_vertices) if alone < wanted else divmod(wanted, num_vertices)[::-1]
        raise ValueError(f"expected every edge in both directions, got {edge} without {edge[::-1]}")
    return reverse
