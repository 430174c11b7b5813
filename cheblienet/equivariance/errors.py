"""By how much a model fails to commute with a rotation or reflection of its signal."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._checks import check_floating, check_has_numbers, check_number, check_tensor
from ..graphs import GEGraph
from .interpolation import Interpolation, interpolation
from .places import check_graph, is_plane
from .symmetries import Elements, Symmetry, symmetries


class EquivarianceError(NamedTuple):
    """Relative errors in the L2 norm.

    Attributes:
        error: |model(T x) - T model(x)| / |T model(x)|; without T on the right for an output without vertices.
        interpolation: |T^-1 T x - x| / |x|, what interpolation alone does to the signal there and back; 0 for a symmetry
            of the sampling, which permutes vertices.
    """

    error: float
    interpolation: float


def equivariance_error(
    model: Callable[[Tensor], Tensor],
    graph: GEGraph,
    transformation: Symmetry | float | Tensor,
    signal: Tensor,
    *,
    target_graph: GEGraph | None = None,
) -> EquivarianceError:
    """By how much model(T x) differs from T model(x).

    Args:
        model: a layer, a network, or any function of signals (B, C, V). It is called without gradients, in the mode that it
            is in: call `eval()` first where running statistics or random numbers should not count.
        graph: where the signal lives.
        transformation: T, one of `symmetries(graph)`; or an angle in radians, by which the plane turns about the middle
            of the sampling, and the sphere about the z axis; or a rotation (3, 3) of the sphere. Angles and rotations are
            interpolated: in the plane on grids only, where signals are 0 beyond the border.
        signal: x, (B, C, V) floating point.
        target_graph: where outputs (B, C', V') live; None for `graph`. Outputs of fewer dimensions than three have no
            vertices and should not change.

    Raises:
        TypeError, ValueError: for arguments of another type or shape, an output with another number of vertices than the
            target graph, or a sampling that the transformation does not permute or cannot be interpolated on.
    """
    return _Comparison("equivariance_error", model, graph, signal, target_graph).under(transformation)


def assert_equivariant(
    model: Callable[[Tensor], Tensor],
    graph: GEGraph,
    signal: Tensor,
    *,
    tolerance: float = 1e-5,
    target_graph: GEGraph | None = None,
) -> None:
    """Raises AssertionError, with the worst symmetry and its error, unless a model follows all symmetries of a sampling.

    Args:
        model, graph, signal, target_graph: as for `equivariance_error`.
        tolerance: the largest relative error allowed, at least 0. 1e-5 is rounding of float32.

    Raises:
        AssertionError: for an error above the tolerance, or that is no number.
        TypeError, ValueError: as `equivariance_error`, and for a sampling without symmetries, which would prove nothing.
    """
    name = "assert_equivariant"
    check_number(f"{name}: tolerance", tolerance, 0)
    found = symmetries(graph)
    if len(found) < 2:
        raise ValueError(f"{name}: graph: expected a sampling with symmetries, got {graph!r}, which has none")
    comparison = _Comparison(name, model, graph, signal, target_graph)
    errors = [comparison.under(symmetry).error for symmetry in found]
    # One that is no number is worse than any.
    error, worst = max(zip(errors, found, strict=True), key=lambda pair: math.inf if math.isnan(pair[0]) else pair[0])
    if not error <= tolerance:
        mapped = "" if worst.preserves_graph else ", which maps edges of the graph to none or to others in weight"
        raise AssertionError(
            f"expected a relative error of at most {tolerance:g} under all {len(found)} symmetries of {graph!r}, "
            f"got {error:.3g} under the {worst.name}{mapped}; {sum(not e <= tolerance for e in errors)} are above"
        )


class _Comparison:
    """A model's output, and what moves it."""

    def __init__(
        self,
        name: str,
        model: Callable[[Tensor], Tensor],
        graph: GEGraph,
        signal: Tensor,
        target_graph: GEGraph | None,
    ) -> None:
        self.name, self.model, self.graph, self.signal = name, model, graph, signal
        _check_signal(name, check_graph(f"{name}: graph", graph), signal)
        self.output = self._output(signal)
        if self.output.ndim < 3:
            return
        self.target = graph if target_graph is None else check_graph(f"{name}: target_graph", target_graph)
        if self.output.shape[-1] != self.target.num_vertices:
            raise ValueError(
                f"{name}: target_graph: expected one of the output's {self.output.shape[-1]} vertices, got {self.target!r}"
            )
        self.elements = Elements(f"{name}: target_graph", self.target)

    def under(self, transformation: Symmetry | float | Tensor) -> EquivarianceError:
        """The error under one transformation of the signal."""
        name, signal = self.name, self.signal
        matrix = _matrix(name, self.graph, transformation)
        forth: Symmetry | Interpolation
        interpolated = 0.0
        if isinstance(transformation, Symmetry):
            forth = transformation
        else:
            forth = interpolation(f"{name}: graph", self.graph, matrix)
            back = interpolation(f"{name}: graph", self.graph, matrix.T)
            interpolated = _relative(back.move(forth.move(signal)), signal)
        moved, expected = self._output(forth.move(signal)), self.output
        if expected.ndim >= 3:
            expected = self._on_target(forth, matrix).move(expected)
        if moved.shape != expected.shape:
            raise ValueError(
                f"{name}: model: expected outputs of one shape, got {tuple(moved.shape)} and {tuple(expected.shape)}"
            )
        return EquivarianceError(_relative(moved, expected), interpolated)

    def _output(self, signal: Tensor) -> Tensor:
        with torch.no_grad():
            output = self.model(signal)
        if not isinstance(output, Tensor):
            raise TypeError(
                f"{self.name}: model: expected a function that returns a tensor, got {type(output).__name__}"
            )
        return output

    def _on_target(self, forth: Symmetry | Interpolation, matrix: Tensor) -> Symmetry | Interpolation:
        """What moves the model's output."""
        if self.target is self.graph:
            return forth
        if isinstance(forth, Interpolation):
            return interpolation(f"{self.name}: target_graph", self.target, matrix)
        permutation = self.elements.permutation(matrix)
        if permutation is None:
            raise ValueError(
                f"{self.name}: target_graph: expected a sampling that the {forth.name} permutes, got {self.target!r}"
            )
        return forth._replace(permutation=permutation)


