"""Which groups the compiled code knows: those that measure, and name their coordinates, as a built-in class does."""

from types import MethodType

from .base import Group
from .r2 import R2Group
from .s2 import S2Group
from .se2 import SE2Group
from .so3 import SO3Group

R2, SE2, S2, SO3 = R2Group(), SE2Group(), S2Group(), SO3Group()
GROUPS: dict[str, Group] = {group.name: group for group in (R2, SE2, S2, SO3)}

_DISTANCE = (
    "squared_distance", "_squared_distance", "_matrix", "_element", "_inverse", "_log", "_check_element", "_check_pair",
    "coordinates", "has_orientation",
)  # fmt: skip
_SAMPLING = ("uniform_sampling", "with_orientations", "_check_size")


def _behind(group: Group, names: tuple[str, ...]) -> list[object]:
    """The functions behind the methods of a group, and its other attributes."""
    found = (getattr(group, name, None) for name in names)
    return [value.__func__ if isinstance(value, MethodType) and value.__self__ is group else value for value in found]


# Copies, so that a method replaced in a class of this package counts as well.
_KNOWN = {name: (_behind(group, _DISTANCE), _behind(group, _SAMPLING)) for name, group in GROUPS.items()}


def built_in_name(group: Group) -> str | None:
    """The name by which compiled code knows the distance of `group`, or None where it is one of the group's own.

    A subclass of a built-in group that overrides nothing of the distance is known by that group's name, whatever its own.
    """
    distance = _behind(group, _DISTANCE)
    return next((name for name, (known, _) in _KNOWN.items() if distance == known), None)


def has_built_in_sampling(group: Group) -> bool:
    """Whether both the distance and the regular sampling are those of a built-in group, so that sizes tell its graphs."""
    name = built_in_name(group)
    return name is not None and _behind(group, _SAMPLING) == _KNOWN[name][1]
