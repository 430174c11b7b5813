"""Meshes of surfaces, whose vertices groups take as samplings."""

from . import icosphere

__all__ = ["icosphere"]
