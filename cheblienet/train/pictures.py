"""Pictures of a finished run: curves, confusion matrices, and segmentations on the globe. Needs matplotlib."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..graphs import S2GEGraph

_COLORS = ("#dfe6ec", "#d1495b", "#00798c", "#edae49", "#66a182", "#8d6a9f")


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Losses, and all other metrics of evaluations, over the steps; `rows` as in the metrics file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = dict.fromkeys(key for row in rows for key in row)
    for name in names:
        if name in ("iteration", "epoch", "samples_per_second"):
            continue
        steps, values = zip(*((row["iteration"], row[name]) for row in rows if name in row), strict=True)
        axes = left if name.endswith("loss") else right
        few = len(steps) < 50
        axes.plot(steps, values, label=name.replace("_", " "), marker="o" if few else "", markersize=3, linewidth=1)
    left.set(xlabel="step", ylabel="loss")
    right.set(xlabel="step", ylabel="metric", ylim=(-0.02, 1.02))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def draw_confusion(matrices: Mapping[str, Tensor], classes: Sequence[str], path: Path) -> None:
    """Confusion matrices by name, rows summing to one."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    figure = Figure(figsize=(5 * len(matrices), 5), layout="constrained")
    for axes, (name, matrix) in zip(figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(), strict=True):
        shares = matrix.double() / matrix.sum(1, keepdim=True).clamp(min=1)
        display = ConfusionMatrixDisplay(shares.numpy(), display_labels=classes)
        display.plot(ax=axes, cmap="Blues", values_format=".2f", colorbar=False, text_kw={"fontsize": "small"})
        axes.set_title(name.replace("_", " "))
    figure.savefig(path, dpi=150)


def draw_globe(graph: S2GEGraph, maps: Mapping[str, Tensor], classes: Sequence[str], path: Path) -> None:
    """Classes of the vertices of an icosphere, each of `maps` (V,) as a world map in Mollweide's equal-area projection."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    x, y, z = (axis.numpy() for axis in graph.cartesian_pos())
    longitude, latitude = np.arctan2(y, x), np.arcsin(z.clip(-1, 1))
    figure = Figure(figsize=(7 * len(maps), 4.2), layout="constrained")
    # A map of width 7 has 2 / pi of it, a square of 4.4 by 4.4 inches of 72 points, for its V vertices.
    size = 2 * (4.4 * 72) ** 2 / graph.num_vertices
    for k, (name, labels) in enumerate(maps.items()):
        axes = figure.add_subplot(1, len(maps), k + 1, projection="mollweide")
        for label in range(len(classes)):
            chosen = (torch.as_tensor(labels) == label).numpy()
            axes.scatter(longitude[chosen], latitude[chosen], s=size, c=_COLORS[label % len(_COLORS)], linewidths=0)
        axes.set_title(name)
        axes.set(xticklabels=[], yticklabels=[])
        axes.grid(alpha=0.3)
    legend = [Patch(color=color, label=name) for color, name in zip(_COLORS, classes, strict=False)]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(classes))
    figure.savefig(path, dpi=150)
