"""The network of the epoch with the best validation score, kept beside the checkpoint."""

import math
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from torch import nn

from .checkpoint import load_state, write_state

BEST = "best.pt"

_CONTENT = {"epoch", "score", "model"}


class BestNetwork:
    """The file OUT/best.pt: a state dict, its epoch and its score. Of equal scores the earlier epoch stays.

    It is written after the checkpoint of its epoch, so the checkpoint of a run that is killed in between does not know of
    it; see `restore`.

    Args:
        path: of the file.

    Attributes:
        epoch, score: of the network in the file, or 0 and -inf before there is one.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.epoch, self.score = path, 0, -math.inf

    def begin(self) -> None:
        """For a new run: removes what a former one has left, whose checkpoint is gone."""
        if idist.get_rank() == 0:
            self.path.unlink(missing_ok=True)

    def offer(self, epoch: int, score: float, model: nn.Module) -> None:
        """Writes the network, atomically, if its score is above the best so far. All processes call it."""
        if score <= self.score:
            return
        if idist.get_rank() == 0:
            write_state(self.path, {"epoch": epoch, "score": score, "model": model.state_dict()})
        self.epoch, self.score = epoch, score

    def state(self) -> dict[str, Any] | None:
        """What the checkpoint keeps of it."""
        return {"epoch": self.epoch, "score": self.score} if self.epoch else None

    def restore(self, saved: dict[str, Any] | None, completed: int | None) -> None:
        """For a resumed run: takes up what `saved`, the checkpoint's `state`, says, and compares it with the file.

        `completed` is the epoch whose end the checkpoint is of, or None. A file of that epoch was written after the
        checkpoint, and counts: the network that it took the place of is gone.

        Raises FileNotFoundError or ValueError, naming the file, if it is not there, damaged or of another epoch.
        """
        if saved is not None:
            self.epoch, self.score = int(saved["epoch"]), float(saved["score"])
        elif not self.path.exists():
            return
        content = self._read()
        if content["epoch"] == completed:
            self.epoch, self.score = completed, float(content["score"])
        elif content["epoch"] != self.epoch:
            raise ValueError(f"{self.path}: expected the network of epoch {self.epoch}, got that of {content['epoch']}")

    def load(self, model: nn.Module) -> None:
        """Gives `model` the network's state; errors as for `restore`."""
        idist.barrier()  # the first process writes
        model.load_state_dict(self._read()["model"])

    def _read(self) -> dict[str, Any]:
        try:
            content = load_state(self.path)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.path}: expected the network of the best epoch so far, {self.epoch}; it is not there"
            ) from None
        if not isinstance(content, dict) or content.keys() != _CONTENT:
            raise ValueError(f"{self.path}: expected a network, its epoch and its score, got other content")
        return content
