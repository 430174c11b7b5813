"""README.md and pictures of a folder, from what the parts left in it."""

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def rows_of(folder: Path, name: str) -> list[Row]:
    """Of all files of a part whose name starts with `name`; nothing where there is none."""
    found: list[Row] = []
    for path in sorted(folder.glob(f"{name}*.json")):
        found += json.loads(path.read_text())
    return found


def table(rows: list[Row], columns: dict[str, str]) -> str:
    """Markdown: a column for each key, with its format."""
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = [format(row[key], form) if row.get(key) is not None else "" for key, form in columns.items()]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def tests(folder: Path, name: str) -> str:
    """What passed, and every failure by name with the end of what pytest said."""
    path = folder / f"{name}.jsonl"
    # A line that was being written when the process ended has no end.
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    records = [json.loads(line) for line in lines]
    if not records:
        return "No test was run."
    last = records[-1]
    failed = [record for record in records if "test" in record]
    lines = [", ".join(f"{last[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped"))]
    for record in failed:
        lines.append(f"\n- `{record['test']}` ({record['when']})\n\n```\n{record['text'][-2000:]}\n```")
    return "\n".join(lines)


def profile(row: Row) -> str:
    head = (
        f"{row['contender']}, {row['precision']}: {row['launches']} launches, {row['device_ms']:.2f} ms on the device"
    )
    return f"{head}\n\n" + table(row["kernels"], {"kernel": "", "launches": "d", "us": ".1f"})


def draw(rows: list[Row], path: Path) -> None:
    """Captured times of the convolution, a bar for each contender, in groups by width and precision."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in rows if row.get("captured_ms")]
    groups = list(dict.fromkeys(f"{row['convolution']}, {row['precision']}" for row in rows))
    contenders = list(dict.fromkeys(row["contender"] for row in rows))
    figure, axes = plt.subplots(figsize=(9, 1 + 0.5 * max(1, len(groups))), layout="constrained")
    height = 0.8 / max(1, len(contenders))
    for number, contender in enumerate(contenders):
        mine = {f"{r['convolution']}, {r['precision']}": r["captured_ms"] for r in rows if r["contender"] == contender}
        places = [groups.index(group) + height * (number - (len(contenders) - 1) / 2) for group in mine]
        axes.barh(places, list(mine.values()), height, label=contender)
    axes.set_yticks(range(len(groups)), groups)
    axes.set(xscale="log", xlabel="milliseconds, forward and backward, in a CUDA graph")
    axes.invert_yaxis()
    if contenders:
        axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def write(folder: Path) -> None:
    """Writes FOLDER/README.md, and convolution.png where matplotlib is installed."""
    facts = json.loads((folder / "facts.json").read_text())
    outcomes = json.loads((folder / "parts.json").read_text())
    convolutions, steps = rows_of(folder, "convolution"), rows_of(folder, "training")
    profiles = [profile(row) for row in steps if "kernels" in row]
    times = {"eager_ms": ".3f", "captured_ms": ".3f", "error": ""}
    sections = {
        "Parts": table(outcomes, {"name": "", "status": "", "said": "", "seconds": ".0f"}),
        "Tests": tests(folder, "tests"),
        "memcheck": tests(folder, "memcheck"),
        "racecheck": tests(folder, "racecheck"),
        "Convolution, forward and backward": table(
            sorted(convolutions, key=lambda r: (int(r["convolution"].split("->")[0]), r["precision"])),
            {"convolution": "", "precision": "", "contender": "", **times},
        ),
        "Training step": table(steps, {"contender": "", "precision": "", "launches": "d", "device_ms": ".2f", **times}),
        "Kernels of a step": "\n\n".join(profiles) or "No step was profiled.",
        "Graphs": table(
            rows_of(folder, "construction"),
            {
                "graph": "",
                "vertices": ",d",
                "edges": ",d",
                "same_bits": "",
                "cpu_s": ".4f",
                "device_s": ".4f",
                "error": "",
            },
        ),
    }
    lines = [f"# {facts['card']}", "", *(f"- {name}: {value}" for name, value in facts.items() if name != "card")]
    if facts["matplotlib"]:
        draw(convolutions, folder / "convolution.png")
        sections["Convolution, forward and backward"] += "\n\n![convolution](convolution.png)"
    for title, text in sections.items():
        lines += ["", f"## {title}", "", text]
    (folder / "README.md").write_text("\n".join(lines) + "\n")
