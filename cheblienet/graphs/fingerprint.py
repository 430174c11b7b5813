"""What a state dict says about the graph of a layer, and in what another graph differs from it.

A fingerprint is a uint8 tensor: 32 bytes, the SHA-256 of the edges, and JSON, filled up with blanks to a multiple of 512
bytes, so that fingerprints of different graphs fit in each other's place. The edges are integers, decided with tolerances
above all rounding, and so the same on every machine and device. Numbers that rounding may move, the weights and the
coordinates of elements of one's own, are no part of the hash: the JSON has means of them, which are compared with a
tolerance. The elements of a regular sampling follow from its size.
"""

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..groups.builtin import built_in_name, has_built_in_sampling
from .edges import in_pieces

if TYPE_CHECKING:
    from .graph import Graph

_FORMAT = 1
_HASHED, _UNIT, _LONGEST = 32, 512, 2**16

# Relative, for float32 weights and sums of them.
_TOLERANCE = 1e-5
# An estimate ends within a thousandth, at another step of the iteration where rounding is another.
_TOLERANCES = {"lambda_max": 1e-3}

_CONSTRUCTION = ("manifold", "size", "frames", "sigmas", "K", "kernel")
# What those say that do not name it.
_UNNAMED = {"frames": "coordinate"}


def fingerprint(graph: "Graph", lambda_max: float) -> Tensor:
    """The fingerprint of a graph whose Laplacian is rescaled by `lambda_max`, (n,) uint8 on the CPU, n a multiple of 512."""
    edges = graph._edges.made
    content: dict[str, Any] = {"format": _FORMAT, "vertices": graph.num_vertices, "edges": graph.num_edges}
    content |= {name: getattr(graph, name) for name in _CONSTRUCTION if hasattr(graph, name)}
    if hasattr(graph, "sigmas"):
        regular = hasattr(graph, "_axes") and has_built_in_sampling(graph.group)
        content["sampling"] = "regular" if regular else "elements"
        if built_in_name(graph.group) is None:
            content["class of the group"] = type(graph.group).__qualname__
        if not regular:
            content["centroid"] = graph.centroid_vertex
            # The cosine takes angles that differ by a whole turn for one, its shift tells an angle from its negative, and
            # positive values keep means of them away from zero.
            content["coordinates"] = [_sketch(2 + (x - 1).cos()) for x in graph._elements.made.unbind(-1)]
    content |= {"weights": _sketch(edges.edge_weight), "lambda_max": lambda_max}
    pattern = edges.edge_index.cpu().contiguous().numpy().astype("<i8", copy=False)
    # Attributes that users give a graph of their own may be of any type.
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str).encode()
    text += b" " * (-(_HASHED + len(text)) % _UNIT)
    return torch.frombuffer(bytearray(hashlib.sha256(pattern).digest() + text), dtype=torch.uint8)


def differences(saved: object, own: Tensor) -> list[str]:
    """In what a saved fingerprint differs from a graph's own, such as "K = 8, here 16"; empty where they are one graph.

    Raises ValueError where `saved` is no fingerprint, or one of another format.
    """
    there, here = ({**_UNNAMED, **_decoded(fingerprint)} for fingerprint in (saved, own))
    names = list(dict.fromkeys([*here, *there]))
    return [
        f"{name} = {_shown(there.get(name))}, here {_shown(here.get(name))}"
        for name in names
        if not _same(there.get(name), here.get(name), _TOLERANCES.get(name, _TOLERANCE))
    ]


def _sketch(values: Tensor) -> list[float]:
    """The mean of values (n,), and their mean with weights in [0, 1) that follow no pattern, so that order counts."""
    total = torch.zeros(2, dtype=torch.float64, device=values.device)
    start = 0
    for (piece,) in in_pieces(values):
        numbers = torch.arange(start, start + len(piece), dtype=torch.float64, device=values.device)
        weights = torch.stack([torch.ones_like(numbers), (numbers * ((5**0.5 - 1) / 2)).frac()])
        total += weights @ piece.double()
        start += len(piece)
    return (total / max(len(values), 1)).tolist()


def _decoded(fingerprint: object) -> dict[str, Any]:
    """What a fingerprint holds, by name. ValueError for anything that is none."""
    if not isinstance(fingerprint, Tensor):
        raise ValueError(f"expected a tensor, got {type(fingerprint).__name__}")
    if fingerprint.ndim != 1 or fingerprint.is_meta or fingerprint.is_complex() or len(fingerprint) > _LONGEST:
        raise ValueError(f"expected bytes, got {fingerprint.dtype} of shape {tuple(fingerprint.shape)}")
    try:
        # Other types are let through: programs that cast a whole state dict keep these numbers exactly.
        data = bytes(int(value) for value in fingerprint.tolist())
        content = json.loads(data[_HASHED:])
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"expected a hash and JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"expected format {_FORMAT}, got {str(content)[:40]}")
    return {**content, "pattern": data[:_HASHED].hex()}


def _shown(value: object) -> object:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 2 * _HASHED - 1 else value


def _same(a: object, b: object, tolerance: float) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=tolerance)
    return a == b
