"""`cheblienet`, or `python -m cheblienet`: what was built and what it runs on; with a command, what the command does."""

import argparse
import sys
from pathlib import Path

from . import build_info
from .cli import climatenet, graph, train


def main() -> None:
    """The command, on the flags of the command line."""
    as_module = Path(sys.argv[0]).name == "__main__.py"
    parser = argparse.ArgumentParser(
        prog="python -m cheblienet" if as_module else "cheblienet",
        description="Without a command: what was built and what it runs on.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    graph.add_parser(commands)
    climatenet.add_parser(commands)
    train.add_parsers(commands)
    parser.set_defaults(run=_print_build_info)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except (ValueError, TypeError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def _print_build_info(_: argparse.Namespace) -> None:
    for name, value in build_info().items():
        print(f"{name + ':':20}{value}")


if __name__ == "__main__":
    main()
