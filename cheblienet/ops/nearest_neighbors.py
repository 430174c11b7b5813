"""Nearest neighbours on a group, in whole shells of equally near elements."""

import torch
from torch import Tensor

from .. import _library, _progress  # noqa: F401  (_library registers the operators)
from .._checks import check_has_numbers, check_integer, check_sigmas, check_tensor
from ..groups import Group
from ..groups.builtin import built_in_name
from . import transforms
from .measured_neighbors import measured_neighbors
from .operands import Operands

# Coordinates and coefficients up to here, and down to its inverse, have squared distances that float64 holds.
_LARGEST = 1e100


def nearest_neighbors(
    elements: Tensor, sigmas: tuple[float, float, float] | Tensor, K: int, group: Group, *, progress: bool = False
) -> tuple[Tensor, Tensor]:
    """The K nearest other elements of every element, by the anisotropic squared distance of `group`.

    Distances that agree within a relative 1e-5 form one shell, and a shell is a neighbourhood's whole or not at all: no
    neighbour is chosen over an equally near one, so every symmetry of the sampling is a symmetry of the result.

    Args:
        elements: (V, d) float64, the coordinates of `group` (angles in radians), at most 1e100.
        sigmas: the three coefficients of the metric, from 1e-100 to 1e100.
        K: number of neighbours, 1 <= K < V.
        group: one of `cheblienet.groups.GROUPS`, or one of one's own. Where a group has a distance of its own, all pairs are
            measured by its `squared_distance`: time grows like V^2, memory like V K, beside that of 2^17 pairs at a time.
        progress: whether to show a bar on stderr; for a built-in group, for 50 thousand elements or more. Ctrl-C stops such
            long work at once.

    Returns:
        `index` (V, K) int64: neighbours by increasing distance, members of a shell by increasing index, -1 where the next
        shell has more members than there is room for; and `sqdist` (V, K) float64: the K smallest squared distances,
        also where `index` is -1. Neither has a gradient.

    Raises:
        TypeError: for elements that are no float64 tensor, or a group that is none.
        ValueError: for another shape, coordinates that are not finite or above 1e100, K or sigmas out of range, or a group
            of one's own whose distances are not finite, negative, or not the same in both directions.
    """
    name = "nearest_neighbors: "
    if not isinstance(group, Group):
        raise TypeError(f"{name}group: expected a cheblienet.groups.Group, got {type(group).__name__}")
    check_has_numbers(name + "elements", check_tensor(name + "elements", elements, "(V, d)", 2))
    transforms.refuse_inside("nearest_neighbors", elements)
    if elements.dtype != torch.float64:
        raise TypeError(f"{name}elements: expected float64, got {elements.dtype}")
    if elements.shape[1] != len(group.coordinates):
        raise ValueError(
            f"{name}elements: expected the {len(group.coordinates)} coordinates {', '.join(group.coordinates)} of "
            f"{group.name}, got shape {tuple(elements.shape)}"
        )
    if elements.shape[0] < 2:
        raise ValueError(f"{name}elements: expected at least 2 elements, got {elements.shape[0]}")
    if not (elements.abs() <= _LARGEST).all():
        raise ValueError(
            f"{name}elements: expected finite coordinates up to {_LARGEST:g}, got NaN, infinity or a larger one"
        )
    K = check_integer(name + "K", K, 1, elements.shape[0] - 1)
    coefficients = check_sigmas(name + "sigmas", sigmas)
    if not all(1 / _LARGEST <= sigma <= _LARGEST for sigma in coefficients):
        raise ValueError(f"{name}sigmas: expected numbers from {1 / _LARGEST:g} to {_LARGEST:g}, got {coefficients}")
    elements = elements.detach().contiguous()
    compiled = built_in_name(group)
    if compiled is None:
        return measured_neighbors(elements, coefficients, K, group, progress)
    metric = torch.tensor(coefficients, dtype=torch.float64, device=elements.device)

    def work(mailbox: Tensor | None) -> tuple[Tensor, Tensor]:
        index, sqdist = torch.ops.cheblienet.nearest_neighbors(elements, metric, K, compiled, mailbox)
        return index, sqdist

    return _progress.run(work, len(elements), elements.device, "neighbours" if progress else None)


@torch.library.register_fake("cheblienet::nearest_neighbors")
def _(elements: Tensor, sigmas: Tensor, k: int, group: str, progress: Tensor | None = None) -> tuple[Tensor, Tensor]:
    coordinates = {"r2": 2, "s2": 2, "se2": 3, "so3": 3}
    if group not in coordinates:
        raise RuntimeError(f"nearest_neighbors: group: expected one of r2, se2, s2, so3, got {group}")
    operands = Operands("nearest_neighbors", elements)
    operands.check("elements", elements, torch.float64, None, coordinates[group])
    operands.check("sigmas", sigmas, torch.float64, 3)
    vertices = elements.shape[0]
    torch._check(k >= 1, lambda: f"nearest_neighbors: expected 1 <= k < V = {vertices}, got {k}")
    torch._check(k < vertices, lambda: f"nearest_neighbors: expected 1 <= k < V = {vertices}, got {k}")
    shape = (vertices, k)
    return elements.new_empty(shape, dtype=torch.int64), elements.new_empty(shape, dtype=torch.float64)


transforms.refuse(torch.ops.cheblienet.nearest_neighbors.default)
