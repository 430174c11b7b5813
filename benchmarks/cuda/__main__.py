"""Writes the tables of docs/cuda.md anew: what the compiler made of the CUDA kernels, what they move and execute, what a
training step takes by the model, and how near the model comes to what was measured."""

import argparse
import json
from pathlib import Path

import torch
from tqdm import tqdm

from . import compiler, model, prediction, step, traffic, works
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


def compiled(out: Path) -> dict[str, str]:
    kernels = compiler.kernels(compiler.cuda_module())
    records = [{**vars(kernel), "occupancy": kernel.occupancy} for kernel in kernels]
    (out / "cuda_compiler.json").write_text(json.dumps(records, indent=1))
    return {"compiler": compiler.table(kernels)}


def moved(out: Path) -> dict[str, str]:
    simulator, rows = Simulator("sm_90"), []
    machine = traffic.Machine(simulator)
    for work in tqdm(list(works.works()), desc="traffic", unit="work"):
        rows += traffic.measure(work, simulator, machine)
    (out / "cuda_traffic.json").write_text(json.dumps(traffic.as_records(rows), indent=1))
    return {"traffic": traffic.table(rows) + "\n\n" + traffic.searches(rows)}


def stepped(out: Path) -> dict[str, str]:
    simulator, steps = step.Remembering("sm_90"), {}
    machine = traffic.Machine(simulator)
    for name in tqdm(("float32", "bfloat16"), desc="step", unit="step"):
        recorded = step.recorded(step.training_step(bf16=name == "bfloat16", fused=True))
        steps[name] = step.nodes(recorded, simulator, machine)
    for cin, cout, name in tqdm(prediction.CONVOLUTIONS, desc="convolutions", unit="convolution"):
        recorded = step.recorded(step.convolution(cin, cout, getattr(torch, name)))
        steps[f"{cin}->{cout} {name}"] = step.nodes(recorded, simulator, machine)
    prediction.save(steps, {}, out / "cuda_step.json")
    return {"step": prediction.table(steps), "convolutions": prediction.convolutions(steps)[0]}


def checked(out: Path) -> dict[str, str]:
    """The model beside what was measured, from the counts that are kept: needs neither compiler nor simulator."""
    steps, recurrence = prediction.load(prediction.KEPT)
    found = model.measured()
    return {
        "check": traffic.check(recurrence, found["recurrence"])[0],
        "convolutions check": prediction.convolutions(steps, found["captured convolution ms"])[0],
        "step check": prediction.check(steps, found["step"])[0],
    }


PARTS = {"compiler": compiled, "check": checked, "traffic": moved, "step": stepped}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="one of the parts; all if left out")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/bench"), help="folder for the figures behind the tables"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for part in [args.only] if args.only else PARTS:
        tables, text = PARTS[part](args.out), DOCUMENT.read_text()
        for name, table in tables.items():
            print(f"\n{table}")
            text = replaced(text, name, table)
        DOCUMENT.write_text(text)
    print(f"\nWritten to {DOCUMENT.name} and {args.out}")


if __name__ == "__main__":
    main()
