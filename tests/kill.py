"""Kills programs at random moments, runs them again, and compares what they leave with what an uninterrupted run leaves.

    python tests/kill.py [--kills 200] [--seed 0]

Three parts: building graphs with a cache, training on scikit-learn's digits, converting netCDF files (synthetic ones, written
by netCDF4). One process imports everything and forks each program, so that a start costs milliseconds instead of seconds;
SIGKILL reaches the programs alone. Half of the kills come after a random part of the program's whole time, half when a
temporary file is seen, so that many hit a file while it is written. A program may be killed again after it was resumed.
Training writes a checkpoint after every step, and draws no pictures, which would take most of its time. Prints a table of
counts; a kill that lost anything ends the run with what is left in place.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cheblienet.__main__ import main as command
from cheblienet.data.synthetic import write_synthetic_climatenet
from cheblienet.experiments import mnist, summary
from cheblienet.experiments.classification import grid_graphs
from cheblienet.train import engine, load_state

EPOCHS = 7  # more than the five whose networks are kept
DIGITS = ["--dataset", "digits", "--subset", "18", "--batch_size", "8", "--log", "none", "--save_models"]
DIGITS += ["--res_depth", "1", "--widen_factor", "1", "--max_epochs", str(EPOCHS)]
LONGEST_WRITE = 0.004  # seconds: a kill comes within this of the moment when a temporary file is seen


@dataclass
class Part:
    """What is killed.

    Attributes:
        run: the program, writing to a folder; with the number of processes beside it.
        weigh: how much of the work is done in a folder; AssertionError where something in it is damaged.
        content: all that a folder holds, to be compared.
        workers: numbers of processes beside the program, one of which is drawn for each start.
    """

    run: Callable[[Path, int], None]
    weigh: Callable[[Path], int]
    content: Callable[[Path], Any]
    workers: tuple[int, ...]
    seconds: float = 0.0
    expected: Any = None
    kills: int = 0
    writing: int = 0
    right: int = 0


def build_graphs(out: Path, _: int) -> None:
    grid_graphs(True, (8, 16, 32), 6, 16, 0.1, 2.048 / 32**2, str(out))


def train(out: Path, workers: int) -> None:
    resume = ["--resume"] if (out / "checkpoint.pt").exists() else []
    mnist.main([*DIGITS, "--out", str(out), "--workers", str(workers), *resume], side=8)


def convert(out: Path, workers: int) -> None:
    source = out.parent / "netcdf"
    sys.argv = ["", "climatenet", "convert", str(source), str(out), "--level", "3", "--workers", str(1 + workers)]
    command()


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def run_content(out: Path) -> dict[str, Any]:
    """Of training: what the files mean, as a resumed run's pickles may differ in what they share."""
    content: dict[str, Any] = files(out)
    for name in content:
        if name.endswith(".pt"):
            content[name] = load_state(out / name)
        elif name.endswith(".jsonl"):
            rows = [json.loads(line) for line in content[name].splitlines()]
            content[name] = [{k: v for k, v in row.items() if k != "samples_per_second"} for row in rows]
    return content


def weigh_whole_files(expected: Path) -> Callable[[Path], int]:
    """Every file that is not temporary is whole, as in the folder `expected`."""

    def weigh(out: Path) -> int:
        present = {name: data for name, data in files(out).items() if not Path(name).name.startswith(".")}
        for name, data in present.items():
            assert data == (expected / name).read_bytes(), f"{out / name} is not whole"
        return len(present)

    return weigh


def weigh_run(out: Path) -> int:
    """The steps that the checkpoint holds: all but the one under way, as one is written after every step."""
    for path in (*out.glob("models/*.pt"), *out.glob("best.pt")):
        load_state(path)
    path, metrics = out / "checkpoint.pt", out / "metrics.jsonl"
    saved = load_state(path)["iteration"] if path.exists() else 0
    lines = metrics.read_text().split("\n")[:-1] if metrics.exists() else []
    reported = max((json.loads(line)["iteration"] for line in lines), default=0)
    assert saved >= reported - 1, f"{path} is of step {saved}, {metrics} of {reported}"
    return saved


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def start(part: Part, out: Path, log: Path, workers: int) -> int:
    """Forks the program. A warning, such as that of a damaged cache file, fails it."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        part.run(out, workers)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def ended(pid: int) -> int | None:
    """The exit status of a program, or None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def temporaries(out: Path) -> set[str]:
    found = set()
    for folder in (out, out / "models"):
        with contextlib.suppress(FileNotFoundError):
            found |= {entry.path for entry in os.scandir(folder) if entry.name.endswith(".tmp")}
    return found


