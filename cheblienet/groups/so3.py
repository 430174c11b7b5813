"""SO(3), the rotations of the sphere: elements (alpha, beta, gamma), G = Rz(gamma) Ry(beta) Rz(alpha)."""

import math

import torch
from torch import Tensor

from .._checks import check_choice
from ..meshes.frames import tangents
from .base import Group, azimuth, rotation_y, rotation_z
from .s2 import S2Group

# From what the orientations of the regular sampling are measured.
FRAMES = ("icosahedral", "coordinate")


class SO3Group(Group):
    """The sphere with an orientation at every point.

    The logarithm of a rotation by phi about the unit axis n is phi n, computed from the unit quaternion (w, v) as
    2 atan2(|v|, w) / |v| v. It equals phi / (2 sin phi) (G32 - G23, G13 - G31, G21 - G12) of arXiv:2111.12139, section
    3.1, and keeps the axis at phi = pi, where that form is 0 / 0.
    """

    name = "so3"
    coordinates = ("alpha", "beta", "gamma")
    has_orientation = True

    def uniform_sampling(
        self, *size: int, device: torch.device | str | None = None, frames: str = "icosahedral"
    ) -> Tensor:
        """An icosphere with nalpha orientations at every vertex, pi / nalpha apart; vertex i + num_vertices k.

        `size` is (num_vertices, nalpha), with 10 4^level + 2 vertices on the sphere. `frames` tells from which tangent the
        angles -pi/2 + k pi / nalpha are measured: that of `cheblienet.meshes.frames`, which the rotations of the
        icosahedron carry along, or the "coordinate" one, where they are alpha itself. Alpha is in [-pi/2, pi/2).
        """
        num_vertices, nalpha = self._check_size(size, num_vertices=1, nalpha=2)
        check_choice(f"{self.name}: frames", frames, FRAMES)
        sphere = S2Group().uniform_sampling(num_vertices, device=device)
        zero = None
        if frames == "icosahedral":
            # On the CPU, as the sphere is: trigonometry has not the same bits everywhere.
            zero = _tangent_angles(S2Group().uniform_sampling(num_vertices)).to(sphere.device)
        return self.with_orientations(sphere, nalpha, zero)

    @staticmethod
    def with_orientations(sphere: Tensor, nalpha: int, zero: Tensor | None = None) -> Tensor:
        """Points (beta, gamma), (n, 2), with nalpha orientations alpha = -pi/2 + k pi / nalpha each; element i + n k.

        With `zero`, (n,) float64, these angles are added to that of a point, modulo pi.
        """
        alpha = (-math.pi / 2 + math.pi * torch.arange(nalpha, dtype=torch.float64) / nalpha).to(sphere.device)
        alpha = alpha.repeat_interleave(len(sphere))
        if zero is not None:
            alpha = torch.remainder(alpha + zero.repeat(nalpha) + math.pi / 2, math.pi) - math.pi / 2
        return torch.cat([alpha[:, None], sphere.repeat(nalpha, 1)], -1)

    def position(self, element: Tensor) -> Tensor:
        """A sphere of radius 2 pi + alpha for every orientation alpha."""
        return self.matrix(element)[..., 2] * (2 * math.pi + element[..., :1])

    def _matrix(self, element: Tensor) -> Tensor:
        alpha, beta, gamma = element.unbind(-1)
        return rotation_z(gamma) @ rotation_y(beta) @ rotation_z(alpha)

    def _element(self, matrix: Tensor) -> Tensor:
        gamma = azimuth(matrix[..., 1, 2], matrix[..., 0, 2])
        c, s = gamma.cos(), gamma.sin()
        beta = torch.atan2(c * matrix[..., 0, 2] + s * matrix[..., 1, 2], matrix[..., 2, 2])
        alpha = torch.atan2(
            c * matrix[..., 1, 0] - s * matrix[..., 0, 0], c * matrix[..., 1, 1] - s * matrix[..., 0, 1]
        )
        return torch.stack([alpha, beta, gamma], -1)

    def _inverse(self, matrix: Tensor) -> Tensor:
        return matrix.mT

    def _log(self, matrix: Tensor) -> Tensor:
        q = quaternion(matrix)
        w, v = q[..., :1], q[..., 1:]
        squared_sine = v.square().sum(-1, keepdim=True)
        near = squared_sine < 1e-6
        sine = torch.where(near, torch.ones_like(squared_sine), squared_sine).sqrt()
        factor = torch.where(near, 2 + squared_sine / 3 + 3 * squared_sine**2 / 20, 2 * torch.atan2(sine, w) / sine)
        return factor * v


def _tangent_angles(sphere: Tensor) -> Tensor:
    """(n,) float64: alpha of the icosahedral tangents at points (beta, gamma), (n, 2)."""
    beta, gamma = sphere.unbind(-1)
    south, east, point = (rotation_z(gamma) @ rotation_y(beta)).unbind(-1)
    tangent = tangents(point)
    return torch.atan2((east * tangent).sum(-1), (south * tangent).sum(-1))


def quaternion(matrix: Tensor) -> Tensor:
    """The unit quaternions (..., 4), (w, x, y, z) with w >= 0, of rotations (..., 3, 3).

    Any row of 4 q q^T gives the quaternion; the one with the largest diagonal entry, at least 1, is well conditioned.
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in matrix.unbind(-2))
    rows = [
        [1 + a + e + i, h - f, c - g, d - b],
        [h - f, 1 + a - e - i, b + d, c + g],
        [c - g, b + d, 1 - a + e - i, f + h],
        [d - b, c + g, f + h, 1 - a - e + i],
    ]
    outer = torch.stack([torch.stack(row, -1) for row in rows], -2)
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = outer.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    q = row / row.norm(dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)
