"""Every flag of every program does what it says; a flag without a test of its effect fails."""

from pathlib import Path

import effects_of_networks  # noqa: F401  (registers effects)
import effects_of_runs  # noqa: F401
import pytest
from flag_programs import EFFECTS, FLAGS, NEEDED, STUDIES, Program, load

from cheblienet.experiments.rotated_digits import ANGLES
from cheblienet.experiments.sphere_digits import TESTS
from cheblienet.experiments.study import Outcome

PAIRS = [(name, flag) for name in NEEDED for flag in FLAGS[name]]


@pytest.fixture
def program(request, tmp_path, monkeypatch):
    return Program(request.param, tmp_path, monkeypatch)


@pytest.mark.parametrize(("program", "flag"), PAIRS, indirect=["program"], ids=map(" ".join, PAIRS))
def test_a_flag_has_its_effect(program, flag):
    EFFECTS[flag](program)


def test_no_effect_is_of_a_flag_that_is_gone():
    assert EFFECTS.keys() == {flag for _, flag in PAIRS}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The runs of a study, in the place of which figures stand: run, settings and folder of each."""
    monkeypatch.chdir(tmp_path)

    def study(name, *flags):
        found = []

        def train(run, settings, folder):
            found.append((run, settings, folder))
            return Outcome(run, 1, 1.0, dict.fromkeys([*map(str, ANGLES), *TESTS, "epoch", "score"], 0.5)), None

        module = load(name)
        monkeypatch.setattr(module, "train", train)
        monkeypatch.setattr(module, "can_draw", lambda: False)
        module.main([*map(str, flags)])
        return found

    return study


def of_runs(name):
    return lambda found: sorted({getattr(run, name) for run, _, _ in found})


def of_settings(name):
    return lambda found: [getattr(found[0][1], name)]


DIGITS = {
    "--networks": (["anisotropic", "plain"], of_runs("network")),
    "--seeds": ([3], lambda found: [len({run.seed for run, _, _ in found})]),
    "--epochs": ([4], of_settings("epochs")),
    "--tests": ([7], of_settings("tests")),
    "--out": (["there"], lambda found: [str(found[0][2].parent)]),
}
STUDY_FLAGS = {
    "rotated_study": DIGITS
    | {
        "--images": ([30, 60], of_runs("images")),
        "--side": ([12], of_settings("side")),
        "--orders": ([2], of_settings("orders")),
        "--lr": ([0.02], of_settings("lr")),
    },
    "sphere_study": DIGITS | {"--images": ([30], of_runs("images")), "--level": ([3], of_settings("level"))},
    "anisotropy_study": {
        "--tasks": (["denoising", "strokes"], of_runs("task")),
        "--networks": (["R2", "SE(2) eps 1"], of_runs("network")),
        "--seeds": DIGITS["--seeds"],
        "--epochs": ([2, 4], of_runs("epochs")),
        "--side": ([20, 32], of_runs("side")),
        "--samples": ([64], of_settings("samples")),
        "--distinct": ([5, 9], of_runs("distinct")),
        "--out": DIGITS["--out"],
    },
}


@pytest.mark.parametrize(
    ("name", "flag"), [(name, flag) for name in STUDIES for flag in FLAGS[name] if flag != "--config"]
)
def test_a_flag_of_a_study_has_its_effect(study, name, flag):
    values, found = STUDY_FLAGS[name][flag]
    assert found(study(name, flag, *values)) == values
    assert len(list(Path("there" if flag == "--out" else "outputs").rglob("*.md"))) == 1


def test_a_study_reads_a_file_of_flags(study, tmp_path):
    (tmp_path / "run.toml").write_text("epochs = 5\n")
    assert {settings.epochs for _, settings, _ in study("rotated_study", "--config", "run.toml")} == {5}
