"""What a group has to offer. A new group is one subclass: plain PyTorch searches neighbours by its own distance.

The built-in groups have a struct in csrc/math too, by which compiled code measures them; see `builtin`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from .._checks import check_device, check_floating, check_integer, check_sigmas


class Group(ABC):
    """A Lie group, or a homogeneous space of one, with its anisotropic distance (arXiv:2111.12139, section 3.1).

    All methods work on batches of any shape, any floating dtype and device, and are differentiable. bfloat16 and float16
    are computed in float32 and rounded once; a squared distance above 65,504 is infinite in float16.

    A group of one's own is a subclass of this class or of another group. Its `squared_distance` is what its graphs are
    made of: by default that of the logarithm of g^-1 h, so it is enough to define the four methods with an underscore, and
    where it is overridden they serve `matrix`, `element`, `inverse` and `log` only. It must broadcast its elements
    against each other and give, in float64, finite numbers of at least 0 that are the same in both directions. A subclass
    of another group should also say what its `uniform_sampling` and its `position` are, unless they are the same.

    Attributes:
        name: how graphs and messages call it.
        coordinates: names of the d coordinates of an element; a graph has an attribute "vertex_" + name for each.
        has_orientation: whether the last angle of g^-1 h counts modulo pi, as that of a line, which has no head.
    """

    name: ClassVar[str]
    coordinates: ClassVar[tuple[str, ...]]
    has_orientation: ClassVar[bool] = False

    @abstractmethod
    def uniform_sampling(self, *size: int, device: torch.device | str | None = None) -> Tensor:
        """The regular sampling of the given size, (V, d) float64, in vertex order.

        `device` tells where to; None for the CPU. The elements have the same bits everywhere.
        """

    @abstractmethod
    def _matrix(self, element: Tensor) -> Tensor: ...

    @abstractmethod
    def _element(self, matrix: Tensor) -> Tensor: ...

    @abstractmethod
    def _inverse(self, matrix: Tensor) -> Tensor: ...

    @abstractmethod
    def _log(self, matrix: Tensor) -> Tensor: ...

    def position(self, element: Tensor) -> Tensor:
        """Where to draw elements (..., d) in space, (..., 3). NotImplementedError where a group does not say so."""
        raise NotImplementedError(
            f"{type(self).__name__}: position: expected a group that says where to draw its elements, got {self.name!r}, "
            "which does not define this method"
        )

    def matrix(self, element: Tensor) -> Tensor:
        """The matrices (..., 3, 3) of elements (..., d)."""
        return _widely(self._matrix, self._check_element("element", element))

    def element(self, matrix: Tensor) -> Tensor:
        """The coordinates (..., d) of matrices (..., 3, 3): matrix(element(G)) = G."""
        return _widely(self._element, self._check_matrix(matrix))

    def inverse(self, matrix: Tensor) -> Tensor:
        """The inverses (..., 3, 3) of matrices (..., 3, 3)."""
        return _widely(self._inverse, self._check_matrix(matrix))

    def log(self, matrix: Tensor) -> Tensor:
        """The logarithms c (..., 3) of matrices (..., 3, 3), in the basis of the Lie algebra that the metric weighs."""
        return _widely(self._log, self._check_matrix(matrix))

    def squared_distance(self, g: Tensor, h: Tensor, sigmas: Sequence[float] | Tensor) -> Tensor:
        """d2(g, h) = sum_i sigma_i c_i^2 with c = log(g^-1 h), the minimum over the orientation's offsets -pi, 0, pi.

        This is the norm of the logarithm: the length of the curve g exp(t c), which is seldom the shortest. It equals the
        geodesic distance on R2, on S2, and on SO(3) with three equal sigmas. With others d may break the triangle
        inequality: d(f, h) > d(f, g) + d(g, h) for 10 % of random triples on SE(2) and SO(3) with the sigmas of the
        programs, by up to a factor of 2, and for 3 % of two successive edges of a graph, by up to 2 % (docs/conventions.md).
        A sigma is what a step costs: a small one is a far reach.

        Args:
            g, h: elements (..., d), broadcast against each other.
            sigmas: three positive coefficients, for elements of less than float64 between 1.2e-38 and 3.4e38, where
                float32 has all its digits; a tensor (3,) may require a gradient.

        Raises TypeError for elements of different dtypes, ValueError for shapes that do not broadcast, elements on
        different devices, or other sigmas.
        """
        coefficients = check_sigmas(f"{self.name}: sigmas", sigmas)
        g, h = self._check_pair(self._check_element("g", g), self._check_element("h", h))
        dtype = _wide(g.dtype)
        bounds = torch.finfo(dtype)
        if not bounds.tiny <= min(coefficients) <= max(coefficients) <= bounds.max:
            raise ValueError(
                f"{self.name}: sigmas: expected numbers between {bounds.tiny:.2g} and {bounds.max:.2g} for elements of "
                f"{g.dtype}, got {coefficients}"
            )
        metric = torch.as_tensor(sigmas, dtype=dtype, device=g.device)
        return self._squared_distance(g.to(dtype), h.to(dtype), metric).to(g.dtype)

    def _squared_distance(self, g: Tensor, h: Tensor, metric: Tensor) -> Tensor:
        relative = self._inverse(self._matrix(g)) @ self._matrix(h)
        sqdist = self._log(relative).square() @ metric
        if not self.has_orientation:
            return sqdist
        # Rotations by -pi and by pi are one matrix, so two candidates remain. Right of Rz(pi) two columns change sign.
        half_turn = relative * relative.new_tensor([-1.0, -1.0, 1.0])
        return torch.minimum(sqdist, self._log(half_turn).square() @ metric)

    def _check_element(self, name: str, element: Tensor) -> Tensor:
        name = f"{self.name}: {name}"
        check_floating(name, _check_dense(name, element, f"(..., {len(self.coordinates)})"))
        if element.ndim < 1 or element.shape[-1] != len(self.coordinates):
            raise ValueError(
                f"{name}: expected coordinates {', '.join(self.coordinates)} in the last dimension, "
                f"got shape {tuple(element.shape)}"
            )
        return element

    def _check_pair(self, g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        name = f"{self.name}: h"
        if h.dtype != g.dtype:
            raise TypeError(f"{name}: expected {g.dtype} as g has, got {h.dtype}")
        sizes = zip(g.shape[-2::-1], h.shape[-2::-1], strict=False)
        if not all(m == n or 1 in (m, n) for m, n in sizes):
            raise ValueError(
                f"{name}: expected a shape that broadcasts with {tuple(g.shape)} of g, got {tuple(h.shape)}"
            )
        return g, check_device(name, h, g.device)

    def _check_size(self, size: tuple[int, ...], **minimum: int) -> tuple[int, ...]:
        """The numbers of a sampling's `size`, one for each name in `minimum` and at least that large."""
        if len(size) != len(minimum):
            raise ValueError(f"{self.name}: size: expected {', '.join(minimum)}, got {size}")
        named = zip(minimum.items(), size, strict=True)
        return tuple(check_integer(f"{self.name}: {axis}", n, least) for (axis, least), n in named)

    def _check_matrix(self, matrix: Tensor) -> Tensor:
        name = f"{self.name}: matrix"
        check_floating(name, _check_dense(name, matrix, "(..., 3, 3)"))
        if matrix.shape[-2:] != (3, 3):
            raise ValueError(f"{name}: expected shape (..., 3, 3), got {tuple(matrix.shape)}")
        return matrix


