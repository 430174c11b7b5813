"""S2, the sphere: elements (beta, gamma), the point Rz(gamma) Ry(beta) e_z."""

import torch
from torch import Tensor

from ..meshes import icosphere
from .base import Group, azimuth, rotation_y, rotation_z


class S2Group(Group):
    """The sphere.

    The logarithm is that of the rotation without torsion, Rz(gamma) Ry(beta) Rz(-gamma), that takes the pole where the
    matrix takes it: (-beta sin gamma, beta cos gamma, 0). At the antipode, where every direction leads, it is (0, pi, 0).
    Distances are symmetric and invariant for sigma1 = sigma2 only: the sphere has no invariant direction field.
    """

    name = "s2"
    coordinates = ("beta", "gamma")

    def uniform_sampling(self, *size: int, device: torch.device | str | None = None) -> Tensor:
        """The icosphere of the given number of vertices, 10 4^level + 2, in the published order."""
        (num_vertices,) = self._check_size(size, num_vertices=1)
        x, y, z = icosphere.icosphere(icosphere.icosphere_level(num_vertices))[0].unbind(-1)
        return torch.stack([torch.atan2(torch.hypot(x, y), z), torch.atan2(y, x)], -1).to(device)

    def position(self, element: Tensor) -> Tensor:
        """The unit sphere."""
        return self.matrix(element)[..., 2]

    def _matrix(self, element: Tensor) -> Tensor:
        beta, gamma = element.unbind(-1)
        return rotation_z(gamma) @ rotation_y(beta)

    def _element(self, matrix: Tensor) -> Tensor:
        x, y, z = matrix[..., 2].unbind(-1)
        gamma = azimuth(y, x)
        sine = gamma.cos() * x + gamma.sin() * y  # hypot(x, y), whose gradient is NaN at the poles
        return torch.stack([torch.atan2(sine, z), gamma], -1)

    def _inverse(self, matrix: Tensor) -> Tensor:
        return matrix.mT

    def _log(self, matrix: Tensor) -> Tensor:
        x, y, z = matrix[..., 2].unbind(-1)
        squared_sine = x**2 + y**2
        near_pole = (squared_sine < 1e-8) & (z > 0)
        # A subnormal square has lost the direction too, and dividing by it overflows in the gradient.
        antipode = (squared_sine < torch.finfo(x.dtype).tiny) & (z < 0)
        sine = torch.where(near_pole | antipode, torch.ones_like(x), squared_sine).sqrt()
        factor = torch.where(near_pole, 1 + squared_sine / 6 + 3 * squared_sine**2 / 40, torch.atan2(sine, z) / sine)
        c = torch.stack([-factor * y, factor * x, torch.zeros_like(x)], -1)
        return torch.where(antipode[..., None], c.new_tensor([0.0, torch.pi, 0.0]), c)
