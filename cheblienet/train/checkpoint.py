"""Checkpoints: one file that holds all of a run's state, replaced in one step and read without unpickling code.

The container, a zip archive, keeps a checksum of every tensor. torch.load does not compare them; `load_state` does.
"""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor

from .._files import replacing

CHECKPOINT = "checkpoint.pt"

# To be raised when the content changes.
_FORMAT = 2
_CONTENT = {"format", "config", "iteration", "epoch_length", "model", "optimizer", "scheduler", "best", "generators"}

# What a configuration that does not name it means: programs that wrote checkpoints before the flag was there.
# (Pooling drew in tests, too, before `eval_reduction`: that does not change what such a run goes on to learn.)
_ADDED = {
    "matmul_precision": "highest",
    "eval_reduction": "avg",
    "schedule": "constant",
    "weight_decay": 0.0,
    "clip_norm": None,
    "validation_share": 0.1,
    "original_protocol": True,
}


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the file on the first process, atomically; all processes call it.

    `content` has the keys of `load_checkpoint`'s result but "format" and "generators", which are added here: the states of
    all processes' generators.
    """
    state = {"format": _FORMAT, **content, "generators": _generator_states()}
    if idist.get_rank() == 0:
        write_state(path, state)


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes what `torch.save` can, atomically; OSError naming the file where the disk is full."""
    with replacing(path) as file:
        torch.save(state, file)


def load_state(path: str | os.PathLike[str]) -> Any:
    """What a run has written with `torch.save`, such as OUT/models/model_3.pt, on the CPU and compared with its checksums.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file, if it is damaged.
    """
    try:
        with open(path, "rb") as file:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
                # torch would take a member that is marked as a folder for an empty one, and its memory as it finds it.
                marked = [member.filename for member in archive.infolist() if member.external_attr]
            if damaged is not None:
                raise ValueError(f"wrong checksum of {damaged}")
            if marked:
                raise ValueError(f"wrong attributes of {marked[0]}")
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive can raise almost anything
        raise ValueError(f"{path}: not a usable checkpoint: {error}") from error


def load_checkpoint(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint, with all tensors on the CPU.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the file is damaged, or belongs to a run of another configuration.
    """
    try:
        state = load_state(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no checkpoint to resume from") from None
    if isinstance(state, dict) and state.get("format") == 1:  # of a run without a validation set: there were no others
        state = {**state, "format": _FORMAT, "best": None}
    known = isinstance(state, dict) and state.get("format") == _FORMAT and state.keys() == _CONTENT
    if not known or not isinstance(state["config"], dict):
        raise ValueError(f"{path}: not a checkpoint of this program, or of another version")
    # No such state is saved now; former versions could.
    if not all_finite(state):
        raise ValueError(f"{path}: not a usable checkpoint: expected finite numbers, got NaN or infinity")
    stored, config = {**_ADDED, **state["config"]}, {**_ADDED, **config}
    different = sorted(k for k in stored.keys() | config.keys() if stored.get(k) != config.get(k))
    if different:
        changes = ", ".join(f"{key} = {stored.get(key)!r}, not {config.get(key)!r}" for key in different)
        raise ValueError(f"{path}: belongs to a run with {changes}")
    return state


def all_finite(state: Any) -> bool:
    """Whether all floating-point tensors in nested mappings and sequences are; waits for the device."""
    if isinstance(state, Tensor):
        return not state.is_floating_point() or bool(state.isfinite().all())
    if isinstance(state, Mapping):
        return all(map(all_finite, state.values()))
    return not isinstance(state, list | tuple) or all(map(all_finite, state))


def restore_generators(states: Mapping[str, Tensor]) -> None:
    """Continues torch's generators. A process that the saved run did not have keeps its own."""
    rank = idist.get_rank()
    # Copies: torch 2.14 reads a state from the beginning of its storage, whatever the view.
    if rank < len(states["cpu"]):
        torch.set_rng_state(states["cpu"][rank].clone())
    if rank < len(states["cuda"]) and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"][rank].clone())


def _generator_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    states["cuda"] = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else torch.empty(0, dtype=torch.uint8)
    gathered = {}
    for name, state in states.items():
        # Bytes travel as int32, the integers that every backend and ignite's gathering know.
        rows = idist.all_gather(state.int()[None]) if state.numel() else state[None][:0]
        gathered[name] = rows.to(device="cpu", dtype=torch.uint8)
    return gathered
