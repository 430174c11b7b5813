"""Chebyshev graph convolutions on Lie groups: anisotropic, rotation equivariant, compiled for CPU and CUDA."""

import importlib
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING

__version__ = version("cheblienet")

from ._library import build_info

if TYPE_CHECKING:
    from . import graphs, groups, nn, ops

__all__ = ["__version__", "build_info", "graphs", "groups", "nn", "ops"]


def __getattr__(name: str) -> ModuleType:
    """Imports a part of the package at its first use: an exported network needs the operators alone."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
