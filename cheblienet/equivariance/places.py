"""Where the elements of a graph are: their places in space and the lines of their orientations."""

import torch
from torch import Tensor

from ..graphs import GEGraph, Graph
from ..groups import R2Group, S2Group, SE2Group, SO3Group


def check_graph(name: str, graph: object) -> GEGraph:
    """`graph` if an isometry of space moves its elements; TypeError or ValueError otherwise."""
    if not isinstance(graph, GEGraph):
        kind = "a Graph without elements" if isinstance(graph, Graph) else type(graph).__name__
        raise TypeError(f"{name}: expected a graph of group elements, such as SE2GEGraph, got {kind}")
    if not isinstance(graph.group, R2Group | SE2Group | S2Group | SO3Group):
        raise ValueError(
            f"{name}: expected a graph on R2, SE(2), S2 or SO(3), got the group {graph.group.name!r}, "
            "of which it is not known how isometries move its elements"
        )
    return graph


def is_plane(graph: GEGraph) -> bool:
    return isinstance(graph.group, R2Group | SE2Group)


def places(graph: GEGraph) -> Tensor:
    """(V, 3) float64: points of the unit sphere, or of the plane z = 0 with the middle of the sampling at the origin."""
    if not is_plane(graph):
        return graph.group.matrix(graph.elements)[..., 2]
    x = torch.nn.functional.pad(graph.elements[:, :2], (0, 1))
    return x - x.mean(0)


def lines(graph: GEGraph) -> Tensor | None:
    """(V, 3) float64: unit vectors along the orientations, or None where there are none."""
    if isinstance(graph.group, SE2Group):
        theta = graph.elements[:, 2]
        return torch.stack([theta.cos(), theta.sin(), torch.zeros_like(theta)], -1)
    return graph.group.matrix(graph.elements)[..., 0] if isinstance(graph.group, SO3Group) else None
