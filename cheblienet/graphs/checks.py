"""Checks of what a caller gives for a graph."""

import torch
from torch import Tensor

from .._checks import check_choice, check_has_numbers, check_integer, check_sigmas, check_tensor
from ..groups import Group
from ..groups.builtin import built_in_name
from .edges import KERNELS, reverse_edges


def checked_index(name: str, edge_index: object) -> Tensor:
    """`edge_index` as int64 (2, E) on the CPU."""
    index = check_has_numbers(name, check_tensor(name, edge_index, "(2, E)", 2))
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise TypeError(f"{name}: expected integers, got {index.dtype}")
    if index.shape[0] != 2:
        raise ValueError(f"{name}: expected shape (2, E), got {tuple(index.shape)}")
    return index.detach().cpu().long()


def sorted_edges(name: str, index: Tensor, num_vertices: int) -> tuple[Tensor, Tensor, Tensor]:
    """The edges sorted by (source, target), their former positions and the new ones of their reverses."""
    outside = ((index < 0) | (index >= num_vertices)).any(0)
    if outside.any():
        raise ValueError(f"{name}: expected vertices between 0 and {num_vertices - 1}, got {_first(index, outside)}")
    key, order = torch.sort(index[0] * num_vertices + index[1])
    index = index[:, order]
    repeated = torch.zeros_like(key, dtype=torch.bool)
    repeated[1:] = key[1:] == key[:-1]
    for fault, where in (("self loop", index[0] == index[1]), ("edge twice", repeated)):
        if where.any():
            raise ValueError(f"{name}: expected no {fault}, got {_first(index, where)}")
    try:
        return index, order, reverse_edges(index, num_vertices)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def checked_values(name: str, values: object, index: Tensor, order: Tensor, reverse: Tensor) -> Tensor:
    """Values of the edges, float32, in the order of `index`."""
    values = check_has_numbers(name, check_tensor(name, values, f"({len(order)},)", 1))
    if values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"{name}: expected real numbers, got {values.dtype}")
    if len(values) != len(order):
        raise ValueError(f"{name}: expected one value for each of {len(order)} edges, got {len(values)}")
    given = values.detach().cpu()[order]
    values = given.float()
    for expected, bad in (
        ("values that float32 does not round to zero", (values == 0) & (given != 0)),
        ("finite values of at least 0", ~((values >= 0) & values.isfinite())),
        ("the same value in both directions", values != values[reverse]),
    ):
        if bad.any():
            raise ValueError(f"{name}: expected {expected}, got {given[bad][0].item()} at edge {_first(index, bad)}")
    return values


def check_group(name: str, group: object, taken: type) -> None:
    """TypeError or ValueError for what is no group, or one with coordinates that cannot be attributes of class `taken`."""
    if not isinstance(group, Group):
        raise TypeError(f"{name}: group: expected a cheblienet.groups.Group, got {type(group).__name__}")
    owner, coordinates = f"{name}: group: {type(group).__name__}", group.coordinates
    if not isinstance(group.name, str):
        raise TypeError(f"{owner}: name: expected a string, got {group.name!r}")
    if (
        not isinstance(coordinates, tuple)
        or not coordinates
        or not all(isinstance(coordinate, str) for coordinate in coordinates)
    ):
        raise TypeError(f"{owner}: coordinates: expected a tuple of one or more names, got {coordinates!r}")
    if len(set(coordinates)) < len(coordinates):
        raise ValueError(f"{owner}: coordinates: expected different names, got {coordinates}")
    for coordinate in coordinates:
        if hasattr(taken, f"vertex_{coordinate}"):
            raise ValueError(
                f"{owner}: coordinates: expected names that are free, got {coordinate!r}: graphs have another attribute "
                f"vertex_{coordinate}"
            )


def checked_parameters(
    name: str, group: Group, num_vertices: int, sigmas: object, K: object, kernel: object
) -> tuple[tuple[float, float, float], int, str]:
    """The metric, the number of neighbours and the kernel of a graph of so many elements."""
    metric = check_sigmas(f"{name}: sigmas", sigmas)
    if built_in_name(group) == "s2" and metric[0] != metric[1]:
        raise ValueError(
            f"{name}: sigmas: expected sigma_1 = sigma_2, got {metric}: the sphere has no invariant direction field, "
            "so an anisotropic metric on it is neither symmetric nor invariant; SO3GEGraph is the anisotropic graph"
        )
    if num_vertices < 2:
        raise ValueError(f"{name}: elements: expected at least 2, got {num_vertices}")
    K = check_integer(f"{name}: K", K, 1, num_vertices - 1)
    return metric, K, check_choice(f"{name}: kernel", kernel, KERNELS)


def _first(edge_index: Tensor, where: Tensor) -> tuple[int, int]:
    """The first edge that `where` marks."""
    source, target = edge_index[:, where][:, 0].tolist()
    return source, target
