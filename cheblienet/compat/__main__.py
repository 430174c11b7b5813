"""Runs a script of the original package, as `python SCRIPT [ARGS]` would, with its modules found here.

In a clone of the original, whose package hides this one from `python -m`, use the command `cheblienet-compat`, or
`python -P -m cheblienet.compat`.
"""

import argparse
import importlib
import os
import runpy
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cheblienet.compat", description=__doc__)
    parser.add_argument("script", type=Path)
    parser.add_argument("args", nargs=argparse.REMAINDER, help="arguments of the script")
    options = parser.parse_args()
    if not options.script.is_file():
        parser.error(f"script: expected a file, got {options.script}")
    _take_the_name()
    importlib.import_module(f"{_PACKAGE.name}.compat").install()
    startup = str(Path(__file__).resolve().parent / "startup")  # for the processes that the script starts
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [startup, os.environ.get("PYTHONPATH")]))
    sys.argv = [str(options.script), *options.args]
    if getattr(
        sys.flags, "safe_path", False
    ):  # then nothing stands for the script's folder yet; Python 3.10 has no such flag
        sys.path.insert(0, "")
    sys.path[0] = str(options.script.resolve().parent)
    runpy.run_path(str(options.script), run_name="__main__")


def _take_the_name() -> None:
    """Imports this package where its name has led to another.

    In a clone of the original, an editable installation lets Python find this module within the clone's package.
    """
    if Path(getattr(sys.modules[_PACKAGE.name], "__file__", None) or "").resolve().parent == _PACKAGE:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE.name]:
        del sys.modules[name]
    spec = PathFinder.find_spec(_PACKAGE.name, [str(_PACKAGE.parent)])
    sys.modules[_PACKAGE.name] = package = module_from_spec(spec)
    spec.loader.exec_module(package)


if __name__ == "__main__":
    main()
