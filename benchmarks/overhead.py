"""What a call costs beside its arithmetic: layers on signals so small that time goes into Python and dispatch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cheblienet.graphs import R2GEGraph
from cheblienet.nn import ChebConv

from .chebyshev import differentiated
from .registry import OURS, Benchmark, Contender

BATCH, VERTICES, CHANNELS, ORDERS = 2, 32, 8, 2
AT_MOST = 2.2  # times the framework's layer


def vertex_major(device: str) -> Tensor:
    """(B, C, V), as the layers here pass it on."""
    return channels_last(device).transpose(1, 2)


def channels_last(device: str) -> Tensor:
    """(B, V, C), as the framework's linear layers pass it on."""
    return torch.randn(BATCH, VERTICES, CHANNELS, device=device)


def convolution() -> nn.Module:
    return ChebConv(CHANNELS, CHANNELS, ORDERS, R2GEGraph((8, 4), (1.0, 1.0, 1.0), 8))


# Each side: what makes its layer, and the signal that it likes best.
Side = tuple[Callable[[], nn.Module], Callable[[str], Tensor]]
PAIRS: dict[str, dict[str, Side]] = {
    "ChebConv": {
        OURS: (convolution, vertex_major),
        "torch.nn.Linear": (lambda: nn.Linear(CHANNELS, CHANNELS), channels_last),
    },
}


def contender(side: Side, device: str) -> Contender:
    make, signal = side
    layer, x = make().to(device), signal(device)
    return differentiated(layer, x, torch.randn_like(layer(x)))


def overhead(name: str, device: str) -> Benchmark:
    sides = PAIRS[name]
    return Benchmark(
        name=f"overhead of {name}, {VERTICES} vertices, {CHANNELS} channels, batch {BATCH}",
        contenders={who: lambda side=side: contender(side, device) for who, side in sides.items()},
        goals={who: 1 / AT_MOST for who in sides if who != OURS} if device == "cpu" else {},
        device=device,
    )


def benchmarks(device: str) -> list[Benchmark]:
    return [overhead(name, device) for name in PAIRS]
