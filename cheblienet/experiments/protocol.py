"""How a program comes to the figures of its table, in words: for `--help`, and beside the table."""

import argparse
from collections.abc import Sequence

from ..train import Report


def help_on_protocol(samples: str, score: str, more: str = "") -> str:
    """For the end of `--help`."""
    return (
        f"Protocol: a share of the training {samples} is held back (--validation_share) and evaluated after every epoch. The "
        f"network of the epoch with the best {score} is kept in OUT/best.pt. At the end the test {samples} are looked at "
        f"once, with this network. {more}With --original_protocol it is as in the original programs: nothing is held back, "
        f"the test {samples} are evaluated after every epoch, and the table is of the last one."
    )


def describe_protocol(
    args: argparse.Namespace, reports: Sequence[Report], samples: str, score: str, held_back: int, more: str = ""
) -> str:
    """For the table of `reports`: how many samples were held back, which epochs were chosen, how tests went."""
    epochs = [str(report.epoch) for report in reports if report.metrics]
    chosen = f"epoch{'s' * (len(epochs) > 1)} {', '.join(epochs)} of {args.max_epochs}"
    if args.original_protocol:
        text = f"the original's, tests after every epoch and no validation; figures of {chosen}"
    else:
        text = f"the best {score} on {held_back} validation {samples} chose {chosen}; one look at the test {samples}"
    return f"Protocol: {text}{more}"
