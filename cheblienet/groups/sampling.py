"""Samplings of the groups, by name: one function, whose elements `GEGraph.from_elements` joins as it does any others."""

import math

import numpy as np
import torch
from torch import Tensor

from .._checks import check_choice, check_integer
from .base import Group
from .builtin import built_in_name
from .so3 import SO3Group

# What `size` counts on the sphere. On SO(3) the number of orientations follows.
_SPHERE = {"healpix": ("nside",), "equiangular": ("nlat", "nlon"), "fibonacci": ("num_points",)}
SAMPLINGS = ("regular", "random", *_SPHERE)


def sample(group: Group, sampling: str, *size: int, generator: torch.Generator | None = None) -> Tensor:
    """Elements of a group, (V, d) float64.

    Args:
        group: one of `cheblienet.groups.GROUPS`; a group with a distance of its own has its "regular" sampling only, since
            nothing else tells which elements are different.
        sampling: how, and what `size` counts:
            "regular": `group.uniform_sampling(*size)`, the grid of the plane or the icosphere.
            "random": (V,) independent elements, uniform in the group's invariant measure: places in the unit square or on
            the sphere, orientations in [-pi/2, pi/2).
            On the sphere, for S2, and with the number of orientations as a last number for SO(3):
            "healpix": (nside,), the centres of 12 nside^2 pixels of equal area and similar shape, in ring order (Gorski
            et al., "HEALPix", 2005), by the library healpix.
            "equiangular": (nlat, nlon), the centres of cells of equal angles, from the pole beta = 0 on; point
            i + nlon j. They crowd at the poles, where the nearest neighbours of a point are on its own circle of latitude:
            a graph of K nearest neighbours falls into parts unless K is at least nlon.
            "fibonacci": (num_points,), a spiral from pole to pole whose points have one area each and differ by the
            golden angle (Swinbank, Purser, "Fibonacci grids", 2006): nearly uniform for any number.
            Exact symmetries, with any number of orientations: of "healpix" 8 rotations and 8 reflections, of "equiangular"
            2 nlon of each, of "fibonacci" one half turn, of "random" none.
        generator: of random numbers; None for the framework's global one.

    Raises:
        TypeError, ValueError: for a name or numbers that the group does not have.
        ModuleNotFoundError: where healpix is not installed.
    """
    check_choice("sample: sampling", sampling, SAMPLINGS)
    if not isinstance(group, Group):
        raise TypeError(f"sample: group: expected a cheblienet.groups.Group, got {type(group).__name__}")
    if sampling == "regular":
        return group.uniform_sampling(*size)
    name = built_in_name(group)
    if name is None:
        raise ValueError(
            f"sample: sampling: expected 'regular' for {type(group).__name__} (group {group.name!r}), whose distance is its "
            f"own, got {sampling!r}: GEGraph.from_elements takes any elements"
        )
    if sampling == "random":
        (count,) = _checked(f"{name}: random", size, ("num_elements",))
        return _random(name, count, generator)
    if name not in ("s2", "so3"):
        raise ValueError(f"sample: sampling: expected 'regular' or 'random' for {name}, got {sampling!r}")
    if name == "s2":
        return _sphere(sampling, *_checked(f"s2: {sampling}", size, _SPHERE[sampling]))
    *places, nalpha = _checked(f"so3: {sampling}", size, (*_SPHERE[sampling], "nalpha"))
    return SO3Group.with_orientations(_sphere(sampling, *places), nalpha)


def _checked(name: str, size: tuple[int, ...], axes: tuple[str, ...]) -> list[int]:
    if len(size) != len(axes):
        raise ValueError(f"{name}: expected {', '.join(axes)}, got {size}")
    return [check_integer(f"{name}: {axis}", n, 1) for axis, n in zip(axes, size, strict=True)]


def _random(name: str, count: int, generator: torch.Generator | None) -> Tensor:
    u = torch.rand(count, 3, dtype=torch.float64, generator=generator)
    orientation = math.pi * (u[:, 2:] - 0.5)
    if name in ("r2", "se2"):
        return torch.cat([u[:, :2], orientation], -1) if name == "se2" else u[:, :2].contiguous()
    beta, gamma = torch.acos(1 - 2 * u[:, :1]), math.pi * (2 * u[:, 1:2] - 1)
    return torch.cat([orientation, beta, gamma] if name == "so3" else [beta, gamma], -1)


def _sphere(sampling: str, *size: int) -> Tensor:
    """Points (beta, gamma) of the sphere, (V, 2), gamma in [-pi, pi)."""
    if sampling == "healpix":
        try:
            import healpix
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("sample: healpix needs: pip install 'cheblienet[sphere]'") from error
        (nside,) = size
        beta, gamma = (torch.from_numpy(angle) for angle in healpix.pix2ang(nside, np.arange(12 * nside**2)))
    elif sampling == "equiangular":
        nlat, nlon = (torch.arange(n, dtype=torch.float64) / n for n in size)
        beta = (math.pi * (nlat + 0.5 / len(nlat))).repeat_interleave(len(nlon))
        gamma = 2 * math.pi * nlon.repeat(len(nlat))
    else:
        i = torch.arange(*size, dtype=torch.float64)
        beta, gamma = torch.acos(1 - (2 * i + 1) / len(i)), math.pi * (3 - math.sqrt(5)) * i
    return torch.stack([beta, torch.remainder(gamma + math.pi, 2 * math.pi) - math.pi], -1)
