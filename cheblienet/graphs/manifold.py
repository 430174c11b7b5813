"""Graphs of group elements that are near in an anisotropic metric (arXiv:2111.12139, section 3.2)."""

import math
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._checks import check_choice, check_floating, check_has_numbers, check_integer, check_tensor
from ..groups import Group
from ..ops.measured_neighbors import sqdist_to_all
from ..ops.reference import SHELL_TOLERANCE
from .checks import check_group, checked_parameters
from .components import num_isolated
from .edges import Edges, neighbor_edges
from .graph import Graph
from .held import Held
from .order import spatial_order


class GEGraph(Graph):
    """A graph of group elements: `GEGraph.from_elements`, or one of the four regular samplings derived from it.

    Vertices are joined to those near in the metric d2 = sigma_1 c_1^2 + sigma_2 c_2^2 + sigma_3 c_3^2, c = log(g^-1 h),
    by edges that weigh the less the longer they are. A small sigma is a far reach: neighbours lie farthest where steps cost
    least (docs/conventions.md).

    Attributes:
        group: the group, an instance of `cheblienet.groups.Group`; `manifold` is its name.
        sigmas, K, kernel: the metric, the number of neighbours, the name of the weights' kernel.
        size: the sampling's shape, the number of orientations last; (V, 1) for elements of one's own.
        centroid_vertex: the vertex whose reach bounds the length of all edges, or None.
        vertex_attributes: names of the attributes that hold the coordinates, (V,) float32 each, such as "vertex_x".
    """

    def __init__(
        self,
        group: Group,
        elements: Tensor,
        edges: Edges,
        sigmas: tuple[float, float, float],
        K: int,
        kernel: str,
        size: tuple[int, ...],
        centroid: int | None,
    ) -> None:
        self.group, self._elements = group, Held(elements)
        self.sigmas, self.K, self.kernel = sigmas, K, kernel
        self.size, self.centroid_vertex = size, centroid
        self.manifold = group.name
        self.vertex_attributes = tuple(f"vertex_{coordinate}" for coordinate in group.coordinates)
        self._order: Tensor | None = None
        self._set_edges(Held(edges), len(elements))
        self._warn_of_few_edges()

    def __getattr__(self, name: str) -> Tensor:
        # Coordinates are made at every request, as elements on a GPU come from there.
        if name not in self.vertex_attributes:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._elements.on_cpu[:, self.vertex_attributes.index(name)].float()

    @property
    def elements(self) -> Tensor:
        """(V, d) float64, the coordinates of the group."""
        return self._elements.on_cpu.clone()

    @staticmethod
    def from_elements(
        group: Group,
        elements: Tensor,
        sigmas: Sequence[float] | Tensor,
        K: int,
        kernel: str = "gaussian",
        centroid: int | None = None,
        *,
        size: Sequence[int] | None = None,
        progress: bool = False,
    ) -> "GEGraph":
        """The graph of any elements of a group: one's own, or those of `cheblienet.groups.sample`.

        Args:
            group: one of `cheblienet.groups.GROUPS`, or any other: its own distance is measured between all elements.
            elements: (V, d) floating point, the coordinates of the group (angles in radians). The edges are found on
                their device if that is a GPU, and stay there until an attribute is read, which is on the CPU.
            sigmas: the three positive coefficients of the metric.
            K: the largest number of neighbours of a vertex, 1 <= K < V.
            kernel: "gaussian", "laplace", "cauchy" or "rectangular".
            centroid: a vertex; no edge is longer than the distance to its K-th neighbour. None for no bound.
            size: the shape of the sampling, the number of orientations last; default (V, 1).
            progress: whether to show bars on stderr while a large graph is built, which Ctrl-C stops at once.

        Raises TypeError or ValueError for arguments of another type, or outside these ranges.
        """
        name = "GEGraph.from_elements"
        check_group(name, group, GEGraph)
        elements = check_floating(f"{name}: elements", check_tensor(f"{name}: elements", elements, "(V, d)", 2))
        check_has_numbers(f"{name}: elements", elements)
        elements = elements.detach().to(elements.device if elements.is_cuda else "cpu", torch.float64, copy=True)
        metric, K, kernel = checked_parameters(name, group, len(elements), sigmas, K, kernel)
        if centroid is not None:
            centroid = check_integer(f"{name}: centroid", centroid, 0, len(elements) - 1)
        full_size = (len(elements), 1)
        if size is not None:
            full_size = tuple(check_integer(f"{name}: size", n, 1) for n in size)
            if math.prod(full_size) != len(elements):
                raise ValueError(
                    f"{name}: size: expected numbers whose product is V = {len(elements)}, got {full_size}"
                )
        edges = neighbor_edges(group, elements, metric, K, kernel, centroid, progress)
        return GEGraph(group, elements, edges, metric, K, kernel, full_size, centroid)

    def _warn_of_few_edges(self) -> None:
        # Components are found on the CPU, so edges on a GPU come from there only if vertices are isolated.
        edges, vertices = self._edges.made, self._num_vertices
        if vertices == 1 or (edges.device.type != "cpu" and num_isolated(edges, vertices) == 0):
            return
        label = self._component_labels()
        sizes = np.bincount(label)
        if len(sizes) == 1:
            return
        isolated = np.flatnonzero(sizes[label] == 1)
        message = (
            f"{type(self).__name__}: edges join {vertices:,} vertices to {len(sizes):,} components rather than one, "
            f"{len(isolated):,} of them isolated vertices, with K = {self.K} and sigmas = {self.sigmas}: "
        )
        needed = max(map(self._needed_neighbors, self._few_of(isolated)), default=0)
        if needed > self.K:
            message += f"equally near neighbours are taken all or none, and the first whole shell takes K = {needed}"
        else:
            message += "a larger K, other sigmas or a sampling of more even density joins them"
        warnings.warn(message, stacklevel=_caller())

    def _needed_neighbors(self, vertex: int) -> int:
        """The K that joins a vertex to one of its nearest: both take whole shells, no further than the centroid reaches."""

        def others(vertex: int) -> Tensor:
            sqdist = sqdist_to_all(self.group, elements, torch.tensor([vertex]), self.sigmas)[0]
            sqdist[vertex] = torch.inf
            return sqdist

        elements = self._elements.on_cpu
        sqdist = others(vertex)
        least = sqdist.min()
        shell = (sqdist <= least * (1 + SHELL_TOLERANCE)).nonzero()[:, 0]
        theirs = min(
            int((others(other) <= least * (1 + SHELL_TOLERANCE)).sum()) for other in self._few_of(shell.numpy())
        )
        reach = 0
        if self.centroid_vertex is not None:
            reach = int((others(self.centroid_vertex) * (1 + SHELL_TOLERANCE) < least).sum()) + 1
        return max(len(shell), theirs, reach)

    def _few_of(self, vertices: np.ndarray) -> list[int]:
        """Some of the vertices, evenly spread: 8, or fewer of a large graph, as each is measured against all elements."""
        count = min(len(vertices), max(1, min(8, 2**21 // self._num_vertices)))
        return vertices[np.linspace(0, len(vertices) - 1, count).astype(np.int64)].tolist()

    @property
    def group_element(self) -> tuple[Tensor, ...]:
        """The coordinates of all vertices, (V,) float32 each."""
        return tuple(getattr(self, attribute) for attribute in self.vertex_attributes)

    @property
    def general_linear_group_element(self) -> Tensor:
        """(V, 3, 3) float32, the matrices of all vertices."""
        return self.group.matrix(self._elements.on_cpu).float()

    @property
    def group_dim(self) -> list[str]:
        """The names of the coordinates."""
        return list(self.group.coordinates)

    @property
    def dim(self) -> tuple[int, int]:
        """The number of orientations, 1 where there are none, and of places; their product is V."""
        return self.size[-1], math.prod(self.size[:-1])

    def cartesian_pos(self, axis: str | None = None) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Positions to draw the vertices at, (V,) float32: all three axes, or the one named "x", "y" or "z".

        R2 lies in the plane z = 0, SE(2) has theta for z, S2 is the unit sphere, and SO(3) a sphere of radius
        2 pi + alpha for every orientation alpha. Another group says it by its method `position`, or NotImplementedError is
        raised.
        """
        x, y, z = self.group.position(self._elements.on_cpu).to(torch.float32, copy=True).unbind(-1)
        if axis is None:
            return x, y, z
        return {"x": x, "y": y, "z": z}[check_choice("cartesian_pos: axis", axis, ("x", "y", "z"))]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_order": None}

    def _row_order(self, device: torch.device) -> Tensor | None:
        if device.type != "cuda":  # on the CPU, rows in their own order are not copied to their place
            return None
        if self._order is None or self._order.device != device:
            self._order = self._spatial_order(device)
        return self._order

    def _spatial_order(self, device: torch.device) -> Tensor:
        return spatial_order(self.group, self._elements.on(device))


def _caller() -> int:
    """The `stacklevel`, for the function that asks, of the first caller outside of this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("cheblienet."):
        level, frame = level + 1, frame.f_back
    return level
