"""Chebyshev graph convolutions on Lie groups: anisotropic, rotation equivariant, compiled for CPU and CUDA."""

import importlib
import sys
from importlib.machinery import PathFinder
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

_here = Path(__file__).resolve().parent
if not any(_here.glob("_C.*")):  # a clone: programs that run in it mean the installed package, which it hides
    _others = [path for path in sys.path if Path(path).resolve() != _here.parent]
    _installed = PathFinder.find_spec(__name__, _others)
    if _installed is not None and _installed.origin is not None:  # a folder without a package has no origin
        __path__ = list(_installed.submodule_search_locations or __path__)

__version__ = version("cheblienet")

from ._library import build_info  # noqa: E402  (a part of what was found)

if TYPE_CHECKING:
    from . import equivariance, graphs, groups, nn, ops

__all__ = ["__version__", "build_info", "equivariance", "graphs", "groups", "nn", "ops"]


def __getattr__(name: str) -> ModuleType:
    """Imports a part of the package at its first use: an exported network needs the operators alone."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
