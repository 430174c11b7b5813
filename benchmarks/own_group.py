"""Time and memory of neighbours by a group's own distance, in plain PyTorch: `python -m benchmarks.own_group`.

The plane with directions, by the distance that it inherits and by a formula of its own. One thread, random elements, K = 16.
"""

import math

import torch
from torch import Tensor

from cheblienet import ops
from cheblienet.groups import SE2Group

from .measure import peak_of_process, timed

SIZES, NEIGHBORS = (5_000, 20_000), 16


class Inherited(SE2Group):
    has_orientation = False


class Formula(Inherited):
    """The logarithm without matrices: with h half the angle, (x h cot h + y h, y h cot h - x h, 2 h)."""

    def squared_distance(self, g: Tensor, h: Tensor, sigmas: tuple[float, float, float]) -> Tensor:
        cosine, sine = g[..., 2].cos(), g[..., 2].sin()
        dx, dy, turn = (h - g).unbind(-1)
        x, y = cosine * dx + sine * dy, cosine * dy - sine * dx
        half = (torch.remainder(turn + math.pi, 2 * math.pi) - math.pi) / 2
        stretch = torch.where(half == 0, 1.0, half / half.tan())
        first, second = stretch * x + half * y, stretch * y - half * x
        return sigmas[0] * first**2 + sigmas[1] * second**2 + 4 * sigmas[2] * half**2


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    for group in (Formula(), Inherited()):
        for vertices in SIZES:
            elements = torch.rand(vertices, 3, dtype=torch.float64, generator=generator)
            elements[:, 2] *= 2 * math.pi
            sigmas, seconds = (1.0, 0.1, 3 / vertices), []

            def step() -> object:
                return ops.nearest_neighbors(elements, sigmas, NEIGHBORS, group)  # noqa: B023

            peak = peak_of_process(lambda: seconds.append(timed(step)))  # noqa: B023
            print(
                f"{type(group).__name__:10}{vertices:8,} vertices{seconds[0]:8.1f} s"
                f"{vertices**2 / seconds[0] / 1e6:8.2f} million pairs / s{peak / 2**20:8.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
