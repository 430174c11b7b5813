"""Random sub-graphs: regularisation by leaving out edges or vertices."""

import math
from numbers import Real

import torch
from torch import Tensor

from .edges import Edges, reverse_edges
from .fingerprint import fingerprint
from .graph import Graph
from .held import Held
from .manifold import GEGraph


class RandomSubGraph(Graph):
    """A sub-graph of `graph` that can be drawn anew at every training step.

    It starts as the whole graph. Each sampling thins out what the former left; `reinit` restores the whole. Draws come
    from torch's global generator, so `torch.manual_seed` reproduces them. Layers use the present Laplacian.

    Its `lambda_max` is its own, not the parent's. A number that was set holds for the whole graph: eigenvalues of the
    normalised Laplacian of a part can be larger, so what was drawn has 2, the largest that any graph can have. "estimate" is
    of the present edges.

    Args:
        graph: the parent.

    Attributes:
        graph: the parent.
        manifold, size, dim: those of the parent, where it is a graph of group elements.
        vertex_attributes: names of the parent's vertex attributes, of which this graph has its own, restricted ones.
    """

    manifold: str
    size: tuple[int, ...]
    dim: tuple[int, int]

    def __init__(self, graph: Graph) -> None:
        if not isinstance(graph, Graph):
            raise TypeError(f"RandomSubGraph: graph: expected a Graph, got {type(graph).__name__}")
        self.graph = graph
        self.vertex_attributes = graph.vertex_attributes
        if isinstance(graph, GEGraph | RandomSubGraph):
            self.manifold, self.size, self.dim = graph.manifold, graph.size, graph.dim
        self.reinit()

    def reinit(self, *_: object) -> None:
        """Restores the parent's vertices and edges. Arguments, such as an event handler gets, are ignored."""
        parent = self.graph
        self._set_vertices(parent.vertex_index)
        self._set_edges(parent._edges, parent.num_vertices)
        self._stays, self._whole = parent._stays, parent._whole
        self._operators, self._labels = parent._operators, parent._labels
        if self._lambda_max == parent._lambda_max:  # the same results: one copy serves both
            self._laplacians, self._csrs, self._eigen_spaces = parent._laplacians, parent._csrs, parent._eigen_spaces

    @property
    def sub_vertex_index(self) -> Tensor:
        """(V,) int64, the parent's index of every vertex, ascending."""
        return self._sub_vertex_index.clone()

    def __getattr__(self, name: str) -> Tensor:
        if name not in self.vertex_attributes:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._vertices[name].clone()

    def edges_sampling(self, rate: float) -> None:
        """Keeps ceil(rate E / 2) of the E / 2 undirected edges, drawn without replacement in proportion to weight.

        Raises ValueError for a rate outside (0, 1].
        """
        rate = _checked_rate("edges_sampling", rate)
        index, sqdist, weight = self._edges.on_cpu
        pair = (index[0] < index[1]).nonzero()[:, 0]
        # The first arrivals of independent clocks of rate `weight` are such a draw, for any number of edges.
        arrival = torch.empty(len(pair), dtype=torch.float64).exponential_() / weight[pair]
        count = math.ceil(rate * len(pair))
        kept = pair[arrival.topk(count, largest=False, sorted=False).indices]
        mask = torch.zeros(self.num_edges, dtype=torch.bool)
        mask[kept] = mask[reverse_edges(index, self.num_vertices)[kept]] = True
        self._stays = self._whole = False
        self._set_edges(Held(Edges(index[:, mask], sqdist[mask], weight[mask])), self.num_vertices)

    def vertices_sampling(self, rate: float) -> None:
        """Keeps floor(rate V) vertices, drawn uniformly, and the edges between them. Pooling layers do not follow.

        Raises ValueError for a rate outside (0, 1], or so small that no vertex is left.
        """
        rate = _checked_rate("vertices_sampling", rate)
        count = math.floor(rate * self.num_vertices)
        if count == 0:
            raise ValueError(f"vertices_sampling: rate: expected at least 1 / V = 1 / {self.num_vertices}, got {rate}")
        vertices = torch.randperm(self.num_vertices)[:count].sort().values
        renumbered = torch.full((self.num_vertices,), -1)
        renumbered[vertices] = torch.arange(count)
        index, sqdist, weight = self._edges.on_cpu
        index = renumbered[index]
        mask = (index >= 0).all(0)
        self._set_vertices(self._sub_vertex_index[vertices])
        self._stays = self._whole = False
        self._set_edges(Held(Edges(index[:, mask], sqdist[mask], weight[mask])), count)

    def _set_vertices(self, sub_vertex_index: Tensor) -> None:
        # Kept, as a parent that is itself drawn anew may have others by the time they are asked for.
        self._sub_vertex_index = sub_vertex_index
        self._vertices = {name: getattr(self.graph, name)[sub_vertex_index] for name in self.vertex_attributes}

    @property
    def fingerprint(self) -> Tensor:
        """That of the whole graph, whatever is left of it at this step, with this one's `lambda_max`."""
        if self._lambda_max == self.graph._lambda_max:
            return self.graph.fingerprint
        whole = self.graph
        while isinstance(whole, RandomSubGraph):
            whole = whole.graph
        return fingerprint(whole, self.lambda_max)

    def _row_order(self, device: torch.device) -> Tensor | None:
        # The parent of a parent is fixed, but a parent that is itself drawn anew has other vertices by now.
        order = None if isinstance(self.graph, RandomSubGraph) else self.graph._row_order(device)
        if order is None:
            return None
        rank = torch.argsort(order)[self._sub_vertex_index.to(device)]
        return torch.argsort(rank)

    def cartesian_pos(self, axis: str | None = None) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """The parent's positions of the vertices: all three axes, or the one named "x", "y" or "z"."""
        if not isinstance(self.graph, GEGraph | RandomSubGraph):
            raise TypeError("cartesian_pos: expected a graph of group elements, the parent has no positions")
        position = self.graph.cartesian_pos(axis)
        if isinstance(position, Tensor):
            return position[self._sub_vertex_index]
        x, y, z = position
        return x[self._sub_vertex_index], y[self._sub_vertex_index], z[self._sub_vertex_index]


def _checked_rate(name: str, rate: float) -> float:
    if isinstance(rate, bool) or not isinstance(rate, Real) or not 0 < rate <= 1:
        raise ValueError(f"{name}: rate: expected a number in (0, 1], got {rate!r}")
    return float(rate)
