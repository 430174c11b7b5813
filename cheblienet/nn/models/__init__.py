"""The networks of the paper (arXiv:2111.12139, section 4 and its appendix)."""

from torch import nn

from .unet import SO3GEChebDecoder, SO3GEChebEncoder, SO3GEUChebNet
from .wide_res import WideResSE2GEChebNet

__all__ = ["SO3GEChebDecoder", "SO3GEChebEncoder", "SO3GEUChebNet", "WideResSE2GEChebNet", "capacity"]


def capacity(model: nn.Module) -> int:
    """The number of trainable parameters."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"capacity: model: expected a torch.nn.Module, got {type(model).__name__}")
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
