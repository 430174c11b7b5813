"""The demo, on few and small digits: its table has a row for each network, and its pictures are there."""

import importlib.util
from pathlib import Path

import pytest

from cheblienet.experiments import rotated_digits, rotated_study

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def demo(monkeypatch):
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in (("SIDE", 12), ("IMAGES", 64), ("TESTS", 40)):
        monkeypatch.setattr(module, name, value)
    for module_of_study in (rotated_digits, rotated_study):
        monkeypatch.setattr(module_of_study, "dataset", lambda: "digits")
    return module


def test_table_and_pictures(demo, tmp_path, capsys):
    demo.main(["--epochs", "1", "--out", str(tmp_path)])
    text = (tmp_path / "accuracy.md").read_text()
    assert text in capsys.readouterr().out
    assert "40 test images of the handwritten digits of scikit-learn" in text
    header, _, *rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert header[:2] == ["network", "parameters"]
    assert [row[0] for row in rows] == list(rotated_digits.NETWORKS)
    for row in rows[1:]:
        assert row[3] == row[5]  # a quarter turn is a symmetry of the sampling
    assert {path.name for path in tmp_path.iterdir()} == {"accuracy.md", "accuracy.png", "filter_response.png"}


@pytest.mark.parametrize(("flag", "value"), [("--epochs", "0"), ("--seed", "-1"), ("--epochs", "nan")])
def test_flags_out_of_range_are_refused(demo, capsys, flag, value):
    with pytest.raises(SystemExit) as caught:
        demo.main([f"{flag}={value}"])
    assert caught.value.code == 2
    assert f"argument {flag}: expected" in capsys.readouterr().err
