"""What a call costs beside its arithmetic: layers on signals so small that time goes into Python and dispatch.

On one thread, for threads that wait for each other would cost more than all of that.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cheblienet.graphs import R2GEGraph
from cheblienet.nn import ChebConv, VertexBatchNorm

from .chebyshev import differentiated
from .registry import OURS, Benchmark, Contender

BATCH, VERTICES, CHANNELS, ORDERS, CALLS = 2, 32, 8, 2, 100
AT_MOST = 2.2  # times the framework's layer


def vertex_major(device: str) -> Tensor:
    """(B, C, V), as the layers here pass it on."""
    return torch.randn(BATCH, VERTICES, CHANNELS, device=device).transpose(1, 2)


def channel_major(device: str) -> Tensor:
    """(B, C, V), as the framework's layers pass it on."""
    return torch.randn(BATCH, CHANNELS, VERTICES, device=device)


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
    "VertexBatchNorm": {
        OURS: (lambda: VertexBatchNorm(CHANNELS), vertex_major),
        "torch.nn.BatchNorm1d": (lambda: nn.BatchNorm1d(CHANNELS), channel_major),
    },
}


def repeated(call: Callable[[], object]) -> Callable[[], object]:
    """The last result of so many calls on one thread."""

    def run() -> object:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for _ in range(CALLS - 1):
                call()
            return call()
        finally:
            torch.set_num_threads(threads)

    return run


def contender(side: Side, device: str) -> Contender:
    make, signal = side
    layer, x = make().to(device), signal(device)
    one = differentiated(layer, x, torch.randn_like(layer(x)))
    return Contender(repeated(one.step), repeated(one.forward))


def overhead(name: str, device: str) -> Benchmark:
    sides = PAIRS[name]
    return Benchmark(
        name=f"overhead of {name}, {VERTICES} vertices, {CHANNELS} channels, {CALLS} calls",
        contenders={who: lambda side=side: contender(side, device) for who, side in sides.items()},
        goals={who: 1 / AT_MOST for who in sides if who != OURS} if device == "cpu" else {},
        device=device,
    )


def benchmarks(device: str) -> list[Benchmark]:
    return [overhead(name, device) for name in PAIRS]
