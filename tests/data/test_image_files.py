"""Synthetic images in the file formats of CIFAR10 and STL10: how they are read, and the programs on them."""

import importlib
from unittest import mock
from urllib.error import URLError

import numpy as np
import pytest
import torch
from image_files import expect_checksums, write_cifar10, write_stl10

from cheblienet.data import load_images
from cheblienet.experiments import classification
from cheblienet.experiments.classification import LiftImages
from cheblienet.graphs import R2GEGraph
from cheblienet.train import Report

SIDES = {"cifar10": 32, "stl10": 96}
WRITERS = {"cifar10": write_cifar10, "stl10": write_stl10}
COUNTS = {"train": 20, "test": 12}
# Over the published training images in [0, 1], and, swapped, over STL10's published test images.
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "stl10": ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)),
    "swapped": ((0.4472, 0.4396, 0.4050), (0.2606, 0.2567, 0.2700)),
}


def draw(name, part):
    """Random images (N, H, W, 3) and labels. The first is red with a green upper left corner and a blue right edge."""
    side, random = SIDES[name], np.random.default_rng(len(part))
    images = random.integers(0, 256, (COUNTS[part], side, side, 3), dtype=np.uint8)
    images[0] = (255, 0, 0)
    images[0, : side // 4, : side // 2] = (0, 255, 0)
    images[0, :, -1] = (0, 0, 255)
    return images, [(3 * k + len(part)) % 10 for k in range(COUNTS[part])]


@pytest.fixture(params=["cifar10", "stl10"])
def files(request, tmp_path, monkeypatch):
    """The name of a data set whose files are in a folder, and the folder."""
    name = request.param
    base = WRITERS[name](tmp_path / "data", *draw(name, "train"), *draw(name, "test"))
    expect_checksums(monkeypatch, base)
    monkeypatch.setattr("urllib.request.urlopen", mock.Mock(side_effect=URLError("no network in tests")))
    return name, tmp_path / "data"


def both(name, folder, **options):
    return [load_images(name, folder, train, SIDES[name], 3, **options) for train in (True, False)]


def test_parts_have_their_images_and_labels(files):
    name, folder = files
    for found, part in zip(both(name, folder), ("train", "test"), strict=True):
        images, labels = draw(name, part)
        order = [*range(len(images))]
        if name == "cifar10" and part == "train":  # one file after the other
            order = [k for start in range(5) for k in order[start::5]]
        assert found.images.dtype == torch.uint8
        assert torch.equal(found.images, torch.from_numpy(images[order]).permute(0, 3, 1, 2))
        assert found.labels.tolist() == [labels[k] for k in order]
        assert (found.mean, found.std) == STATISTICS[name]


def test_red_is_the_first_channel_and_up_is_up(files):
    name, folder = files
    side = SIDES[name]
    red, green, blue = both(name, folder)[0].images[0].bool()
    assert red[-1, 0]
    assert green[0, 0]
    assert not green[side // 4, 0]  # below the corner
    assert not green[0, side // 2]  # right of it
    assert green[0, side // 2 - 1]
    assert blue[:, -1].all()
    assert not blue[-1, :-1].any()
    assert not (red & (green | blue)).any()


def test_a_smaller_image_keeps_its_colours_and_sides(files):
    name, folder = files
    small = load_images(name, folder, True, 8, 3).images[0]
    assert small.shape == (3, 8, 8)
    assert small[:, 7, 0].tolist() == [255, 0, 0]
    assert small[:, 0, 0].tolist() == [0, 255, 0]
    assert small[2, :, 7].min() > 10
    assert int(small[2, :, :6].max()) == 0


def test_signals_are_normalised_by_channel_in_the_order_of_the_graph(files):
    name, folder = files
    train = load_images(name, folder, True, 8, 3)
    lift = LiftImages(R2GEGraph((8, 8), (1.0, 1.0, 1.0), 4), train.mean, train.std)
    signals, labels = lift((train.images[:2], train.labels[:2]), torch.device("cpu"))
    mean, std = map(torch.tensor, STATISTICS[name])
    expected = (train.images[:2].double() / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(signals.double(), expected.flatten(2), atol=1e-5, rtol=1e-5)
    assert torch.equal(labels, train.labels[:2])


def test_only_stl10_is_swapped_and_with_other_statistics(files):
    name, folder = files
    train, test = both(name, folder, swapped=True)
    first, second = both(name, folder)
    if name == "stl10":
        assert (len(train.images), len(test.images)) == (12, 20)
        first, second = second, first
    assert torch.equal(train.images, first.images)
    assert torch.equal(test.labels, second.labels)
    assert (train.mean, train.std) == (test.mean, test.std) == STATISTICS["swapped" if name == "stl10" else name]


def test_a_changed_file_is_not_read(files):
    name, folder = files
    file = next(path for path in sorted(folder.rglob("*")) if path.name in ("data_batch_2", "train_X.bin"))
    content = bytearray(file.read_bytes())
    content[-600] ^= 1
    file.write_bytes(content)
    with pytest.raises(FileNotFoundError, match=f"{name}: not usable in {folder}"):
        load_images(name, folder, True, SIDES[name], 3)


@pytest.mark.parametrize("flags", [[], ["--original_protocol"]])
def test_the_program_takes_a_step_on_them(files, tmp_path, monkeypatch, capsys, flags):
    name, folder = files
    tasks, fit = [], classification.fit
    monkeypatch.setattr(classification, "fit", lambda task, options: tasks.append(task) or fit(task, options))
    command = ["--path_to_data", str(folder), "--batch_size", "8", "--max_epochs", "1", "--log", "none", *flags]
    command += ["--res_depth", "1", "--widen_factor", "1", "--validation_share", "0.4", "--out", str(tmp_path / "out")]
    command += ["--reduction", "max"] if name == "stl10" else []
    (report,) = importlib.import_module(f"cheblienet.experiments.{name}").main(command, side=12)
    swapped = bool(flags) and name == "stl10"
    whole, tested = (12, 20) if swapped else (20, 12)
    held = 0 if flags else 8
    assert f"{name}: {tested} test images, trained on {whole - held}," in capsys.readouterr().out
    assert isinstance(report, Report)
    assert [row["iteration"] for row in report.rows if "train_loss" in row] == list(range(1, (whole - held) // 8 + 1))
    test_set = "test" if name == "stl10" else "classic_test"
    assert report.tensors[f"{test_set}_confusion"].sum() == tested
    (task,) = tasks
    trained = task.train_set.tensors[1].tolist() + ([] if flags else task.validation_set.tensors[1].tolist())
    assert sorted(trained) == sorted(draw(name, "test" if swapped else "train")[1])
    assert task.prepare_batch.mean.flatten().tolist() == pytest.approx(STATISTICS["swapped" if swapped else name][0])
