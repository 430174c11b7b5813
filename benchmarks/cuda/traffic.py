"""What the CUDA kernels move and execute, counted while a simulator executes their PTX, and what an H200 needs for it by
the model of `model.py`."""

import functools
from dataclasses import asdict, dataclass
from typing import Any

from . import sass
from .compiler import cuda_module
from .executor import Simulator
from .model import H200, Counts
from .works import BATCH, Work


@dataclass(frozen=True)
class Row:
    """One kernel in one work, over all its launches there."""

    work: str
    kernel: str
    unit: str
    bytes_per_unit: float  # loads
    bytes_limit: float | None
    coalescing: float
    bank_ways: float
    active_lanes: float
    counts: Counts

    @property
    def bound(self) -> str:
        times = self.counts.bounds(H200)
        return max(times, key=lambda name: times[name])

    @property
    def predicted_us(self) -> float:
        return 1e6 * self.counts.seconds(H200)

    def shortfalls(self) -> list[str]:
        """What was to be reached, and was not. On tiles, the values of a row are read one by one, once for each block, and
        lanes of a grid's rows read from different banks as far as a colouring finds them."""
        recurrence, tiles = self.kernel == "chebyshev_step", self.kernel.startswith("tile_")
        lanes = 28.0 if recurrence else 24.0 if self.kernel.startswith("nearest_") else 0
        wanted = {
            "coalescing": (self.coalescing, 0.95 if recurrence else 0.6 if tiles else 0.85),
            "bank conflicts": (-self.bank_ways, -1.35 if tiles else -1.0),
            "active lanes": (self.active_lanes, lanes),
            "bytes per edge": (-self.bytes_per_unit, -(self.bytes_limit or float("inf"))),
        }
        return [name for name, (value, least) in wanted.items() if value < least]


class Machine:
    """The compiled module's machine code beside the PTX that a simulator executes."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator, self.code = simulator, sass.machine_code(cuda_module(), simulator.arch)

    @functools.cache  # noqa: B019  (lives as long as the process)
    def per_ptx_instruction(self, instance: str, memory: str) -> float:
        for module in self.simulator.modules.values():
            if instance in module.kernels:
                return sass.per_ptx_instruction(self.code[instance], sass.ptx_code(module.ptx)[instance], memory)
        raise KeyError(instance)

    def instructions(self, report: dict[str, Any]) -> float:
        memory = "shared" if report["shared_phases"] > report["load_requests"] else "global"
        return float(report["warp_instructions"] * self.per_ptx_instruction(report["instance"], memory))


def executed(work: Work, simulator: Simulator, samples: int, lists: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """The launches of the work on so many samples: kernel and report."""
    simulator.reports, simulator.profile, simulator.lists = [], True, lists
    try:
        work.run(simulator, samples)
    finally:
        simulator.profile = simulator.lists = False
    return simulator.reports


def measure(work: Work, simulator: Simulator, machine: Machine | None = None) -> list[Row]:
    """Runs the work in the simulator: one row per kernel that has a unit. Without machine code, PTX instructions count."""
    reports = executed(work, simulator, work.samples)
    listed = reports if work.samples == BATCH else executed(work, simulator, BATCH, lists=True)
    rows = []
    for kernel, unit in work.units.items():
        mine = [report for name, report in reports if name == kernel]
        launches = [report["blocks"] for name, report in listed if name == kernel]
        if not mine:
            continue
        total = {key: sum(report[key] for report in mine) for key in mine[0] if key != "instance"}
        times = BATCH / work.samples if unit.per_sample else 1.0
        instructions = sum(machine.instructions(r) if machine else r["warp_instructions"] for r in mine)
        sectors = total["load_sectors"] + total["store_sectors"]
        counts = Counts(
            launches=len(launches),
            blocks=sum(launches),
            instructions=times * instructions,
            wavefronts=times * total["shared_ways"],
            sectors=times * sectors,
            distant=times * (total["unique_load"] + total["unique_store"]) if unit.distant else 0,
            rounds=len(launches) * unit.rounds,
        )
        rows.append(
            Row(
                work=work.name,
                kernel=kernel,
                unit=unit.name,
                bytes_per_unit=times * total["load_bytes"] / unit.count,
                bytes_limit=unit.bytes_limit,
                coalescing=(total["load_bytes"] + total["store_bytes"]) / (32 * sectors),
                bank_ways=total["shared_ways"] / total["shared_phases"] if total["shared_phases"] else 1.0,
                active_lanes=total["lane_instructions"] / total["warp_instructions"],
                counts=counts,
            )
        )
    return rows


def figures(counts: Counts) -> str:
    """Cells of a table: launches, and millions of instructions, wavefronts and sectors."""
    millions = (counts.instructions, counts.wavefronts, counts.sectors)
    return f"{counts.launches:.0f} | " + " | ".join(f"{value / 1e6:.3f}" for value in millions)


def table(rows: list[Row]) -> str:
    lines = [
        "| work | kernel | launches | M instructions | M wavefronts | M sectors | loaded per unit (at most) | coalescing | "
        "bank ways | active lanes | bound | predicted | not reached |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        limit = f" ({row.bytes_limit:.0f})" if row.bytes_limit else ""
        lines.append(
            f"| {row.work} | `{row.kernel}` | {figures(row.counts)} | {row.bytes_per_unit:.1f} B / {row.unit}{limit} | "
            f"{row.coalescing:.2f} | {row.bank_ways:.2f} | {row.active_lanes:.1f} | {row.bound} | "
            f"{row.predicted_us:.1f} us | {', '.join(row.shortfalls()) or '-'} |"
        )
    return "\n".join(lines)


def searches(rows: list[Row]) -> str:
    """All pairs against the tree, of the graphs that have both."""
    pairs = {row.work.split(", ")[0]: row for row in rows if row.kernel == "nearest_of_all"}
    return "\n".join(
        f"- {name}: all pairs take {pairs[name].predicted_us:.1f} us, the tree {row.predicted_us:.1f} us and a sort."
        for row in rows
        if row.kernel == "nearest_in_tree" and (name := row.work.split(", ")[0]) in pairs
    )


def check(kept: dict[str, Counts], measured: list[dict[str, Any]]) -> tuple[str, list[float]]:
    """The recurrence's kernels as they were measured, forward and backward, beside what the model says, and all ratios.

    `kept` has the counts of the kernels of that day, by "WORK: KERNEL"; of the two widths of a convolution together.
    """
    lines = [
        "| convolution | kernel | launches | M instructions | M wavefronts | M sectors | predicted | measured | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ratios = []
    for found in measured:
        for kernel in ("chebyshev_step", "chebyshev_edges"):
            works = [f"SE(2) 28x28x6, {channels} channels, {found['dtype']}" for channels in found["channels"]]
            parts = [kept[f"{work}: {kernel}"] for work in works]
            predicted, actual = 1e6 * sum(part.seconds(H200) for part in parts), found[kernel]["us"]
            total = functools.reduce(Counts.__add__, parts)
            if total.launches != found[kernel]["launches"]:
                raise ValueError(f"{kernel} {works}: {total.launches} launches, {found[kernel]['launches']} measured")
            ratios.append(predicted / actual)
            lines.append(
                f"| {' -> '.join(map(str, found['channels']))}, {found['dtype']} | `{kernel}` | {figures(total)} | "
                f"{predicted:.1f} us | {actual:.1f} us | {ratios[-1]:.2f} |"
            )
    return "\n".join(lines), ratios


def as_records(rows: list[Row]) -> list[dict[str, object]]:
    return [{**asdict(row), "bound": row.bound, "predicted_us": row.predicted_us} for row in rows]
