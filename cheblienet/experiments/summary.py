"""What a program says when its runs are over."""

import sys
from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist
import numpy as np

from ..train import Report
from ..train.pictures import can_draw, draw_confusion, draw_curves


def summarise(
    title: str, protocol: str, reports: Sequence[Report], classes: Sequence[str], folders: Sequence[Path]
) -> None:
    """Prints one table, a column for each test set, and draws every run's curves and confusion matrices in its folder.

    The title and a line on the protocol stand above the table. Several runs give means and standard deviations. Only the
    first process does so; without matplotlib there are no pictures.
    """
    if idist.get_rank() > 0:
        return
    for report, folder in zip(reports, folders, strict=True):
        if report.signal:
            print(f"\nStopped by signal {report.signal}; --resume --out {folder} continues", file=sys.stderr)
    finished = [report for report in reports if report.metrics]
    if finished:
        print(f"\n{title}\n{protocol}\n{_table([report.metrics for report in finished])}")
    if not can_draw():
        print("No pictures: matplotlib is not installed", file=sys.stderr)
        return
    for report, folder in zip(reports, folders, strict=True):
        matrices = {k.removesuffix("_confusion"): v for k, v in report.tensors.items() if k.endswith("_confusion")}
        if report.rows:
            draw_curves(report.rows, folder / "curves.png")
        if matrices:
            draw_confusion(matrices, classes, folder / "confusion.png")
    if finished:
        print(f"Metrics, pictures and checkpoint: {', '.join(map(str, folders))}")


def exit_status(reports: Sequence[Report]) -> int:
    """0, or the shell's number for the signal that stopped a run."""
    return next((128 + report.signal for report in reports if report.signal), 0)


def _table(runs: Sequence[dict[str, float]]) -> str:
    """A row for each metric and a column for each test set; their names are joined as SET_METRIC in `runs`."""
    sets = list(dict.fromkeys(name.removesuffix("_loss") for name in runs[0] if name.endswith("_loss")))
    metrics = dict.fromkeys(name.removeprefix(f"{s}_") for s in sets for name in runs[0] if name.startswith(f"{s}_"))
    lines = [f"{'':12}" + "".join(f"{name:>18}" for name in sets)]
    for metric in metrics:
        cells = []
        for name in sets:
            values = [run[f"{name}_{metric}"] for run in runs]
            spread = f" ± {np.std(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.4f}{spread}")
        lines.append(f"{metric:12}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)
