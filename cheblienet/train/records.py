"""What a run reports: rows of a file, and TensorBoard or Weights & Biases."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from .._checks import check_choice
from .._files import replacing


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
        path = out / "metrics.jsonl"
        self.rows = [row for row in _read(path) if row["iteration"] <= iteration] if iteration else []
        write_rows(path, self.rows)
        self._file = path.open("a", buffering=1)

    def add(self, iteration: int, epoch: int, values: Mapping[str, float]) -> None:
        """Appends a row."""
        if self._file is None:
            return
        row = {"iteration": iteration, "epoch": epoch, **values}
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(name, value, iteration)
        if self._wandb is not None:
            self._wandb.log({**values, "epoch": epoch}, step=iteration)

    def close(self) -> None:
        if self._file is not None:
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
    """The rows of a file, up to a last line that was cut off while it was written."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
