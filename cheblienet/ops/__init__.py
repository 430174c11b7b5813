"""The compiled operators behind checked Python functions, and their plain PyTorch definitions in `reference`."""

from . import reference
from .batch_norm import batch_norm
from .cache import empty_cache
from .chebyshev import chebyshev
from .csr import Csr, csr
from .gather_reduce import GatherIndex, gather_index, gather_reduce
from .mutual_neighbors import mutual_neighbors
from .nearest_neighbors import nearest_neighbors

__all__ = [
    "Csr",
    "GatherIndex",
    "batch_norm",
    "chebyshev",
    "csr",
    "empty_cache",
    "gather_index",
    "gather_reduce",
    "mutual_neighbors",
    "nearest_neighbors",
    "reference",
]
