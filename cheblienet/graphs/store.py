"""Cache files of edges: one per graph, found by its parameters, replaced when they do not hold what they should."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from .._files import replacing
from .edges import Edges

# To be raised when the same parameters come to mean other edges: a new sampling, metric or file layout.
_FORMAT = 1


def content_key(manifold: str, size: tuple[int, ...], sigmas: tuple[float, ...], K: int, kernel: str) -> str:
    """Everything that determines the edges, exactly: sigmas as hexadecimal floats, in canonical JSON."""
    content = {
        "format": _FORMAT,
        "manifold": manifold,
        "size": size,
        "sigmas": [sigma.hex() for sigma in sigmas],
        "K": K,
        "kernel": kernel,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def cache_file(folder: str | os.PathLike[str], key: str) -> Path:
    """Where the edges with this key are kept."""
    return Path(folder) / f"{json.loads(key)['manifold']}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"


def load_or_build(folder: str | os.PathLike[str], key: str, num_vertices: int, build: Callable[[], Edges]) -> Edges:
    """The edges with this key, from their file in `folder` or else built and written there.

    A file that is damaged or holds something else, and a folder that cannot be written, give a warning, never an error.
    """
    path = cache_file(folder, key)
    try:
        return _load(path, key, num_vertices)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except Exception as error:  # a damaged archive can raise almost anything
        warnings.warn(f"{path}: not a usable cache file, the graph is built anew: {error}", stacklevel=3)
    edges = build()
    try:
        _save(path, key, edges)
    except OSError as error:
        warnings.warn(f"{path}: the graph could not be saved: {error}", stacklevel=3)
    return edges


def _load(path: Path, key: str, num_vertices: int) -> Edges:
    # Reading a member to its end verifies its checksum.
    with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
        stored = str(archive["key"])
        if stored != key:
            raise ValueError(f"it belongs to {stored}, not to {key}")
        index, sqdist, weight = (archive[name] for name in Edges._fields)
    _check("edge_index", index, np.int64, (2, index.shape[-1]))
    _check("edge_sqdist", sqdist, np.float32, (index.shape[1],))
    _check("edge_weight", weight, np.float32, (index.shape[1],))
    if index.size and not 0 <= index.min() <= index.max() < num_vertices:
        raise ValueError(f"expected vertices between 0 and {num_vertices - 1}, got {index.min()} to {index.max()}")
    if (np.diff(index[0] * num_vertices + index[1]) <= 0).any():
        raise ValueError("expected edges sorted by source and target")
    if not (np.isfinite(sqdist).all() and np.isfinite(weight).all()):
        raise ValueError("expected finite distances and weights")
    return Edges(torch.from_numpy(index), torch.from_numpy(sqdist), torch.from_numpy(weight))


def _check(name: str, array: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name}: expected {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}")


def _save(path: Path, key: str, edges: Edges) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.savez(file, key=np.array(key), **{name: tensor.numpy() for name, tensor in edges._asdict().items()})
