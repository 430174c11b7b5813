"""Runs the benchmarks side by side, prints tables, writes CSV, JSON and a picture."""

import argparse
import csv
import io
import json
import platform
import statistics
from pathlib import Path

import torch
from tqdm import tqdm

import cheblienet
from cheblienet._files import replacing

from . import chebyshev, graphs, growth, overhead
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

    def cell(value: object, form: str, width: int, unit: str = "") -> str:
        return f"{'' if value is None else format(value, form) + unit:>{width}}"

    digits = ".1f" if rows[0]["median_ms"] >= 1 else ".3f"
    for row in rows:
        line = (
            f"  {row['contender']:20}"
            + cell(row["median_ms"], digits, 10, " ms")
            + cell(row["forward_ms"], digits, 10, " ms")
            + cell(row["ours_faster"], ".2f", 13, "x")
            + cell(row["peak_mib"], ".0f", 13, " MiB")
            + cell(row["gflops"], ".0f", 9)
            + cell(row["of_floor"], ".0%", 10)
        )
        lines.append(line.rstrip())
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


def write(machine: Row, rows: list[Row], out: Path) -> None:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    results = {
        "results.csv": table.getvalue(),
        "results.json": json.dumps({"machine": machine, "rows": rows}, indent=1),
    }
    for name, text in results.items():
        with replacing(out / name) as file:
            file.write(text.encode())


def on_device(row: Row) -> str:
    return str(row["benchmark"]) if row["device"] == "cpu" else f"{row['benchmark']}, {row['device']}"


def draw(rows: list[Row], path: Path) -> None:
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(on_device(row) for row in rows))
    contenders = list(dict.fromkeys(row["contender"] for row in rows))
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.75 * len(names)), layout="constrained")
    present = {name: [row["contender"] for row in rows if on_device(row) == name] for name in names}
    height = 0.8 / max(map(len, present.values()))
    for contender in contenders:
        mine = {on_device(row): row["median_ms"] for row in rows if row["contender"] == contender}
        places = [
            names.index(name) + height * (present[name].index(contender) - (len(present[name]) - 1) / 2)
            for name in mine
        ]
        bars = axes.barh(places, list(mine.values()), height, label=contender)
        labels = [f"{value:.3g}" if value < 100 else f"{value:,.0f}" for value in mine.values()]
        axes.bar_label(bars, labels, padding=2, fontsize=7)
    axes.set(xscale="log", xlabel="milliseconds per step (median)")
    axes.set_yticks(range(len(names)), names)
    axes.margins(x=0.08, y=0.02)
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
    programs = chebyshev.benchmarks, graphs.benchmarks, overhead.benchmarks
    everything = [benchmark for device in devices for benchmarks in programs for benchmark in benchmarks(device)]
    chosen = [b for b in everything if args.only in b.name]
    if not chosen:
        raise SystemExit(f"--only: no benchmark has {args.only!r} in its name")
    rows: list[Row] = []
    for benchmark in tqdm(chosen, desc="benchmarks", unit="benchmark"):
        new = run(benchmark, args.budget)
        tqdm.write(describe(benchmark, new))
        rows += new
        write(info, rows, args.out)  # after each one, so that an interrupted run keeps what it has measured
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
