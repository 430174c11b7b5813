"""Data sets of images and climate states, and signals on a group's sampling made from them."""

from .artc import (
    ARTC_MEAN,
    ARTC_STD,
    CHANNELS,
    CLASSES,
    ArtcDataset,
)
from .image_sets import ImageSet, flip_images, load_digits, load_images, split_digits, turn_images
from .images import to_graph_signal
from .splits import artc_parts, artc_splits, climatenet_parts, split_by_date
from .statistics import (
    Statistics,
    class_counts,
    kept_class_counts,
    kept_statistics,
    load_statistics,
    save_statistics,
    statistics,
    statistics_file,
)

__all__ = [
    "ARTC_MEAN",
    "ARTC_STD",
    "CHANNELS",
    "CLASSES",
    "ArtcDataset",
    "ImageSet",
    "Statistics",
    "artc_parts",
    "artc_splits",
    "class_counts",
    "climatenet_parts",
    "flip_images",
    "kept_class_counts",
    "kept_statistics",
    "load_digits",
    "load_images",
    "load_statistics",
    "save_statistics",
    "split_by_date",
    "split_digits",
    "statistics",
    "statistics_file",
    "to_graph_signal",
    "turn_images",
]
