"""The icosphere: an icosahedron whose triangles are split in four, level times, in the order of published data files."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from .._checks import check_integer

_GOLDEN = (1 + 5**0.5) / 2
_VERTICES = [
    (-1, _GOLDEN, 0), (1, _GOLDEN, 0), (-1, -_GOLDEN, 0), (1, -_GOLDEN, 0),
    (0, -1, _GOLDEN), (0, 1, _GOLDEN), (0, -1, -_GOLDEN), (0, 1, -_GOLDEN),
    (_GOLDEN, 0, -1), (_GOLDEN, 0, 1), (-_GOLDEN, 0, -1), (-_GOLDEN, 0, 1),
]  # fmt: skip
_FACES = [
    (0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6), (7, 1, 8),
    (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1),
]  # fmt: skip


def icosphere_level(num_vertices: int) -> int:
    """The level of the icosphere with 10 4^level + 2 vertices; ValueError if there is none."""
    check_integer("num_vertices", num_vertices, 1)
    level = 0
    while 10 * 4**level + 2 < num_vertices:
        level += 1
    if 10 * 4**level + 2 != num_vertices:
        near = sorted({10 * 4 ** max(level - 1, 0) + 2, 10 * 4**level + 2})
        raise ValueError(
            "num_vertices: expected 10 * 4^level + 2 vertices of an icosphere, "
            f"such as {' or '.join(map(str, near))}, got {num_vertices}"
        )
    return level


def icosphere(level: int) -> tuple[Tensor, Tensor]:
    """Vertices (10 4^level + 2, 3), float64 unit vectors, and faces (20 4^level, 3), int64."""
    vertices, faces, _ = _subdivided(check_integer("level", level, 0, 10))
    return torch.from_numpy(vertices.copy()), torch.from_numpy(faces.copy())


def unpooling_index(level: int) -> Tensor:
    """(V_level, 2) int64: the ends of the coarse edge that each vertex of `level` >= 1 halves; an old vertex, twice."""
    _, _, parents = _subdivided(check_integer("level", level, 1, 10))
    return torch.from_numpy(parents.copy())


def pooling_index(level: int) -> Tensor:
    """(V_{level-1}, 7) int64: each coarse vertex and its neighbours on the mesh of `level` >= 1.

    The twelve vertices of the icosahedron have five neighbours; their last entry is -1.
    """
    parents = unpooling_index(level).numpy()
    num_coarse = 10 * 4 ** (level - 1) + 2
    # The fine neighbours of a coarse vertex are the midpoints of its coarse edges.
    midpoints = np.arange(num_coarse, len(parents))
    owner = parents[midpoints].T.ravel()
    order = np.argsort(owner, kind="stable")
    owner, midpoint = owner[order], np.tile(midpoints, 2)[order]
    slot = np.arange(len(owner)) - np.searchsorted(owner, owner)
    index = np.full((num_coarse, 7), -1)
    index[:, 0] = np.arange(num_coarse)
    index[owner, 1 + slot] = midpoint
    return torch.from_numpy(index)


@cache
def _subdivided(level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces and, for each vertex, the two ends of the coarser level's edge that it halves."""
    if level == 0:
        vertices = np.array(_VERTICES, dtype=np.float64)
        return (
            vertices / np.linalg.norm(vertices, axis=1, keepdims=True),
            np.array(_FACES),
            np.tile(np.arange(12)[:, None], 2),
        )
    vertices, faces, _ = _subdivided(level - 1)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    midpoints = vertices[edges].mean(axis=1)
    # The published order sorts midpoints by the bytes of their coordinates, rounded to 8 digits as little-endian int64.
    bytewise = np.ascontiguousarray(np.round(midpoints * 1e8).astype("<i8")).view(">u8")
    _, first, inverse = np.unique(bytewise, axis=0, return_index=True, return_inverse=True)
    new = inverse.reshape(3, -1) + len(vertices)
    a, b, c = faces.T
    ab, bc, ca = new
    children = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    parents = np.concatenate([np.tile(np.arange(len(vertices))[:, None], 2), edges[first]])
    grown = np.concatenate([vertices, midpoints[first]])
    return grown / np.linalg.norm(grown, axis=1, keepdims=True), children, parents
