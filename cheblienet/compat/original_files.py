"""Graphs from the files in which the original package keeps them.

A folder holds a file HASH_NAME.pt for each tensor of a graph, among them vertex_index, edge_index, edge_sqdist and
edge_weight. HASH is the SHA-256 of the graph's parameters as Python prints them, so that a size given as a list and as a
tuple have different files; both are looked for.
"""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from .._checks import check_choice, check_integer, check_sigmas
from ..graphs.edges import KERNELS, Edges
from ..graphs.graph import Graph
from ..graphs.manifold import GEGraph
from ..graphs.sampled import SO3GEGraph, _centroid, _SampledGraph

_Sampled = TypeVar("_Sampled", bound=_SampledGraph)


def load_original(
    kind: type[_Sampled],
    size: Sequence[int],
    sigmas: Sequence[float],
    K: int,
    path_to_graph: str | os.PathLike[str],
    kernel: str = "gaussian",
) -> _Sampled:
    """The graph that the original package made of these arguments and keeps in `path_to_graph`.

    Its edges, distances and weights are taken as they are, so networks trained on it give the results they had. Graphs
    built here have other edges; README says why. Only tensors are read, never pickled code.

    Args:
        kind: R2GEGraph, SE2GEGraph, S2GEGraph or SO3GEGraph.
        size, sigmas, K, kernel: as the original was given them, with the same numbers: 1 and 1.0 are two files.
        path_to_graph: the folder.

    Raises:
        FileNotFoundError: naming the file that is missing.
        TypeError: if `kind` is none of the four.
        ValueError: for arguments that no graph of this kind has, or naming the file that is damaged, holds no tensor or
            not that of an undirected graph of this size with weights of at least 0.
    """
    if not (isinstance(kind, type) and issubclass(kind, _SampledGraph) and hasattr(kind, "_group")):
        raise TypeError(f"load_original: kind: expected a graph class such as SE2GEGraph, got {kind!r}")
    prefix = find_original(kind._group.name, size, sigmas, K, path_to_graph, kernel)
    if prefix is None:
        missing = _candidates(kind._group.name, size, sigmas, K, path_to_graph, kernel)[0]
        raise FileNotFoundError(f"{missing}_edge_index.pt: no file of this graph, nor under another spelling of it")
    graph = kind.__new__(kind)
    set_original(graph, size, sigmas, K, kernel, lambda asked: load_edges(prefix, asked.num_vertices))
    return graph


def find_original(
    manifold: str,
    size: Sequence[int],
    sigmas: Sequence[float],
    K: int,
    path_to_graph: str | os.PathLike[str],
    kernel: str = "gaussian",
) -> Path | None:
    """What the names of this graph's files begin with, up to "_edge_index.pt"; None if there is no such file."""
    candidates = _candidates(manifold, size, sigmas, K, path_to_graph, kernel)
    return next((prefix for prefix in candidates if file_of(prefix, "edge_index").exists()), None)


class Parameters(NamedTuple):
    """Of a graph of the original, checked: `size` with the number of orientations last."""

    manifold: str
    size: tuple[int, ...]
    sigmas: tuple[float, float, float]
    K: int
    kernel: str
    centroid: int

    @property
    def num_vertices(self) -> int:
        return math.prod(self.size)


def set_original(
    graph: _SampledGraph,
    size: Sequence[int],
    sigmas: Sequence[float],
    K: int,
    kernel: str,
    edges: Callable[[Parameters], Edges],
) -> None:
    """Initialises `graph` with these arguments and what `edges` makes of them, once they are checked."""
    name, group = type(graph).__name__, graph._group
    full_size = graph._checked_size(size)
    if isinstance(graph, SO3GEGraph):
        graph.frames = "coordinate"
    elements = group.uniform_sampling(*full_size[: len(graph._axes)], **graph._sampling)
    metric = check_sigmas(f"{name}: sigmas", sigmas)
    K = check_integer(f"{name}: K", K, 1, len(elements) - 1)
    check_choice(f"{name}: kernel", kernel, KERNELS)
    parameters = Parameters(group.name, full_size, metric, K, kernel, _centroid(full_size))
    GEGraph.__init__(graph, group, elements, edges(parameters), metric, K, kernel, full_size, parameters.centroid)


def hash_of(text: str) -> str:
    """What the names of a graph's files begin with, for the text that describes the graph."""
    return hashlib.sha256(text.encode()).hexdigest()


def described(manifold: str, size: Sequence[int], sigmas: Sequence[float], K: int, kernel: str) -> str:
    """The text that describes a graph, with its arguments as they are given."""
    return f"{manifold}-{size}-{K}-{sigmas}-{kernel}"


def file_of(prefix: Path, name: str) -> Path:
    """The file of one tensor of a graph."""
    return prefix.with_name(f"{prefix.name}_{name}.pt")


def _candidates(
    manifold: str,
    size: Sequence[int],
    sigmas: Sequence[float],
    K: int,
    path_to_graph: str | os.PathLike[str],
    kernel: str,
) -> list[Path]:
    """Prefixes for the arguments as they are and with lists and tuples in each other's place, without repetitions."""
    texts = [
        described(manifold, a, b, K, kernel)
        for a in (size, list(size), tuple(size))
        for b in (sigmas, tuple(sigmas), list(sigmas))
    ]
    return [Path(path_to_graph) / hash_of(text) for text in dict.fromkeys(texts)]


def load_edges(prefix: Path, num_vertices: int) -> Edges:
    """The edges from the files that begin with `prefix`; OSError or ValueError naming the file that is not right."""
    index = _load_tensor(prefix, "vertex_index")
    if not torch.equal(index, torch.arange(num_vertices)):
        raise ValueError(
            f"{file_of(prefix, 'vertex_index')}: expected the vertices 0 to {num_vertices - 1} of this sampling, "
            f"got {index.dtype} of shape {tuple(index.shape)}"
        )
    edge_index, sqdist, weight = (_load_tensor(prefix, name) for name in Edges._fields)
    try:
        graph = Graph(edge_index, weight, num_vertices, edge_sqdist=sqdist)
    except (TypeError, ValueError) as error:
        name = next((name for name in Edges._fields if f" {name}:" in str(error)), "edge_index")
        raise ValueError(f"{file_of(prefix, name)}: {error}") from error
    return Edges(graph.edge_index, graph.edge_sqdist, graph.edge_weight)


def _load_tensor(prefix: Path, name: str) -> Tensor:
    path = file_of(prefix, name)
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise type(error)(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged archive can raise almost anything
        raise ValueError(f"{path}: expected a tensor, cannot be read: {error}") from error
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{path}: expected a tensor, got {type(tensor).__name__}")
    return tensor
