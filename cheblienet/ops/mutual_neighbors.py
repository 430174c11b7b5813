"""The edges between elements that are neighbours of each other."""

import math

import torch
from torch import Tensor

from .. import _library, _progress  # noqa: F401  (_library registers the operators)
from .._checks import check_device, check_has_numbers, check_number, check_tensor
from . import transforms
from .operands import Operands


def mutual_neighbors(
    index: Tensor, sqdist: Tensor, limit: float = math.inf, *, progress: bool = False
) -> tuple[Tensor, Tensor]:
    """The pairs of vertices that are in each other's neighbourhood and no further apart than a limit.

    Args:
        index: (V, K) int64, neighbours of each vertex in any order, none twice, -1 = none.
        sqdist: (V, K) float64, the squared distances to them.
        limit: the largest squared distance of an edge, non-negative.
        progress: whether to show a bar on stderr, for 50 thousand vertices or more. Ctrl-C stops such long work at once.

    Returns:
        `edge_index` (2, E) int64, once per direction, sorted by (source, target), and `edge_sqdist` (E,) float64, the
        mean of the two directions' squared distances, without a gradient.

    Raises:
        TypeError: for other dtypes.
        ValueError: for shapes that do not go together, vertices out of range or their own neighbours, a squared distance
            to one that is negative or NaN, or a limit that is.
        RuntimeError: for a vertex with the same neighbour twice.
    """
    name = "mutual_neighbors: "
    check_has_numbers(name + "index", check_tensor(name + "index", index, "(V, K)", 2))
    check_tensor(name + "sqdist", sqdist, "(V, K)", 2)
    transforms.refuse_inside("mutual_neighbors", index, sqdist)
    if index.dtype != torch.int64:
        raise TypeError(f"{name}index: expected int64, got {index.dtype}")
    if sqdist.dtype != torch.float64:
        raise TypeError(f"{name}sqdist: expected float64, got {sqdist.dtype}")
    if sqdist.shape != index.shape:
        raise ValueError(f"{name}sqdist: expected shape {tuple(index.shape)} as index, got {tuple(sqdist.shape)}")
    check_device(name + "sqdist", sqdist, index.device)
    least, largest = torch.stack(index.aminmax()).tolist() if index.numel() else (-1, -1)
    if least < -1 or largest >= len(index):
        wrong = least if least < -1 else largest
        raise ValueError(f"{name}index: expected vertices below {len(index)} or -1, got {wrong}")
    _check_neighbours(index)
    if not bool(((sqdist >= 0) | (index < 0)).all()):
        raise ValueError(f"{name}sqdist: expected non-negative numbers, got a negative number or NaN")
    check_number(name + "limit", limit, 0, finite=False)
    index, sqdist = index.contiguous(), sqdist.detach().contiguous()

    def work(mailbox: Tensor | None) -> tuple[Tensor, Tensor]:
        edge_index, edge_sqdist = torch.ops.cheblienet.mutual_neighbors(index, sqdist, limit, mailbox)
        return edge_index, edge_sqdist

    return _progress.run(work, len(index), index.device, "edges" if progress else None)


def _check_neighbours(index: Tensor) -> None:
    """That no vertex is its own neighbour and, on a GPU, that none is there twice; the CPU sees that as it sorts them."""
    own = index == torch.arange(len(index), device=index.device)[:, None]
    if own.any():
        raise ValueError(
            "mutual_neighbors: index: expected neighbours other than the vertex itself, "
            f"got {int(own.any(1).int().argmax())} for itself"
        )
    if index.is_cuda:
        ordered = index.sort(1).values
        if ((ordered.diff(dim=1) == 0) & (ordered[:, 1:] >= 0)).any():
            raise RuntimeError("mutual_neighbors: index: expected each neighbour of a vertex once, got one twice")


@torch.library.register_fake("cheblienet::mutual_neighbors")
def _(index: Tensor, sqdist: Tensor, limit: float, progress: Tensor | None = None) -> tuple[Tensor, Tensor]:
    operands = Operands("mutual_neighbors", index)
    operands.check("index", index, torch.int64, None, None)
    operands.check("sqdist", sqdist, torch.float64, *index.shape)
    edges = torch.library.get_ctx().new_dynamic_size()
    return index.new_empty((2, edges)), sqdist.new_empty((edges,))


transforms.refuse(torch.ops.cheblienet.mutual_neighbors.default)
