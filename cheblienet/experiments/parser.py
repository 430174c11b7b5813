"""How the programs read their flags: from the command line and from a file, with one line for what is wrong."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Parser(argparse.ArgumentParser):
    """The flags of a program, which a file may give as well: `--config run.toml`, with `max_epochs = 3` for `--max_epochs 3`.

    Flags of the command line count more than those of the file. A flag without a value is `true` in the file; `false` leaves
    it out. What is wrong with a flag or with the file is said in one line, and the program ends with status 2.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_argument("--config", metavar="FILE", help="TOML file of flags, such as `max_epochs = 3`")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> argparse.Namespace:
        args = sys.argv[1:] if args is None else args
        config = argparse.ArgumentParser(prog=self.prog, add_help=False)
        config.add_argument("--config")
        config.error = self.error
        path = config.parse_known_args(args)[0].config
        parsed = super().parse_args([*([] if path is None else self._read(path)), *args], namespace)
        del parsed.config  # what it said is in the others
        return parsed

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")

    def _read(self, path: str) -> list[str]:
        """The file's flags as a command line has them."""
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self.error(f"--config {path}: not a readable TOML file: {reason}")
        flags = []
        for key, value in content.items():
            action = self._option_string_actions.get(f"--{key}")
            if action is None or action.dest in ("config", "help"):
                self.error(f"--config {path}: {key}: expected the name of a flag without its dashes")
            try:
                flags += _flag(action, key, value)
            except argparse.ArgumentTypeError as error:
                self.error(f"--config {path}: {key}: {error}")
        return flags


def _flag(action: argparse.Action, key: str, value: Any) -> list[str]:
    """The words of one flag; ArgumentTypeError for a value that it does not take, or of another type."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise argparse.ArgumentTypeError(f"expected true or false, got {value!r}")
        return [f"--{key}"] if value else []
    if action.nargs == "+":
        if not isinstance(value, list) or not value:
            raise argparse.ArgumentTypeError(f"expected a list of one value or more, got {value!r}")
        return [f"--{key}", *(_word(action, part) for part in value)]
    return [f"--{key}={_word(action, value)}"]


def _word(action: argparse.Action, value: Any) -> str:
    """One value of a flag as a command line has it; ArgumentTypeError as for `_flag`."""
    parsed = (action.type or str)(str(value))
    text = isinstance(parsed, str | Path)
    if isinstance(value, bool) or not isinstance(value, str if text else (type(parsed), int)):
        raise argparse.ArgumentTypeError(f"expected {'a string' if text else 'a number'}, got {value!r}")
    if action.choices is not None and parsed not in action.choices:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(map(repr, action.choices))}, got {value!r}")
    return str(value)
