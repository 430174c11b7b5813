"""Graphs of the groups' regular samplings, with the original's names and arguments."""

import math
import os
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from .._checks import check_choice, check_size
from ..groups import R2, S2, SE2, SO3, Group
from ..groups.builtin import built_in_name, has_built_in_sampling
from ..groups.so3 import FRAMES
from .checks import check_group, checked_parameters
from .edges import neighbor_edges
from .manifold import GEGraph
from .order import spatial_order
from .store import content_key, load_or_build


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


def _centroid(size: tuple[int, ...]) -> int:
    """The vertex in the middle of a grid; on the sphere, where there is no middle, the first."""
    if len(size) == 2:
        return 0
    nx, ny, ntheta = size
    return nx // 2 + ny // 2 * nx + ntheta // 2 * nx * ny
