"""Tangents of the icosphere: the icosahedron carries them along, and pooling meets the nearest orientations by them."""

import math

import pytest
import torch

from cheblienet.groups import S2, SO3
from cheblienet.meshes.frames import matching, tangents
from cheblienet.meshes.icosphere import icosphere, pooling_index, unpooling_index


def isometries():
    """The 120 orthogonal matrices that map the corners of the icosahedron to corners: a corner and two neighbours decide."""
    corners = icosphere(0)[0]
    near = (corners @ corners.T - 1 / math.sqrt(5)).abs() < 1e-6
    base = corners[[0, 11, 5]]  # a face of the published mesh
    found = []
    for a in range(12):
        for b in near[a].nonzero()[:, 0]:
            for c in (near[a] & near[b]).nonzero()[:, 0]:
                found.append(torch.linalg.solve(base, corners[[a, int(b), int(c)]]).T)
    return found


ISOMETRIES = isometries()


def lines_apart(a, b, spacing):
    """By how much the angles between lines a and b (n, 3) miss a multiple of `spacing`, in radians."""
    angle = torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))
    return (angle - spacing * (angle / spacing).round()).abs()


def test_there_are_120():
    assert len(ISOMETRIES) == 120
    assert sum(bool(matrix.det() > 0) for matrix in ISOMETRIES) == 60


@pytest.mark.parametrize("level", range(5))
def test_isometries_carry_lines_to_lines(level):
    points = icosphere(level)[0]
    tangent = tangents(points)
    torch.testing.assert_close(tangent.norm(dim=-1), torch.ones(len(points), dtype=torch.float64))
    torch.testing.assert_close((tangent * points).sum(-1), torch.zeros(len(points), dtype=torch.float64))
    for matrix in ISOMETRIES:
        moved, there = tangent @ matrix.T, tangents(points @ matrix.T)
        assert lines_apart(moved, there, math.pi / 5).max() < 1e-6
        assert (lines_apart(moved, there, math.pi)[12:] < 1e-6).all()  # all but the corners


@pytest.mark.parametrize("num_orientations", [5, 10, 3])
@pytest.mark.parametrize("pools", [True, False])
def test_orientations_meet_the_nearest_after_transport(num_orientations, pools):
    coarse, fine = icosphere(2)[0], icosphere(3)[0]
    points, others, table = (coarse, fine, pooling_index(3)) if pools else (fine, coarse, unpooling_index(3))
    n = num_orientations

    def directions(level):
        sphere = SO3.uniform_sampling(10 * 4**level + 2, n)
        return SO3.matrix(sphere)[..., 0].view(n, -1, 3)

    own, theirs = directions(2 if pools else 3), directions(3 if pools else 2)
    found = matching(points, others, table, n).view(n, len(points), -1)
    for k in range(n):
        for slot in range(table.shape[1]):
            there = table[:, slot] >= 0
            assert torch.equal(found[k, :, slot] >= 0, there)
            layer, place = found[k, there, slot].div(len(others), rounding_mode="floor"), table[there, slot]
            assert torch.equal(found[k, there, slot] % len(others), place)
            u, v = others[place], points[there]
            axis = torch.linalg.cross(u, v)  # the great circle's, about which the line is turned: Rodrigues' formula
            sine, cosine = axis.norm(dim=-1, keepdim=True), (u * v).sum(-1, keepdim=True)
            axis = axis / sine.clamp(min=1e-300)
            line = theirs[layer, place]
            along = axis * (axis * line).sum(-1, keepdim=True)
            carried = along + cosine * (line - along) + sine * torch.linalg.cross(axis, line)
            apart = lines_apart(carried, own[k, there], math.pi)
            assert apart.max() < math.pi / (2 * n) + 1e-6


def test_orientations_of_one_number_hardly_turn_between_neighbours():
    for level in (2, 3, 4, 5):
        a, b = icosphere(level)[1][:, :2].T
        points, tangent = icosphere(level)[0], tangents(icosphere(level)[0])
        u, v, line = points[a], points[b], tangent[a]
        line = line - (v * line).sum(-1, keepdim=True) / (1 + (u * v).sum(-1, keepdim=True)) * (u + v)
        assert lines_apart(line, tangent[b], math.pi / 5).max() < math.pi / 5 / 3


def test_regular_samplings_measure_from_either():
    icosahedral, coordinate = SO3.uniform_sampling(42, 5), SO3.uniform_sampling(42, 5, frames="coordinate")
    assert torch.equal(icosahedral[:, 1:], coordinate[:, 1:])
    assert torch.equal(icosahedral[:42, 1:], S2.uniform_sampling(42))
    expected = -math.pi / 2 + math.pi * torch.arange(5, dtype=torch.float64) / 5
    torch.testing.assert_close(coordinate[:, 0].view(5, 42), expected[:, None].expand(5, 42))
    assert (-math.pi / 2 <= icosahedral[:, 0]).all()
    assert (icosahedral[:, 0] < math.pi / 2).all()
    steps = icosahedral[:, 0].view(5, 42).diff(dim=0)
    torch.testing.assert_close(torch.remainder(steps, math.pi), torch.full((4, 42), math.pi / 5, dtype=torch.float64))
    with pytest.raises(ValueError, match="so3: frames: expected one of 'icosahedral', 'coordinate', got 'local'"):
        SO3.uniform_sampling(42, 5, frames="local")
