"""Runs a script of the original package, as `python SCRIPT [ARGS]` would, with its modules found here.

In a clone of the original, whose package hides this one from `python -m`, use the command `cheblienet-compat`, or
`python -P -m cheblienet.compat`.
"""

import argparse
import os
import runpy
import sys
from pathlib import Path

from . import install


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cheblienet.compat", description=__doc__)
    parser.add_argument(
        "--original_edges",
        action="store_true",
        help="graphs with the edges that the original finds, which its checkpoints need; takes minutes where others take a "
        "second, once with a path_to_graph",
    )
    parser.add_argument("script", type=Path)
    parser.add_argument("args", nargs=argparse.REMAINDER, help="arguments of the script")
    options = parser.parse_args()
    if not options.script.is_file():
        parser.error(f"script: expected a file, got {options.script}")
    install(original_edges=options.original_edges)
    startup = str(Path(__file__).resolve().parent / "startup")  # for the processes that the script starts
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [startup, os.environ.get("PYTHONPATH")]))
    sys.argv = [str(options.script), *options.args]
    if getattr(
        sys.flags, "safe_path", False
    ):  # then nothing stands for the script's folder yet; Python 3.10 has no such flag
        sys.path.insert(0, "")
    sys.path[0] = str(options.script.resolve().parent)
    runpy.run_path(str(options.script), run_name="__main__")


if __name__ == "__main__":
    main()
