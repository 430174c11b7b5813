"""An order of the vertices in which consecutive ones lie close together, on any device."""

import torch
from torch import Tensor

from ..groups import Group


def spatial_order(group: Group, elements: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
    """The vertices along a Hilbert curve through their places in the plane or on the sphere, those of a place together.

    A run of consecutive vertices is a compact cluster over all orientations. On a grid whose sides are multiples of 2^m,
    every run of 4^m places, from the first on, is a square of 2^m x 2^m.

    Args:
        group: what they are elements of.
        elements: (V, d) float64, the coordinates of the group.
        size: that of the regular sampling that they are, the number of orientations last; None for any others.

    Returns:
        (V,) int64, a permutation, on the device of `elements`; the same at every call.
    """
    device = elements.device
    if size is None:
        order = torch.arange(len(elements), device=device)
        for angle in ("theta", "alpha"):
            if angle in group.coordinates:
                order = torch.argsort(elements[:, group.coordinates.index(angle)], stable=True)
        return order[torch.argsort(_codes(group, elements)[order], stable=True)]
    places = len(elements) // size[-1]
    if len(size) == 3:  # whole numbers, which nothing rounds
        place = torch.arange(places, device=device)
        code = hilbert_code(torch.stack([place % size[0], place // size[0]]), max(size[:2]).bit_length())
    else:
        code = _codes(group, elements[:places])
    order = torch.argsort(code, stable=True)
    return (order[:, None] + places * torch.arange(size[-1], device=device)).flatten()


def _codes(group: Group, elements: Tensor) -> Tensor:
    """(V,) int64: the `hilbert_code` of the places, in cells several times smaller than places are apart."""
    coordinate = dict(zip(group.coordinates, elements.unbind(-1), strict=True))
    if {"beta", "gamma"} <= coordinate.keys():
        beta, gamma = coordinate["beta"], coordinate["gamma"]
        place = torch.stack([beta.sin() * gamma.cos(), beta.sin() * gamma.sin(), beta.cos()])
    elif {"x", "y"} <= coordinate.keys():
        place = torch.stack([coordinate["x"], coordinate["y"]])
    else:
        place = elements.T
    bits = min(len(elements).bit_length() // 2 + 3, 62 // len(place))
    place = place - place.amin(1, keepdim=True)
    scale = (2**bits - 1) / place.max().clamp(min=1e-300)
    return hilbert_code((place * scale).long(), bits)


def hilbert_code(cell: Tensor, bits: int) -> Tensor:
    """(n,) int64: where cells (d, n), integers in [0, 2^bits), stand on the Hilbert curve through all cells of d axes.

    Cells that follow each other on the curve are neighbours. By the bit operations of J. Skilling, "Programming the Hilbert
    curve", AIP Conference Proceedings 707 (2004).
    """
    first, *others = cell.unbind()
    for bit in range(bits - 1, 0, -1):
        low = 2**bit - 1
        first = torch.where(first & 2**bit != 0, first ^ low, first)
        for i, other in enumerate(others):
            upper = other & 2**bit != 0
            exchanged = (first ^ other) & low
            first = first ^ exchanged.masked_fill(upper, low)
            others[i] = other ^ exchanged.masked_fill(upper, 0)
    axes = [first]
    for other in others:
        axes.append(axes[-1] ^ other)
    turned = torch.zeros_like(first)
    for bit in range(bits - 1, 0, -1):
        turned ^= (axes[-1] >> bit & 1) * (2**bit - 1)
    code = torch.zeros_like(first)
    for bit in range(bits - 1, -1, -1):
        for axis in axes:
            code = code << 1 | ((axis ^ turned) >> bit & 1)
    return code
