"""Trains two networks on scikit-learn's handwritten digits, upright only, and tests them on turned and flipped ones.

The isotropic network convolves on the plane R2; the anisotropic one on SE(2), where filters see directions. Prints one
table of accuracies and writes two pictures. Takes a few minutes on two cores.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss
from torchvision.transforms.functional import InterpolationMode, rotate
from tqdm import tqdm

from cheblienet.data import load_digits, split_digits, to_graph_signal
from cheblienet.graphs import R2GEGraph, SE2GEGraph
from cheblienet.nn import WideResSE2GEChebNet, capacity

SIDE, ORIENTATIONS = 16, 6
ANGLES = range(0, 360, 15)


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


def train(network: nn.Module, layers: int, digits: Digits, epochs: int, name: str) -> None:
    batch = 32
    steps = epochs * (len(digits.train) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    network.train()
    with tqdm(total=steps, desc=f"training {name}", unit="step", mininterval=0.5) as bar:
        for _ in range(epochs):
            for chosen in torch.randperm(len(digits.train)).split(batch):
                if len(chosen) < batch:
                    continue
                loss = nll_loss(network(to_graph_signal(digits.train[chosen], layers)), digits.train_labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)


@torch.no_grad()
def accuracy(network: nn.Module, layers: int, images: Tensor, labels: Tensor) -> float:
    network.eval()
    predictions = [network(to_graph_signal(part, layers)).argmax(1) for part in images.split(150)]
    return float((torch.cat(predictions) == labels).float().mean())


def turned(images: Tensor, degrees: float) -> Tensor:
    """Counter-clockwise; multiples of 90 degrees permute pixels, other angles interpolate."""
    if degrees % 90 == 0:
        return images.rot90(int(degrees // 90), (-2, -1))
    return rotate(images, degrees, InterpolationMode.BILINEAR)


def evaluate(network: nn.Module, layers: int, digits: Digits, seed: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    arbitrary = torch.stack([turned(image, float(360 * torch.rand(1, generator=generator))) for image in digits.test])
    right = [turned(digits.test, angle) for angle in (90, 180, 270)]
    score = lambda images: accuracy(network, layers, images, digits.test_labels)  # noqa: E731
    return {
        "upright": score(digits.test),
        "90, 180, 270": sum(map(score, right)) / 3,
        "any angle": score(arbitrary),
        "flipped": score(digits.test.flip(-1)),
    }


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
        axes[row, 0].imshow(digit[0], cmap="gray_r")
        axes[row, 0].set_ylabel(name)
        for k, layer in enumerate(layers):
            axes[row, 1 + k].imshow(layer, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes[0, 1 + k].set_title(f"θ = {-90 + 180 * k // ORIENTATIONS}°")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.suptitle("One filter on SE(2): turning the digit turns the response and moves it by 90° in θ")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"), help="folder for the pictures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    digits, rows, curves = load(args.seed), {}, {}
    for name, anisotropic in (("isotropic R2", False), ("anisotropic SE(2)", True)):
        torch.manual_seed(args.seed)
        network, layers = build(anisotropic)
        start = time.perf_counter()
        train(network, layers, digits, args.epochs, name)
        seconds = time.perf_counter() - start
        rows[name] = evaluate(network, layers, digits, args.seed), capacity(network), seconds
        curves[name] = [accuracy(network, layers, turned(digits.test, angle), digits.test_labels) for angle in ANGLES]

    print(f"\nAccuracy on {len(digits.test)} test digits, trained on {len(digits.train)} upright ones")
    columns = next(iter(rows.values()))[0]
    print(f"{'network':20}" + "".join(f"{c:>14}" for c in columns) + f"{'parameters':>12}{'training':>10}")
    for name, (scores, parameters, seconds) in rows.items():
        print(f"{name:20}" + "".join(f"{100 * v:13.1f}%" for v in scores.values()) + f"{parameters:12,}{seconds:9.0f}s")
    draw_accuracy(curves, args.out / "accuracy_by_angle.png")
    draw_response(network, digits.test[0], args.out / "filter_response.png")
    print(f"\nPictures: {args.out / 'accuracy_by_angle.png'}, {args.out / 'filter_response.png'}")


if __name__ == "__main__":
    main()
