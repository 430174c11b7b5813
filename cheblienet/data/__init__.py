"""From images and climate states to signals on a group's sampling."""

from .artc import ARTC_MEAN, ARTC_STD, CHANNELS, CLASSES, ArtcDataset, artc_splits, split_by_date
from .images import to_graph_signal
from .statistics import Statistics, load_statistics, save_statistics, statistics

__all__ = [
    "ARTC_MEAN",
    "ARTC_STD",
    "CHANNELS",
    "CLASSES",
    "ArtcDataset",
    "Statistics",
    "artc_splits",
    "load_statistics",
    "save_statistics",
    "split_by_date",
    "statistics",
    "to_graph_signal",
]