def _check_signal(name: str, graph: GEGraph, signal: Tensor) -> None:
    check_has_numbers(f"{name}: signal", check_tensor(f"{name}: signal", signal, "(B, C, V)", 3))
    check_floating(f"{name}: signal", signal)
    if signal.shape[2] != graph.num_vertices:
        raise ValueError(f"{name}: signal: expected V = {graph.num_vertices}, got shape {tuple(signal.shape)}")


def _matrix(name: str, graph: GEGraph, transformation: Any) -> Tensor:
    """The orthogonal matrix (3, 3) of a transformation."""
    name = f"{name}: transformation"
    if isinstance(transformation, Symmetry):
        return transformation.matrix
    if isinstance(transformation, Tensor) and transformation.ndim:
        if is_plane(graph):
            raise TypeError(f"{name}: expected a symmetry or an angle for a graph on the plane, got a tensor")
        matrix = transformation.detach().to("cpu", torch.float64)
        identity = torch.eye(3, dtype=torch.float64)
        if matrix.shape != (3, 3) or (matrix @ matrix.T - identity).abs().max() > 1e-6 or matrix.det() < 0:
            raise ValueError(f"{name}: expected a rotation (3, 3), got {transformation}")
        return matrix
    angle = transformation.item() if isinstance(transformation, Tensor) else transformation
    if isinstance(angle, bool) or not isinstance(angle, Real):
        raise TypeError(f"{name}: expected a symmetry, an angle or a rotation, got {type(transformation).__name__}")
    c, s = math.cos(check_number(name, angle, -math.inf)), math.sin(angle)
    return torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)


def _relative(actual: Tensor, expected: Tensor) -> float:
    difference, size = float((actual.double() - expected.double()).norm()), float(expected.double().norm())
    if size == 0:
        return 0.0 if difference == 0 else math.inf
    return difference / size
