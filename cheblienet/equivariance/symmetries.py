"""The symmetries of a sampling: rotations and reflections that permute its elements.

An orthogonal matrix A moves an element at the place p with the unit vector n along its orientation to A p and A n, where n
and -n are one orientation. A rotation takes the element with the matrix g to A g. A reflection takes it to A g S, where S
changes the sign of one axis of the tangent plane: two components of the logarithm of g^-1 h change their signs, and no
distance changes.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from ..graphs import GEGraph
from .places import check_graph, is_plane, lines, places

# Far above the rounding of coordinates, about 1e-15, and far below the distance of two elements.
_TOLERANCE = 1e-7


class Symmetry(NamedTuple):
    """A rotation or reflection that permutes the vertices of a graph.

    Attributes:
        name: in words, angles in degrees.
        matrix: (3, 3) float64, orthogonal: about the centre of the sphere, or about the middle of the plane's sampling,
            with the third axis fixed.
        permutation: (V,) int64, to which vertex each one moves.
        preserves_graph: whether edges are mapped to edges of the same weight, bit for bit.
    """

    name: str
    matrix: Tensor
    permutation: Tensor
    preserves_graph: bool

    @property
    def is_rotation(self) -> bool:
        """Whether it keeps the sense of turning, which a reflection changes."""
        return bool(self.matrix.det() > 0)

    def move(self, signal: Tensor) -> Tensor:
        """The signal (..., V) moved: a vertex's value goes where the vertex goes. ValueError for another V."""
        vertices = len(self.permutation)
        if signal.ndim == 0 or signal.shape[-1] != vertices:
            raise ValueError(
                f"Symmetry.move: signal: expected V = {vertices} in the last place, got {tuple(signal.shape)}"
            )
        return signal[..., self.permutation.argsort().to(signal.device)]


def symmetries(graph: GEGraph) -> list[Symmetry]:
    """All rotations and reflections that permute the elements of a graph, the identity first, rotations before reflections.

    They are found by matching moved elements with elements, to 1e-7, orientations modulo pi. Those of the plane are about
    the middle of the sampling: no grid is a torus, so no translation is a symmetry. Those of the sphere are about its
    centre. Whether a symmetry of the sampling is one of the edges too, its `preserves_graph` says.

    Raises TypeError or ValueError for a graph without elements, or of another group than R2, SE(2), S2 and SO(3).
    """
    elements, edges = Elements("symmetries: graph", graph), _SortedEdges(graph)
    found = []
    for matrix in _isometries(elements):
        permutation = elements.permutation(matrix)
        if permutation is not None:
            angle, name = _described(matrix, elements.plane)
            symmetry = Symmetry(name, matrix, permutation, edges.map_to_themselves(permutation))
            found.append((not symmetry.is_rotation, angle, symmetry))
    return [symmetry for _, _, symmetry in sorted(found, key=lambda entry: entry[:2])]


class Elements:
    """The elements of a graph as points of one space, where an orthogonal matrix moves them."""

    def __init__(self, name: str, graph: object) -> None:
        self.graph = check_graph(name, graph)
        self.plane, self.places, self._lines = is_plane(self.graph), places(self.graph), lines(self.graph)
        self._tree = KDTree(self._moved(torch.eye(3, dtype=torch.float64), slice(None)))

    def permutation(self, matrix: Tensor) -> Tensor | None:
        """(V,) int64: which element each one becomes by a matrix (3, 3), or None where it becomes none."""
        for some in (slice(64), slice(None)):  # most matrices that permute only places are refused by a few elements
            distance, index = self._tree.query(self._moved(matrix, some), distance_upper_bound=_TOLERANCE)
            if distance.max() == np.inf:
                return None
        return torch.from_numpy(index) if len(np.unique(index)) == len(index) else None

    def _moved(self, matrix: Tensor, some: slice) -> Tensor:
        at = self.places[some] @ matrix.T
        if self._lines is None:
            return at
        along = self._lines[some] @ matrix.T
        if self.graph.group.has_orientation:  # a vector and its opposite are one line
            along = (along[:, :, None] * along[:, None, :]).flatten(1)
        return torch.cat([at, along], -1)


class _SortedEdges:
    def __init__(self, graph: GEGraph) -> None:
        self._index, self._weight, self._vertices = graph.edge_index, graph.edge_weight, graph.num_vertices
        self._number = self._index[0] * self._vertices + self._index[1]  # ascending, as edges are

    def map_to_themselves(self, permutation: Tensor) -> bool:
        source, target = permutation[self._index]
        number, order = torch.sort(source * self._vertices + target)
        return torch.equal(number, self._number) and torch.equal(self._weight[order], self._weight)


