"""Layers and models on group-equivariant graphs. Signals are (B, C, V); in memory the channels of a vertex are neighbours."""

from .blocks import BasicBlock, NetworkBlock, ResidualBlock
from .conv import ChebConv
from .models import SO3GEChebDecoder, SO3GEChebEncoder, SO3GEUChebNet, WideResSE2GEChebNet, capacity
from .norm import VertexBatchNorm, convert_sync_batchnorm
from .pool import GlobalPool, SE2SpatialPool, SE2SpatialUnpool, SO3OrientationPool, SO3SpatialPool, SO3SpatialUnpool

__all__ = [
    "BasicBlock",
    "ChebConv",
    "GlobalPool",
    "NetworkBlock",
    "ResidualBlock",
    "SE2SpatialPool",
    "SE2SpatialUnpool",
    "SO3GEChebDecoder",
    "SO3GEChebEncoder",
    "SO3GEUChebNet",
    "SO3OrientationPool",
    "SO3SpatialPool",
    "SO3SpatialUnpool",
    "VertexBatchNorm",
    "WideResSE2GEChebNet",
    "capacity",
    "convert_sync_batchnorm",
]
