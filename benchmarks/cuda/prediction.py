"""A captured training step on an H200, predicted as the sum of its launches.

A kernel of ours takes what `model.py` says. Kernels of the framework take what the same kind took on the card, products of
matrices by their width, copies and sums by their size; others move their bytes once. The pause between the nodes of a CUDA
graph comes on top.

What was measured there belongs to the kernels of that day. Their counts are kept beside it, in `h200_counts.json`, so that
the model can be held to it when the kernels have changed.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from .model import H200, Card, Counts, measured
from .step import Node
from .works import BATCH, ORDERS, se2

KEPT = Path(__file__).with_name("h200_counts.json")
PRECISIONS = (("float32", "float32"), ("float32", "tf32"), ("bfloat16", "bfloat16"))  # of signals, and of products


def product_rate(width: float, precision: str) -> float:
    """Operations per second of a product, between the widths that were measured; in proportion to the width below."""
    times = measured()["products"][precision]
    rates = []
    for name, microseconds in times.items():
        cin, cout = map(int, name.split("->"))
        operations = 3 * 2.0 * BATCH * se2(28).num_vertices * ORDERS * cin * cout
        rates.append((math.sqrt(ORDERS * cin * cout), operations / microseconds * 1e6))
    if width <= rates[0][0]:
        return rates[0][1] * width / rates[0][0]
    for (low, slow), (high, fast) in pairwise(rates):
        if width <= high:
            part = math.log(width / low) / math.log(high / low)
            return slow * (fast / slow) ** part
    return rates[-1][1]


def seconds(node: Node, precision: str, card: Card = H200) -> float:
    """Of all its times, as a profiler adds them up."""
    if node.counts is not None:
        return node.times * node.counts.seconds(card)
    framework = measured()["framework rates"]
    if node.kind == "products":
        # Small ones, of the last layer, take a launch and two rounds.
        moving = node.size / product_rate(node.width, precision if node.dtype == "float32" else node.dtype)
        return node.times * max(moving, card.launch + 2 * card.round)
    if node.kind == "sums":
        moving = node.size / framework["sums"]
    elif node.kind == "copies":
        moving = node.size / framework["copies"][node.dtype if node.dtype in framework["copies"] else "float32"]
    else:
        moving = node.size / card.memory_rate
    return node.times * (moving + node.launches * card.launch)


def launches(found: Iterable[Node]) -> int:
    return round(sum(node.times * node.launches for node in found))


def captured(found: list[Node], precision: str, card: Card = H200) -> float:
    """Seconds of the step as one CUDA graph."""
    return sum(seconds(node, precision, card) for node in found) + launches(found) * (card.node - card.launch)


def save(steps: dict[str, list[Node]], recurrence: dict[str, Counts], path: Path) -> None:
    """Counts of steps, by the type of their signals, and of the recurrence's kernels, by "WORK: KERNEL"."""
    parts = [
        f'"{name}": [\n' + ",\n".join(json.dumps(asdict(n)) for n in found) + "\n]" for name, found in steps.items()
    ]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(asdict(counts))}" for name, counts in recurrence.items())
    path.write_text("{\n" + ",\n".join([*parts, f'"recurrence": {{\n{lines}\n}}']) + "\n}\n")


def load(path: Path) -> tuple[dict[str, list[Node]], dict[str, Counts]]:
    """What `save` wrote."""

    def node(record: dict[str, Any]) -> Node:
        counts = record.pop("counts")
        return Node(**record, counts=Counts(**counts) if counts else None)

    records = json.loads(path.read_text())
    recurrence = {name: Counts(**counts) for name, counts in records.pop("recurrence").items()}
    return {name: [node(record) for record in rows] for name, rows in records.items()}, recurrence


def kinds(found: list[Node], precision: str) -> dict[str, tuple[int, float]]:
    """Launches and microseconds of every kind, and of the whole captured step."""
    rows = {}
    for kind in sorted({node.kind for node in found}):
        mine = [node for node in found if node.kind == kind]
        rows[kind] = launches(mine), 1e6 * sum(seconds(node, precision) for node in mine)
    rows["**all, captured**"] = launches(found), 1e6 * captured(found, precision)
    return rows


def table(steps: dict[str, list[Node]]) -> str:
    """What the step would take: one line per kind of launch, a column per precision."""
    columns = [kinds(steps[name], precision) for name, precision in PRECISIONS]
    lines = ["| launches of | " + " | ".join(precision for _, precision in PRECISIONS) + " |", "|---|---|---|---|"]
    for kind in dict.fromkeys(kind for column in columns for kind in column):
        cells = [f"{column[kind][0]}: {column[kind][1] / 1e3:.3f} ms" if kind in column else "" for column in columns]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def check(kept: dict[str, list[Node]], found: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """The step as it was measured beside what the model says of the kernels of that day, and the ratio of every line."""
    lines = [
        "| step | launches of | launches | in the profile | predicted | measured | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    ratios = {}
    for name, facts in found.items():
        whole = {"launches": facts["launches"], "us": 1e3 * facts["captured ms"]}
        actual = {**facts["kernels"], "**all, captured**": whole}
        for kind, (count, predicted) in kinds(kept[name], name).items():
            cells = ["", f"{predicted / 1e3:.3f} ms", "", ""]
            if fact := actual.get(kind):
                ratio = ratios[f"{name} {kind}"] = predicted / fact["us"]
                cells = [str(fact["launches"]), cells[1], f"{fact['us'] / 1e3:.3f} ms", f"{ratio:.2f}"]
            lines.append(f"| {name} | {kind} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines), ratios


CONVOLUTIONS = [(cin, cout, name) for cin, cout in ((16, 32), (64, 64), (128, 128)) for name in ("float32", "bfloat16")]


def convolutions(
    found: dict[str, list[Node]], measured_ms: dict[str, dict[str, float]] | None = None
) -> tuple[str, list[float]]:
    """Captured convolutions, forward and backward, against what `torch.compile` makes of plain PyTorch; with
    `measured_ms` beside what was measured of ours, and those ratios."""
    ell = measured()["compiled ELL captured ms"]
    head = " measured | ratio |" if measured_ms else ""
    lines = [f"| convolution | launches | predicted |{head} compiled ELL, measured | faster than it |"]
    lines.append("|---" * (7 if measured_ms else 5) + "|")
    ratios = []
    for cin, cout, name in CONVOLUTIONS:
        nodes = found[f"{cin}->{cout} {name}"]
        for precision in [p for signals, p in PRECISIONS if signals == name and not (measured_ms and p == "tf32")]:
            predicted, other = 1e3 * captured(nodes, precision), ell[name].get(f"{cin}->{cout}")
            cells = [f"{cin}->{cout}, {precision}", str(launches(nodes)), f"{predicted:.3f} ms"]
            if measured_ms:
                actual = measured_ms[name][f"{cin}->{cout}"]
                ratios.append(predicted / actual)
                cells += [f"{actual:.3f} ms", f"{ratios[-1]:.2f}"]
            cells += [f"{other:.3f} ms", f"{other / predicted:.2f}x"] if other and precision != "tf32" else ["", ""]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines), ratios
