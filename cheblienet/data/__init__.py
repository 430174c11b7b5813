"""From images to signals on a group's sampling."""

from .images import to_graph_signal

__all__ = ["to_graph_signal"]
