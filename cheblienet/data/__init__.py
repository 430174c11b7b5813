"""Data sets, and signals on a group's sampling made from them."""

from .image_sets import ImageSet, flip_images, load_digits, load_images, split_digits, turn_images
from .images import to_graph_signal

__all__ = ["ImageSet", "flip_images", "load_digits", "load_images", "split_digits", "to_graph_signal", "turn_images"]
