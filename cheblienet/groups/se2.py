"""SE(2), the rotations and translations of the plane: elements (x, y, theta)."""

import math

import torch
from torch import Tensor

from .base import Group, square
from .r2 import R2Group


class SE2Group(Group):
    """The plane with an orientation.

    With h = theta / 2 and f = h / sin h the logarithm is (f (x cos h + y sin h), f (-x sin h + y cos h), theta): that of
    arXiv:2111.12139, section 3.1, (theta/2) (y + x cot h), (theta/2) (-x + y cot h), theta, where its singularity at
    theta = 0 is removed. theta is in [-pi, pi].
    """

    name = "se2"
    coordinates = ("x", "y", "theta")
    has_orientation = True

    def uniform_sampling(self, *size: int, device: torch.device | str | None = None) -> Tensor:
        """nx x ny points of the unit square with ntheta orientations -pi/2 + k pi / ntheta; vertex i + nx j + nx ny k."""
        nx, ny, ntheta = self._check_size(size, nx=2, ny=2, ntheta=2)
        plane = R2Group().uniform_sampling(nx, ny, device=device)
        theta = (-math.pi / 2 + math.pi * torch.arange(ntheta, dtype=torch.float64) / ntheta).to(device)
        return torch.cat([plane.repeat(ntheta, 1), theta.repeat_interleave(len(plane))[:, None]], -1)

    def position(self, element: Tensor) -> Tensor:
        """(x, y, theta)."""
        return self._check_element("element", element)

    def _matrix(self, element: Tensor) -> Tensor:
        x, y, theta = element.unbind(-1)
        c, s, zero, one = theta.cos(), theta.sin(), torch.zeros_like(x), torch.ones_like(x)
        return square(torch.stack([c, -s, x, s, c, y, zero, zero, one], -1))

    def _element(self, matrix: Tensor) -> Tensor:
        theta = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
        return torch.stack([matrix[..., 0, 2], matrix[..., 1, 2], theta], -1)

    def _inverse(self, matrix: Tensor) -> Tensor:
        x, y, theta = self._element(matrix).unbind(-1)
        c, s = theta.cos(), theta.sin()
        return self._matrix(torch.stack([-c * x - s * y, s * x - c * y, -theta], -1))

    def _log(self, matrix: Tensor) -> Tensor:
        x, y, theta = self._element(matrix).unbind(-1)
        half = theta / 2
        near = half.abs() < 1e-3
        safe = torch.where(near, torch.ones_like(half), half)  # keeps 0 / 0 out of the gradient too
        stretch = torch.where(near, 1 + half**2 / 6 + 7 * half**4 / 360, safe / safe.sin())
        c, s = half.cos(), half.sin()
        return torch.stack([stretch * (x * c + y * s), stretch * (y * c - x * s), theta], -1)
