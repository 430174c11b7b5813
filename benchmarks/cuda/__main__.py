"""Writes the tables of docs/cuda.md anew: what the compiler made of the CUDA kernels, and what they move and execute."""

import argparse
import json
from pathlib import Path

import torch
from tqdm import tqdm

from . import compiler, traffic
from .executor import Simulator

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "cuda.md"


def replaced(text: str, name: str, table: str) -> str:
    """`text` with what stands between the markers of `name` replaced."""
    begin, end = f"<!-- {name}: by python -m benchmarks.cuda -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{DOCUMENT}: expected the lines {begin} and {end}")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__)
    parser.add_argument("--only", choices=["compiler", "traffic"], help="one of the two tables; both if left out")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/bench"), help="folder for the figures behind the tables"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tables = {}
    if args.only != "traffic":
        kernels = compiler.kernels(compiler.cuda_module())
        tables["compiler"] = compiler.table(kernels)
        records = [{**vars(kernel), "occupancy": kernel.occupancy} for kernel in kernels]
        (args.out / "cuda_compiler.json").write_text(json.dumps(records, indent=1))
    if args.only != "compiler":
        torch.manual_seed(0)
        simulator, rows = Simulator("sm_90"), []
        for work in tqdm(list(traffic.works()), desc="traffic", unit="work"):
            rows += traffic.measure(work, simulator)
        tables["traffic"] = traffic.table(rows) + "\n\n" + traffic.conclusions(rows)
        (args.out / "cuda_traffic.json").write_text(json.dumps(traffic.as_records(rows), indent=1))
    text = DOCUMENT.read_text()
    for name, table in tables.items():
        print(f"\n{table}")
        text = replaced(text, name, table)
    DOCUMENT.write_text(text)
    print(f"\nWritten to {DOCUMENT.name} and {args.out}")


if __name__ == "__main__":
    main()
