"""Chebyshev graph convolutions on Lie groups: anisotropic, rotation equivariant, compiled for CPU and CUDA."""

from importlib.metadata import version

__version__ = version("cheblienet")

from . import graphs, groups, nn, ops
from ._library import build_info

__all__ = ["__version__", "build_info", "graphs", "groups", "nn", "ops"]
