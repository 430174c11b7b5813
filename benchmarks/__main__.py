"""Runs the benchmarks side by side, prints tables, writes CSV, JSON and a picture."""

import argparse
import csv
import json
import platform
import statistics
from pathlib import Path

import torch
from tqdm import tqdm

import cheblienet

from . import chebyshev, graphs, growth
from .measure import interleaved, median_ratio, peak_extra_memory
from .registry import OURS, REFERENCE, Benchmark, Contender

Row = dict[str, object]


def set_up(benchmark: Benchmark) -> dict[str, Contender]:
    ready = {}
    for name, setup in benchmark.contenders.items():
        try:
            ready[name] = setup()
        except ModuleNotFoundError as error:
            tqdm.write(f"{benchmark.name}: {name} is left out: {error}")
    return ready


def run(benchmark: Benchmark, budget: float) -> list[Row]:
    contenders = set_up(benchmark)
    times = interleaved({name: c.step for name, c in contenders.items()}, budget, benchmark.device)
    halves = {name: c.forward for name, c in contenders.items() if c.forward is not None}
    forward = interleaved(halves, budget / 4, benchmark.device) if halves else {}
    memory = {name: peak_extra_memory(c.step, benchmark.device) for name, c in contenders.items()}
    floor = benchmark.floor() if benchmark.floor else None
    rows = []
    for name in contenders:
        seconds = statistics.median(times[name])
        rows.append(
            {
                "benchmark": benchmark.name,
                "family": benchmark.family,
                "vertices": benchmark.vertices,
                "contender": name,
                "device": benchmark.device,
                "dtype": str(benchmark.dtype).removeprefix("torch."),
                "median_ms": 1e3 * seconds,
                "forward_ms": 1e3 * statistics.median(forward[name]) if name in forward else None,
                "ours_faster": median_ratio(times[name], times[OURS]),
                "peak_mib": memory[name] / 2**20,
                "gflops": benchmark.flops / seconds / 1e9 if benchmark.flops else None,
                "of_floor": floor / seconds if floor else None,
                "rounds": len(times[name]),
            }
        )
    return rows


def describe(benchmark: Benchmark, rows: list[Row]) -> str:
    lines = [f"\n{benchmark.name} ({rows[0]['dtype']}, {rows[0]['device']}, medians of {rows[0]['rounds']} rounds)"]
    lines.append(
        f"  {'':20}{'time':>10}{'forward':>10}{'ours faster':>13}{'peak memory':>13}{'GFLOP/s':>9}{'of floor':>10}"
    )

    def cell(value: object, form: str, width: int) -> str:
        return f"{'' if value is None else format(value, form):>{width}}"

    for row in rows:
        lines.append(
            f"  {row['contender']:20}"
            + cell(row["median_ms"], ".1f", 7) + " ms"
            + cell(row["forward_ms"], ".1f", 7) + " ms"
            + cell(row["ours_faster"], ".2f", 12) + "x"
            + cell(row["peak_mib"], ".0f", 9) + " MiB"
            + cell(row["gflops"], ".0f", 9)
            + cell(row["of_floor"], ".0%", 10)
        )  # fmt: skip
    reached = verdicts(benchmark, rows)
    if reached:
        lines.append("  " + "; ".join(reached))
    return "\n".join(lines)


def verdicts(benchmark: Benchmark, rows: list[Row]) -> list[str]:
    """For every goal, what was reached of it."""
    by_name = {row["contender"]: row for row in rows}
    said = []
    for name, goal in benchmark.goals.items():
        if name == "floor":
            value, unit = by_name[OURS]["of_floor"], "of the floor's speed"
        elif name == "memory":
            value, unit = by_name[REFERENCE]["peak_mib"] / max(by_name[OURS]["peak_mib"], 1e-9), "x less memory"
        elif name in by_name:
            value, unit = by_name[name]["ours_faster"], f"x {name}"
        else:
            continue
        said.append(f"{'reached' if value >= goal else 'NOT reached'}: {value:.2f} of {goal:g} {unit}")
    return said


def on_device(row: Row) -> str:
    return str(row["benchmark"]) if row["device"] == "cpu" else f"{row['benchmark']}, {row['device']}"


def draw(rows: list[Row], path: Path) -> None:
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(on_device(row) for row in rows))
    contenders = list(dict.fromkeys(row["contender"] for row in rows))
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.75 * len(names)), layout="constrained")
    height = 0.8 / len(contenders)
    for i, contender in enumerate(contenders):
        mine = {on_device(row): row["median_ms"] for row in rows if row["contender"] == contender}
        places = [names.index(name) + i * height for name in mine]
        bars = axes.barh(places, list(mine.values()), height, label=contender)
        axes.bar_label(bars, [f"{value:.0f}" for value in mine.values()], padding=2, fontsize=7)
    axes.set(xscale="log", xlabel="milliseconds per step (median)")
    axes.set_yticks([n + 0.4 - height / 2 for n in range(len(names))], names)
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="run the benchmarks whose names contain this")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="where to; the CPU, and the GPU if there is one")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds of timing for each benchmark")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    info = {**cheblienet.build_info(), "machine": platform.processor() or platform.machine()}
    print(", ".join(f"{name} {value}" for name, value in info.items()))
    devices = [args.device] if args.device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    everything = [b for device in devices for b in chebyshev.benchmarks(device) + graphs.benchmarks(device)]
    chosen = [b for b in everything if args.only in b.name]
    if not chosen:
        raise SystemExit(f"--only: no benchmark has {args.only!r} in its name")
    rows: list[Row] = []
    for benchmark in tqdm(chosen, desc="benchmarks", unit="benchmark"):
        new = run(benchmark, args.budget)
        tqdm.write(describe(benchmark, new))
        rows += new
        # Written after each one, so that an interrupted run keeps what it has measured.
        with (args.out / "results.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        (args.out / "results.json").write_text(json.dumps({"machine": info, "rows": rows}, indent=1))
    draw(rows, args.out / "times.png")
    written = ["results.csv", "results.json", "times.png"]
    if growth.families(rows):
        print(growth.describe(rows))
        growth.draw(rows, args.out / "growth.png")
        written.append("growth.png")
    print(f"\nWritten to {args.out}: {', '.join(written)}")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
