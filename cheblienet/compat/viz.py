"""The original's interactive pictures of graphs, by plotly."""

from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

from ..graphs import Graph


def visualize_graph(graph: Graph) -> None:
    """Shows the vertices."""
    _show(graph, {}, color="crimson", line={"width": 2, "color": "darkslategrey"})


def visualize_graph_signal(graph: Graph, signal: Tensor) -> None:
    """Shows the vertices in the colours of a signal (V,)."""
    values = torch.as_tensor(signal).flatten()
    _show(graph, {"signal": values}, color=values.numpy(), colorscale="PiYG", cmid=0, showscale=True)


def visualize_graph_neighborhood(graph: Graph, vertex_index: int) -> None:
    """Shows the vertices in the colours of the weights of their edges from one of them, 0 where there is no edge."""
    neighbors, weights, sqdists = graph.neighborhood(vertex_index)
    weight = torch.zeros(graph.num_vertices).index_put((neighbors,), weights)
    sqdist = torch.full((graph.num_vertices,), torch.nan).index_put((neighbors,), sqdists)
    scale = {"colorscale": "PuRd", "cmin": 0, "cmax": 1, "showscale": True}
    _show(graph, {"weight": weight, "sqdist": sqdist}, color=weight.numpy(), **scale)


def _show(graph: Graph, values: dict[str, Tensor], **marker: Any) -> None:
    """The vertices in space; pointing at one tells its attributes and `values`."""
    told = {"vertex_index": graph.vertex_index}
    told |= {attribute: getattr(graph, attribute) for attribute in graph.vertex_attributes} | values
    x, y, z = (coordinate.numpy() for coordinate in graph.cartesian_pos())
    points = go.Scatter3d(
        x=x,
        y=y,
        z=z,
        mode="markers",
        marker={"size": 5, **marker},
        customdata=torch.stack([column.double() for column in told.values()], 1).numpy(),
        hovertemplate="<br>".join(f"{name} = %{{customdata[{i}]}}" for i, name in enumerate(told)) + "<extra></extra>",
    )
    go.Figure(points, {"width": 600, "height": 500, "margin": {"l": 0, "r": 0, "t": 0, "b": 0}}).show()
