"""Graphs of group elements that are near in an anisotropic metric (arXiv:2111.12139, section 3.2)."""

import math
import os
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .._checks import check_choice, check_floating, check_has_numbers, check_integer, check_size, check_tensor
from ..groups import R2, S2, SE2, SO3, Group
from ..groups.builtin import built_in_name, has_built_in_sampling
from ..groups.so3 import FRAMES
from ..ops.measured_neighbors import sqdist_to_all
from ..ops.reference import SHELL_TOLERANCE
from .checks import check_group, checked_parameters
from .components import num_isolated
from .edges import Edges, neighbor_edges
from .graph import Graph
from .held import Held
from .order import spatial_order
from .store import content_key, load_or_build


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


class _SampledGraph(GEGraph):
    """The graph of a group's regular sampling."""

    _group: ClassVar[Group]
    _axes: ClassVar[tuple[str, ...]]  # what `size` counts

    def __init__(
        self,
        size: Sequence[int],
        sigmas: Sequence[float] | Tensor,
        K: int,
        path_to_graph: str | os.PathLike[str] | None = None,
        kernel: str = "gaussian",
        *,
        device: torch.device | str | None = None,
        progress: bool = False,
    ) -> None:
        name, group, full_size = type(self).__name__, self._group, self._checked_size(size)
        check_group(name, group, GEGraph)
        if path_to_graph is not None and not has_built_in_sampling(group):
            raise ValueError(
                f"{name}: path_to_graph: expected None for {type(group).__name__} (group {group.name!r}), got "
                f"{os.fspath(path_to_graph)!r}: a file does not tell by which code its edges were found"
            )
        options = self._sampling if has_built_in_sampling(group) else {}
        elements = group.uniform_sampling(*full_size[: len(self._axes)], device=device, **options)
        if len(elements) != math.prod(full_size):
            raise ValueError(
                f"{name}: size: expected {math.prod(full_size)} elements of {type(group).__name__}.uniform_sampling for "
                f"{full_size}, got {len(elements)}"
            )
        metric, K, kernel = checked_parameters(name, group, len(elements), sigmas, K, kernel)
        centroid = _centroid(full_size)
        build = partial(neighbor_edges, group, elements, metric, K, kernel, centroid, progress)
        if path_to_graph is None:
            edges = build()
        else:
            key = content_key(built_in_name(group) or group.name, full_size, metric, K, kernel, **options)
            edges = load_or_build(path_to_graph, key, len(elements), build)
        super().__init__(group, elements, edges, metric, K, kernel, full_size, centroid)

    @property
    def _sampling(self) -> dict[str, str]:
        """What the regular sampling takes besides its size."""
        return {}

    def _spatial_order(self, device: torch.device) -> Tensor:
        return spatial_order(self.group, self._elements.on(device), self.size)

    def _checked_size(self, size: object) -> tuple[int, ...]:
        """`size` with the number of orientations last, which is 1 on R2 and S2, where callers may give any or none."""
        has_orientations = self._axes[-1] in ("ntheta", "nalpha")
        counts = check_size(f"{type(self).__name__}: size", size, self._axes, 0 if has_orientations else 1)
        return counts if has_orientations else (*counts, 1)


class R2GEGraph(_SampledGraph):
    """The plane: nx x ny points (i / nx, j / ny); vertex i + nx j.

    With nx = ny and sigma1 = sigma2, the 8 symmetries of the square are exact, whether sides are even or odd. Otherwise the
    half turn and two reflections are left.

    Args:
        size: (nx, ny); a third number is ignored.
        sigmas: what steps along x and y cost, positive, the image's side being 1: the smaller, the farther neighbours
            reach. The third has nothing to weigh here.
        K: the largest number of neighbours of a vertex, 1 <= K < V.
        path_to_graph: folder of cache files, made if missing; None for no cache.
        kernel: of the weights: "gaussian", "laplace", "cauchy" or "rectangular".
        device: where to find the edges; None for the CPU. They stay there until an attribute is read, which is on the CPU.
        progress: whether to show bars on stderr while a large graph is built, which Ctrl-C stops at once.

    Raises:
        TypeError, ValueError: for arguments of another type, or outside these ranges.
    """

    vertex_x: Tensor
    vertex_y: Tensor
    _group, _axes = R2, ("nx", "ny")


