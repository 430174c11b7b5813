"""The edges that the original package makes, in the arithmetic in which it makes them.

By its definition (github:haguettaz/ChebLieNet), each vertex takes the K + 1 smallest of its squared distances to all
vertices, itself included, rounded to six decimals. A pair is an edge if both take each other at the same rounded distance,
which is neither zero nor above the largest that the centroid takes.

Rounded distances are often equal, and what is taken then depends on the order of selection, so that a last bit can change
an edge. Hence float32, one row at a time, in the original's order of operations and with its layout in memory, by which the
framework chooses between implementations of one function. Its logarithms are kept where they are none: in the second
component on SE(2), and where the angle of a rotation is zero. The arc cosine of a number that rounding has left above 1 is
NaN, which counts as the largest of all distances.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from ..graphs.edges import Edges
from ..groups.base import rotation_y, rotation_z
from ..meshes.icosphere import icosphere, icosphere_level
from .original_files import Parameters

_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda ratio: torch.exp(-ratio),
    "laplace": lambda ratio: torch.exp(-torch.sqrt(ratio)),
    "cauchy": lambda ratio: 1 / (1 - ratio),  # the sign is the original's
    "rectangular": lambda ratio: (ratio > 0).float(),
}


def original_edges(asked: Parameters) -> Edges:
    """The edges of the original's graph, sorted by (source, target), on the CPU.

    Memory grows as V K, time as V^2. After two seconds a bar on stderr shows how far it is.

    Raises ValueError for a size of which the original makes another number of vertices, and where it gives weights that are
    negative or not finite, of which it makes no Laplacian.
    """
    manifold, size, sigmas, K, kernel, centroid = asked
    matrices = _matrices(manifold, original_sampling(manifold, size))
    inverses = torch.linalg.inv(matrices) if manifold in ("r2", "se2") else matrices.mT
    vertices = len(matrices)
    sqdist, index = torch.empty(vertices, K + 1), torch.empty(vertices, K + 1, dtype=torch.int64)
    for vertex in tqdm(range(vertices), desc="original edges", unit=" vertices", delay=2):
        row = _round(original_sqdist(manifold, inverses[vertex] @ matrices, sigmas))
        torch.topk(row, K + 1, largest=False, sorted=False, out=(sqdist[vertex], index[vertex]))
    edge_index, edge_sqdist = _undirected(index, sqdist, sqdist[centroid].max())
    weight = _KERNELS[kernel](edge_sqdist / (0.8 * edge_sqdist.mean()))
    if not ((weight >= 0) & weight.isfinite()).all():
        raise ValueError(
            f"kernel: expected one of which the original makes weights of at least 0, got {kernel!r}, of which it makes "
            f"weights from {float(weight.min()):.3g} to {float(weight.max()):.3g}"
        )
    return Edges(edge_index, edge_sqdist, weight)


def original_sampling(manifold: str, size: tuple[int, ...]) -> tuple[Tensor, ...]:
    """The coordinates of the original's vertices, (V,) each: on the sphere in float64, all others in float32.

    Raises ValueError for a size of which it makes another number of vertices: its axes are made by adding up a rounded
    step, which gives 50 points for 49.
    """
    if manifold in ("r2", "se2"):
        x, y = (_axis(0.0, 1.0, count) for count in size[:2])
        place = x.repeat(len(y)), y.repeat_interleave(len(x))
    else:
        x, y, z = icosphere(icosphere_level(size[0]))[0].unbind(-1)
        place = torch.acos(z), torch.atan2(y, x)
    if manifold in ("r2", "s2"):
        return place
    turn = _axis(-math.pi / 2, math.pi / 2, size[-1])
    places = tuple(coordinate.repeat(len(turn)) for coordinate in place)
    turns = turn.repeat_interleave(len(place[0]))
    return (*places, turns) if manifold == "se2" else (turns, *places)


def original_sqdist(manifold: str, relative: Tensor, sigmas: tuple[float, float, float]) -> Tensor:
    """(V,) float32: the original's squared distances between elements g and h, for `relative` = g^-1 h, (V, 3, 3) float32.

    Orientations count modulo pi: of the three that are pi apart, the nearest.
    """
    G = {(row, column): relative[:, row, column] for row in range(3) for column in range(3)}
    if manifold == "r2":
        return _norm((G[0, 2], G[1, 2]), sigmas)
    if manifold == "se2":
        angle = torch.atan2(G[1, 0], G[0, 0])
        logs = [_se2_log(G[0, 2], G[1, 2], turned) for turned in (angle, angle - math.pi, angle + math.pi)]
    elif manifold == "s2":
        gamma = torch.atan2(G[1, 0], G[0, 0])
        logs = [_so3_log(-gamma, torch.acos(G[2, 2]), gamma)[:2]]
    else:
        gamma = torch.atan2(G[1, 2], G[0, 2])
        sin, cos = gamma.sin(), gamma.cos()
        beta = torch.atan2(cos * G[0, 2] + sin * G[1, 2], G[2, 2])
        alpha = torch.atan2(-sin * G[0, 0] + cos * G[1, 0], -sin * G[0, 1] + cos * G[1, 1])
        logs = [_so3_log(turned, beta, gamma) for turned in (alpha, alpha - math.pi, alpha + math.pi)]
    return torch.stack([_norm(log, sigmas) for log in logs]).amin(0)


def _axis(first: float, last: float, count: int) -> Tensor:
    axis = torch.arange(first, last, (last - first) / count)
    if len(axis) != count:
        raise ValueError(
            f"size: expected numbers of points that the original makes, got {count}, for which it makes {len(axis)}"
        )
    return axis


def _matrices(manifold: str, elements: tuple[Tensor, ...]) -> Tensor:
    """(V, 3, 3) float32."""
    if manifold in ("r2", "se2"):
        x, y = elements[:2]
        motion = rotation_z(elements[2]) if manifold == "se2" else torch.eye(3).repeat(len(x), 1, 1)
        motion[:, 0, 2], motion[:, 1, 2] = x, y
        return motion
    beta, gamma = elements[-2:]
    rotation = rotation_z(gamma).float() @ rotation_y(beta).float()
    return rotation if manifold == "s2" else rotation @ rotation_z(elements[0])


def _se2_log(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, ...]:
    side = torch.stack([angle.sin(), angle.cos()], -1)
    angle = torch.atan2(side[:, 0], side[:, 1])
    half = angle / 2
    cos, sin = half.cos(), half.sin()
    straight = angle == 0
    along, across = half * (y + x * cos / sin), -half * (x + y * cos / sin)
    return torch.where(straight, x, along), torch.where(straight, y, across), angle


def _so3_log(alpha: Tensor, beta: Tensor, gamma: Tensor) -> tuple[Tensor, ...]:
    """Of Rz(gamma) Ry(beta) Rz(alpha)."""
    (ca, sa), (cb, sb), (cg, sg) = ((angle.cos(), angle.sin()) for angle in (alpha, beta, gamma))
    rows = (cg * cb, -sg, cg * sb), (sg * cb, cg, sg * sb), (-sb, torch.zeros_like(cb), cb)
    G = [(p * ca + q * sa, p * -sa + q * ca, r) for p, q, r in rows]
    angle = torch.acos((G[0][0] + G[1][1] + G[2][2] - 1) / 2)
    factor, none, half_turn = 0.5 * angle / angle.sin(), angle == 0, angle == math.pi
    axis = []
    for component, (i, j) in enumerate(((2, 1), (0, 2), (1, 0))):
        log = torch.where(none, 0.5 * G[i][j] - G[j][i], factor * (G[i][j] - G[j][i]))
        axis.append(torch.where(half_turn, math.pi if component == 0 else 0.0, log))
    return tuple(axis)


def _norm(log: tuple[Tensor, ...], sigmas: tuple[float, float, float]) -> Tensor:
    first, *others = (c * sigma * c for c, sigma in zip(log, sigmas, strict=False))
    return sum(others, first)


def _round(sqdist: Tensor) -> Tensor:
    return torch.round(sqdist * 10**6) / 10**6


def _undirected(index: Tensor, sqdist: Tensor, longest: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs, sorted by (source, target), that are in both rows (V, K + 1) at one distance in (0, longest]."""
    vertices = len(index)
    key, order = (torch.arange(vertices)[:, None] * vertices + index).flatten().sort()
    sqdist = sqdist.flatten()[order]
    source, target = key // vertices, key % vertices
    reverse = target * vertices + source
    position = torch.searchsorted(key, reverse).clamp(max=len(key) - 1)
    kept = (key[position] == reverse) & (sqdist[position] == sqdist)
    kept &= (sqdist != 0) & (sqdist <= longest) & (source != target)
    return torch.stack([source[kept], target[kept]]), sqdist[kept]
