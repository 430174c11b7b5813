"""Runs when a process starts that a script of the original has started, such as a worker that loads data.

Python imports a module of this name, if there is one, before all else; the runner puts this folder on PYTHONPATH. Nothing
is loaded here, for most processes do not need it: this package is found before another of its name, such as the one in a
clone of the original, and the original's modules with it.
"""

import sys
from importlib.machinery import PathFinder
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_PACKAGE = _FOLDER.parents[1]


class _First:
    installed = False

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == _PACKAGE.name:
            return PathFinder.find_spec(name, [str(_PACKAGE.parent)])
        if name.startswith(f"{_PACKAGE.name}.") and not cls.installed:
            cls.installed = True  # first, as the next line asks here again
            from cheblienet.compat import install

            install()
        return None


def _run_hidden() -> None:
    """Runs the environment's own module of this name, which this one hides."""
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _FOLDER]
    this = sys.modules.pop(__name__)
    try:
        import sitecustomize  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != __name__:
            raise
    finally:
        sys.modules.setdefault(__name__, this)


sys.meta_path.insert(0, _First)
_run_hidden()
