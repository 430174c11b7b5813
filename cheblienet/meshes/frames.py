"""Tangents of the icosphere that its symmetries carry along, and how orientations at two of its vertices correspond.

The angle between a line and the coordinates' own axes cannot follow the icosahedron: it changes when the sphere turns. A
tangent does that is chosen by nothing but the icosahedron. Let a and b be the two corners nearest to a vertex. The
direction from a towards b, carried along the great circle from a to the vertex, is its tangent. Around a corner these
tangents are nearly parallel, up to multiples of 36 degrees, and so they are where the nearest corner changes. With 5
orientations, then, those of neighbouring vertices nearly match: they miss each other by a third of their distance at most.

Where two corners are equally near, both choices are mirror images, and a line that the mirror keeps takes their place. At
a corner all five neighbours are equally near. One is chosen, and only multiples of 36 degrees from it do not depend on
which: no frame with a number of orientations that is no multiple of 5 follows the rotations about a corner.
"""

import math

import torch
from torch import Tensor

from .icosphere import icosphere

# Cosines with the corners that agree to 8 digits are one: rounding ends far below, and vertices of level 10, the finest
# there is, lie 1e-3 apart.
_DIGITS = 8
# Of a spacing of orientations: what lies in the middle between two, up to rounding, belongs to the next one.
_HALF = 0.5 - 1e-6


def tangents(points: Tensor) -> Tensor:
    """(n, 3) float64: unit tangents at points (n, 3) of the unit sphere. Only their lines count, not their heads.

    Rotations and reflections of the icosahedron carry the lines at vertices of an icosphere to lines there, those at the
    twelve corners up to multiples of 36 degrees.
    """
    corners = icosphere(0)[0].to(points.device)
    cosines, nearest = (points @ corners.T).round(decimals=_DIGITS).sort(descending=True, stable=True)
    a, b = corners[nearest[:, 0]], corners[nearest[:, 1]]
    towards = b - _dot(a, b) * a
    carried = towards - _dot(points, towards) / (1 + _dot(a, points)) * (a + points)
    between = torch.where((cosines[:, 1] == cosines[:, 2])[:, None], a - _dot(a, points) * points, carried)
    tangent = torch.where((cosines[:, 0] == 1)[:, None], towards, between)
    tangent = torch.where((cosines[:, 0] == cosines[:, 1])[:, None], b - a, tangent)
    unit: Tensor = tangent / tangent.norm(dim=-1, keepdim=True)
    return unit


def matching(points: Tensor, others: Tensor, table: Tensor, num_orientations: int) -> Tensor:
    """The table of one orientation over all, each with the orientations of `others` that are nearest after transport.

    Orientation k of a point makes the angle pi k / n with its tangent, as lines do. It is carried along the great circle
    to the other point, and meets the nearest of its n orientations there; of two equally near the next counter-clockwise.

    Args:
        points: (Vout, 3) float64, unit vectors.
        others: (Vin, 3) float64, unit vectors, none opposite to the points that they are members of.
        table: (Vout, m) int64, the members among `others` of each point; -1 for none.
        num_orientations: n.

    Returns:
        (n Vout, m) int64, the members among n Vin vertices, of which those with one orientation stand together.
    """
    member = table.clamp(min=0)
    there, own = others[member], points[:, None]
    carried = tangents(others)[member]
    carried = carried - _dot(own, carried) / (1 + _dot(own, there)) * (own + there)
    tangent = tangents(points)[:, None]
    sine, cosine = _dot(torch.linalg.cross(own, tangent), carried), _dot(tangent, carried)
    turn = torch.atan2(sine, cosine)[..., 0] * (num_orientations / math.pi)  # from the point's tangent to the other's
    layer = torch.arange(num_orientations, device=points.device)[:, None, None]
    layer = (layer - (turn + _HALF).floor().long()) % num_orientations
    return torch.where(table >= 0, member + len(others) * layer, -1).flatten(0, 1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)
