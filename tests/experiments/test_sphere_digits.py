"""The study of digits on the sphere, on few ones of scikit-learn; their places on pictures made up for it."""

import math

import pytest
import torch

from cheblienet.equivariance import assert_equivariant, symmetries
from cheblienet.experiments import rotated_digits, sphere_study
from cheblienet.experiments.sphere_digits import (
    LEVELS,
    NETWORKS,
    TESTS,
    Run,
    Settings,
    icosahedral_rotations,
    on_sphere,
    panorama,
    panorama_rows,
    rotations,
    train,
)
from cheblienet.experiments.study import Outcome
from cheblienet.graphs import S2GEGraph
from cheblienet.meshes.icosphere import icosphere
from cheblienet.nn import capacity


@pytest.fixture(autouse=True)
def bundled(monkeypatch):
    for module in (rotated_digits, sphere_study):
        monkeypatch.setattr(module, "dataset", lambda: "digits")


SETTINGS = Settings(epochs=1, batch_size=8, tests=20, level=2)


def point(colatitude, longitude):
    beta, gamma = math.radians(colatitude), math.radians(longitude)
    x, y = math.sin(beta) * math.cos(gamma), math.sin(beta) * math.sin(gamma)
    return torch.tensor([x, y, math.cos(beta)], dtype=torch.float64)


def turn_about_z(degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)


def spots(*pixels):
    """A picture of 9 x 9 pixels, those at (row, column) bright."""
    image = torch.zeros(1, 1, 9, 9)
    for row, column in pixels:
        image[..., row, column] = 1
    return image


RING = torch.stack([point(2 * math.degrees(math.atan(0.5)), longitude) for longitude in (0, 90, 180, 270)])


@pytest.mark.parametrize(("pixel", "there"), [((4, 7), 0), ((1, 4), 1), ((4, 1), 2), ((7, 4), 3)])
def test_pixels_land_where_lines_from_the_south_pole_carry_them(pixel, there):
    # Three pixels of 1/3 from the middle: 1 on the plane, an angle of 2 atan(1/2). The first row is on the side of y > 0.
    expected = torch.eye(4)[there]
    assert on_sphere(spots(pixel), RING)[0, 0] == pytest.approx(expected, abs=1e-6)
    turned = on_sphere(spots(pixel), RING, turn_about_z(90)[None])[0, 0]
    assert turned == pytest.approx(expected.roll(1), abs=1e-6)  # counter-clockwise seen from outside


def test_a_rotation_carries_the_picture_along():
    over = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)  # z to x, x to y, y to z
    places = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0]], dtype=torch.float64)
    assert on_sphere(spots((4, 4)), places, over[None])[0, 0].tolist() == [1, 0, 0]
    assert on_sphere(spots((4, 7)), RING[:1] @ over.T, over[None]).item() == pytest.approx(1, abs=1e-6)


def test_the_picture_ends_where_it_is_said_to():
    image, edge = torch.ones(1, 1, 28, 28), 2 * math.degrees(math.atan(0.75))
    assert edge == pytest.approx(73.74, abs=0.01)
    side = [point(edge + more, 0) for more in (-3, 0, 3)]
    corner = [point(2 * math.degrees(math.atan(0.75 * 2**0.5)) + more, 45) for more in (-4, 4)]
    values = on_sphere(image, torch.stack([*side, *corner, point(180, 0), point(179.9, 30)]))[0, 0]
    assert values == pytest.approx(torch.tensor([1, 0.5, 0, 1, 0, 0, 0]), abs=1e-5)


def test_between_pixels_values_are_bilinear():
    middle = torch.atan(torch.tensor(1 / 12)).mul(2).rad2deg().item()  # a half pixel, 1/6, beside the middle
    assert on_sphere(spots((4, 4)), point(middle, 0)[None]).item() == pytest.approx(0.5, abs=1e-6)
    assert on_sphere(spots((4, 4), (4, 5)), point(middle, 0)[None]).item() == pytest.approx(1, abs=1e-6)


def test_pictures_are_turned_each_by_its_own_rotation():
    images, points, turns = torch.rand(600, 1, 8, 8), icosphere(1)[0], rotations(600, 0)
    together = on_sphere(images, points, turns)
    assert together.shape == (600, 1, 42)
    assert together.dtype == torch.float32
    for k in (0, 249, 250, 599):
        assert torch.equal(together[k], on_sphere(images[k : k + 1], points, turns[k : k + 1])[0])
    identity = torch.eye(3, dtype=torch.float64).repeat(600, 1, 1)
    assert torch.equal(on_sphere(images, points, identity), on_sphere(images, points))


