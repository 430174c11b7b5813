"""Cache files of edges: one per graph, found by its parameters, replaced when they do not hold what they should."""

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._files import read_arrays, replacing
from .edges import Edges
from .graph import Graph

# To be raised when the same parameters come to mean other edges: a new sampling, metric or file layout.
_FORMAT = 1


def content_key(
    manifold: str, size: tuple[int, ...], sigmas: tuple[float, ...], K: int, kernel: str, **sampling: Any
) -> str:
    """Everything that determines the edges, exactly: sigmas as hexadecimal floats, in canonical JSON.

    `sampling` tells, where it is not the group's regular one, what else the elements come from.
    """
    content = {
        "format": _FORMAT,
        "manifold": manifold,
        "size": size,
        "sigmas": [sigma.hex() for sigma in sigmas],
        "K": K,
        "kernel": kernel,
        **sampling,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def cache_file(folder: str | os.PathLike[str], key: str) -> Path:
    """Where the edges with this key are kept."""
    return Path(folder) / f"{json.loads(key)['manifold']}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"


def load_or_build(folder: str | os.PathLike[str], key: str, num_vertices: int, build: Callable[[], Edges]) -> Edges:
    """The edges with this key, from their file in `folder` or else built and written there.

    A file that is damaged or holds something else, and a folder that cannot be written, give a warning, never an error.
    Several processes may do so at once: each builds what it does not find, and the last file stays.
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
        save(folder, key, edges)
    except OSError as error:
        warnings.warn(f"{path}: the graph could not be saved: {error}", stacklevel=3)
    return edges


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Edges]:
    """What determined the edges of a cache file, by the names that `content_key` gives, and the edges.

    Raises OSError where the file cannot be read, and ValueError naming it where it is no cache file or is damaged.
    """
    path = Path(path)
    try:
        key = _stored_key(path)
        content = json.loads(key)
        return content, _load(path, key, math.prod(content["size"]))
    except OSError:
        raise
    except Exception as error:  # a damaged archive can raise almost anything
        raise ValueError(f"{path}: not a usable cache file: {error}") from error


def load_graph(path: str | os.PathLike[str]) -> Graph:
    """The graph, without its elements, that `python -m cheblienet graph build --save` or a `path_to_graph` has kept.

    Raises OSError where the file cannot be read, and ValueError naming it where it is damaged or no such file.
    """
    content, edges = read(path)
    return Graph(edges.edge_index, edges.edge_weight, math.prod(content["size"]), edge_sqdist=edges.edge_sqdist)


def _stored_key(path: Path) -> str:
    return str(read_arrays(path, "key")[0])


def _load(path: Path, key: str, num_vertices: int) -> Edges:
    if (stored := _stored_key(path)) != key:
        raise ValueError(f"it belongs to {stored}, not to {key}")
    index, sqdist, weight = read_arrays(path, *Edges._fields)
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


def save(folder: str | os.PathLike[str], key: str, edges: Edges) -> Path:
    """Writes the edges with this key to their file in `folder`, which is made if missing."""
    path = cache_file(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.savez(file, key=np.array(key), **{name: tensor.cpu().numpy() for name, tensor in edges._asdict().items()})
    return path
