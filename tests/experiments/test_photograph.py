"""Whole photographs: the trained parameters on a larger graph, and quality of the part that training did not see."""

import warnings

import numpy as np
import pytest
import torch

from cheblienet.data import to_graph_signal
from cheblienet.experiments import photograph
from cheblienet.experiments.anisotropy import GRID, PixelNetwork, make_graph
from cheblienet.experiments.dense_tasks import PHOTOGRAPHS, TASKS
from cheblienet.experiments.study import Outcome


def network(name, channels):
    torch.manual_seed(0)
    return PixelNetwork(channels, GRID[name], make_graph(GRID[name], 24)).eval()


@pytest.mark.parametrize("name", ["R2", "SE(2) eps 0.1"])
def test_the_parameters_are_the_trained_ones(name):
    rng = np.random.default_rng(0)
    model, image = network(name, 2), rng.random((2, 24, 24), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of another graph
        same, larger = (
            photograph.restore(model, name, part) for part in (image, np.pad(image, [(0, 0), (8, 8), (8, 8)]))
        )
    with torch.no_grad():
        expected = model(to_graph_signal(torch.from_numpy(image)[None], GRID[name].orientations))
    np.testing.assert_allclose(same.image, expected.view(24, 24).numpy(), rtol=1e-5, atol=1e-6)
    assert same.vertices == 576 * GRID[name].orientations
    assert larger.vertices == 1600 * GRID[name].orientations
    assert larger.image.shape == (40, 40)


def test_quality_is_of_the_right_part_and_what_counts():
    rng = np.random.default_rng(0)
    truth, weight = rng.random((20, 20), np.float32), (rng.random((20, 20)) > 0.5).astype(np.float32)
    y = truth + np.where(weight > 0, 0.1, 5.0).astype(np.float32)
    y[:, :12] = 9
    assert photograph.score("inpainting", y, np.stack([truth, weight]), 12) == pytest.approx(20, rel=1e-4)


def test_table_and_picture(tmp_path, monkeypatch, capsys):
    image = np.linspace(0, 1, 150 * 100, dtype=np.float32).reshape(100, 150)
    monkeypatch.setattr(photograph, "photographs", lambda: dict.fromkeys(PHOTOGRAPHS, image))
    runs = []

    def train(run, settings, folder):
        runs.append(run)
        model = network(run.network, TASKS[run.task].channels)
        return Outcome(run, sum(p.numel() for p in model.parameters()), 1.0, {}), model

    monkeypatch.setattr(photograph, "train", train)
    shown = []
    draw = photograph.draw
    monkeypatch.setattr(photograph, "draw", lambda pictures, *rest: (shown.append(pictures), draw(pictures, *rest)))
    photograph.main(["--task", "denoising", "--networks", "R2", "SE(2) eps 0.1", "--seed", "3", "--out", str(tmp_path)])
    assert [(run.network, run.side, run.seed) for run in runs] == [("R2", 24, 3), ("SE(2) eps 0.1", 24, 3)]
    text = (tmp_path / "camera-denoising.md").read_text()
    assert text in capsys.readouterr().out
    cells = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert [cell[1:3] for cell in cells] == [["2,545", "10,000"], ["2,545", "60,000"]]
    assert cells[1][-1] == "0.01 TiB |"
    assert (tmp_path / "camera-denoising.png").stat().st_size > 10_000
    # Known pixels are shown as they are.
    photograph.main(["--networks", "R2", "--out", str(tmp_path)])
    truth, known, restored = shown[1].values()
    there = known != 0.5
    assert 0.2 < there.mean() < 0.4
    np.testing.assert_allclose(restored[there], truth[there], atol=1e-6)
    assert np.abs(restored - truth)[~there].mean() > 0.05
