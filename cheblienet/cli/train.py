"""`cheblienet train`, `search` and `study`: the programs of `cheblienet.experiments`, with the same flags."""

import argparse
from functools import partial

_PROGRAMS = {
    "train": (
        "train a network of the paper and test it",
        {name: name for name in ("mnist", "cifar10", "stl10", "artc")},
    ),
    "search": ("search for the best graphs and layers", {name: f"search_{name}" for name in ("mnist", "cifar10")}),
    "study": (
        "compare networks over several runs",
        {
            "digits": "rotated_study",
            "sphere": "sphere_study",
            "anisotropy": "anisotropy_study",
            "photograph": "photograph",
        },
    ),
}


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    for command, (purpose, programs) in _PROGRAMS.items():
        parser = commands.add_parser(command, help=purpose, description=f"{purpose.capitalize()}.")
        parser.add_argument("program", choices=programs)
        parser.add_argument(
            "flags",
            nargs=argparse.REMAINDER,
            help=f"of the program; `{parser.prog} {next(iter(programs))} --help` lists its own",
        )
        parser.set_defaults(run=partial(_run, programs, parser.prog))


def _run(programs: dict[str, str], prog: str, arguments: argparse.Namespace) -> None:
    from ..experiments.run import run

    run(programs[arguments.program], arguments.flags, f"{prog} {arguments.program}")
