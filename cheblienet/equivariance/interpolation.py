"""Rotations by any angle: every element takes the signal, interpolated, from where the rotation brings it from.

On a grid of the plane places are interpolated bilinearly, and beyond the grid signals are 0. On the sphere they are
interpolated linearly on the triangles of the places' convex hull. Orientations are interpolated linearly between their two
neighbours. An orientation is measured at each place from the first one there.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import ConvexHull, KDTree
from torch import Tensor

from ..graphs import GEGraph
from ..groups import R2, SE2, S2Group, SE2Group, SO3Group
from .places import check_graph, is_plane, lines, places

_NEAR_FACES = 32  # among the nearest so many triangles is the one that a point is in


class Interpolation(NamedTuple):
    """What every vertex takes: `weight` (V, m) of the vertices `source` (V, m)."""

    source: Tensor
    weight: Tensor

    def move(self, signal: Tensor) -> Tensor:
        """The signal (..., V) moved."""
        weight = self.weight.to(signal)
        terms = (signal[..., vertex] * w for vertex, w in zip(self.source.T.to(signal.device), weight.T, strict=True))
        return sum(terms, torch.zeros_like(signal))


def interpolation(name: str, graph: GEGraph, rotation: Tensor) -> Interpolation:
    """The interpolation by which a rotation (3, 3) moves signals on a graph.

    Raises TypeError or ValueError for a graph that is no grid of the plane or that has not the same evenly spaced
    orientations at every place.
    """
    graph = check_graph(name, graph)
    num_orientations, num_places = graph.dim
    _check_regular(name, graph)
    at = places(graph)
    source = at[:num_places] @ rotation  # where the inverse rotation takes places
    place, weight = _on_grid(graph, source) if is_plane(graph) else _on_sphere(at[:num_places], source)
    along = lines(graph)
    if along is None:
        return Interpolation(place, weight)
    place, weight = place.repeat(num_orientations, 1), weight.repeat(num_orientations, 1)
    axes = _axes(graph)[:, place % num_places]  # (2, V, m, 3)
    cosine, sine = ((along @ rotation)[:, None] * axes).sum(-1)
    turn = torch.remainder(torch.atan2(sine, cosine), math.pi) * (num_orientations / math.pi)
    lower = turn.floor()
    above = turn - lower
    layers = [(lower.long() + step) % num_orientations for step in (0, 1)]
    index = torch.cat([place + num_places * layer for layer in layers], 1)
    return Interpolation(index, torch.cat([weight * (1 - above), weight * above], 1))


def _check_regular(name: str, graph: GEGraph) -> None:
    expected = _regular_elements(graph)
    if expected is None or not _are_close(graph, expected):
        raise ValueError(
            f"{name}: expected a grid of the plane, or places on the sphere with the same evenly spaced orientations "
            f"each, to interpolate on, got {graph!r}"
        )


def _are_close(graph: GEGraph, expected: Tensor) -> bool:
    difference = graph.elements - expected
    if lines(graph) is not None:
        k = graph.group.coordinates.index("theta" if is_plane(graph) else "alpha")
        difference[:, k] = torch.remainder(difference[:, k] + math.pi / 2, math.pi) - math.pi / 2
    return bool(difference.abs().max() <= 1e-9)


def _regular_elements(graph: GEGraph) -> Tensor | None:
    """The elements of a sampling of the graph's size that can be interpolated on, or None if there is none."""
    group, num_orientations, num_places = graph.group, *graph.dim
    if isinstance(group, SE2Group | SO3Group) and not (group.has_orientation and num_orientations > 1):
        return None
    if isinstance(group, SO3Group):
        first = graph.elements[:num_places]
        return SO3Group.with_orientations(first[:, 1:], num_orientations, first[:, 0] + math.pi / 2)
    if isinstance(group, S2Group):
        return graph.elements
    if len(graph.size) != 3 or min(graph.size[:2]) < 2:
        return None
    return SE2.uniform_sampling(*graph.size) if isinstance(group, SE2Group) else R2.uniform_sampling(*graph.size[:2])


def _on_grid(graph: GEGraph, source: Tensor) -> tuple[Tensor, Tensor]:
    """Four corners (n, 4) of the cell of each place (n, 3), and bilinear weights (n, 4)."""
    nx, ny, _ = graph.size
    x, y = source[:, 0] * nx + (nx - 1) / 2, source[:, 1] * ny + (ny - 1) / 2
    index, weight = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            i, j = x.floor() + dx, y.floor() + dy
            inside = (i >= 0) & (i < nx) & (j >= 0) & (j < ny)
            weight.append((1 - (x - i).abs()) * (1 - (y - j).abs()) * inside)
            index.append((i.clamp(0, nx - 1) + nx * j.clamp(0, ny - 1)).long())
    return torch.stack(index, 1), torch.stack(weight, 1)


def _on_sphere(at: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (n, 3) of the triangle of `at` (n, 3) that each point of `source` is in, and their weights (n, 3)."""
    points = at.numpy()
    faces = ConvexHull(points).simplices
    corners = points[faces]  # (F, 3, 3)
    centres = corners.mean(1)
    near = KDTree(centres / np.linalg.norm(centres, axis=1, keepdims=True)).query(
        source.numpy(), min(_NEAR_FACES, len(faces))
    )[1]
    # Barycentric coordinates, up to a factor: all positive in the triangle that the point's ray passes.
    coordinates = np.einsum("nfij,ni->nfj", np.linalg.inv(corners)[near], source.numpy())
    coordinates /= np.abs(coordinates).sum(-1, keepdims=True)
    best = coordinates.min(-1).argmax(1)
    rows = np.arange(len(near))
    weight = coordinates[rows, best].clip(min=0)
    weight /= weight.sum(1, keepdims=True)
    return torch.from_numpy(faces[near[rows, best]]).long(), torch.from_numpy(weight)


def _axes(graph: GEGraph) -> Tensor:
    """(2, n, 3): at every place the line of the first orientation, and that across it."""
    matrix = graph.group.matrix(graph.elements[: graph.dim[1]]).clone()
    if is_plane(graph):
        matrix[:, 2] = 0
        matrix[:, :2, 2] = 0
    return matrix[..., :2].permute(2, 0, 1)
