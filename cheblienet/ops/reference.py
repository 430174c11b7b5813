"""The operators in plain PyTorch: the definition of right, differentiable, on any device, with the signatures of the
compiled ones. Written for reading; memory and speed are not a concern."""

import math

import torch
from torch import Tensor

from ..groups import Group
from .csr import Csr

SHELL_TOLERANCE = 1e-5


def nearest_neighbors(
    elements: Tensor, sigmas: tuple[float, float, float] | Tensor, K: int, group: Group
) -> tuple[Tensor, Tensor]:
    """The K nearest other elements of each, in whole shells; see `cheblienet.ops.nearest_neighbors`."""
    vertices = elements.shape[0]
    index = torch.full((vertices, K), -1, dtype=torch.int64, device=elements.device)
    sqdist = elements.new_empty((vertices, K))
    for v in range(vertices):
        distances = group.squared_distance(elements[v], elements, sigmas)
        distances[v] = torch.inf
        order = torch.argsort(distances, stable=True)[: vertices - 1]
        ranked = distances[order]
        boundary = torch.ones(
            vertices - 1, dtype=torch.bool, device=elements.device
        )  # does a shell end after this one?
        boundary[:-1] = ranked[1:] > ranked[:-1] * (1 + SHELL_TOLERANCE)
        shell = torch.cumsum(boundary, 0) - boundary.long()
        whole = boundary[:K].nonzero()
        count = int(whole[-1]) + 1 if len(whole) else 0
        by_shell_then_index = torch.argsort(shell[:count] * vertices + order[:count])
        index[v, :count] = order[:count][by_shell_then_index]
        sqdist[v, :count] = ranked[:count][by_shell_then_index]
        sqdist[v, count:] = ranked[count:K]
    return index, sqdist


def mutual_neighbors(index: Tensor, sqdist: Tensor, limit: float = math.inf) -> tuple[Tensor, Tensor]:
    """The pairs that are in each other's neighbourhood; see `cheblienet.ops.mutual_neighbors`."""
    vertices, present = len(index), index >= 0
    source = torch.arange(vertices, device=index.device)[:, None].expand_as(index)[present]
    target, distance = index[present], sqdist[present]
    # The two directions of a mutual pair become neighbours in the order of their common key.
    key, order = torch.sort(torch.minimum(source, target) * vertices + torch.maximum(source, target))
    mutual = key[1:] == key[:-1]
    key = key[1:][mutual]
    distance = (distance[order[1:][mutual]] + distance[order[:-1][mutual]]) / 2
    key, distance = key[distance <= limit], distance[distance <= limit]
    low, high = key // vertices, key % vertices
    source, target = torch.cat([low, high]), torch.cat([high, low])
    order = torch.argsort(source * vertices + target)
    return torch.stack([source[order], target[order]]), distance.repeat(2)[order]


def order_rows(rowptr: Tensor, col: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of a `Csr` in a given order of the vertices, its columns, and where each entry was; see `csr_from_rows`."""
    rows: list[list[int]] = []
    columns: list[int] = []
    entries: list[int] = []
    place, reach = torch.argsort(order), 0
    for i, v in enumerate(order.tolist()):
        begin, end = int(rowptr[v]), int(rowptr[v + 1])
        row = place[col[begin:end]].tolist()
        reach = max([reach, i + 1, *(column + 1 for column in row)])
        rows.append([v, len(entries), len(entries) + len(row), reach])
        columns += row
        entries += range(begin, end)
    int32 = torch.int32
    return torch.tensor(rows, dtype=int32).view(-1, 4), torch.tensor(columns, dtype=int32), torch.tensor(entries).long()


def chebyshev(x: Tensor, weight: Tensor, laplacian: Csr, bias: Tensor | None = None) -> Tensor:
    """y = sum_k T_k(L) x Theta_k by the three-term recurrence; see `cheblienet.ops.chebyshev`."""
    orders = [x]
    for _ in range(1, weight.shape[0]):
        previous = 0 if len(orders) == 1 else orders[-2]
        scale = 1 if len(orders) == 1 else 2
        orders.append(scale * _sparse_product(laplacian, orders[-1]) - previous)
    y = torch.einsum("kbvi,kio->bvo", torch.stack(orders), weight)
    return y if bias is None else y + bias


def _sparse_product(laplacian: Csr, x: Tensor) -> Tensor:
    """(L x)[b, i] = sum_j L_ij x[b, j]"""
    rows, col, values, _ = laplacian
    vertex = rows[:, 0].long()
    source = torch.repeat_interleave(vertex, rows[:, 2] - rows[:, 1], output_size=len(col))
    target = vertex[col]
    return torch.zeros_like(x).index_add(1, source, values.to(x.dtype)[None, :, None] * x[:, target])


def gather_reduce(x: Tensor, index: Tensor, choice: Tensor | None, reduction: str) -> Tensor:
    """y[b, o] = reduction over the members m of x[b, index[o, m]], where index[o, m] >= 0.

    `choice` (Vout,) names the member that "rand" takes; see `cheblienet.ops.gather_reduce`.
    """
    present = (index >= 0)[None, :, :, None]
    members = x[:, index.clamp(min=0)]  # (B, Vout, m, C)
    if reduction == "max":
        return members.gather(2, winners(x, index)[:, :, None]).squeeze(2)
    if reduction == "avg":
        return members.masked_fill(~present, 0).sum(2) / present.sum(2)
    assert choice is not None
    return members[:, torch.arange(len(index), device=x.device), choice.long()]


def winners(x: Tensor, index: Tensor) -> Tensor:
    """(B, Vout, C) int64: the first of the largest members of each output; a NaN is larger than every number."""
    present = (index >= 0)[None, :, :, None]
    slot = x.detach()[:, index.clamp(min=0)].masked_fill(~present, -torch.inf).argmax(2)
    first = present.int().argmax(2).expand_as(slot)  # where all members are -inf, as those that are none
    return torch.where(present.expand(len(x), -1, -1, x.shape[2]).gather(2, slot[:, :, None]).squeeze(2), slot, first)


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None = None,
    var: Tensor | None = None,
    *,
    residual: Tensor | None = None,
    relu: bool = False,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalisation per channel over samples and vertices; see `cheblienet.ops.batch_norm`."""
    s = x if residual is None else x + residual
    if mean is None or var is None:
        mean, var = s.mean((0, 1)), s.var((0, 1), correction=0)
    y = (s - mean) / torch.sqrt(var + eps) * weight + bias
    return (torch.relu(y) if relu else y), mean, var
