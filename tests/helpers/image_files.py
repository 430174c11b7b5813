"""Small files in the formats of CIFAR10 and STL10, as they are published, with synthetic images.

torchvision compares the checksums of what it reads, so it is told those of these files.
"""

import hashlib
import io
import pickle
import struct
from pathlib import Path

import numpy as np

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STL10_NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


class _Python2(pickle._Pickler):
    """Pickles as Python 2 and its numpy did, in which the files were written: bytes are its strings."""

    def save(self, found, *args, **kwargs):
        if isinstance(found, bytes):
            self.write(b"T" + struct.pack("<i", len(found)) + found)
        elif found is np.empty(0).__reduce__()[0]:
            self.write(b"cnumpy.core.multiarray\n_reconstruct\n")
        else:
            super().save(found, *args, **kwargs)


def _pickled(content: dict) -> bytes:
    file = io.BytesIO()
    _Python2(file, protocol=2).dump(content)
    return file.getvalue()


def write_cifar10(folder: Path, train: np.ndarray, train_labels: list[int], test: np.ndarray, test_labels: list[int]):
    """Images (N, 32, 32, 3) uint8 by row, column and channel, those for training in five files.

    A row of "data" is one image: 1024 bytes of red, row by row, then green, then blue.
    """
    base = folder / "cifar-10-batches-py"
    base.mkdir(parents=True)
    batches = {f"data_batch_{k + 1}": (train[k::5], train_labels[k::5]) for k in range(5)}
    for name, (images, labels) in {**batches, "test_batch": (test, test_labels)}.items():
        content = {
            b"batch_label": f"{name} of synthetic images".encode(),
            b"labels": [int(label) for label in labels],
            b"data": images.transpose(0, 3, 1, 2).reshape(len(images), 3072).copy(),
            b"filenames": [f"synthetic_{k:06}.png".encode() for k in range(len(images))],
        }
        (base / name).write_bytes(_pickled(content))
    names = [name.encode() for name in CIFAR10_NAMES]
    meta = {b"num_cases_per_batch": len(test), b"label_names": names, b"num_vis": 3072}
    (base / "batches.meta").write_bytes(_pickled(meta))
    return base


def write_stl10(folder: Path, train: np.ndarray, train_labels: list[int], test: np.ndarray, test_labels: list[int]):
    """Images (N, 96, 96, 3) uint8 by row, column and channel, and labels from 0 on.

    A file of images has one after the other, each channel column by column; labels are bytes from 1 on.
    """
    base = folder / "stl10_binary"
    base.mkdir(parents=True)
    parts = {"train": (train, train_labels), "test": (test, test_labels), "unlabeled": (test[:2], None)}
    for name, (images, labels) in parts.items():
        (base / f"{name}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
        if labels is not None:
            (base / f"{name}_y.bin").write_bytes(bytes(int(label) + 1 for label in labels))
    (base / "class_names.txt").write_text("\n".join(STL10_NAMES) + "\n")
    folds = [" ".join(str(index) for index in range(k % 2, len(train), 2)) for k in range(10)]
    (base / "fold_indices.txt").write_text("\n".join(folds) + "\n")
    return base


def expect_checksums(monkeypatch, base: Path) -> None:
    """Tells torchvision the checksums of the files in `base`."""
    from torchvision.datasets import CIFAR10, STL10

    def of(file):
        return hashlib.md5((base / file).read_bytes()).hexdigest()

    kind = CIFAR10 if base.name == CIFAR10.base_folder else STL10
    for parts in ("train_list", "test_list"):
        monkeypatch.setattr(kind, parts, [[file, of(file)] for file, _ in getattr(kind, parts)])
    if kind is CIFAR10:
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": of(kind.meta["filename"])})
