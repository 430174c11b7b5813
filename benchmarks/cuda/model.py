"""What one launch of a kernel takes on a card, from what it moves and executes.

    max(imbalance x shared wavefronts / (processors x clock),
        imbalance x machine instructions / (processors x clock x 4 schedulers),
        bytes of L2 sectors / L2's rate,
        bytes that come from beyond L2 / the memory's rate) + launch + rounds x round

A wavefront is what shared memory does in one clock, 128 bytes; two of the same bank take two. The imbalance is the busiest
processor's share over the mean: blocks do not always divide by processors. A kernel cannot hide all of its latency: a
round is a load that must have come before the next one goes out, and each block makes some of them one after the other.

The rates are ceilings that were measured on an H200: copies in memory and within L2, a kernel that does nothing. The
clock is what the measured 33 TB/s of shared memory come to. The round alone is fitted, to the convolution's kernels as
they were measured there, twelve figures and one constant. `h200.json` has what was measured, `h200_counts.json` the counts
of the kernels of that day, so that the model can be held to both when the kernels have changed.
"""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

SECTOR = 32


@dataclass(frozen=True)
class Card:
    """A GPU: multiprocessors of four schedulers, cycles per second, bytes per second, bytes of L2, and seconds."""

    name: str
    processors: int
    clock: float
    l2_rate: float
    memory_rate: float
    l2_bytes: int
    launch: float  # of a kernel that does nothing, as a profiler shows it
    node: float  # the same as a node of a CUDA graph: a pause follows
    round: float  # of loads that wait for those before them


H200 = Card("H200", 132, 1.95e9, 10.2e12, 4.25e12, 60 << 20, 0.8e-6, 1.3e-6, 0.42e-6)


def measured() -> dict[str, Any]:
    """What was measured on one H200, and where it comes from."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("h200.json").read_text())
    return found


@dataclass(frozen=True)
class Counts:
    """Of all launches of one kernel in some work."""

    launches: float = 0
    blocks: float = 0
    instructions: float = 0  # of warps, in machine code
    wavefronts: float = 0
    sectors: float = 0
    distant: float = 0  # bytes from and to beyond L2
    rounds: float = 0  # of all launches one after the other

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def imbalance(self, card: Card) -> float:
        """Of launches with equal blocks."""
        share = self.blocks / self.launches / card.processors
        return math.ceil(share) / share

    def bounds(self, card: Card) -> dict[str, float]:
        """Seconds that each of the card's limits asks for."""
        cycles = card.processors * card.clock / self.imbalance(card)
        return {
            "shared memory": self.wavefronts / cycles,
            "instructions": self.instructions / (4 * cycles),
            "L2": SECTOR * self.sectors / card.l2_rate,
            "memory": self.distant / card.memory_rate,
        }

    def seconds(self, card: Card) -> float:
        """Of all launches, as a profiler adds them up."""
        latency = self.launches * card.launch + self.rounds * card.round
        return max(self.bounds(card).values()) + latency
