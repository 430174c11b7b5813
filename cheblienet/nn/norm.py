"""Normalisation in the vertex-major memory format."""

import torch
from torch import Tensor, nn

from .. import ops


class VertexBatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` for signals (B, C, V) in vertex-major memory, with the sum before it and the ReLU after it.

    A ReLU and a sum of their own would each read and write the whole signal once more. Parameters, buffers and their names
    are those of `nn.BatchNorm1d`.
    """

    def forward(self, x: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        """bn(x + residual), and its ReLU with `relu`: (B, C, V) -> (B, C, V)."""
        self._check_input_dim(x)
        if x.ndim == 2 or x.device.type != "cpu":
            y = self._framework(x if residual is None else x + residual)
            return torch.relu(y) if relu else y
        statistics_dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        weight, bias = self.weight, self.bias
        if weight is None:
            weight, bias = x.new_ones(x.shape[1]), x.new_zeros(x.shape[1])
        mean = var = None
        if not self.training and self.running_mean is not None:
            mean, var = self.running_mean.to(statistics_dtype), self.running_var.to(statistics_dtype)
        y, batch_mean, batch_var = ops.batch_norm(
            x.transpose(1, 2),
            weight.to(statistics_dtype),
            bias.to(statistics_dtype),
            mean,
            var,
            residual=None if residual is None else residual.to(x.dtype).transpose(1, 2),
            relu=relu,
            eps=self.eps,
        )
        if self.training and self.track_running_stats:
            self._update_running_statistics(batch_mean, batch_var, x.shape[0] * x.shape[2])
        return y.transpose(1, 2)

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, var: Tensor, count: int) -> None:
        """As `nn.BatchNorm1d` does: an exponential average, or a cumulative one without a momentum; unbiased variance."""
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_((var * (count / (count - 1))).to(self.running_var.dtype), momentum)

    def _framework(self, x: Tensor) -> Tensor:
        """Seen as an image of V x 1 pixels, vertex-major memory is the channels-last format that its kernels know."""
        if x.ndim == 2:
            return super().forward(x)
        return super().forward(x.unsqueeze(-1)).squeeze(-1)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accepts the four-dimensional view of `_framework` beside what the base class does."""
        if input.ndim != 4 or input.shape[-1] != 1:
            super()._check_input_dim(input)
