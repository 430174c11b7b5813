"""The programs for images, on real digits and small grids: they run, resume, and keep the original's settings."""

import importlib
import json
import shutil
import signal

import numpy as np
import pytest
import torch

from cheblienet.train import load_state

SMALL = ["--dataset", "digits", "--subset", "24", "--batch_size", "8", "--max_epochs", "1", "--log", "none"]
SMALL += ["--res_depth", "1", "--widen_factor", "1"]


def load(name):
    return importlib.import_module(f"cheblienet.experiments.{name}")


PROGRAMS = {
    "mnist": ["--anisotropic", "--coupled_sym"],
    "cifar10": ["--anisotropic", "--pool", "--reduction", "rand"],
    "stl10": ["--reduction", "max"],
}


@pytest.mark.parametrize(("name", "flags"), PROGRAMS.items())
def test_program_runs_and_leaves_metrics_and_pictures(tmp_path, capsys, name, flags):
    out = tmp_path / "out"
    (report,) = load(name).main([*SMALL, *flags, "--out", str(out), "--path_to_graph", str(tmp_path)], side=12)
    sets = ("test",) if name == "stl10" else ("classic_test", "rotated_test", "flipped_test")
    assert report.metrics.keys() == {f"{s}_{m}" for s in sets for m in ("accuracy", "loss")}
    for s in sets:
        matrix = report.tensors[f"{s}_confusion"]
        assert matrix.sum() == 24
        assert report.metrics[f"{s}_accuracy"] == pytest.approx(float(matrix.trace() / 24))
    files = {"checkpoint.pt", "best.pt", "metrics.jsonl", "curves.png", "confusion.png"}
    assert files == {path.name for path in out.iterdir()}
    printed = capsys.readouterr().out
    assert "digits: 24 test images, trained on 22" in printed
    assert (
        "\nProtocol: the best accuracy on 2 validation images chose epoch 1 of 1; one look at the test images\n"
        in printed
    )
    accuracies = next(line for line in printed.splitlines() if line.startswith("accuracy "))
    assert accuracies.split()[1:] == [f"{report.metrics[f'{s}_accuracy']:.4f}" for s in sets]
    assert list(tmp_path.glob("*.npz"))


def test_sampled_graphs_resume_as_they_were(tmp_path):
    flags = ["--sample_vertices", "--vertices_rate", "0.7", "--sample_edges", "--edges_rate", "0.8", "--save_models"]
    program = load("mnist").main
    command = [*SMALL, *flags, "--anisotropic", "--coupled_sym"]
    program([*command, "--out", str(tmp_path / "parts")], side=8)
    (resumed,) = program([*command, "--out", str(tmp_path / "parts"), "--max_epochs", "2", "--resume"], side=8)
    (whole,) = program([*command, "--out", str(tmp_path / "whole"), "--max_epochs", "2"], side=8)
    assert resumed.metrics == whole.metrics
    models = [torch.load(tmp_path / part / "models" / "model_2.pt", weights_only=True) for part in ("parts", "whole")]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    with pytest.raises(ValueError, match=r"belongs to a run with K = 16, not 8"):
        program([*SMALL, *flags, "--coupled_sym", "--out", str(tmp_path / "parts"), "--resume"], side=8)


def test_precision_is_of_the_run_and_recording_is_not(tmp_path):
    program = load("mnist").main
    command = [*SMALL, "--out", str(tmp_path)]
    program([*command, "--matmul-precision", "high", "--no-capture"], side=8)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["config"]["matmul_precision"] == "high"
    resumed = [*command, "--resume", "--max_epochs", "2"]
    with pytest.raises(ValueError, match="a run with matmul_precision = 'high', not 'highest'"):
        program(resumed, side=8)
    (report,) = program([*resumed, "--matmul-precision", "high"], side=8)
    assert report.rows[-1]["epoch"] == 2


def test_experiments_differ_by_seed_and_are_summed_up(tmp_path, capsys):
    command = [*SMALL, "--num_experiments", "2", "--out", str(tmp_path), "--seed", "4"]
    first, second = load("mnist").main(command, side=8)
    assert first.metrics != second.metrics
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}
    assert "±" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "2")  # as if the program had been stopped before
    again = load("mnist").main([*command, "--resume"], side=8)
    assert [report.metrics for report in again] == [first.metrics, second.metrics]


def test_original_configurations():
    mnist, cifar10, stl10 = (load(name).configuration for name in PROGRAMS)
    anisotropic = {"kernel_size": 4, "eps": 0.1, "K": 16, "ntheta": 6}
    isotropic = {"kernel_size": 4, "eps": 1.0, "K": 8, "ntheta": 1, "xi": 1.0}
    assert mnist(True, True, 28) == {**anisotropic, "xi": 2.048 / 784}
    assert mnist(True, False, 28) == {**anisotropic, "xi": 1e6}
    assert cifar10(True, True, 32) == {**anisotropic, "xi": 2.048 / 1024}
    assert cifar10(True, False, 32) == {**anisotropic, "K": 8, "xi": 2.048 / 1024}
    assert stl10(True, 96) == {**anisotropic, "xi": 2.048 / 9216}
    assert mnist(False, False, 28) == cifar10(False, True, 32) == stl10(False, 96) == isotropic


def test_defaults_are_those_of_the_original_configurations():
    required = {"stl10": ["--reduction", "max"], "artc": ["--reduction", "max", "--expansion", "avg"]}
    for name, epochs, *network in (("mnist", 20, 2, 2), ("cifar10", 30, 2, 2), ("stl10", 30, 3, 4), ("artc", 100)):
        args = load(name).parse(required.get(name, []))
        assert (args.max_epochs, args.lr, args.batch_size, args.seed, args.num_experiments) == (epochs, 1e-3, 16, 0, 1)
        assert network == ([] if name == "artc" else [args.res_depth, args.widen_factor])


