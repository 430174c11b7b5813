"""Nearest neighbours by the distance of a group of one's own: all pairs measured, in plain PyTorch, a block at a time."""

import torch
from torch import Tensor
from tqdm import tqdm

from ..groups import Group
from .reference import SHELL_TOLERANCE

# Pairs that are measured at a time. Their distances take 1 MiB; a distance of matrices holds up to 1 kB a pair on the way.
_PAIRS = 2**17
# Relative to the largest distance: far above the rounding of one, far below what tells two directions apart.
_ROUNDING = 1e-12


@torch.no_grad()
def measured_neighbors(
    elements: Tensor, sigmas: tuple[float, float, float], K: int, group: Group, progress: bool
) -> tuple[Tensor, Tensor]:
    """What `cheblienet.ops.nearest_neighbors` returns, by `group.squared_distance` alone, in V^2 / 2^17 blocks of pairs.

    Raises TypeError or ValueError, naming the group, where its distances are not of the shape and dtype that its elements
    ask for, not finite, negative, or not the same in both directions.
    """
    vertices = len(elements)
    index = torch.empty((vertices, K), dtype=torch.int64, device=elements.device)
    sqdist = elements.new_empty((vertices, K))
    rows = torch.arange(vertices, device=elements.device).split(max(1, _PAIRS // vertices))
    with tqdm(total=vertices, desc="neighbours", unit=" vertices", disable=not progress) as bar:
        for block in rows:
            distances = sqdist_to_all(group, elements, block, sigmas)
            largest = distances.amax()
            distances[torch.arange(len(block), device=block.device), block] = torch.inf
            ranked, near = distances.topk(K + 1, largest=False)
            _check_symmetry(group, elements, block, near[:, :K], ranked[:, :K], sigmas, largest)
            index[block], sqdist[block] = whole_shells(ranked, near, vertices)
            bar.update(len(block))
    return index, sqdist


def sqdist_to_all(group: Group, elements: Tensor, block: Tensor, sigmas: tuple[float, float, float]) -> Tensor:
    """(n, V) float64: the squared distances from the vertices `block` (n,) to all, checked, without a gradient."""
    g = elements[block][:, None]
    pieces = [_measured(group, g, h, sigmas) for h in elements.split(_PAIRS)]
    distances = pieces[0].clone() if len(pieces) == 1 else torch.cat(pieces, 1)
    least, largest = torch.stack(distances.aminmax()).tolist()
    if not 0 <= least <= largest < torch.inf:
        wrong = ~((distances >= 0) & distances.isfinite())
        row, target = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"{_named(group)}: expected finite numbers of at least 0, got {float(distances[row, target])} from element "
            f"{int(block[row])} to {target}"
        )
    return distances


def whole_shells(ranked: Tensor, near: Tensor, vertices: int) -> tuple[Tensor, Tensor]:
    """The first K of K + 1 nearest vertices, by shells and then by index, -1 where the last shell is not whole.

    Args:
        ranked, near: (n, K + 1), squared distances, ascending, and the vertices they lead to.
        vertices: V.
    """
    ends = ranked[:, 1:] > ranked[:, :-1] * (1 + SHELL_TOLERANCE)  # whether a shell ends after this one
    ranked, near, K = ranked[:, :-1], near[:, :-1], ends.shape[1]
    shell = ends.cumsum(1) - ends.long()
    whole = ends.flip(1).cumsum(1).flip(1) > 0
    order = torch.argsort(shell * vertices + torch.where(whole, near, torch.arange(K, device=near.device)), 1)
    return torch.where(whole, near, -1).gather(1, order), ranked.gather(1, order)


def _measured(group: Group, g: Tensor, h: Tensor, sigmas: tuple[float, float, float]) -> Tensor:
    found: object = group.squared_distance(g, h, sigmas)
    shape = torch.broadcast_shapes(g.shape, h.shape)[:-1]
    if not isinstance(found, Tensor) or found.dtype != g.dtype:
        got = found.dtype if isinstance(found, Tensor) else type(found).__name__
        raise TypeError(f"{_named(group)}: expected a tensor of {g.dtype} as its elements are, got {got}")
    if found.shape != shape or found.device != g.device:
        raise ValueError(
            f"{_named(group)}: expected shape {tuple(shape)} on {g.device} for elements of shapes {tuple(g.shape)} and "
            f"{tuple(h.shape)}, got {tuple(found.shape)} on {found.device}"
        )
    return found


def _check_symmetry(
    group: Group,
    elements: Tensor,
    block: Tensor,
    near: Tensor,
    there: Tensor,
    sigmas: tuple[float, float, float],
    largest: Tensor,
) -> None:
    """Measures the neighbours' distances back."""
    back = _measured(group, elements[near], elements[block][:, None], sigmas)
    same = (back - there).abs() <= SHELL_TOLERANCE * there + _ROUNDING * largest
    if not bool(same.all()):
        row, place = (~same).nonzero()[0].tolist()
        raise ValueError(
            f"{_named(group)}: expected the same in both directions, got {float(there[row, place])} from element "
            f"{int(block[row])} to {int(near[row, place])} and {float(back[row, place])} back"
        )


def _named(group: Group) -> str:
    return f"nearest_neighbors: {type(group).__name__} (group {group.name!r}): squared_distance"
