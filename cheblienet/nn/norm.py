"""Normalisation in the vertex-major memory format."""

from torch import Tensor, nn


class VertexBatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` for signals (B, C, V), keeping the vertex-major memory format.

    The framework's kernels for three dimensions assume channel-major memory and would copy the signal to it. Seen as an
    image of V x 1 pixels, the same memory is the channels-last format, which they run on as it is. Parameters, buffers,
    their names and the results are those of `nn.BatchNorm1d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, V) -> (B, C, V)"""
        super()._check_input_dim(x)
        return super().forward(x.unsqueeze(-1) if x.ndim == 3 else x).view(x.shape)

    def _check_input_dim(self, input: Tensor) -> None:
        """Called by the base class on the four-dimensional view; `forward` has checked the caller's tensor."""
