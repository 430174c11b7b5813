"""Code written for the original ChebLieNet package, run on this one.

`python -m cheblienet.compat SCRIPT [ARGS]` runs a script unmodified; in a notebook, call `install()` first. From then on
the original's import paths lead here, each name when it is first asked for. Without that, `import cheblienet` knows none
of them. `table.py` says what leads where, docs/compat.md what behaves in another way.
"""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .table import REPLACEMENTS, TARGETS

if TYPE_CHECKING:
    from .original_files import load_original

__all__ = ["install", "load_original", "resolve"]

_PACKAGE = __name__.partition(".")[0]

# What graphs of the compatibility paths take for `original_edges` where nothing is said.
original_edges_by_default = False


def __getattr__(name: str) -> Any:
    """Imports what reads the original's files at its first use: a script that is run may not need graphs."""
    if name == "load_original":
        from .original_files import load_original

        return load_original
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def install(*, original_edges: bool = False) -> None:
    """Makes the original's modules importable in this process. They come after all that exists: nothing is shadowed.

    Args:
        original_edges: what the graph classes take for their keyword of this name where a script does not give it.
    """
    _take_the_name()
    importlib.import_module(__name__).original_edges_by_default = original_edges  # which may be another by now
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def _take_the_name() -> None:
    """Imports this package where its name has led to another.

    In a clone of the original, an editable installation lets Python find this module within the clone's package.
    """
    folder = Path(__file__).resolve().parents[1]
    if Path(getattr(sys.modules[_PACKAGE], "__file__", None) or "").resolve().parent == folder:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]
    spec = PathFinder.find_spec(_PACKAGE, [str(folder.parent)])
    sys.modules[_PACKAGE] = package = module_from_spec(spec)
    spec.loader.exec_module(package)


def resolve(module: str, name: str) -> Any:
    """What stands for `name` of the original's `module`, such as "SE2GEGraph" of "graphs.graphs".

    Raises ImportError, saying what to use instead, where nothing does; AttributeError for a name that the original's
    module does not have either.
    """
    full_name = f"{_PACKAGE}.{module}.{name}"
    if name in REPLACEMENTS.get(module, {}):
        raise ImportError(f"{full_name} is not available here: {REPLACEMENTS[module][name]}")
    if name not in TARGETS.get(module, {}):
        raise AttributeError(f"module {_PACKAGE}.{module} has no attribute {name!r}")
    target, _, attribute = TARGETS[module][name].partition(":")
    try:
        return getattr(importlib.import_module(target), attribute)
    except (ImportError, AttributeError) as error:
        raise ImportError(f"{full_name} is {target}.{attribute} here, which cannot be imported: {error}") from error


_MODULES = {*TARGETS, *REPLACEMENTS}
_PARENTS = {module.rpartition(".")[0] for module in _MODULES}


class _Finder(MetaPathFinder, Loader):
    """Finds and fills the original's modules and the packages that hold them."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != _PACKAGE or name not in _MODULES | _PARENTS:
            return None
        return ModuleSpec(fullname, self, is_package=name in _PARENTS)

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.partition(".")[2]
        module.__dict__["__all__"] = sorted(TARGETS.get(name, {}))
        module.__dict__["__getattr__"] = lambda attribute: resolve(name, attribute)
