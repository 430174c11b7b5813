"""Studies: many runs of one experiment, each done once, with their outcomes in one file."""

import json
import statistics
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .._files import replacing
from ..train.records import write_rows

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: what was run: a frozen dataclass of strings and numbers.
        parameters: of the network.
        seconds: of training, since it was last resumed.
        values: what was measured, by name.
    """

    run: Any
    parameters: int
    seconds: float
    values: dict[str, float]


def complete(
    runs: Sequence[Any], settings: Mapping[str, Any], out: Path, train: Callable[[Any, Path], Outcome]
) -> list[Outcome]:
    """The outcomes of `runs`: OUT/results.jsonl has some, and gets the others.

    Args:
        runs: of one dataclass.
        settings: what the runs have in common; strings, numbers and None.
        out: the folder.
        train: does a run in a folder of its own, where it goes on after a stop.

    Raises ValueError for a file that is damaged, or of other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    known = {outcome.run: outcome for outcome in read(out / RESULTS, settings, type(runs[0]))}
    for number, run in enumerate(runs):
        if run in known:
            continue
        fields = asdict(run)
        print(f"run {number + 1} of {len(runs)}: {', '.join(f'{k} {v}' for k, v in fields.items())}", flush=True)
        known[run] = outcome = train(run, run_folder(out, run))
        write_rows(out / RESULTS, ({"settings": dict(settings), **asdict(each)} for each in known.values()))
        print(f"{outcome.seconds:.0f} s", flush=True)
    return [known[run] for run in runs]


def run_folder(out: Path, run: Any) -> Path:
    """Where a study in `out` trains a run."""
    return out / "-".join(map(str, asdict(run).values()))


def read(path: Path, settings: Mapping[str, Any], run: type) -> Iterator[Outcome]:
    """The outcomes in a file, of runs of the class `run`; none if there is no file. ValueError as for `complete`."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            found = row.pop("settings")
            outcome = Outcome(run(**row.pop("run")), **row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: expected an outcome in each line, got {line[:60]!r}: {error}") from error
        if found != dict(settings):
            raise ValueError(f"{path}: expected outcomes with {dict(settings)}, got {found}")
        yield outcome


def grouped(outcomes: Iterable[Outcome], key: Callable[[Any], Hashable]) -> dict[Any, list[Outcome]]:
    """The outcomes of runs with the same `key`, such as those of different seeds."""
    groups: dict[Any, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome.run), []).append(outcome)
    return groups


def mean_and_spread(values: Sequence[float], digits: int = 1) -> str:
    """The mean, and the standard deviation of several."""
    spread = f" ± {statistics.pstdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def seeds(outcomes: Iterable[Outcome]) -> str:
    """For the title of a table."""
    number = len({outcome.run.seed for outcome in outcomes})
    return f"; mean ± standard deviation of {number} seeds" if number > 1 else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown, with numbers from the second column on."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())
