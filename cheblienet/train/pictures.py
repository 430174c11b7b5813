"""Pictures of a finished run: curves, confusion matrices, and segmentations on the globe. Needs matplotlib."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from .._files import replacing
from ..graphs import S2GEGraph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
        if name in ("iteration", "epoch", "best_epoch", "samples_per_second"):
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
    _save(figure, path)


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
    _save(figure, path, bbox_inches="tight")


def draw_globe(graph: S2GEGraph, maps: Mapping[str, Tensor], classes: Sequence[str], path: Path) -> None:
    """Classes of the vertices of an icosphere, each of `maps` (V,) as a world map in Mollweide's equal-area projection."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    # Every point of the map has the class of the nearest vertex.
    longitude, latitude = np.meshgrid(np.linspace(-np.pi, np.pi, 721), np.linspace(-np.pi / 2, np.pi / 2, 361))
    x, y = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude)
    vertices = cKDTree(torch.stack(graph.cartesian_pos(), -1).numpy())
    nearest = vertices.query(np.stack([x, y, np.sin(latitude)], -1))[1]

    figure = Figure(figsize=(7 * len(maps), 4.2), layout="constrained")
    colors = _COLORS[: len(classes)]
    for k, (name, labels) in enumerate(maps.items()):
        axes = figure.add_subplot(1, len(maps), k + 1, projection="mollweide")
        image = labels.numpy()[nearest]
        axes.pcolormesh(
            longitude, latitude, image, cmap=ListedColormap(colors), vmin=-0.5, vmax=len(colors) - 0.5, rasterized=True
        )
        axes.set_title(name)
        axes.set(xticklabels=[], yticklabels=[])
        axes.grid(alpha=0.3)
    legend = [Patch(color=color, label=name) for color, name in zip(colors, classes, strict=True)]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(classes))
    _save(figure, path)


def _save(figure: "Figure", path: Path, **settings: Any) -> None:
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=150, **settings)