def test_icosahedral_rotations_permute_the_values():
    graph, images = S2GEGraph((162,), (1.0, 1.0, 1.0), 8), torch.rand(1, 1, 28, 28)
    signal = on_sphere(images, icosphere(2)[0])
    found = [symmetry for symmetry in symmetries(graph) if symmetry.is_rotation]
    for symmetry in found:
        moved = on_sphere(images, icosphere(2)[0], symmetry.matrix[None])
        assert torch.allclose(moved, symmetry.move(signal), atol=1e-5)
    drawn = icosahedral_rotations(2000, 0)
    matrices = torch.stack([symmetry.matrix for symmetry in found])
    nearest = (drawn[:, None] - matrices).abs().amax((2, 3)).min(1)
    assert nearest.values.max() < 1e-9
    assert len(nearest.indices.unique()) == len(found) == 60
    assert torch.equal(drawn, icosahedral_rotations(2000, 0))
    assert not torch.equal(drawn, icosahedral_rotations(2000, 1))


def test_rotations_are_uniformly_distributed():
    turns = rotations(20_000, 0)
    assert torch.allclose(turns @ turns.mT, torch.eye(3, dtype=torch.float64).expand_as(turns), atol=1e-12)
    assert torch.allclose(turns.det(), torch.ones(1, dtype=torch.float64))
    assert turns.mean(0).abs().max() < 0.02  # deviations of such means are 0.004
    assert turns.diagonal(dim1=1, dim2=2).sum(1).square().mean() == pytest.approx(1, abs=0.05)  # of the trace, by Haar
    assert torch.equal(turns, rotations(20_000, 0))
    assert not torch.equal(turns, rotations(20_000, 1))


def test_a_panorama_has_about_as_many_pixels_as_the_sphere():
    for level in range(LEVELS[0], LEVELS[1] + 1):
        rows = panorama_rows(level)
        assert 2 * rows**2 == pytest.approx(10 * 4**level + 2, rel=0.02)
    points = panorama(4).view(4, 8, 3)
    assert points[0, 0] == pytest.approx(point(22.5, -157.5), abs=1e-12)
    assert points[3, 6] == pytest.approx(point(157.5, 112.5), abs=1e-12)


@pytest.mark.parametrize("level", range(LEVELS[0], LEVELS[1] + 1))
def test_networks_are_of_one_size(level):
    parameters = [capacity(make(Settings(level=level))[0]) for make in NETWORKS.values()]
    assert max(parameters) < 1.05 * min(parameters)


@pytest.mark.parametrize("network", ["isotropic", "anisotropic"])
def test_scores_do_not_change_under_the_symmetries_of_the_icosphere(network):
    torch.manual_seed(0)
    model, graph = NETWORKS[network](Settings(level=2))
    assert len(symmetries(graph)) == 120
    assert_equivariant(model.eval(), graph, torch.randn(2, 1, graph.num_vertices))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_tells_the_accuracy_of_each_test(network, tmp_path):
    outcome, model = train(Run(network, 40, 0, "rotated"), SETTINGS, tmp_path)
    assert outcome.parameters == capacity(model)
    assert list(outcome.values) == ["epoch", *TESTS]
    test = rotated_digits.load(SETTINGS)[1]
    graph = NETWORKS[network](Settings(level=2))[1]
    points = panorama(panorama_rows(2)) if graph is None else icosphere(2)[0]
    images = rotated_digits.load(SETTINGS)[0].subset(40, 0).images
    seen = on_sphere(images, points, rotations(40, 0))
    signals = (on_sphere(test.images, points) - seen.mean()) / seen.std()
    with torch.no_grad():
        predicted = model.eval()(signals.repeat(1, 1, 1 if graph is None else graph.dim[0])).argmax(1)
    assert outcome.values["unrotated"] == pytest.approx(float((predicted == test.labels).float().mean()))
    if network != "plain":
        assert outcome.values["icosahedral"] == outcome.values["unrotated"]


def test_the_study_writes_a_table_and_a_picture(tmp_path, monkeypatch, capsys):
    flags = ["--epochs", "1", "--tests", "20", "--images", "24", "--level", "2", "--networks", "plain", "isotropic"]
    trained = []

    def stub(run, settings, folder):
        trained.append(run)
        share = 0.5 + 0.1 * run.seed + 0.2 * (run.training == "rotated")
        return Outcome(run, 7, 1.0, {"epoch": 1, "unrotated": share, "icosahedral": 0.25, "rotated": share / 2}), None

    monkeypatch.setattr(sphere_study, "train", stub)
    sphere_study.main([*flags, "--out", str(tmp_path)])
    assert len(trained) == len(set(trained)) == 4
    sphere_study.main([*flags, "--seeds", "2", "--out", str(tmp_path)])  # what is there is not done again
    assert len(trained) == len(set(trained)) == 8
    rows = [line for line in (tmp_path / "accuracy.md").read_text().splitlines() if line.startswith("| ")]
    assert rows[0] == "| network | parameters | N/N | N/I | N/R | R/R | R/N | seconds |"
    assert rows[2] == "| plain | 7 | 55.0 ± 5.0 | 25.0 ± 0.0 | 27.5 ± 2.5 | 37.5 ± 2.5 | 75.0 ± 5.0 | 1 |"
    assert len(rows) == 2 + 2
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
    assert "mean ± standard deviation of 2 seeds" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"results.jsonl: expected outcomes with .*'level': 3"):
        sphere_study.main([*flags, "--level", "3", "--out", str(tmp_path)])