def test_levels_have_the_original_metric():
    from cheblienet.experiments.classification import grid_graphs

    graphs = grid_graphs(True, (2, 4, 8), 3, 8, 0.1, 2.048 / 64, None)
    assert [graph.size for graph in graphs] == [(2, 2, 3), (4, 4, 3), (8, 8, 3)]
    assert [graph.sigmas for graph in graphs] == [(1.0, 0.1, 2.048 / n**2) for n in (2, 4, 8)]


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("cifar10", ["--pool"], "--pool: expected --reduction"),
        ("stl10", [], "required: --reduction"),
        ("mnist", ["--dataset", "cifar10"], "invalid choice"),
    ],
)
def test_flags_that_do_not_go_together(capsys, name, flags, message):
    with pytest.raises(SystemExit):
        load(name).main(flags)
    assert message in capsys.readouterr().err


def test_device_that_does_not_exist(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="device: expected a name such as"):
        load("mnist").main([*SMALL, "--device", "gpu", "--out", str(tmp_path)], side=8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="device: expected one of 2 GPUs from cuda:0 on, got 'cuda:2'"):
        load("mnist").main([*SMALL, "--device", "cuda:2", "--out", str(tmp_path)], side=8)


def test_flags_about_steps_reach_them(tmp_path):
    flags = [
        "--schedule",
        "cosine",
        "--weight_decay",
        "0.3",
        "--clip_norm",
        "1e-9",
        "--max_epochs",
        "2",
        "--lr",
        "1e-4",
    ]
    load("mnist").main([*SMALL, *flags, "--out", str(tmp_path)], side=8)
    state = load_state(tmp_path / "checkpoint.pt")
    (group,) = state["optimizer"]["param_groups"]
    assert (group["weight_decay"], group["decoupled_weight_decay"], group["lr"]) == (0.3, True, pytest.approx(0))
    assert (state["scheduler"]["T_max"], state["scheduler"]["base_lrs"]) == (4, [1e-4])
    moments = torch.cat([moment["exp_avg"].flatten() for moment in state["optimizer"]["state"].values()])
    assert 0 < float(moments.norm()) <= 1e-9
    with pytest.raises(ValueError, match="a run with max_epochs = 2, not 3"):  # the schedule would go up again
        load("mnist").main([*SMALL, *flags, "--max_epochs", "3", "--out", str(tmp_path), "--resume"], side=8)


@pytest.mark.parametrize(
    ("flags", "counts", "said"),
    [
        (
            [],
            "stl10: 30 test images, trained on 18,",
            "the best accuracy on 2 validation images chose epoch 1 of 1; one look",
        ),
        (
            ["--original_protocol"],
            "stl10: 20 test images, trained on 30,",
            "the original's, tests after every epoch and no",
        ),
    ],
)
def test_stl10_says_which_parts_it_takes(tmp_path, monkeypatch, capsys, flags, counts, said):
    """Synthetic images in the place of the benchmark's, fewer of them."""

    class STL10:
        def __init__(self, folder, split, download):
            count = {"train": 20, "test": 30}[split]
            self.data = np.random.default_rng(count).integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)
            self.labels = np.arange(count) % 10

    monkeypatch.setattr("torchvision.datasets.STL10", STL10)
    command = ["--reduction", "max", "--batch_size", "8", "--max_epochs", "1", "--log", "none", "--res_depth", "1"]
    load("stl10").main([*command, "--widen_factor", "1", "--out", str(tmp_path), *flags], side=12)
    printed = capsys.readouterr().out
    assert counts in printed
    (line,) = (line for line in printed.splitlines() if line.startswith("Protocol: "))
    assert line.startswith(f"Protocol: {said}")
    assert line.endswith("; STL10's parts are swapped" if flags else "; STL10's own parts")
    assert (tmp_path / "best.pt").exists() == (not flags)


def test_the_original_protocol_tests_after_every_epoch(tmp_path):
    command = [*SMALL, "--max_epochs", "2", "--out", str(tmp_path), "--original_protocol"]
    (report,) = load("mnist").main(command, side=8)
    assert [row["iteration"] for row in report.rows if "classic_test_loss" in row] == [3, 6]  # all 24 images
    assert not any("validation_loss" in row for row in report.rows)
    assert report.epoch == 2


@pytest.mark.parametrize("name", ["search_mnist", "search_cifar10"])
def test_search_adds_to_its_trials(tmp_path, name, capsys):
    command = [*SMALL[:4], *SMALL[6:], "--out", str(tmp_path)]
    study = load(name).main([*command, "--num_experiments", "2"], side=20)
    assert len(study.trials) == 2
    with pytest.raises(FileExistsError, match=r"study.log: holds a search"):
        load(name).main([*command, "--num_experiments", "3"], side=20)
    study = load(name).main([*command, "--num_experiments", "3", "--resume"], side=20)
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [row["trial"] for row in rows] == [0, 1, 2]
    assert study.best_value == max(row["accuracy"] for row in rows)
    for row in rows:
        assert row["batch_size"] in (8, 16, 32)
        assert row["kernel_size"] in range(2, 7)
        assert row["K"] in (8, 16, 32)
        assert 1e-4 <= row["xi"] <= 1e-1
        assert row["ntheta"] in (2, 4, 6, 8)
        assert 1e-2 <= row["eps"] <= 1
    assert "best of 3 trials" in capsys.readouterr().out


def test_exit_status_names_the_signal():
    from cheblienet.experiments.summary import exit_status
    from cheblienet.train import Report

    assert exit_status([Report()]) == 0
    assert exit_status([Report(), Report(signal=signal.SIGTERM)]) == 143
