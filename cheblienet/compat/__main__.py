"""`python -m cheblienet.compat SCRIPT [ARGS]`: runs a script of the original package, as `python SCRIPT [ARGS]` would."""

import argparse
import runpy
import sys
from pathlib import Path

from . import install


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cheblienet.compat", description=__doc__)
    parser.add_argument("script", type=Path)
    parser.add_argument("args", nargs=argparse.REMAINDER, help="arguments of the script")
    options = parser.parse_args()
    if not options.script.is_file():
        parser.error(f"script: expected a file, got {options.script}")
    install()
    sys.argv = [str(options.script), *options.args]
    sys.path[0] = str(options.script.resolve().parent)
    runpy.run_path(str(options.script), run_name="__main__")


if __name__ == "__main__":
    main()
