"""The groups: elements, matrices, logarithms, distances and samplings, in differentiable batched PyTorch."""

from . import icosphere
from .base import Group
from .r2 import R2Group
from .s2 import S2Group
from .sampling import SAMPLINGS, sample
from .se2 import SE2Group
from .so3 import SO3Group

R2, SE2, S2, SO3 = R2Group(), SE2Group(), S2Group(), SO3Group()
GROUPS: dict[str, Group] = {group.name: group for group in (R2, SE2, S2, SO3)}

__all__ = ["GROUPS", "R2", "S2", "SAMPLINGS", "SE2", "SO3", "Group", "icosphere", "sample"]
