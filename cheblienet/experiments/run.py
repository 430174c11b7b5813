"""Runs a program as a command: errors in one line, and an exit status."""

import importlib
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn


def run(name: str, argv: Sequence[str] | None = None, prog: str | None = None) -> NoReturn:
    """Runs the program `cheblienet.experiments.NAME` and leaves with its exit status.

    Args:
        name: the module. What it needs beside this package is imported only now.
        argv: its flags, by default those of the command line.
        prog: what its messages call it, by default the file that was run.
    """
    with plain_errors():
        result = importlib.import_module(f".{name}", __package__).main(argv, prog=prog)
        from .summary import exit_status

        sys.exit(exit_status(result) if isinstance(result, list) else 0)


@contextmanager
def plain_errors() -> Iterator[None]:
    """What is wrong with options, files, numbers or the installation is said in a line; Ctrl-C ends quietly."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None:  # its message says what to do
            sys.exit(f"error: {error}")
        package = error.name.partition(".")[0]
        if package == "cheblienet":
            raise
        sys.exit(f"error: the package {package} is not installed: pip install 'cheblienet[train]'")
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
