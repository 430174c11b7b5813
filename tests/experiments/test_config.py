"""A file of flags is as good as the flags, and what is wrong with it is one line with its name and the key."""

import importlib
from pathlib import Path

import pytest

from cheblienet.train import load_state

NEEDED = {"mnist": [], "cifar10": [], "stl10": ["--reduction=max"], "artc": ["--reduction=max", "--expansion=avg"]}

FILE = """
# all types of flags
max_epochs = 3
lr = 0.002
weight_decay = 1
clip_norm = 0.5
schedule = "cosine"
matmul-precision = "high"
out = "there"
path_to_data = "-data"
anisotropic = true
no-capture = true
amp = false
"""
FLAGS = ["--max_epochs", "3", "--lr", "2e-3", "--weight_decay", "1", "--clip_norm", "0.5", "--schedule", "cosine"]
FLAGS += ["--matmul-precision", "high", "--out", "there", "--path_to_data=-data", "--anisotropic", "--no-capture"]


def load(name):
    return importlib.import_module(f"cheblienet.experiments.{name}")


@pytest.fixture
def write(tmp_path):
    def write(content):
        (tmp_path / "run.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / "run.toml")

    return write


@pytest.mark.parametrize("name", NEEDED)
def test_a_file_is_as_good_as_flags(write, name):
    parse = load(name).parse
    required = [f'{key} = "{value}"\n' for key, value in (flag[2:].split("=") for flag in NEEDED[name])]
    found = parse(["--config", write(FILE + "".join(required))])
    assert found == parse([*FLAGS, *NEEDED[name]])
    assert found != parse(NEEDED[name])


def test_flags_of_the_command_line_count_more_wherever_they_stand(write):
    path = write(FILE)
    for argv in (
        ["--lr", "0.5", "--config", path],
        [f"--config={path}", "--lr", "0.5"],
        ["--conf", path, "--lr", "0.5"],
    ):
        assert load("mnist").parse(argv) == load("mnist").parse([*FLAGS, "--lr", "0.5"])


def test_the_checkpoints_are_of_one_run(write, tmp_path):
    small = ["--dataset=digits", "--subset=18", "--batch_size=8", "--log=none", "--res_depth=1", "--widen_factor=1"]
    path = write('weight_decay = 0.1\nclip_norm = 2.0\nschedule = "step"\nmax_epochs = 1\nsubset = 99\n')
    flags = ["--weight_decay", "0.1", "--clip_norm", "2", "--schedule", "step", "--max_epochs", "1"]
    main = load("mnist").main
    main([*small, "--config", path, "--out", str(tmp_path / "file")], side=8)
    main([*small, *flags, "--out", str(tmp_path / "flags")], side=8)
    file, other = (load_state(tmp_path / name / "checkpoint.pt") for name in ("file", "flags"))
    assert file["config"] == other["config"]
    assert file["config"]["max_epochs"] == 1  # the schedule's length
    assert all((file["model"][name] == other["model"][name]).all() for name in file["model"])
    main([*small, *flags, "--out", str(tmp_path / "file"), "--resume"], side=8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("max_epoch = 3", "max_epoch: expected the name of a flag without its dashes"),
        ("help = true", "help: expected the name of a flag"),
        ('config = "other.toml"', "config: expected the name of a flag"),
        ("path-to-data = 'x'", "path-to-data: expected the name of a flag"),
        ("[train]\nlr = 1", "train: expected the name of a flag"),
        ("max_epochs = 0", "max_epochs: expected an integer at least 1, got '0'"),
        ("max_epochs = 3.0", "max_epochs: expected an integer at least 1, got '3.0'"),
        ("max_epochs = '3'", "max_epochs: expected a number, got '3'"),
        ("max_epochs = true", "max_epochs: expected an integer at least 1, got 'True'"),
        ("lr = -1", "lr: expected a positive finite number, got '-1'"),
        ("lr = inf", "lr: expected a positive finite number, got 'inf'"),
        ("lr = '0.1'", "lr: expected a number, got '0.1'"),
        ("lr = [0.1]", "lr: expected a positive finite number, got '[0.1]'"),
        ("device = 0", "device: expected a string, got 0"),
        ("device = true", "device: expected a string, got True"),
        ("schedule = 'linear'", "schedule: expected one of 'constant', 'cosine', 'onecycle', 'step', got 'linear'"),
        ("anisotropic = 1", "anisotropic: expected true or false, got 1"),
        ("anisotropic = 'true'", "anisotropic: expected true or false, got 'true'"),
        ("out.folder = 'x'", "out: expected a string, got {'folder': 'x'}"),
        ("lr = ", "not a readable TOML file: "),
        ("lr = 1\nlr = 2", "not a readable TOML file: "),
        (b"lr = 1 # \xff", "not a readable TOML file: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_key(write, capsys, content, message):
    path = write(content)
    with pytest.raises(SystemExit) as caught:
        load("mnist").main(["--config", path], prog="program")
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert said.startswith(f"program: error: --config {path}: {message}"), said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["search_mnist", "search_cifar10"])
def test_searches_take_a_file_of_their_own_flags(write, capsys, name):
    for content, message in (
        ("lr = -1", "lr: expected a positive"),
        ("batch_size = 4", "batch_size: expected the name"),
    ):
        with pytest.raises(SystemExit):
            load(name).main(["--config", write(content)])
        assert message in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path, capsys):
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(SystemExit):
            load("mnist").parse(["--config", str(path)], "program")
        said = capsys.readouterr().err
        assert said.startswith(f"program: error: --config {path}: not a readable TOML file: ")
        assert said.rstrip().endswith(("No such file or directory", "Is a directory"))
    with pytest.raises(SystemExit):
        load("mnist").parse(["--config"], "program")
    assert capsys.readouterr().err == "program: error: argument --config: expected one argument\n"


def test_python_without_a_reader_of_toml_has_one_installed():
    tomllib = pytest.importorskip("tomllib", reason="tomllib is part of Python 3.11")
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    assert "tomli>=2; python_version < '3.11'" in project["optional-dependencies"]["train"]


def test_lists_are_flags_of_several_values(write, tmp_path, monkeypatch, capsys):
    study = load("rotated_study")
    asked = []
    monkeypatch.setattr(study, "complete", lambda runs, *rest: asked.append(runs) or [])
    monkeypatch.setattr(study, "report", lambda *rest: "")
    study.main(["--config", write('images = [100, 400]\nnetworks = ["plain"]\nseeds = 2')])
    study.main(["--images", "100", "400", "--networks", "plain", "--seeds", "2"])
    assert asked[0] == asked[1]
    assert len(asked[0]) == 4
    for content, message in (
        ("images = 100", "images: expected a list of one value or more, got 100"),
        ("images = []", "images: expected a list of one value or more, got []"),
        ('images = ["100"]', "images: expected a number, got '100'"),
        ("images = [3]", "images: expected an integer at least 20, got '3'"),
        ('networks = ["round"]', "networks: expected one of 'plain', 'isotropic', 'anisotropic', got 'round'"),
        ("epochs = [1]", "epochs: expected an integer at least 1, got '[1]'"),
    ):
        with pytest.raises(SystemExit):
            study.main(["--config", write(content)])
        assert f"--config {tmp_path / 'run.toml'}: {message}" in capsys.readouterr().err
