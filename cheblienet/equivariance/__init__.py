"""Equivariance as a quantity: the symmetries of a sampling, and by how much a model misses to follow them."""

from .errors import EquivarianceError, assert_equivariant, equivariance_error
from .symmetries import Symmetry, symmetries

__all__ = ["EquivarianceError", "Symmetry", "assert_equivariant", "equivariance_error", "symmetries"]
