"""Restores a whole photograph with networks that `cheblienet study anisotropy` trained on small patches.

The same parameters work on a graph of any size, here of up to 1.6 million vertices. Writes a picture, and a table of quality,
time and the memory that one matrix of all pairs of vertices would take. Quality is that of the photograph's right part: the
networks saw patches of the left one. Networks that are not trained yet are trained first.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .._files import replacing
from ..data import to_graph_signal
from ..train.pictures import can_draw
from .anisotropy import GRID, PixelNetwork, Run, Settings, make_graph, train
from .dense_tasks import PHOTOGRAPHS, RESTORATIONS, TASKS, border, photographs
from .flags import folder, integer
from .parser import Parser
from .study import run_folder, table, write_text

_NETWORKS = ("R2", "R2 wide", "SE(2) eps 1", "SE(2) eps 0.3")
_SIDE, _EPOCHS = 24, 3  # of the study, by default
_DETAIL = 80  # the side of what the picture's second row shows


@dataclass(frozen=True)
class Restored:
    """What a network made of an image (C, n, n): (n, n), with the seconds that this took, the graph's building included."""

    image: np.ndarray
    vertices: int
    seconds: float


def restore(model: nn.Module, network: str, image: np.ndarray) -> Restored:
    """The answer of a trained network of `GRID` to an image (C, n, n) of any size."""
    spec, start = GRID[network], time.perf_counter()
    graph = make_graph(spec, image.shape[-1])
    larger = PixelNetwork(len(image), spec, graph).eval()
    # Without the fingerprints of the graph it was trained on, which is another one on purpose.
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("_extra_state")}
    larger.load_state_dict(state)
    with torch.no_grad():
        y = larger(to_graph_signal(torch.from_numpy(image)[None], spec.orientations))
    return Restored(y.view(image.shape[1:]).numpy(), graph.num_vertices, time.perf_counter() - start)


def score(task: str, image: np.ndarray, target: np.ndarray, first: int) -> float:
    """The task's score of an image (n, n) from the column `first` on."""
    y = torch.from_numpy(image[:, first:]).reshape(1, 1, -1)
    truth = torch.from_numpy(target[:, :, first:]).reshape(1, 2, -1)
    return TASKS[task].score({"loss": float(TASKS[task].loss(y, truth))})


def draw(pictures: dict[str, np.ndarray], first: int, path: Path) -> None:
    """Images (n, n) side by side, above a detail of each to the right of the column `first`."""
    from matplotlib.figure import Figure

    side = len(next(iter(pictures.values())))
    row, column = side // 3, first + (side - first) // 4
    detail = slice(row, row + _DETAIL), slice(column, column + _DETAIL)
    figure = Figure(figsize=(3 * len(pictures), 6.4), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(2, len(pictures)).T, pictures.items(), strict=True):
        for axis, part in zip(axes, (image, image[detail]), strict=True):
            axis.imshow(part, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        axes[0].axvline(first, color="#edae49", linewidth=1)
        axes[0].set_title(title, fontsize="medium")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs the program."""
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=RESTORATIONS, default="inpainting")
    parser.add_argument(
        "--networks", nargs="+", choices=GRID, default=list(_NETWORKS), metavar="NAME", help=f"of: {'; '.join(GRID)}"
    )
    parser.add_argument("--photograph", choices=PHOTOGRAPHS, default="camera")
    parser.add_argument("--epochs", type=integer(1), default=_EPOCHS, help="that the networks were trained for")
    parser.add_argument("--seed", type=integer(0), default=0)
    parser.add_argument("--out", type=folder, default=Path("outputs/anisotropy"), help="folder of the study")
    args = parser.parse_args(argv)
    photograph = photographs()[args.photograph]
    side = min(photograph.shape)
    left = photograph.shape[1] - side  # the square at the right is restored
    image, first = photograph[:side, left:], max(0, border(photograph) - left)
    x, target = RESTORATIONS[args.task](np.random.default_rng(args.seed), image)
    pictures, rows = {"photograph": image, "input": x[0] + 0.5}, []
    for network in args.networks:
        run = Run(args.task, network, _SIDE, args.epochs, args.seed)
        outcome, model = train(run, Settings(), run_folder(args.out, run))
        restored = restore(model, network, x)
        quality = f"{score(args.task, restored.image, target, first):.2f} {TASKS[args.task].unit}"
        # What does not count is known, and no network was asked for it.
        pictures[f"{network}: {quality}"] = np.where(target[1] > 0, restored.image, target[0]) + 0.5
        matrix = f"{4 * restored.vertices**2 / 2**40:.2f} TiB"
        rows.append(
            [network, f"{outcome.parameters:,}", f"{restored.vertices:,}", quality, f"{restored.seconds:.1f}", matrix]
        )
    header = ["network", "parameters", "vertices", "right part", "seconds", "a V x V matrix in float32"]
    text = f"{args.photograph}, {side} x {side} pixels, {args.task}\n\n{table(header, rows)}\n"
    name = f"{args.photograph}-{args.task}"
    write_text(args.out / f"{name}.md", text)
    if can_draw():
        draw(pictures, first, args.out / f"{name}.png")
    print(f"\n{text}\nTable and picture: {args.out}")