class SE2GEGraph(_SampledGraph):
    """The plane with orientations: the grid of `R2GEGraph` with ntheta orientations -pi/2 + k pi / ntheta, taken modulo
    pi; vertex i + nx j + nx ny k.

    With nx = ny and an even ntheta, the 8 symmetries of the square are exact. An odd ntheta has no quarter turn, and images
    that are not square have none either: the half turn and two reflections are left.

    Args:
        size: (nx, ny, ntheta).
        sigmas: what steps cost, positive: along the orientation, across it, for its change in radians; the image's side is
            1. The smaller one is, the farther neighbours reach: with (1, 0.1, ...) across the orientation.
        K: the largest number of neighbours of a vertex, 1 <= K < V.
        path_to_graph: folder of cache files, made if missing; None for no cache.
        kernel: of the weights: "gaussian", "laplace", "cauchy" or "rectangular".
        device: where to find the edges; None for the CPU. They stay there until an attribute is read, which is on the CPU.
        progress: whether to show bars on stderr while a large graph is built, which Ctrl-C stops at once.

    Raises:
        TypeError, ValueError: for arguments of another type, or outside these ranges.
    """

    vertex_x: Tensor
    vertex_y: Tensor
    vertex_theta: Tensor
    _group, _axes = SE2, ("nx", "ny", "ntheta")


class S2GEGraph(_SampledGraph):
    """The sphere, sampled by an icosphere of 10 4^level + 2 vertices.

    All 60 rotations and 60 reflections of the icosahedron are exact.

    Args:
        size: (number of vertices,); a second number is ignored.
        sigmas: the coefficients of the metric, positive, the first two equal; the third has nothing to weigh here.
        K: the largest number of neighbours of a vertex, 1 <= K < V.
        path_to_graph: folder of cache files, made if missing; None for no cache.
        kernel: of the weights: "gaussian", "laplace", "cauchy" or "rectangular".
        device: where to find the edges; None for the CPU. They stay there until an attribute is read, which is on the CPU.
        progress: whether to show bars on stderr while a large graph is built, which Ctrl-C stops at once.

    Raises:
        TypeError, ValueError: for arguments of another type, or outside these ranges.
    """

    vertex_beta: Tensor
    vertex_gamma: Tensor
    _group, _axes = S2, ("num_vertices",)


class SO3GEGraph(_SampledGraph):
    """The sphere with orientations: an icosphere of 10 4^level + 2 vertices with nalpha orientations at each, pi / nalpha
    apart and taken modulo pi; vertex i + number of vertices of the icosphere k.

    With nalpha a multiple of 5, all 60 rotations and 60 reflections of the icosahedron are exact. With other numbers the
    orientations at its twelve corners cannot be carried along, and one reflection is left. With coordinate frames 4 rotations
    and 4 reflections are exact, whatever nalpha, from 42 vertices on.

    Args:
        size: (number of vertices of the icosphere, nalpha).
        sigmas: what turns about the three axes of an element cost, positive, in radians. About the first, the tangent along
            the orientation, places move across it; about the second, along it; about the third, the orientation changes.
            The smaller one is, the farther neighbours reach: with (1, 0.1, ...) along the orientation.
        K: the largest number of neighbours of a vertex, 1 <= K < V.
        path_to_graph: folder of cache files, made if missing; None for no cache.
        kernel: of the weights: "gaussian", "laplace", "cauchy" or "rectangular".
        frames: from what orientations are measured. "icosahedral": a tangent at each vertex that the icosahedron's
            rotations carry along (`cheblienet.meshes.frames`). "coordinate": the meridian, alpha = -pi/2 + k pi / nalpha, as
            in the original.
        device: where to find the edges; None for the CPU. They stay there until an attribute is read, which is on the CPU.
        progress: whether to show bars on stderr while a large graph is built, which Ctrl-C stops at once.

    Raises:
        TypeError, ValueError: for arguments of another type, or outside these ranges.
    """

    vertex_alpha: Tensor
    vertex_beta: Tensor
    vertex_gamma: Tensor
    _group, _axes = SO3, ("num_vertices", "nalpha")

    def __init__(
        self,
        size: Sequence[int],
        sigmas: Sequence[float] | Tensor,
        K: int,
        path_to_graph: str | os.PathLike[str] | None = None,
        kernel: str = "gaussian",
        *,
        frames: str = "icosahedral",
        device: torch.device | str | None = None,
        progress: bool = False,
    ) -> None:
        self.frames = check_choice(f"{type(self).__name__}: frames", frames, FRAMES)
        super().__init__(size, sigmas, K, path_to_graph, kernel, device=device, progress=progress)

    @property
    def _sampling(self) -> dict[str, str]:
        return {"frames": self.frames}


def _caller() -> int:
    """The `stacklevel`, for the function that asks, of the first caller outside of this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("cheblienet."):
        level, frame = level + 1, frame.f_back
    return level


def _centroid(size: tuple[int, ...]) -> int:
    """The vertex in the middle of a grid; on the sphere, where there is no middle, the first."""
    if len(size) == 2:
        return 0
    nx, ny, ntheta = size
    return nx // 2 + ny // 2 * nx + ntheta // 2 * nx * ny
