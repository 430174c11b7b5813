"""The icosphere against published data files: data/icosphere.npz holds their meshes and pooling tables, levels 0 to 3."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cheblienet.meshes import icosphere

PUBLISHED = np.load(Path(__file__).parent / "data" / "icosphere.npz")


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_vertices_and_faces_are_the_published_ones_in_their_order(level):
    vertices, faces = icosphere.icosphere(level)
    np.testing.assert_allclose(vertices, PUBLISHED[f"vertices{level}"], atol=1e-7)
    assert np.array_equal(faces, PUBLISHED[f"faces{level}"])


@pytest.mark.parametrize("level", [1, 2, 3])
def test_pooling_tables_name_the_published_members(level):
    for name, table in (("reduction", icosphere.pooling_index(level)), ("expansion", icosphere.unpooling_index(level))):
        assert np.array_equal(np.sort(table, 1), np.sort(PUBLISHED[f"{name}{level}"], 1))


def test_a_fine_mesh_is_a_mesh_of_the_unit_sphere():
    vertices, faces = icosphere.icosphere(5)
    assert vertices.shape == (10242, 3)
    assert faces.shape == (20480, 3)
    torch.testing.assert_close(vertices.norm(dim=1), torch.ones(10242, dtype=torch.float64))
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(edges.sort(1).values.unique(dim=0)) == 10242 + 20480 - 2  # Euler's formula
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    assert (torch.linalg.cross(b - a, c - a) * a).sum(1).min() > 0  # every face looks outwards


def test_pooling_and_unpooling_are_consistent():
    reduction, expansion = icosphere.pooling_index(3), icosphere.unpooling_index(3)
    assert ((reduction >= 0).sum(1) == 6).sum() == 12
    assert torch.equal(expansion[:162], torch.arange(162)[:, None].expand(-1, 2))
    for coarse, row in enumerate(reduction):
        assert all(coarse in expansion[fine] for fine in row[row >= 0])


def test_what_a_caller_gets_is_his_own():
    icosphere.icosphere(1)[0].zero_()
    assert icosphere.icosphere(1)[0].norm(dim=1).min() > 0.9


def test_says_what_is_wrong():
    assert [icosphere.icosphere_level(10 * 4**level + 2) for level in range(8)] == list(range(8))
    for bad in (1, 13, 643):
        with pytest.raises(ValueError, match="vertices of an icosphere"):
            icosphere.icosphere_level(bad)
    with pytest.raises(ValueError, match="level: expected an integer between 0 and 10, got -1"):
        icosphere.icosphere(-1)
    with pytest.raises(ValueError, match="level: expected an integer between 1 and 10, got 0"):
        icosphere.pooling_index(0)
