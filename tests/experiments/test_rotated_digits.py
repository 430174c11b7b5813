"""The study of turned digits, on few and small ones of scikit-learn."""

import signal

import pytest
import torch

from cheblienet.experiments import rotated_digits, rotated_study
from cheblienet.experiments.rotated_digits import ANGLES, NETWORKS, Run, Settings, over_all_angles, turned, upright
from cheblienet.experiments.study import Outcome
from cheblienet.nn import capacity
from cheblienet.train import Report

SETTINGS = Settings(epochs=1, batch_size=8, side=12, tests=20)


@pytest.fixture(autouse=True)
def bundled(monkeypatch):
    for module in (rotated_digits, rotated_study):
        monkeypatch.setattr(module, "dataset", lambda: "digits")


def test_networks_are_of_one_size():
    parameters = [capacity(make(Settings())[0]) for make in NETWORKS.values()]
    assert max(parameters) < 1.25 * min(parameters)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_tells_the_accuracy_by_angle(network, tmp_path):
    outcome, model = rotated_digits.train(Run(network, 40, 0), SETTINGS, tmp_path)
    assert outcome.parameters == capacity(model)
    assert list(outcome.values) == ["epoch", *map(str, ANGLES)]
    assert outcome.values["epoch"] == 1
    assert upright(outcome) == outcome.values["0"]
    assert over_all_angles(outcome) == pytest.approx(sum(outcome.values[str(a)] for a in ANGLES) / 24)
    images, test = rotated_digits.load(SETTINGS)
    graph = NETWORKS[network](SETTINGS)[1]
    lift = rotated_digits.LiftImages if graph is not None else rotated_digits.Normalise
    prepare = lift(*([] if graph is None else [graph]), images.mean, images.std)
    model.eval()
    for angle in (0, 45, 90):
        x, labels = prepare((turned(test.images.float(), angle), test.labels), torch.device("cpu"))
        with torch.no_grad():
            share = float((model(x).argmax(1) == labels).float().mean())
        assert outcome.values[str(angle)] == pytest.approx(share)
    if network != "plain":  # a quarter turn is a symmetry of the sampling
        assert all(outcome.values[str(a)] == outcome.values[str((a + 90) % 360)] for a in ANGLES)


def test_few_images_are_repeated_and_others_choose_the_epoch(tmp_path, monkeypatch):
    class Caught(Exception):
        pass

    def fit_run(run, settings, folder, model, prepare, training, validation, tests):
        raise Caught(training, validation, tests)

    monkeypatch.setattr(rotated_digits, "fit_run", fit_run)
    found = {}
    for images in (40, 400, 10_000):
        with pytest.raises(Caught) as caught:
            rotated_digits.train(Run("plain", images, 0), SETTINGS, tmp_path)
        found[images] = [[item[0] for item in part] for part in (*caught.value.args[:2], caught.value.args[2]["test"])]
    everything = 1347  # digits of scikit-learn that are for training
    for images, (training, validation, tests) in found.items():
        distinct = torch.stack(training).unique(dim=0)
        assert len(distinct) == min(images, len(found[10_000][0]))
        assert everything - len(validation) - images < len(training) <= everything - len(validation)
        assert len(validation) == round(0.1 * everything)
        assert torch.equal(torch.stack(validation), torch.stack(found[40][1]))
        assert len(torch.cat([distinct, torch.stack(validation)]).unique(dim=0)) == len(distinct) + len(validation)
        assert len(tests) == 20


def test_turns_are_counter_clockwise():
    image = torch.zeros(1, 1, 9, 9)
    image[..., 4, 7] = 1.0  # to the right of the middle
    assert turned(image, 90)[0, 0, 1, 4] == 1  # rows are drawn downwards
    assert turned(image, 45)[0, 0, 2, 6] > 0.5


def test_the_study_writes_a_table_and_a_picture(tmp_path, monkeypatch, capsys):
    flags = [
        "--side",
        "12",
        "--epochs",
        "1",
        "--tests",
        "20",
        "--images",
        "24",
        "40",
        "--networks",
        "plain",
        "isotropic",
        "--seeds",
        "2",
    ]
    trained = []

    def train(run, settings, folder):
        trained.append(run)
        return Outcome(run, 7, 1.0, {"epoch": 1} | {str(angle): 0.5 + 0.1 * run.seed for angle in ANGLES}), None

    monkeypatch.setattr(rotated_study, "train", train)
    rotated_study.main([*flags, "--out", str(tmp_path)])
    assert len(trained) == len(set(trained)) == 8
    rows = [line for line in (tmp_path / "accuracy.md").read_text().splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 4
    assert rows[2].split("|")[1:5] == [" plain ", " 7 ", " 24 ", " 55.0 ± 5.0 "]
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
    assert "mean ± standard deviation of 2 seeds" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"results.jsonl: expected outcomes with .*'epochs': 2"):
        rotated_study.main([*flags, "--epochs", "2", "--out", str(tmp_path)])


def test_a_signal_ends_the_program(tmp_path, monkeypatch):
    monkeypatch.setattr(rotated_digits, "fit", lambda task, options: Report(signal=signal.SIGTERM))
    with pytest.raises(SystemExit) as caught:
        rotated_digits.train(Run("plain", 40, 0), SETTINGS, tmp_path)
    assert caught.value.code == 143


@pytest.mark.parametrize("side", [8, 10, 30])
def test_sides_that_pooling_does_not_halve_are_refused(side):
    with pytest.raises(ValueError, match=f"side: expected a multiple of 4, at least 12, got {side}"):
        Settings(side=side)
