"""Runs parts one after the other, each as a process of its own: one that fails, hangs or is killed costs itself alone."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """A process to run.

    Attributes:
        name: of the part, and of its files.
        command: program and arguments.
        limit: seconds after which it is ended.
        environment: variables beside those that there are.
        missing: why it cannot run here, or nothing.
    """

    name: str
    command: list[str]
    limit: float
    environment: dict[str, str] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Outcome:
    name: str
    status: str  # "done", "failed", "timed out", "killed" or "left out"
    said: str
    seconds: float


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and all that it started, which are a group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    process.wait()


def run(part: Part, folder: Path, cwd: Path) -> Outcome:
    """Runs one part; all that it prints goes to FOLDER/logs/NAME.log."""
    if part.missing:
        return Outcome(part.name, "left out", part.missing, 0.0)
    log = folder / "logs" / f"{part.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment, start = {**os.environ, "PYTHONUNBUFFERED": "1", **part.environment}, time.monotonic()

    def outcome(status: str, said: str) -> Outcome:
        return Outcome(part.name, status, said, time.monotonic() - start)

    with log.open("wb") as file:
        try:
            process = subprocess.Popen(
                part.command, stdout=file, stderr=subprocess.STDOUT, cwd=cwd, env=environment, start_new_session=True
            )
        except OSError as error:
            return outcome("failed", f"does not start: {error}")
        try:
            code = process.wait(part.limit)
        except subprocess.TimeoutExpired:
            _end(process)
            return outcome("timed out", f"after {part.limit:.0f} s")
        except BaseException:
            _end(process)
            raise
    if code < 0:
        return outcome("killed", f"by signal {signal.Signals(-code).name}")
    if code > 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["without a word"]
        return outcome("failed", f"exit status {code}: {last[0][:200]}")
    return outcome("done", "")


def run_all(
    parts: Iterable[Part], folder: Path, cwd: Path, budget: float, said: Callable[[str], None] = print
) -> list[Outcome]:
    """Runs all parts; FOLDER/parts.json holds the outcomes so far after each. What is left of `budget` seconds bounds
    every limit."""
    outcomes, start = [], time.monotonic()
    for part in parts:
        left = budget - (time.monotonic() - start)
        if left <= 1 and not part.missing:
            part = replace(part, missing=f"the {budget:.0f} s of all parts are spent")
        last = run(replace(part, limit=min(part.limit, left)), folder, cwd)
        said(f"{last.name}: {last.status} in {last.seconds:.0f} s" + (f", {last.said}" if last.said else ""))
        outcomes.append(last)
        (folder / "parts.json").write_text(json.dumps([asdict(o) for o in outcomes], indent=1))
    return outcomes