def _check_dense(name: str, value: object, shape: str) -> Tensor:
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        got = value.layout if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name}: expected a dense tensor {shape}, got {got}")
    return value


def _wide(dtype: torch.dtype) -> torch.dtype:
    """In which dtype to compute for one of elements: half precision loses small angles and the squares of others."""
    return dtype if dtype == torch.float64 else torch.float32


def _widely(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    return function(values.to(_wide(values.dtype))).to(values.dtype)


def square(rows: Tensor) -> Tensor:
    """Matrices (..., 3, 3) from their entries (..., 9), row by row."""
    return rows.reshape(*rows.shape[:-1], 3, 3)


def rotation_z(angle: Tensor) -> Tensor:
    """Rotations (..., 3, 3) by `angle` (...), in radians, about the z axis."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return square(torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1))


def rotation_y(angle: Tensor) -> Tensor:
    """Rotations (..., 3, 3) by `angle` (...), in radians, about the y axis."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return square(torch.stack([c, zero, s, zero, one, zero, -s, zero, c], -1))


def azimuth(y: Tensor, x: Tensor) -> Tensor:
    """atan2(y, x), and at the origin, where it has no derivative, 0 with derivatives of zero.

    Divided by the larger of both, squares in the derivatives neither vanish nor overflow. What is smaller than normal
    numbers counts as the origin.
    """
    larger = torch.maximum(y.abs(), x.abs()).detach()
    origin = larger < torch.finfo(x.dtype).tiny
    larger = torch.where(origin, torch.ones_like(x), larger)
    return torch.atan2(
        torch.where(origin, torch.zeros_like(y), y / larger), torch.where(origin, torch.ones_like(x), x / larger)
    )
