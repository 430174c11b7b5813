"""Image sets: the bundled digits, files of MNIST's format, turning and flipping, and errors that say what is missing."""

import gzip
import urllib.error

import numpy as np
import pytest
import torch

from cheblienet.data import flip_images, load_digits, load_images, split_digits, turn_images


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
    path.write_bytes(header + array.tobytes())


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (28, 1), (32, 3)])
def test_digits(side, channels):
    train = load_images("digits", "unused", True, side, channels)
    test = load_images("digits", "unused", False, side, channels)
    assert train.images.shape == (1347, channels, side, side)
    assert test.images.shape == (450, channels, side, side)
    assert train.images.dtype == torch.uint8
    assert train.labels.bincount().min() > 100
    assert train.mean == test.mean
    values = train.images.double() / 255
    assert float(values.mean()) == pytest.approx(train.mean[0], abs=1e-3)
    assert float(values.std()) == pytest.approx(train.std[0], abs=1e-3)


def test_digits_have_a_margin_and_are_split_without_overlap():
    images, labels = load_digits(16)
    assert images.shape == (1797, 1, 16, 16)
    assert images[..., 2:-2, 2:-2].sum() == images.sum()
    train, test = split_digits(labels, 3)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(1797))


def test_mnist_from_its_files(tmp_path, no_network):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    labels = np.array([3, 1, 4, 1, 5], dtype=np.uint8)
    for part in ("train", "t10k"):
        write_idx(raw / f"{part}-images-idx3-ubyte", pixels)
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels)
    found = load_images("mnist", tmp_path, False, 28, 1)
    assert torch.equal(found.images[:, 0], torch.from_numpy(pixels))
    assert found.labels.tolist() == labels.tolist()
    assert found.mean == (0.1307,)
    assert load_images("mnist", tmp_path, True, 14, 1).images.shape == (5, 1, 14, 14)
    with pytest.raises(ValueError, match="channels: expected 1 for mnist, got 3"):
        load_images("mnist", tmp_path, True, 28, 3)
    (raw / "train-images-idx3-ubyte").write_bytes(gzip.compress(b"damaged"))
    with pytest.raises(FileNotFoundError, match=f"mnist: not usable in {tmp_path}"):
        load_images("mnist", tmp_path, True, 28, 1)


@pytest.mark.parametrize(
    ("name", "file"),
    [("mnist", "MNIST/raw"), ("cifar10", "cifar-10-batches-py"), ("stl10", "stl10_binary")],
)
def test_missing_files_say_what_to_put_where(tmp_path, no_network, name, file):
    with pytest.raises(FileNotFoundError, match=f"{name}: not usable in .* Put .* in {tmp_path}/{file}"):
        load_images(name, tmp_path, True, 32, 3)


def test_unknown_name():
    with pytest.raises(ValueError, match="name: expected one of 'mnist', 'cifar10', 'stl10', 'digits', got 'cifar'"):
        load_images("cifar", ".", True, 32, 3)


def test_subsets_are_drawn_by_seed():
    test = load_images("digits", "unused", False, 8, 1)
    few = test.subset(20, 1)
    assert few.images.shape[0] == few.labels.shape[0] == 20
    assert torch.equal(few.images, test.subset(20, 1).images)
    assert not torch.equal(few.images, test.subset(20, 2).images)
    assert test.subset(None, 1) is test.subset(5000, 1) is test


def test_turned_by_right_angles_permutes_pixels():
    images = torch.arange(40 * 9, dtype=torch.int32).view(40, 1, 3, 3)
    turned = turn_images(images, True, 0)
    turns = [[torch.equal(t, i.rot90(k, (-2, -1))) for k in range(4)] for t, i in zip(turned, images, strict=True)]
    assert all(sum(row) == 1 for row in turns)
    assert all(any(row[k] for row in turns) for k in range(4))
    assert torch.equal(turned, turn_images(images, True, 0))


def test_turned_by_any_angle():
    disk = (torch.linspace(-1, 1, 33)[:, None] ** 2 + torch.linspace(-1, 1, 33) ** 2 < 0.8).to(torch.uint8) * 255
    half = disk.clone()
    half[:, :16] = 0
    turned = turn_images(half.expand(50, 1, 33, 33), False, 4)
    centres = turned.double().flatten(2) @ torch.cartesian_prod(*2 * [torch.linspace(-1, 1, 33).double()])
    angles = torch.atan2(centres[:, 0, 0], centres[:, 0, 1])
    assert angles.min() < -2
    assert angles.max() > 2
    assert (turned.flatten(1).double().mean(1) / half.double().mean() - 1).abs().max() < 0.05


def test_flips():
    images = torch.arange(60 * 6).view(60, 1, 2, 3)
    flipped = flip_images(images, 0)
    kinds = [(), (-1,), (-2,), (-2, -1)]
    rows = [[torch.equal(f, i.flip(k)) for k in kinds] for f, i in zip(flipped, images, strict=True)]
    assert all(sum(row) == 1 for row in rows)
    assert all(sum(row[k] for row in rows) > 5 for k in range(4))
