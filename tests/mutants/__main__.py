"""Changes one thing at a time in the package, and sees whether the tests notice.

    python tests/mutants [--minutes 60] [--again]

cosmic-ray finds what can be changed: a number, a comparison, an operator, a condition, a decorator, an exception. A fixed
seed draws from that. Each mutant runs against the tests of its module, `TESTS`, which stop at the first failure. It is made
in a copy of the project in build/mutants, never in this folder. One process imports packages and forks each run, which then
imports this one. What was run is kept: the same command goes on where it was stopped, and --again runs survivors anew, after
the tests were mended. docs/mutants.md gets the list; reasons that stand there for survivors stay.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult
from module_tests import DRAWN, TESTS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "mutants"
TREE, SESSION, TIMES = FOLDER / "tree", FOLDER / "session.sqlite", FOLDER / "times.json"
PAGE = ROOT / "docs" / "mutants.md"
SEED = 20

# Annotations are full of `A | None`, where another operator is an error at the import.
_NOT_DRAWN = "ReplaceBinaryOperator_BitOr"

# What a run that does not end leaves instead of what it printed.
_UNENDED = "timeout"


def copy_project() -> None:
    """Brings the copy up to date, and undoes what a killed run left in it."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("cheblienet", "tests", "scripts", "benchmarks", "docs"):
        shutil.copytree(ROOT / name, TREE / name, dirs_exist_ok=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "setup.py"):
        shutil.copy2(ROOT / name, TREE / name)


def draw(session: WorkDB) -> None:
    """Fills a new session: of every folder as many mutants as `DRAWN` says, in a random order."""
    drawn = []
    for folder, count in DRAWN.items():
        init([Path(module) for module in TESTS if str(Path(module).parent) == folder], session, {})
        found = [item.mutations[0] for item in session.work_items]
        found = [mutation for mutation in found if _NOT_DRAWN not in mutation.operator_name]
        found.sort(key=lambda m: (str(m.module_path), m.operator_name, m.occurrence))
        # Each folder has a generator of its own: what is new in one changes nothing in the others.
        drawn += random.Random(f"{SEED} {folder}").sample(found, min(count, len(found)))
    random.Random(SEED).shuffle(drawn)
    session.clear()
    session.add_work_items(WorkItem.single(f"{number:04}", mutation) for number, mutation in enumerate(drawn))


def run_tests(arguments: list[str], limit: float) -> tuple[int | None, str]:
    """pytest's exit status in the copy, None for one that does not end, and what it printed at last."""
    output = FOLDER / "output"
    child = os.fork()
    if child == 0:
        os.setsid()
        with output.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(TREE)
        sys.path.insert(0, str(TREE))
        os.environ["PYTHONPATH"] = str(TREE)
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments])))
    end, done = time.monotonic() + limit, 0
    try:
        while not done and time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.05)
    finally:
        if not done:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
    said = output.read_text(errors="replace")[-2000:]
    return (os.waitstatus_to_exitcode(status), said) if done else (None, _UNENDED)


def whole_time(tests: list[str]) -> float:
    """How many seconds these tests take without a change; they pass."""
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    key = " ".join(tests)
    if key not in times:
        start = time.monotonic()
        status, said = run_tests(tests, 1800)
        if status != 0:
            sys.exit(f"{key}: expected tests that pass without a change, got status {status}\n{said}")
        times[key] = time.monotonic() - start
        TIMES.write_text(json.dumps(times, indent=1))
    return times[key]


def test(item: WorkItem) -> WorkResult:
    """Runs one mutant."""
    (mutation,) = item.mutations
    path = TREE / mutation.module_path
    limit = 60 + 5 * whole_time(TESTS[str(mutation.module_path)])
    source = path.read_text()
    mutant = mutate_code(source, get_operator(mutation.operator_name)(), mutation.occurrence)
    if mutant is None:
        sys.exit(f"{mutation.module_path} has changed since the draw: remove {FOLDER} to draw anew")
    changed = [(a, b) for a, b in zip(source.splitlines(), mutant.splitlines(), strict=False) if a != b]
    try:
        path.write_text(mutant)
        status, said = run_tests(TESTS[str(mutation.module_path)], limit)
    finally:
        path.write_text(source)
    outcome = TestOutcome.SURVIVED if status == 0 else TestOutcome.KILLED
    return WorkResult(WorkerOutcome.NORMAL, said, outcome, "\n".join(changed[0] if changed else ("", "")))


def write_page(session: WorkDB) -> None:
    """Counts by module, and the survivors, with the reasons that the page had for them."""
    reasons = {}
    for line in PAGE.read_text().splitlines() if PAGE.exists() else ():
        cells = line.strip("| ").split(" | ")
        if line.startswith("| `") and len(cells) == 4:
            reasons[tuple(cells[:3])] = cells[3]
    counts, survivors = Counter(), []
    for item, result in sorted(session.completed_work_items, key=lambda pair: pair[0].job_id):
        module = str(item.mutations[0].module_path)
        outcome = "unended" if result.output == _UNENDED else result.test_outcome.value
        counts[module, outcome] += 1
        if outcome == "survived":
            before, after = ("`" + code.strip().replace("|", "\\|") + "`" for code in result.diff.split("\n")[:2])
            place = f"`{module}:{item.mutations[0].start_pos[0]}`"
            survivors.append((place, before, after, reasons.get((place, before, after), "not looked at")))
    modules = sorted({module for module, _ in counts})
    kinds = ("killed", "unended", "survived")
    rows = [[f"`{module}`", *(counts[module, kind] for kind in kinds)] for module in modules]
    rows.append(["all", *(sum(row[k] for row in rows) for k in (1, 2, 3))])
    page = [
        "# What tests do not notice",
        "",
        "`make mutants` changes one thing at a time in the package and runs the tests of the module. A mutant that they fail "
        "on, or do not end with, was noticed. "
        + f"{session.num_results} of the {session.num_work_items} that seed {SEED} "
        "draws have been run.",
        "",
        "| module | failed | did not end | survived |",
        "|---|---:|---:|---:|",
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
        "",
        "## Survivors",
        "",
        "| place | was | became | why no test fails |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in sorted(survivors)),
    ]
    PAGE.write_text("\n".join(page) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no mutant after so many")
    parser.add_argument("--again", action="store_true", help="run the survivors again")
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    sys.dont_write_bytecode = True
    os.environ.update(PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1")
    copy_project()
    os.chdir(TREE)
    with use_db(str(SESSION)) as session:
        if not session.num_work_items:
            draw(session)
        items = list(session.pending_work_items)
        if args.again:
            items = [
                item for item, result in session.completed_work_items if result.test_outcome == TestOutcome.SURVIVED
            ]
        # What takes long to import, and none of what is changed.
        import torchvision.datasets  # noqa: F401

        for item in sorted(items, key=lambda item: item.job_id):
            if time.monotonic() > end:
                break
            start = time.monotonic()
            result = test(item)
            session.set_result(item.job_id, result)
            write_page(session)
            place = f"{item.mutations[0].module_path}:{item.mutations[0].start_pos[0]}"
            print(f"{item.job_id} {result.test_outcome.value} {time.monotonic() - start:.0f} s {place}", flush=True)


if __name__ == "__main__":
    main()
