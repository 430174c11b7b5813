"""The groups: elements, matrices, logarithms, distances and samplings, in differentiable batched PyTorch."""

from .base import Group
from .builtin import GROUPS, R2, S2, SE2, SO3
from .r2 import R2Group
from .s2 import S2Group
from .sampling import SAMPLINGS, sample
from .se2 import SE2Group
from .so3 import SO3Group

__all__ = [
    "GROUPS",
    "R2",
    "S2",
    "SAMPLINGS",
    "SE2",
    "SO3",
    "Group",
    "R2Group",
    "S2Group",
    "SE2Group",
    "SO3Group",
    "sample",
]
