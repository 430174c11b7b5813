"""`cheblienet train`, `search` and `study` are the programs: the same flags, in the same words."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cheblienet import __main__

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {("train", name): name for name in ("mnist", "cifar10", "stl10", "artc")}
STUDIES = {
    "digits": "rotated_study",
    "sphere": "sphere_study",
    "anisotropy": "anisotropy_study",
    "photograph": "photograph",
}
PROGRAMS |= {("study", name): program for name, program in STUDIES.items()}
PROGRAMS |= {("search", name): f"search_{name}" for name in ("mnist", "cifar10")}


def call(monkeypatch, *words):
    """The exit status of `cheblienet` in this process."""
    monkeypatch.setattr(sys, "argv", ["/bin/cheblienet", *words])
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    return caught.value.code


@pytest.mark.parametrize(("command", "program"), PROGRAMS.items())
def test_help_is_the_programs_own(monkeypatch, capsys, command, program):
    assert call(monkeypatch, *command, "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(f"usage: cheblienet {' '.join(command)} [-h] [--config FILE]")
    assert " ".join(importlib.import_module(f"cheblienet.experiments.{program}").__doc__.split()) in said
    if command[0] == "train":
        assert "Protocol: a share of the training" in said
        assert "With --original_protocol it is as in the original programs" in said
        assert ("--original_protocol swaps them" in said) == (program == "stl10")


def test_it_trains_and_resumes_as_the_program(monkeypatch, capsys, tmp_path):
    small = ["--dataset", "digits", "--subset", "9", "--batch_size", "8", "--max_epochs", "1", "--log", "none"]
    small += ["--res_depth", "1", "--widen_factor", "1", "--out", str(tmp_path)]
    mnist = importlib.import_module("cheblienet.experiments.mnist")
    monkeypatch.setattr(mnist.main, "__defaults__", (None, 8, None))  # smaller images
    assert call(monkeypatch, "train", "mnist", *small) == 0
    table = capsys.readouterr().out
    assert "Protocol: the best accuracy on 1 validation images chose epoch 1 of 1" in table
    assert call(monkeypatch, "train", "mnist", *small, "--resume") == 0
    assert capsys.readouterr().out == table


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--lr", "-1"], 2, "argument --lr: expected a positive finite number, got '-1'"),
        (["--max_epochs", "0"], 2, "argument --max_epochs: expected an integer at least 1, got '0'"),
        (["--anisotropic", "--rotate"], 2, "unrecognized arguments: --rotate"),
        (["--device", "gpu"], 1, "device: expected a name such as 'cpu' or 'cuda:0', got 'gpu'"),
        (["--device", "mps"], 1, "device: expected a name such as 'cpu' or 'cuda:0', got 'mps'"),
        (["--subset", "16", "--batch_size", "17"], 1, "batch_size: expected at most the 14 training samples, got 17"),
        (["--subset", "1"], 1, "batch_size: expected at most the 0 training samples, got 16"),
    ],
)
def test_what_is_wrong_is_one_line(monkeypatch, capsys, tmp_path, flags, status, message):
    monkeypatch.chdir(tmp_path)
    code = call(monkeypatch, "train", "mnist", "--dataset", "digits", "--log", "none", *flags)
    if status == 2:
        assert (code, capsys.readouterr().err) == (2, f"cheblienet train mnist: error: {message}\n")
    else:  # the interpreter prints it and leaves with 1
        assert code == f"error: {message}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "program", [["-m", "cheblienet", "train", "mnist"], [str(ROOT / "scripts" / "train_mnist.py")]]
)
def test_the_module_and_the_script_say_it_alike(tmp_path, program):
    command = [sys.executable, "-W", "ignore", *program, "--dataset", "digits", "--device", "gpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: device: expected a name such as 'cpu' or 'cuda:0', got 'gpu'\n"


def test_a_command_without_a_program_is_one_that_argparse_refuses(monkeypatch, capsys):
    assert call(monkeypatch, "train") == 2
    assert call(monkeypatch, "train", "imagenet") == 2
    assert "invalid choice: 'imagenet' (choose from" in capsys.readouterr().err


def test_the_package_is_installed_with_the_command():
    tomllib = pytest.importorskip("tomllib", reason="tomllib is part of Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["cheblienet"].split(":")
    assert getattr(importlib.import_module(module), function) is __main__.main


def test_the_other_commands_import_nothing_of_training():
    code = "import sys; from cheblienet.__main__ import main; sys.argv = ['cheblienet']; main(); "
    code += (
        "assert not {'ignite', 'torchvision', 'optuna', 'matplotlib'} & {name.split('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
