"""How time and memory grow with the number of vertices."""

from pathlib import Path

import numpy as np

Row = dict[str, object]


def exponent(vertices: list[float], values: list[float]) -> float:
    """p of the least-squares fit value ~ vertices^p."""
    return float(np.polyfit(np.log(vertices), np.log(values), 1)[0])


def families(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of every family that was measured at several sizes, by size."""
    names = dict.fromkeys(row["family"] for row in rows if row["family"])
    found = {name: sorted((r for r in rows if r["family"] == name), key=lambda r: r["vertices"]) for name in names}
    return {name: members for name, members in found.items() if len(members) > 1}


def describe(rows: list[Row]) -> str:
    lines = [f"\n{'growth':22}{'vertices':>12}{'time':>12}{'us / vertex':>13}{'peak memory':>14}"]
    for name, members in families(rows).items():
        for row in members:
            lines.append(
                f"  {name:20}{row['vertices']:12,}{row['median_ms'] / 1e3:10.3f} s"
                f"{1e3 * row['median_ms'] / row['vertices']:13.2f}{row['peak_mib']:10.0f} MiB"
            )
        fitted = exponent([r["vertices"] for r in members], [r["median_ms"] for r in members])
        verdict = "reached" if fitted <= 1.1 else "NOT reached"
        lines.append(f"  {name:20}time grows like V^{fitted:.2f} ({verdict}: at most V^1.10)")
    return "\n".join(lines)


def draw(rows: list[Row], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axes, column, unit, scale in (
        (panels[0], "median_ms", "time in seconds (median)", 1e-3),
        (panels[1], "peak_mib", "peak extra memory in MiB", 1.0),
    ):
        for name, members in families(rows).items():
            vertices = [row["vertices"] for row in members]
            values = [scale * row[column] for row in members]
            axes.loglog(vertices, values, "o-", label=f"{name}: V^{exponent(vertices, values):.2f}")
        axes.set(xlabel="vertices V", ylabel=unit)
        axes.grid(True, which="both", alpha=0.3)
        axes.legend()
    figure.suptitle("From group elements to the Laplacian, K = 16")
    figure.savefig(path, dpi=150)
    plt.close(figure)
