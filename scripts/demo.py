"""Trains two networks on scikit-learn's handwritten digits, upright only, and tests them on turned and flipped ones.

The isotropic network convolves on the plane R2; the anisotropic one on SE(2), where filters see directions. Prints one
table of accuracies and writes it, with two pictures. Takes a few minutes on two cores; several seeds or ways to compute,
as many times longer. docs/digits.md holds such a table, with its command.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss
from torch.utils.data import TensorDataset
from torchvision.transforms.functional import InterpolationMode, rotate

from cheblienet.data import load_digits, split_digits, to_graph_signal
from cheblienet.experiments.flags import folder, integer
from cheblienet.experiments.summary import exit_status
from cheblienet.graphs import R2GEGraph, SE2GEGraph
from cheblienet.nn import WideResSE2GEChebNet, capacity
from cheblienet.train import Options, Task, classification_metrics, fit

SIDE, ORIENTATIONS = 16, 6
ANGLES = range(0, 360, 15)
NETWORKS = {"isotropic R2": False, "anisotropic SE(2)": True}
MODES = ("float32", "bfloat16", "compile")


@dataclass
class Digits:
    train: Tensor  # (N, 1, SIDE, SIDE) in [0, 1]
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load(seed: int) -> Digits:
    images, labels = load_digits(SIDE)
    train, test = split_digits(labels, seed)
    return Digits(images[train], labels[train], images[test], labels[test])


def build(anisotropic: bool) -> tuple[nn.Module, int]:
    """The network and the number of orientation layers of its signals."""
    if anisotropic:
        graph = SE2GEGraph((SIDE, SIDE, ORIENTATIONS), sigmas=(1.0, 0.2, 2.048 / SIDE**2), K=16)
    else:
        graph = R2GEGraph((SIDE, SIDE, 1), sigmas=(1.0, 1.0, 1.0), K=8)
    network = WideResSE2GEChebNet(1, 10, kernel_size=4, graph_lvl0=graph, res_depth=1)
    return network, graph.dim[0]


def train(network: nn.Module, layers: int, digits: Digits, epochs: int, mode: str, seed: int) -> None:
    """Trains on the upright digits; a signal ends the program after the present step."""
    batch = 32
    steps = epochs * (len(digits.train) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    task = Task(
        model=network,
        optimizer=optimizer,
        loss=nll_loss,
        prepare_batch=lambda batch, device, non_blocking: (to_graph_signal(batch[0], layers), batch[1]),
        train_set=TensorDataset(digits.train, digits.train_labels),
        test_sets={"upright": TensorDataset(digits.test, digits.test_labels)},
        metrics=lambda: classification_metrics(10, nll_loss),
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps),
    )
    with TemporaryDirectory() as out:  # a demonstration begins anew, whatever a former one left
        amp, compiled = mode == "bfloat16", mode == "compile"
        report = fit(task, Options(Path(out), epochs, batch, torch.device("cpu"), seed, amp, compiled))
    if report.signal:
        sys.exit(exit_status([report]))


@torch.no_grad()
def accuracy(network: nn.Module, layers: int, images: Tensor, labels: Tensor, mode: str) -> float:
    network.eval()
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "bfloat16"):
        predictions = [network(to_graph_signal(part, layers)).argmax(1) for part in images.split(150)]
    return float((torch.cat(predictions) == labels).float().mean())


def turned(images: Tensor, degrees: float) -> Tensor:
    """Counter-clockwise; multiples of 90 degrees permute pixels, other angles interpolate."""
    if degrees % 90 == 0:
        return images.rot90(int(degrees // 90), (-2, -1))
    return rotate(images, degrees, InterpolationMode.BILINEAR)


def evaluate(network: nn.Module, layers: int, digits: Digits, mode: str, seed: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    arbitrary = torch.stack([turned(image, float(360 * torch.rand(1, generator=generator))) for image in digits.test])
    right = [turned(digits.test, angle) for angle in (90, 180, 270)]
    score = lambda images: accuracy(network, layers, images, digits.test_labels, mode)  # noqa: E731
    return {
        "upright": score(digits.test),
        "90, 180, 270": sum(map(score, right)) / 3,
        "any angle": score(arbitrary),
        "flipped": score(digits.test.flip(-1)),
    }


def table(scores: dict[tuple[str, str], list[dict[str, float]]]) -> str:
    """In Markdown: a row for each network and way to compute, percent as mean ± standard deviation over the seeds."""

    def cell(values: list[float]) -> str:
        spread = f" ± {100 * np.std(values):.1f}" if len(values) > 1 else ""
        return f"{100 * np.mean(values):.1f}{spread}"

    columns = list(next(iter(scores.values()))[0])
    rows = [[*key, *(cell([run[name] for run in runs]) for name in columns)] for key, runs in scores.items()]
    rows = [["network", "computed", *columns], ["---", "---", *("---:" for _ in columns)], *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def draw_accuracy(curves: dict[str, list[float]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, values in curves.items():
        axes.plot([*ANGLES, 360], [100 * v for v in [*values, values[0]]], marker="o", markersize=4, label=name)
    axes.set(
        xlabel="rotation of the test digits (degrees)", ylabel="accuracy (%)", xticks=range(0, 361, 45), ylim=(0, 102)
    )
    axes.set_title("Trained on upright digits only")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower center")
    figure.savefig(path, dpi=150)


@torch.no_grad()
def draw_response(network: nn.Module, image: Tensor, path: Path) -> None:
    """The first layer's most anisotropic filter on a digit and on the digit turned by 90 degrees."""
    import matplotlib.pyplot as plt

    inputs = torch.stack([image, turned(image, 90)])
    response = network.conv(to_graph_signal(inputs, ORIENTATIONS)).unflatten(2, (ORIENTATIONS, SIDE, SIDE))
    channel = int(response[0].std(1).mean((-2, -1)).argmax())  # varies most over the orientations
    limit = float(response[:, channel].abs().max())
    figure, axes = plt.subplots(2, 1 + ORIENTATIONS, figsize=(11, 3.6), layout="constrained")
    for row, (digit, layers, name) in enumerate(
        zip(inputs, response[:, channel], ("upright", "turned by 90°"), strict=True)
    ):
        axes[row, 0].imshow(digit[0].numpy(), cmap="gray_r")
        axes[row, 0].set_ylabel(name)
        for k, layer in enumerate(layers):
            axes[row, 1 + k].imshow(layer.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes[0, 1 + k].set_title(f"θ = {-90 + 180 * k // ORIENTATIONS}°")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.suptitle("One filter on SE(2): turning the digit turns the response and moves it by 90° in θ")
    figure.savefig(path, dpi=150)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=integer(1), default=16)
    parser.add_argument(
        "--seed", type=integer(0), default=0, help="of the split, the parameters, the batches and the angles"
    )
    parser.add_argument("--seeds", type=integer(1), default=1, metavar="N", help="runs, with seeds that follow --seed")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["float32"], help="ways to compute")
    parser.add_argument(
        "--out", type=folder, default=Path("outputs/demo"), help="folder for the table and the pictures"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    scores: dict[tuple[str, str], list[dict[str, float]]] = {}
    curves = {}
    for mode in args.modes:
        for seed in range(args.seed, args.seed + args.seeds):
            digits = load(seed)
            for name, anisotropic in NETWORKS.items():
                print(f"{name}, {mode}, seed {seed}")
                torch.manual_seed(seed)
                network, layers = build(anisotropic)
                start = time.perf_counter()
                train(network, layers, digits, args.epochs, mode, seed)
                seconds = time.perf_counter() - start
                scores.setdefault((name, mode), []).append(evaluate(network, layers, digits, mode, seed))
                found = ", ".join(f"{column} {value:.1%}" for column, value in scores[name, mode][-1].items())
                print(f"trained in {seconds:.0f} s: {found}")
                if len(curves) < len(NETWORKS):  # pictures are of the first networks
                    curves[name] = [
                        accuracy(network, layers, turned(digits.test, angle), digits.test_labels, mode)
                        for angle in ANGLES
                    ]
                    if anisotropic:
                        draw_response(network, digits.test[0], args.out / "filter_response.png")
    draw_accuracy(curves, args.out / "accuracy_by_angle.png")

    seeds = f", mean and standard deviation of {args.seeds} seeds" if args.seeds > 1 else ""
    title = (
        f"Accuracy in percent on {len(digits.test)} of scikit-learn's handwritten digits after training on "
        f"{len(digits.train)} others, upright only, for {args.epochs} epochs{seeds}. Each network has "
        f"{capacity(network):,} parameters."
    )
    text = f"{title}\n\n{table(scores)}\n"
    (args.out / "accuracy.md").write_text(text)
    print(f"\n{text}\nTable and pictures: {args.out}")


if __name__ == "__main__":
    main()