def moment(part: Part, out: Path, draw: random.Random) -> Callable[[], bool]:
    """Says when the time to kill has come: after a part of the program's time, or while a file is written."""
    if draw.random() < 0.5:
        until = time.perf_counter() + draw.uniform(0, part.seconds)
        return lambda: time.perf_counter() >= until
    seen = temporaries(out)

    def writes() -> bool:
        new = temporaries(out) - seen
        seen.update(new)
        if not new or draw.random() < 0.75:  # not always at the first file
            return False
        time.sleep(draw.uniform(0, LONGEST_WRITE))
        return True

    return writes


def try_once(part: Part, out: Path, log: Path, draw: random.Random, most: int) -> int:
    """A program that is killed and resumed until it ends, and compared. The number of kills, at most `most`."""
    kills, writing, done = 0, 0, 0
    while True:
        pid = start(part, out, log, draw.choice(part.workers))
        due = moment(part, out, draw) if kills < most and (not kills or draw.random() < 0.4) else lambda: False
        while (status := ended(pid)) is None and not due():
            time.sleep(0.0001)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            break
        assert status == -signal.SIGKILL, f"the program failed with {status}:\n{log.read_text()}"
        kills += 1
        writing += bool(temporaries(out))
        before, done = done, part.weigh(out)
        assert done >= before, f"{out}: {done} parts of the work are done, after {before} before the kill"
    assert not temporaries(out), f"{temporaries(out)} are left"
    assert same(part.content(out), part.expected), f"{out}: differs from what the uninterrupted run has left"
    part.kills, part.writing, part.right = part.kills + kills, part.writing + writing, part.right + kills
    return kills


def prepare(part: Part, out: Path) -> None:
    """Runs the program here, uninterrupted: what it imports is there for all that are forked."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        part.run(out, part.workers[0])
        shutil.rmtree(out)
        begin = time.perf_counter()
        part.run(out, part.workers[0])
    part.seconds, part.expected = time.perf_counter() - begin, part.content(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    engine._STEPS_BETWEEN_CHECKPOINTS = 1
    summary.can_draw = lambda: False
    draw, begin = random.Random(arguments.seed), time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="cheblienet-kill-"))
    write_synthetic_climatenet(folder / "netcdf", 3, 2)
    parts = {
        "graphs": Part(build_graphs, weigh_whole_files(folder / "graphs"), files, (0,)),
        "training": Part(train, weigh_run, run_content, (0, 0, 0, 0, 1)),
        "conversion": Part(convert, weigh_whole_files(folder / "conversion"), files, (0,) * 9 + (1,)),
    }
    for name, part in parts.items():
        prepare(part, folder / name)
    for number, part in enumerate(parts.values()):
        left = arguments.kills * (number + 1) // len(parts) - arguments.kills * number // len(parts)
        while left:
            left -= try_once(part, folder / "try", folder / "log", draw, left)
            shutil.rmtree(folder / "try")
            (folder / "log").unlink()
    shutil.rmtree(folder)
    print(f"{'part':12}{'kills':>8}{'during a write':>16}{'resumed right':>16}")
    total = [(name, part.kills, part.writing, part.right) for name, part in parts.items()]
    for name, *counts in [*total, ("all", *(sum(column) for column in list(zip(*total, strict=True))[1:]))]:
        print(f"{name:12}{counts[0]:8}{counts[1]:16}{counts[2]:16}")
    print(f"{time.perf_counter() - begin:.0f} s, seed {arguments.seed}")


if __name__ == "__main__":
    main()
