"""What a run reports: rows of a file, and TensorBoard or Weights & Biases."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from .._checks import check_choice
from .._files import naming, replacing


class Records:
    """One JSON object per line in OUT/metrics.jsonl, and the same numbers in a log. Only the first process writes.

    A row has "iteration", "epoch" and the numbers it reports.

    Args:
        out: the folder.
        log: "tensorboard" (files in OUT/tensorboard), "wandb" (project "cheblienet") or "none".
        config: what defines the run.
        iteration: where the run continues; rows beyond it are of steps that will be done again, and are dropped.
    """

    def __init__(self, out: Path, log: str, config: Mapping[str, Any], iteration: int) -> None:
        check_choice("log", log, ("tensorboard", "wandb", "none"))
        self.rows: list[dict[str, Any]] = []
        self._file = self._tensorboard = self._wandb = None
        if idist.get_rank() > 0:
            return
        if log == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(out / "tensorboard"), purge_step=iteration + 1)
        elif log == "wandb":
            try:
                import wandb
            except ImportError as error:
                raise ModuleNotFoundError("--log wandb: needs the package wandb: pip install wandb") from error
            self._wandb = wandb.init(project="cheblienet", config=dict(config), dir=out, name=out.name)
        self._path = out / "metrics.jsonl"
        self.rows = [row for row in _read(self._path) if row["iteration"] <= iteration] if iteration else []
        write_rows(self._path, self.rows)
        self._file = self._path.open("a", buffering=1)

    def add(self, iteration: int, epoch: int, values: Mapping[str, float]) -> None:
        """Appends a row."""
        if self._file is None:
            return
        row = {"iteration": iteration, "epoch": epoch, **values}
        self.rows.append(row)
        with naming(self._path):
            self._file.write(json.dumps(row) + "\n")
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(name, value, iteration)
        if self._wandb is not None:
            self._wandb.log({**values, "epoch": epoch}, step=iteration)

    def sync(self) -> None:
        """Brings the rows to the disk: a checkpoint that survives a power cut is to find those of its steps."""
        if self._file is not None:
            with naming(self._path):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            with naming(self._path):  # what is left to write
                self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object per line, atomically."""
    with replacing(path) as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, up to an end that was cut off while it was written; ValueError for damage before the end."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    rows = [_row(line) for line in lines]
    while rows and rows[-1] is None:
        rows.pop()
    if None in rows:
        raise ValueError(f"{path}: line {rows.index(None) + 1} is damaged, got {lines[rows.index(None)]!r}")
    return [row for row in rows if row is not None]


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("iteration"), int) else None