def _isometries(elements: Elements) -> Iterator[Tensor]:
    """All orthogonal matrices that could permute the places of elements.

    Two vectors determine a rotation, and a reflection. A symmetry takes the first to a place like it, and the second,
    its nearest place, to one at the same distance. In the plane the second is the axis, which stays.
    """
    points = elements.places.numpy()
    points = points[np.unique(points.round(6) + 0.0, axis=0, return_index=True)[1]]
    tree, axis = KDTree(points), np.array([0.0, 0.0, 1.0])
    likeness = np.linalg.norm(points, axis=1, keepdims=True)
    if not elements.plane:
        likeness = tree.query(points, min(len(points), 8))[0].reshape(len(points), -1)
    first = _rarest(likeness, off_centre=np.linalg.norm(points, axis=1) > _TOLERANCE)
    like_first = np.flatnonzero(np.abs(likeness - likeness[first]).max(1) < 10 * _TOLERANCE)
    if elements.plane:
        pairs = ((points[other], axis) for other in like_first)
        base = _frame(points[first], axis)
    else:
        distance = np.linalg.norm(points - points[first], axis=1)
        distance[np.linalg.norm(np.cross(points, points[first]), axis=1) < 1e-3] = np.inf
        second = int(distance.argmin())
        if distance[second] == np.inf:  # all places are on one axis
            yield torch.eye(3, dtype=torch.float64)
            return
        reach, base = distance[second], _frame(points[first], points[second])
        pairs = (
            (points[other], points[near])
            for other in like_first
            for near in tree.query_ball_point(points[other], reach + _TOLERANCE)
            if np.linalg.norm(points[near] - points[other]) > reach - _TOLERANCE
        )
    for pair in pairs:
        frame = _frame(*pair)
        for handedness in (1.0, -1.0):
            yield torch.from_numpy(frame @ np.diag([1.0, 1.0, handedness]) @ base.T)


def _rarest(likeness: np.ndarray, off_centre: np.ndarray) -> int:
    """A place off the centre that the fewest others are like."""
    candidates = np.flatnonzero(off_centre)
    _, first, counts = np.unique(likeness[candidates].round(5), axis=0, return_index=True, return_counts=True)
    return int(candidates[first[counts.argmin()]])


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(3, 3): orthonormal columns, the first along `first`, the second in the plane of both, on the side of `second`."""
    a = first / np.linalg.norm(first)
    b = second - a * (a @ second)
    b /= np.linalg.norm(b)
    return np.stack([a, b, np.cross(a, b)], 1)


def _angle(matrix: Tensor) -> float:
    """By how much a rotation turns, in degrees from 0 to 180."""
    sine = (matrix - matrix.T).norm() / math.sqrt(8)
    return math.degrees(math.atan2(float(sine), (float(matrix.trace()) - 1) / 2))


def _axis(rotation: Tensor) -> Tensor:
    """The unit vector about which a rotation turns by 0 to 180 degrees, of half turns the one in the upper half."""
    outer = rotation + rotation.T + (1 - rotation.trace()) * torch.eye(3, dtype=torch.float64)
    column = outer[:, outer.diagonal().argmax()]
    axis: Tensor = column / column.norm()
    sense = torch.stack([(rotation - rotation.T)[k] for k in ((2, 1), (0, 2), (1, 0))])
    if sense.norm() > 1e-6:
        return axis * torch.sign(axis @ sense)
    return axis * (-1.0 if tuple(axis.flip(0).round(decimals=6).tolist()) < (0.0, 0.0, 0.0) else 1.0)


def _described(matrix: Tensor, plane: bool) -> tuple[float, str]:
    """The angle of a symmetry, in degrees, and its name."""
    is_rotation = bool(matrix.det() > 0)
    rotation = matrix if is_rotation else -matrix
    angle = round(_angle(rotation), 3)
    if angle == 0:
        return angle, "identity" if is_rotation else "point reflection"
    axis = _axis(rotation)
    if plane and is_rotation:
        angle = angle if axis[2] > 0 else 360 - angle
        return angle, f"rotation by {angle:g} degrees"
    if plane:
        angle = (round(math.degrees(math.atan2(axis[1], axis[0])), 3) + 90) % 180
        return angle, f"reflection across the line at {angle:g} degrees"
    about = "({:.3f}, {:.3f}, {:.3f})".format(*(axis.round(decimals=3) + 0.0).tolist())
    if is_rotation:
        return angle, f"rotation by {angle:g} degrees about {about}"
    if angle == 180:
        return angle, f"reflection with normal {about}"
    return angle, f"point reflection and rotation by {angle:g} degrees about {about}"
