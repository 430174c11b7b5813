"""Graphs on samplings of groups, on chosen elements or from given edges, with their Laplacians and spectra."""

from .graph import Graph
from .manifold import GEGraph
from .sampled import R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
from .store import load_graph
from .subgraph import RandomSubGraph

__all__ = [
    "GEGraph",
    "Graph",
    "R2GEGraph",
    "RandomSubGraph",
    "S2GEGraph",
    "SE2GEGraph",
    "SO3GEGraph",
    "load_graph",
]
