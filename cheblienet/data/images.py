"""Images as signals on the plane, or lifted to SE(2) by repetition over the orientations."""

from torch import Tensor

from .._checks import check_integer, check_tensor


def to_graph_signal(images: Tensor, num_layers: int) -> Tensor:
    """Lifts images (B, C, H, W) to signals (B, C, num_layers H W), the same in every orientation layer.

    Vertex x + W y + H W theta takes the pixel in row y and column x: the order of `R2GEGraph` and `SE2GEGraph` of size
    (W, H, num_layers). Memory is vertex-major, as the layers keep it.
    """
    check_tensor("to_graph_signal: images", images, "(B, C, H, W)", 4)
    check_integer("to_graph_signal: num_layers", num_layers, 1)
    pixels = images.flatten(2).transpose(1, 2)  # (B, H W, C)
    return pixels.repeat(1, num_layers, 1).transpose(1, 2)
