"""Every flag of every program does what it says; a flag without a test of its effect fails."""

from pathlib import Path

import effects_of_networks  # noqa: F401  (registers effects)
import effects_of_runs  # noqa: F401
import pytest
from flag_programs import EFFECTS, FLAGS, NEEDED, STUDY, Program

from cheblienet.experiments import rotated_digits, rotated_study

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
    """The runs of the study of rotated digits, in the place of which figures stand: run, settings and folder of each."""
    monkeypatch.chdir(tmp_path)

    def study(*flags):
        found = []

        def train(run, settings, folder):
            found.append((run, settings, folder))
            return rotated_digits.Result(run, 1, 1.0, 1, dict.fromkeys(rotated_digits.ANGLES, 0.5)), None

        monkeypatch.setattr(rotated_study, "train", train)
        monkeypatch.setattr(rotated_study, "can_draw", lambda: False)
        rotated_study.main([*map(str, flags)])
        return found

    return study


STUDY_FLAGS = {
    "--networks": (["plain", "anisotropic"], lambda runs: [run.network for run, _, _ in runs]),
    "--images": ([30, 60], lambda runs: sorted({run.images for run, _, _ in runs})),
    "--seeds": ([3], lambda runs: [len({run.seed for run, _, _ in runs})]),
    "--epochs": ([4], lambda runs: [runs[0][1].epochs]),
    "--side": ([12], lambda runs: [runs[0][1].side]),
    "--tests": ([7], lambda runs: [runs[0][1].tests]),
    "--out": (["there"], lambda runs: [str(runs[0][2].parent)]),
}


@pytest.mark.parametrize("flag", [flag for flag in FLAGS[STUDY] if flag != "--config"])
def test_a_flag_of_the_study_has_its_effect(study, flag):
    values, found = STUDY_FLAGS[flag]
    assert found(study(flag, *values)) == values
    assert Path("there" if flag == "--out" else "outputs/rotated_digits", "accuracy.md").exists()


def test_the_study_reads_a_file_of_flags(study, tmp_path):
    (tmp_path / "run.toml").write_text("epochs = 5\n")
    assert {settings.epochs for _, settings, _ in study("--config", "run.toml")} == {5}
