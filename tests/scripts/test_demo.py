"""The demo, on fewer and smaller digits: its table has a row for each network and way to compute, over all seeds."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ["network", "computed", "upright", "90, 180, 270", "any angle", "flipped"]


@pytest.fixture
def demo(monkeypatch):
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    load = module.load

    def few(seed):
        digits = load(seed)
        return module.Digits(digits.train[:64], digits.train_labels[:64], digits.test[:40], digits.test_labels[:40])

    monkeypatch.setattr(module, "SIDE", 8)
    monkeypatch.setattr(module, "load", few)
    return module


def cells(text):
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows]


def test_table_of_networks_modes_and_seeds(demo, tmp_path, capsys):
    demo.main(["--epochs", "1", "--seeds", "2", "--modes", "float32", "bfloat16", "--out", str(tmp_path)])
    text = (tmp_path / "accuracy.md").read_text()
    assert text in capsys.readouterr().out
    assert "on 40 of scikit-learn's handwritten digits after training on 64 others, upright only, for 1 epochs" in text
    assert "mean and standard deviation of 2 seeds" in text
    header, _, *rows = cells(text)
    assert header == COLUMNS
    assert [row[:2] for row in rows] == [[name, mode] for mode in ("float32", "bfloat16") for name in demo.NETWORKS]
    assert all(re.fullmatch(r"\d+\.\d ± \d+\.\d", cell) for row in rows for cell in row[2:])
    assert all(row[2] == row[5] for row in rows if row[1] == "float32")  # flips are symmetries of the sampling
    assert {path.name for path in tmp_path.iterdir()} == {"accuracy.md", "accuracy_by_angle.png", "filter_response.png"}


def test_the_document_is_such_a_table(demo):
    text = (ROOT / "docs" / "digits.md").read_text()
    (command,) = re.findall(r"python scripts/demo\.py (.*)", text)
    args = demo.parse(command.split())
    assert f"for {args.epochs} epochs, mean and standard deviation of {args.seeds} seeds" in text
    header, _, *rows = cells(text)
    assert header == COLUMNS
    assert [row[:2] for row in rows] == [[name, mode] for mode in args.modes for name in demo.NETWORKS]


def test_mean_and_deviation_are_over_seeds(demo):
    runs = [{"upright": value} for value in (0.9, 0.8)]
    assert demo.table({("net", "float32"): runs}).splitlines()[2] == "| net | float32 | 85.0 ± 5.0 |"
    assert demo.table({("net", "float32"): runs[:1]}).splitlines()[2] == "| net | float32 | 90.0 |"


def test_a_mode_is_how_it_is_computed(demo):
    network, layers = demo.build(True)
    images = torch.rand(40, 1, 8, 8)
    dtypes = []
    network.fc.register_forward_hook(lambda *call: dtypes.append(call[2].dtype))
    for mode in ("float32", "bfloat16"):
        demo.accuracy(network, layers, images, torch.zeros(40), mode)
    assert dtypes == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize(
    ("flag", "value"), [("--epochs", "0"), ("--seeds", "-1"), ("--seed", "-1"), ("--epochs", "nan")]
)
def test_flags_out_of_range_are_refused(demo, capsys, flag, value):
    with pytest.raises(SystemExit) as caught:
        demo.main([f"{flag}={value}"])
    assert caught.value.code == 2
    assert f"argument {flag}: expected" in capsys.readouterr().err
