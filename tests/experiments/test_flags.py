"""Flags out of range are refused before any work, with their names."""

import importlib
import sys

import pytest

from cheblienet.data import load_images
from cheblienet.experiments.run import plain_errors, run

NEEDED = {
    "mnist": [],
    "cifar10": [],
    "stl10": ["--reduction", "max"],
    "artc": ["--reduction", "max", "--expansion", "avg"],
}
ODD = {
    "--max_epochs": ["0", "-1", "nan", "1e3", "1.5", "", "9" * 5000],
    "--lr": ["0", "-1e-3", "nan", "inf", "-inf", "1e999", "fast"],
    "--workers": ["-1", "257", "1000000000000"],
    "--seed": ["-1", str(2**63), "nan"],
    "--subset": ["0", "-5"],
    "--num_experiments": ["0", "-2", "10001"],
}
TRAINING = {
    "--batch_size": ["0", "-8", "inf"],
    "--weight_decay": ["-1e-9", "nan", "inf", "much"],
    "--clip_norm": ["0", "-1", "nan", "inf"],
    "--validation_share": ["0", "1", "-0.1", "nan", "10%"],
}
MORE = {
    "--res_depth": ["0"],
    "--widen_factor": ["-1"],
    "--edges_rate": ["0", "nan", "1.1"],
    "--vertices_rate": ["-0.5"],
}


def load(name):
    return importlib.import_module(f"cheblienet.experiments.{name}")


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Whether a program refuses a value of a flag, by its name, and leaves nothing."""

    def check(name, flag, value):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as caught:
            load(name).main([*NEEDED.get(name, []), f"{flag}={value}"])
        assert caught.value.code == 2
        said = capsys.readouterr().err
        assert f"argument {flag}: expected" in said or f"argument {flag}: folder: expected" in said, said
        assert f"got {value[:40]}" in said or f"got '{value[:40]}'" in said
        assert said.count("\n") == 1

    return check


@pytest.mark.parametrize("name", NEEDED)
def test_numbers_out_of_range_are_refused_by_the_name_of_their_flag(refused, tmp_path, name):
    for flag, values in (ODD | TRAINING | (MORE if name == "mnist" else {})).items():
        for value in values:
            refused(name, flag, value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["search_mnist", "search_cifar10"])
def test_searches_refuse_them_too(refused, name):
    for flag in ("--max_epochs", "--lr", "--workers", "--subset", "--num_experiments"):
        refused(name, flag, ODD[flag][0])


def test_the_study_refuses_them_too(refused, tmp_path):
    for flag, smallest in (("--epochs", 1), ("--seeds", 1), ("--tests", 1), ("--side", 8), ("--images", 20)):
        refused("rotated_study", flag, str(smallest - 1))
        refused("rotated_study", flag, "few")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--out", "--path_to_graph", "--path_to_model"])
def test_a_file_where_a_folder_should_be(refused, tmp_path, flag):
    (tmp_path / "file").write_text("in the way")
    refused("mnist", flag, "file")
    refused("mnist", flag, "file/folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_data_that_is_nowhere_and_batches_that_are_too_large(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load("artc").main([*NEEDED["artc"], "--path_to_data", str(tmp_path / "nowhere")])
    command = ["--dataset", "digits", "--subset", "16", "--batch_size", "17", "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="batch_size: expected at most the 14 training samples, got 17"):
        load("mnist").main([*command, "--log", "none"], side=8)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--lr=0.5", "lr = 0.001, not 0.5"),
        ("--batch_size=4", "batch_size = 8, not 4"),
        ("--seed=3", "seed = 0, not 3"),
        ("--subset=24", "subset = 16, not 24"),
        ("--res_depth=2", "res_depth = 1, not 2"),
        ("--amp", "amp = False, not True"),
        ("--schedule=cosine", "max_epochs = None, not 1, schedule = 'constant', not 'cosine'"),
        ("--weight_decay=0.1", "weight_decay = 0.0, not 0.1"),
        ("--clip_norm=2", "clip_norm = None, not 2.0"),
        ("--validation_share=0.2", "validation_share = 0.1, not 0.2"),
        ("--original_protocol", "original_protocol = False, not True"),
        ("--anisotropic", "K = 8, not 16, anisotropic = False, not True"),
    ],
)
def test_a_run_resumed_with_other_flags_names_them(tmp_path_factory, flag, message):
    out = tmp_path_factory.getbasetemp() / "resumed"
    command = ["--dataset", "digits", "--subset", "16", "--batch_size", "8", "--max_epochs", "1", "--log", "none"]
    command += ["--res_depth", "1", "--widen_factor", "1", "--out", str(out)]
    program = load("mnist").main
    if not out.exists():
        program(command, side=8)
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError, match=rf"{out}/checkpoint.pt: belongs to a run with .*{message}"):
        program([*command, "--resume", flag], side=8)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    "error", [ValueError("lr: wrong"), FileExistsError("out: taken"), FloatingPointError("the loss is nan")]
)
def test_programs_say_what_is_wrong_in_a_line(error):
    with pytest.raises(SystemExit, match=rf"^error: {error}$"), plain_errors():
        raise error
    with pytest.raises(ZeroDivisionError), plain_errors():  # a fault of the program's own keeps its traceback
        raise ZeroDivisionError


def test_what_is_not_installed_is_said_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ignite", None)
    for name in [name for name in sys.modules if name.startswith(("cheblienet.train", "cheblienet.experiments."))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        SystemExit, match=r"^error: the package ignite is not installed: pip install 'cheblienet\[train\]'$"
    ):
        run("mnist", ["--help"])
    with pytest.raises(SystemExit, match="^error: --log wandb: needs it$"), plain_errors():
        raise ModuleNotFoundError("--log wandb: needs it")
    with pytest.raises(ModuleNotFoundError), plain_errors():  # a fault of this package
        raise ModuleNotFoundError("no such module", name="cheblienet.nothing")


def test_a_subset_has_an_image():
    with pytest.raises(ValueError, match="count: expected an integer at least 1, got -5"):
        load_images("digits", "", True, 8, 1).subset(-5, 0)
