"""The study of anisotropy, on few samples: its networks differ as they say, keep quarter turns, and learn."""

import pytest
import torch

from cheblienet.data import to_graph_signal
from cheblienet.experiments import anisotropy, anisotropy_study
from cheblienet.experiments.anisotropy import GRID, PixelNetwork, Run, Settings, make_graph
from cheblienet.experiments.dense_tasks import TASKS
from cheblienet.experiments.study import Outcome
from cheblienet.graphs import SE2GEGraph
from cheblienet.nn import capacity
from cheblienet.train import Report

SETTINGS = Settings(samples=32, tests=4)


def network(name, side=8, channels=2):
    spec = GRID[name]
    return PixelNetwork(channels, spec, make_graph(spec, side))


def test_networks_are_of_one_size_but_for_the_wide_one():
    sizes = {name: capacity(network(name)) for name in GRID if name != "R2 wide"}
    assert max(sizes.values()) < 1.15 * min(sizes.values())
    assert capacity(network("R2 wide")) > 10 * max(sizes.values())


def test_graphs_are_those_of_their_names():
    for name, spec in GRID.items():
        graph = make_graph(spec, 12)
        assert graph.num_vertices == 144 * spec.orientations
        assert isinstance(graph, SE2GEGraph) == name.startswith("SE(2)")
        if spec.orientations > 1:
            assert graph.sigmas == pytest.approx((1.0, spec.eps, 2.048 / 144))


@pytest.mark.parametrize("name", GRID)
def test_quarter_turns_turn_the_answer(name):
    torch.manual_seed(0)
    model, images = network(name).eval(), torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        y, turned = (
            model(to_graph_signal(x, GRID[name].orientations)).unflatten(2, (8, 8))
            for x in (images, images.rot90(1, (2, 3)))
        )
    assert float((turned - y.rot90(1, (2, 3))).norm() / y.norm()) < 1e-5
    assert float((turned - y).norm() / y.norm()) > 0.1


@pytest.mark.parametrize(("task", "chance"), [("inpainting", 14), ("denoising", 20), ("strokes", 50)])
def test_a_run_learns(task, chance, tmp_path):
    # The photographs vary by 14 dB about their mean, the noise alone is 20 dB.
    run = Run(task, "R2", 20, 1, 0)
    outcome, model = anisotropy.train(run, Settings(samples=960, tests=60), tmp_path)
    assert outcome.run == run
    assert outcome.parameters == capacity(model)
    assert outcome.values["score"] == TASKS[task].score(outcome.values) > 1.05 * chance


def test_a_signal_ends_the_program(tmp_path, monkeypatch):
    monkeypatch.setattr(anisotropy, "fit", lambda task, options: Report(signal=15))
    with pytest.raises(SystemExit) as caught:
        anisotropy.train(Run("denoising", "R2", 20, 1, 0), SETTINGS, tmp_path)
    assert caught.value.code == 143


def test_table_and_pictures(tmp_path, monkeypatch, capsys):
    def train(run, settings, folder):
        return Outcome(run, 7, 1.0, {"loss": 0.1, "score": 20 + run.seed + GRID[run.network].eps}), None

    monkeypatch.setattr(anisotropy_study, "train", train)
    flags = ["--tasks", "denoising", "strokes", "--networks", "R2", "R2 wide", "SE(2) eps 1", "SE(2) eps 0.1"]
    anisotropy_study.main([*flags, "--seeds", "2", "--epochs", "1", "3", "--out", str(tmp_path)])
    text = (tmp_path / "scores.md").read_text()
    assert text in capsys.readouterr().out
    assert "mean ± standard deviation of 2 seeds" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")][2:]
    assert len(rows) == 2 * 2 * 4
    assert rows[0] == [
        "denoising",
        "R2",
        "1",
        "1",
        "8",
        "4",
        "12",
        "7",
        "24 x 24",
        "8,000",
        "1",
        "21.50 ± 0.50 dB",
        "2",
        "1",
    ]
    assert ["strokes", "SE(2) eps 0.1"] in [row[:2] for row in rows]
    assert {path.name for path in tmp_path.iterdir()} == {"scores.md", "results.jsonl", "denoising.png", "strokes.png"}
    assert (tmp_path / "strokes.png").stat().st_size > 10_000
    # A later command adds to the table.
    anisotropy_study.main(["--tasks", "denoising", "--networks", "R2", "--distinct", "50", "--out", str(tmp_path)])
    added = [line for line in (tmp_path / "scores.md").read_text().splitlines() if line not in text.splitlines()]
    assert [line.split("|")[10].strip() for line in added] == ["50"]
    with pytest.raises(SystemExit):
        anisotropy_study.main(["--networks", "SE(2) eps 2"])
    assert "invalid choice: 'SE(2) eps 2'" in capsys.readouterr().err
