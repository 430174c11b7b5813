"""The scripts for those who work in a clone are the programs of the package."""

import importlib
import runpy
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PROGRAMS = {f"train_{name}": name for name in ("mnist", "cifar10", "stl10", "artc")}
PROGRAMS |= {f"hpo_{name}": f"search_{name}" for name in ("mnist", "cifar10")}


@pytest.mark.parametrize(("script", "program"), PROGRAMS.items())
def test_a_script_runs_its_program(monkeypatch, capsys, script, program):
    module = importlib.import_module(f"cheblienet.experiments.{program}")
    monkeypatch.setattr("sys.argv", [script, "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    assert caught.value.code == 0
    assert " ".join(module.__doc__.split()) in " ".join(capsys.readouterr().out.split())
