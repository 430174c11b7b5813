"""The original's functions on groups, in matrices and separate coordinates, by the groups of this package."""

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

import torch
from torch import Tensor

from ..groups import GROUPS, Group, SO3Group
from ..groups.base import rotation_z

# What the original calls the arguments of each group's uniform_sampling.
_COUNTS = {"r2": ("nx", "ny"), "se2": ("nx", "ny", "ntheta"), "s2": ("num_samples",), "so3": ("level", "nalpha")}


def _named(function: Callable[..., Any], *names: str, **defaults: Any) -> Callable[..., Any]:
    """`function` of positional arguments, with the original's names for them."""
    kind = Parameter.POSITIONAL_OR_KEYWORD
    signature = Signature(
        [*(Parameter(name, kind) for name in names), *(Parameter(n, kind, default=d) for n, d in defaults.items())]
    )

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return function(*bound.args)

    call.__name__, call.__signature__ = function.__name__, signature  # type: ignore[attr-defined]
    return call


def _functions(group: Group) -> dict[str, Callable[..., Any]]:
    frames = {"frames": "coordinate"} if isinstance(group, SO3Group) else {}

    def uniform_sampling(*size: int) -> tuple[Tensor, ...]:
        return group.uniform_sampling(*size, **frames).float().unbind(-1)

    def matrix(*coordinates_and_device: Any) -> Tensor:
        *coordinates, device = coordinates_and_device
        return group.matrix(torch.stack(coordinates, -1)).to(device)

    def inverse(G: Tensor) -> Tensor:
        return group.inverse(G)

    def element(G: Tensor) -> tuple[Tensor, ...]:
        return group.element(G).unbind(-1)

    def log(G: Tensor) -> Tensor:
        return group.log(G).unsqueeze(-1)

    def riemannian_sqdist(Gg: Tensor, Gh: Tensor, Re: Tensor) -> Tensor:
        return group.squared_distance(group.element(Gg), group.element(Gh), Re.diagonal())

    sampled = _named(uniform_sampling, *_COUNTS[group.name])
    functions = (sampled, _named(matrix, *group.coordinates, device=None), inverse, element, log, riemannian_sqdist)
    return {f"{group.name}_{function.__name__}": function for function in functions}


for _group in GROUPS.values():
    globals().update(_functions(_group))


def rotation_matrix(angle: Tensor, axis: str, device: Any = None) -> Tensor:
    """Rotations (N, 3, 3) by `angle`, of N elements, about the axis "x", "y" or "z"."""
    turns = "zxy".index(axis)  # a cyclic exchange of the axes takes z to x to y
    return rotation_z(angle.flatten()).roll((turns, turns), (-2, -1)).to(device)


def xyz2betagamma(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The angles of points on the unit sphere: beta from the z axis, gamma about it."""
    return torch.atan2(torch.hypot(x, y), z), torch.atan2(y, x)


def betagamma2xyz(beta: Tensor, gamma: Tensor, axis: str | None = None) -> Tensor | tuple[Tensor, Tensor, Tensor]:
    """The points of the unit sphere at these angles: all three coordinates, or the one named "x", "y" or "z"."""
    x, y, z = GROUPS["s2"].matrix(torch.stack([beta, gamma], -1))[..., 2].unbind(-1)
    return (x, y, z) if axis is None else {"x": x, "y": y, "z": z}[axis]
