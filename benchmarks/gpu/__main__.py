"""Tests, checks and measures on the GPU of this machine, with the Python that runs this and nothing from elsewhere.

    python -m benchmarks.gpu [--out outputs/gpu] [--only NAME]

Writes one folder, named after the card: README.md, pictures, what each part found as JSON and what it printed under logs.
A compiled package in this clone is used; without one, the package that is installed.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .parts import BUDGET, parts
from .report import write
from .runner import run_all

ROOT = Path(__file__).resolve().parents[2]


def workspace(folder: Path) -> None:
    """Copies of what the parts run. The package is among it only where the clone has it compiled: its sources alone would
    stand before an installed package."""
    for name in ("benchmarks", "tests", "csrc", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    if list((ROOT / "cheblienet").glob("_C_cuda*.so")):
        (folder / "cheblienet").symlink_to(ROOT / "cheblienet", target_is_directory=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "gpu", help="where the card's folder goes")
    parser.add_argument("--only", default="", help="the parts whose names contain this")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cheblienet-gpu-") as temporary:
        work = Path(temporary)
        workspace(work)
        asked = subprocess.run([sys.executable, "-m", "benchmarks.gpu.facts"], cwd=work, capture_output=True, text=True)
        if asked.returncode:
            why = (asked.stdout if asked.returncode == 3 else asked.stderr).strip().splitlines()[-1:]
            raise SystemExit(f"make gpu: {why[0] if why else f'exit status {asked.returncode}'}")
        facts = json.loads(asked.stdout.splitlines()[-1])
        folder = args.out.resolve() / re.sub(r"\W+", "-", facts["card"])
        if not args.only:
            shutil.rmtree(folder, ignore_errors=True)  # what an earlier run left would stand among the new results
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "facts.json").write_text(json.dumps(facts, indent=1))
        chosen = [part for part in parts(sys.executable, folder, work, facts) if args.only in part.name]
        outcomes = run_all(chosen, folder, work, BUDGET)
    write(folder)
    print(f"Written to {folder}")
    raise SystemExit(any(outcome.status not in ("done", "left out") for outcome in outcomes))


if __name__ == "__main__":
    main()
