"""The program for climate states, on synthetic ones, with the graphs of the sphere."""

import numpy as np
import pytest
import torch
from torch.nn.functional import nll_loss

from cheblienet.data import artc_splits
from cheblienet.data.synthetic import write_synthetic_artc
from cheblienet.experiments import artc, segmentation

METRICS = {"loss", "F1", "mIoU", "mIoU_wo_bg", "mAP", "mAP_bound"}
METRICS |= {f"{metric}_{name}" for metric in ("acc", "AP") for name in ("bg", "tc", "ar")}


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("states")
    write_synthetic_artc(folder, 10, 3, seed=0)
    return folder


@pytest.mark.parametrize("weighted", [[], ["--weighted"]])
def test_program_runs_resumes_and_draws(states, tmp_path, weighted):
    command = ["--path_to_data", str(states), "--reduction", "max", "--expansion", "avg", "--subset", "2", *weighted]
    command += ["--batch_size", "2", "--log", "none", "--out", str(tmp_path)]
    (report,) = artc.main([*command, "--max_epochs", "1"])
    assert report.metrics.keys() == {f"test_{name}" for name in METRICS}
    assert all(0 <= value <= 1 for name, value in report.metrics.items() if name != "test_loss")
    assert report.tensors["test_confusion"].sum() == 2 * 642
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint.pt",
        "best.pt",
        "metrics.jsonl",
        "curves.png",
        "confusion.png",
        "globe.png",
    }
    if weighted:
        (resumed,) = artc.main([*command, "--max_epochs", "2", "--resume"])
        assert [row["iteration"] for row in resumed.rows] == [1, 1, 1, 2, 2, 2]


def test_states_in_the_original_folders(states, tmp_path):
    names = sorted(path.name for path in states.glob("*.npz"))
    for folder, part in (("data_train", names[:3]), ("data_test", names[3:5])):
        (tmp_path / folder).mkdir()
        for name in part:
            (tmp_path / folder / name).symlink_to(states / name)
    flags = ["--path_to_data", str(tmp_path), "--reduction", "max", "--expansion", "avg"]
    found = segmentation.datasets(artc.parse([*flags, "--original_protocol"]))
    assert {part: len(states) for part, states in found.items()} == {"train": 3, "test": 2}
    assert found["train"][0][0].shape == (16, 642)
    with pytest.raises(ValueError, match="data_train: expected training states of two dates or more"):
        segmentation.datasets(artc.parse(flags))  # these are of one


def test_the_published_validation_states_choose_the_epoch(states, tmp_path, capsys):
    command = ["--path_to_data", str(states), "--reduction", "max", "--expansion", "avg", "--batch_size", "4"]
    found = segmentation.datasets(artc.parse(command))
    for part, expected in artc_splits(states).items():
        assert list(found[part].names) == expected
    command += ["--max_epochs", "1", "--log", "none", "--out"]
    (report,) = artc.main([*command, str(tmp_path / "a")])
    scores = [row["validation_mAP"] for row in report.rows if "validation_mAP" in row]
    assert scores == [report.score]
    assert "Protocol: the best mAP on 1 validation states chose epoch 1 of 1; one look at" in capsys.readouterr().out
    (report,) = artc.main([*command, str(tmp_path / "b"), "--original_protocol"])
    assert not any("validation_mAP" in row for row in report.rows)
    assert "Protocol: the original's, tests after every epoch and no validation" in capsys.readouterr().out


def test_climatenet_is_split_by_date_and_normalised_by_its_own_training_part(tmp_path):
    pytest.importorskip("netCDF4", reason="netCDF4, of the extra `climate`, is not installed")
    from cheblienet.data.climatenet import convert
    from cheblienet.data.synthetic import write_synthetic_climatenet

    write_synthetic_climatenet(tmp_path / "in", num_dates=5, masks_per_date=2)
    assert convert(tmp_path / "in", tmp_path / "out", level=2) == 10
    command = ["--dataset", "climatenet", "--path_to_data", str(tmp_path / "out"), "--reduction", "max"]
    command += ["--expansion", "avg", "--batch_size", "2", "--max_epochs", "1", "--log", "none"]
    found = segmentation.datasets(artc.parse(command))
    assert {part: len(states) for part, states in found.items()} == {"train": 6, "val": 2, "test": 2}
    dates = [{name[:15] for name in part.names} for part in found.values()]
    assert len(set.union(*dates)) == sum(map(len, dates))
    train = found["train"]
    x = torch.cat([state for state, _ in train], 1)
    torch.testing.assert_close(x.mean(1), torch.zeros(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std(1), torch.ones(16), atol=1e-3, rtol=0)
    (report,) = artc.main([*command, "--out", str(tmp_path / "run")])
    assert report.tensors["test_confusion"].sum() == 2 * 162


def test_levels_of_training_and_test_states_agree(states, tmp_path):
    write_synthetic_artc(tmp_path / "data_test", 3, 2, seed=0)
    (tmp_path / "data_train").mkdir()
    for path in sorted(states.glob("*.npz"))[3:]:
        (tmp_path / "data_train" / path.name).symlink_to(path)
    with pytest.raises(ValueError, match="data_test: expected 642 vertices, .*, got 162"):
        segmentation.datasets(artc.parse(["--path_to_data", str(tmp_path), "--reduction", "max", "--expansion", "avg"]))


def test_class_weights_are_inverse_to_frequencies(states):
    train = segmentation.datasets(
        artc.parse(["--path_to_data", str(states), "--reduction", "max", "--expansion", "avg"])
    )["train"]
    weights = segmentation.class_weights(train, 0)
    labels = torch.cat([label for _, label in train])
    share = np.bincount(labels.numpy()) / len(labels)
    assert weights.tolist() == pytest.approx((1 / (3 * share)).tolist())
    assert float(weights[labels].mean()) == pytest.approx(1)


def test_losses_of_halves_average_to_the_whole():
    output, labels = torch.randn(4, 3, 20).log_softmax(1), torch.randint(3, (4, 20))
    loss = segmentation.mean_loss(torch.tensor([0.1, 1.0, 4.0]))
    torch.testing.assert_close((loss(output[:2], labels[:2]) + loss(output[2:], labels[2:])) / 2, loss(output, labels))
    assert segmentation.mean_loss(None) is nll_loss


def test_configurations():
    shared = {"kernel_size": 3, "eps": 0.1, "K": 16}
    assert artc.configuration(True, True) == {**shared, "nalpha": 6, "frames": "coordinate"}
    assert artc.configuration(True) == {**shared, "nalpha": 5, "frames": "icosahedral"}
    assert artc.configuration(False) == {"kernel_size": 3, "eps": 1.0, "K": 8, "nalpha": 1}
    config = {**artc.configuration(True), "nalpha": 2, "K": 4}
    graphs = segmentation.sphere_graphs(2, True, config, None)
    assert [graph.size for graph in graphs] == [(12, 2), (42, 2), (162, 2), (162, 1)]
    assert [graph.sigmas for graph in graphs[:3]] == [(1.0, 0.1, 10 / n) for n in (12, 42, 162)]


def test_states_are_repeated_over_orientations():
    states, labels = torch.randn(2, 16, 12), torch.zeros(2, 12)
    signals, _ = segmentation.prepare_batch(3)((states, labels), torch.device("cpu"))
    assert signals.shape == (2, 16, 36)
    for k in range(3):
        assert torch.equal(signals[..., 12 * k : 12 * (k + 1)], states)
    assert signals.transpose(1, 2).is_contiguous()
