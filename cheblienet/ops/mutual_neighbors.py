"""The edges between elements that are neighbours of each other."""

import math

import torch
from torch import Tensor

from .. import _library, _progress  # noqa: F401  (_library registers the operators)
from .._checks import check_device, check_tensor
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
        ValueError: for shapes that do not go together, vertices out of range, a squared distance to one that is negative
            or NaN, or a limit that is.
    """
    name = "mutual_neighbors: "
    check_tensor(name + "index", index, "(V, K)", 2)
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
    if not bool(((sqdist >= 0) | (index < 0)).all()):
        raise ValueError(f"{name}sqdist: expected non-negative numbers, got a negative number or NaN")
    if not limit >= 0:
        raise ValueError(f"{name}limit: expected a non-negative number, got {limit}")
    index, sqdist = index.contiguous(), sqdist.detach().contiguous()

    def work(mailbox: Tensor | None) -> tuple[Tensor, Tensor]:
        edge_index, edge_sqdist = torch.ops.cheblienet.mutual_neighbors(index, sqdist, limit, mailbox)
        return edge_index, edge_sqdist

    return _progress.run(work, len(index), index.device, "edges" if progress else None)


@torch.library.register_fake("cheblienet::mutual_neighbors")
def _(index: Tensor, sqdist: Tensor, limit: float, progress: Tensor | None = None) -> tuple[Tensor, Tensor]:
    operands = Operands("mutual_neighbors", index)
    operands.check("index", index, torch.int64, None, None)
    operands.check("sqdist", sqdist, torch.float64, *index.shape)
    edges = torch.library.get_ctx().new_dynamic_size()
    return index.new_empty((2, edges)), sqdist.new_empty((edges,))


transforms.refuse(torch.ops.cheblienet.mutual_neighbors.default)
