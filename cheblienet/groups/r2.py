"""R2, the plane under translations: elements (x, y)."""

import torch
from torch import Tensor

from .base import Group, square


class R2Group(Group):
    """The plane. Its logarithm is (x, y, 0)."""

    name = "r2"
    coordinates = ("x", "y")

    def uniform_sampling(self, *size: int, device: torch.device | str | None = None) -> Tensor:
        """The grid of nx x ny points (i / nx, j / ny) in the unit square; vertex i + nx j."""
        nx, ny = self._check_size(size, nx=2, ny=2)
        # A GPU divides by a number with other roundings, so quotients come from the CPU.
        x = (torch.arange(nx, dtype=torch.float64) / nx).to(device)
        y = (torch.arange(ny, dtype=torch.float64) / ny).to(device)
        return torch.stack([x.repeat(ny), y.repeat_interleave(nx)], -1)

    def position(self, element: Tensor) -> Tensor:
        """The plane z = 0."""
        return torch.nn.functional.pad(self._check_element("element", element), (0, 1))

    def _matrix(self, element: Tensor) -> Tensor:
        x, y = element.unbind(-1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        return square(torch.stack([one, zero, x, zero, one, y, zero, zero, one], -1))

    def _element(self, matrix: Tensor) -> Tensor:
        return matrix[..., :2, 2]

    def _inverse(self, matrix: Tensor) -> Tensor:
        return self._matrix(-matrix[..., :2, 2])

    def _log(self, matrix: Tensor) -> Tensor:
        return torch.nn.functional.pad(matrix[..., :2, 2], (0, 1))
