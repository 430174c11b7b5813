"""The programs learn: digits in two epochs, storms and rivers of synthetic states in four."""

import importlib

import pytest

from cheblienet.data.synthetic import write_synthetic_artc

QUICK = ["--lr", "0.01", "--schedule", "onecycle", "--log", "none"]
IMAGES = {
    "mnist": [],
    "cifar10": ["--pool", "--reduction", "max"],
    "stl10": ["--reduction", "avg"],
}


@pytest.mark.parametrize(("name", "flags"), IMAGES.items())
def test_digits_are_learnt_in_two_epochs(tmp_path, name, flags):
    small = ["--dataset", "digits", "--max_epochs", "2", "--res_depth", "1", "--widen_factor", "1"]
    program = importlib.import_module(f"cheblienet.experiments.{name}")
    (report,) = program.main([*small, *QUICK, *flags, "--out", str(tmp_path)], side=12)
    upright = report.metrics["test_accuracy" if name == "stl10" else "classic_test_accuracy"]
    assert upright > 0.9  # by chance, 0.1
    if name == "mnist":
        assert report.metrics["flipped_test_accuracy"] == pytest.approx(upright)  # symmetries of the sampling
    if name == "cifar10":
        assert report.metrics["rotated_test_accuracy"] == pytest.approx(upright)


@pytest.mark.parametrize("flags", [[], ["--anisotropic"]], ids=["S2", "SO(3)"])
def test_synthetic_states_are_learnt(tmp_path, flags):
    write_synthetic_artc(tmp_path / "states", 40, 2, seed=0)
    command = ["--path_to_data", str(tmp_path / "states"), "--reduction", "max", "--expansion", "avg", "--weighted"]
    command += ["--max_epochs", "4", "--batch_size", "4", "--out", str(tmp_path / "run")]
    program = importlib.import_module("cheblienet.experiments.artc")
    (report,) = program.main([*command, *QUICK, *flags])
    shares = report.tensors["test_confusion"].sum(1) / report.tensors["test_confusion"].sum()
    for k, name in ((1, "tc"), (2, "ar")):
        assert shares[k] < 0.2  # the average precision of what is drawn by chance
        assert report.metrics[f"test_AP_{name}"] > 0.6
