"""What is equivariant on which sampling, and by how much what is not: `python -m benchmarks.equivariance`.

Prints the tables of docs/equivariance.md. Weights are random, signals of symmetries are noise, all in float32.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cheblienet.equivariance import equivariance_error, symmetries
from cheblienet.graphs import GEGraph, R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.groups import S2, SO3, sample
from cheblienet.nn import (
    ChebConv,
    SE2SpatialPool,
    SO3GEUChebNet,
    SO3OrientationPool,
    SO3SpatialPool,
    SO3SpatialUnpool,
    WideResSE2GEChebNet,
)

ISOTROPIC, EXACT = (1.0, 1.0, 1.0), 1e-5


def table(*header: str) -> None:
    print("", "| " + " | ".join(header) + " |", "|---" * len(header) + "|", sep="\n")


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def worst(model: Callable[[Tensor], Tensor], graph: GEGraph, target: GEGraph | None = None, channels: int = 1) -> list:
    """How many symmetries the model follows to rounding, the largest error, and under which symmetry it is."""
    signal, found = torch.randn(1, channels, graph.num_vertices), symmetries(graph)
    errors = [equivariance_error(model, graph, s, signal, target_graph=target).error for s in found]
    largest = max(range(len(found)), key=errors.__getitem__)
    exact = sum(error <= EXACT for error in errors)
    where = "" if exact == len(found) else f" under the {found[largest].name}"
    return [f"{exact} of {len(found)}", f"{errors[largest]:.1e}{where}"]


def se2(nx: int, ny: int, ntheta: int) -> SE2GEGraph:
    return SE2GEGraph((nx, ny, ntheta), (1.0, 0.1, 1.6 / (nx * ny)), min(16, nx * ny))


def so3(vertices: int, nalpha: int, frames: str = "icosahedral") -> SO3GEGraph:
    return SO3GEGraph((vertices, nalpha), (1.0, 0.1, 10 / vertices), 16 if vertices > 12 else 8, frames=frames)


def sphere(vertices: int) -> S2GEGraph:
    return S2GEGraph((vertices,), ISOTROPIC, 8)


def elements(sampling: str, *size: int) -> GEGraph:
    group = S2 if len(size) == (2 if sampling == "equiangular" else 1) else SO3
    return GEGraph.from_elements(
        group, sample(group, sampling, *size), ISOTROPIC if group is S2 else (1.0, 0.1, 0.1), 24
    )


def samplings() -> None:
    table("sampling", "rotations", "reflections", "keep the edges", "convolution exact under", "largest error")
    graphs = {
        "R2 28 x 28": R2GEGraph((28, 28), ISOTROPIC, 8),
        "R2 27 x 27": R2GEGraph((27, 27), ISOTROPIC, 8),
        "R2 28 x 20": R2GEGraph((28, 20), ISOTROPIC, 8),
        "SE(2) 28 x 28 x 6": se2(28, 28, 6),
        "SE(2) 27 x 27 x 6": se2(27, 27, 6),
        "SE(2) 28 x 28 x 9": se2(28, 28, 9),
        "SE(2) 28 x 20 x 6": se2(28, 20, 6),
        "S2 icosphere, 162": sphere(162),
        "S2 icosphere, 642": sphere(642),
        "S2 HEALPix, nside 4": elements("healpix", 4),
        "S2 equiangular 12 x 24": elements("equiangular", 12, 24),
        "S2 Fibonacci, 200": elements("fibonacci", 200),
        "S2 random, 200": elements("random", 200),
        "SO(3) icosphere, 42 x 5": so3(42, 5),
        "SO(3) icosphere, 162 x 5": so3(162, 5),
        "SO(3) icosphere, 162 x 10": so3(162, 10),
        "SO(3) icosphere, 162 x 6": so3(162, 6),
        "SO(3) icosphere, 162 x 5, coordinate frames": so3(162, 5, "coordinate"),
        "SO(3) icosphere, 162 x 6, coordinate frames": so3(162, 6, "coordinate"),
        "SO(3) HEALPix, nside 2, x 6": elements("healpix", 2, 6),
        "SO(3) equiangular 8 x 12 x 6": elements("equiangular", 8, 12, 6),
    }
    for name, graph in graphs.items():
        found = symmetries(graph)
        rotations, kept = sum(s.is_rotation for s in found), sum(s.preserves_graph for s in found)
        row(name, rotations, len(found) - rotations, f"{kept} of {len(found)}", *worst(ChebConv(1, 4, 4, graph), graph))


def layers() -> None:
    table("layer or network", "exact under", "largest error")
    for side, k in ((28, 2), (27, 2), (27, 3)):
        fine, coarse = se2(side, side, 6), se2(side // k, side // k, 6)
        name = f"SE2SpatialPool({k}), {side} x {side} x 6 to {side // k} x {side // k} x 6"
        row(name, *worst(SE2SpatialPool(k, fine.size, "max"), fine, coarse))
    fine, coarse = so3(162, 10), so3(42, 10)
    row("SO3SpatialPool, 162 x 10 to 42 x 10", *worst(SO3SpatialPool(2, fine.size, "max"), fine, coarse))
    row("SO3SpatialUnpool, 42 x 10 to 162 x 10", *worst(SO3SpatialUnpool(2, coarse.size, "avg"), coarse, fine))
    row("SO3SpatialPool, 162 to 42 on S2", *worst(SO3SpatialPool(2, (162, 1), "max"), sphere(162), sphere(42)))
    row("SO3OrientationPool(10), 42 x 10 to 42", *worst(SO3OrientationPool(10, (42, 10), "max"), coarse, sphere(42)))
    row("SO3OrientationPool(2), 42 x 10 to 42 x 5", *worst(SO3OrientationPool(2, (42, 10), "max"), coarse, so3(42, 5)))
    for sides in ((28, 14, 7), (27, 13, 6)):
        levels = [se2(side, side, 6) for side in reversed(sides)]
        network = WideResSE2GEChebNet(1, 10, 3, *levels, res_depth=1, reduction="max").eval()
        row(f"WideResSE2GEChebNet, {' to '.join(map(str, sides))}, 6 orientations", *worst(network, levels[-1]))
    alone = se2(27, 27, 6)
    network = WideResSE2GEChebNet(1, 10, 3, alone, res_depth=1).eval()
    row("WideResSE2GEChebNet, 27 without pooling, 6 orientations", *worst(network, alone))
    for nalpha, frames in ((5, "icosahedral"), (10, "icosahedral"), (6, "icosahedral"), (6, "coordinate")):
        levels = [so3(vertices, nalpha, frames) for vertices in (12, 42, 162)]
        network = SO3GEUChebNet(2, 3, 3, graphs=levels, output_graph=sphere(162)).eval()
        name = f"SO3GEUChebNet, 162 x {nalpha} to 12 x {nalpha}{', coordinate frames' * (frames == 'coordinate')}"
        row(name, *worst(network, levels[-1], sphere(162), 2))
    levels = [S2GEGraph((12,), ISOTROPIC, 5), sphere(42), sphere(162)]
    network = SO3GEUChebNet(2, 3, 3, graphs=levels, output_graph=sphere(162)).eval()
    row("SO3GEUChebNet, 162 to 12 on S2", *worst(network, levels[-1], sphere(162), 2))


def bump(graph: GEGraph) -> Tensor:
    """A smooth bump beside the middle of the plane, or beside the pole; the same in all orientations."""
    if graph.manifold == "se2":
        at, centre, width = graph.elements[:, :2], torch.tensor([0.6, 0.5], dtype=torch.float64), 0.12
    else:
        at, centre, width = graph.group.matrix(graph.elements)[..., 2], torch.tensor([0.6, 0.0, 0.8]).double(), 0.5
    return torch.exp(-(at - centre).square().sum(-1) / width**2).float()[None, None]


def angles() -> None:
    degrees = (10, 22.5, 45, 90, 180)
    table("convolution of a smooth bump", *(f"{angle:g} degrees" for angle in degrees))
    graphs = {
        "SE(2) 28 x 28 x 6": se2(28, 28, 6),
        "SE(2) 28 x 28 x 9": se2(28, 28, 9),
        "SE(2) 28 x 28 x 12": se2(28, 28, 12),
        "S2 icosphere, 642": sphere(642),
        "SO(3) icosphere, 642 x 5": so3(642, 5),
    }
    for name, graph in graphs.items():
        layer, signal = ChebConv(1, 4, 4, graph), bump(graph)
        found = [equivariance_error(layer, graph, math.radians(angle), signal) for angle in degrees]
        row(name, *(f"{error.error:.1e} ({error.interpolation:.1e})" for error in found))


def icosahedral() -> None:
    """The 60 rotations of the icosahedron on SO(3): two convolutions and the maximum over the orientations."""
    places = sphere(162)
    rotations = [s for s in symmetries(places) if s.is_rotation]
    table("the 60 rotations, 162 places", "frames", "exact", "median error", "largest error")
    for nalpha in (5, 10, 6, 9, 12):
        for frames in ("icosahedral", "coordinate"):
            graph = so3(162, nalpha, frames)
            network = nn.Sequential(
                ChebConv(1, 8, 3, graph),
                nn.ReLU(),
                ChebConv(8, 8, 3, graph),
                SO3OrientationPool(nalpha, graph.size, "max"),
            )

            def lifted(x: Tensor, network: nn.Module = network, nalpha: int = nalpha) -> Tensor:
                return network(x.repeat(1, 1, nalpha))

            signal = torch.randn(1, 1, 162)
            errors = torch.tensor([equivariance_error(lifted, places, s, signal).error for s in rotations])
            exact = int((errors <= EXACT).sum())
            row(f"{nalpha} orientations", frames, exact, f"{errors.median():.1e}", f"{errors.max():.1e}")


def lost() -> None:
    """A quarter turn where the sampling or pooling has none, over five networks of random weights each."""
    table("28 x 28 where not said otherwise", "an image of noise", "a smooth bump")
    for ntheta in (9, 7, 5, 3):
        graph = se2(28, 28, ntheta)
        row(f"convolution, {ntheta} orientations", *quarter_turns(lambda g=graph: ChebConv(1, 4, 4, g), graph))
    for sides, ntheta, reduction in (
        ((28,), 9, None),
        ((28, 14, 7), 9, "max"),
        ((27, 13, 6), 6, "max"),
        ((27, 13, 6), 6, "avg"),
        ((30, 15, 7), 6, "max"),
        ((27, 13, 6), 9, "max"),
    ):
        levels = [se2(side, side, ntheta) for side in reversed(sides)]

        def network(levels: list[GEGraph] = levels, reduction: str | None = reduction) -> nn.Module:
            return WideResSE2GEChebNet(1, 10, 3, *levels, res_depth=1, reduction=reduction).eval()

        pooled = f", {reduction} pooling" if reduction else ""
        name = f"network, {' to '.join(map(str, sides))}{pooled}, {ntheta} orientations"
        row(name, *quarter_turns(network, levels[-1]))


def quarter_turns(make: Callable[[], nn.Module], graph: GEGraph) -> list[str]:
    """The least and the largest error under a turn by 90 degrees, of two signals that are the same in all orientations."""
    places, ntheta = math.prod(graph.size[:-1]), graph.size[-1]
    errors = []
    for seed in range(5):
        torch.manual_seed(seed)
        model, noise = make(), torch.randn(1, 1, places).repeat(1, 1, ntheta)
        errors.append([equivariance_error(model, graph, math.pi / 2, x).error for x in (noise, bump(graph))])
    return [f"{min(column):.1e} to {max(column):.1e}" for column in zip(*errors, strict=True)]


def main() -> None:
    torch.manual_seed(0)
    samplings()
    layers()
    angles()
    icosahedral()
    lost()


if __name__ == "__main__":
    main()
