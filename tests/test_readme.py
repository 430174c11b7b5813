"""The example of the README runs and keeps its promise."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def test_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(example.strip().splitlines()) <= 22
    exec(compile(example, str(README), "exec"), {})
    assert float(re.findall(r"tensor\(([-+.e\d]+)", capsys.readouterr().out)[-1]) == pytest.approx(0, abs=1e-4)
