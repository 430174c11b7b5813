"""The processes of a run, and the device each computes on."""

import argparse
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import ignite.distributed as idist
import torch


def choose_device(device: str | None, cuda: bool) -> torch.device:
    """The device by its name, or the GPU of this process for `cuda`, where there is one; otherwise the CPU.

    Raises ValueError for a device that does not exist.
    """
    if device is None:
        if cuda and not torch.cuda.is_available():
            warnings.warn("--cuda: no GPU is available to torch, running on the CPU", stacklevel=2)
        device = "cuda" if cuda and torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device: expected a name such as 'cpu' or 'cuda:0', got {device!r}") from error
    if chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"device: expected a name such as 'cpu' or 'cuda:0', got {device!r}")
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device: expected one that torch has, got {device!r} and no GPU is available")
        if chosen.index is None:
            chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        if chosen.index >= torch.cuda.device_count():
            raise ValueError(f"device: expected one of {torch.cuda.device_count()} GPUs from cuda:0 on, got '{chosen}'")
        torch.cuda.set_device(chosen)
    return chosen


@contextmanager
def processes(args: argparse.Namespace) -> Iterator[None]:
    """Joins the processes that torchrun started: NCCL for GPUs, gloo for CPUs. Does nothing for a process alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or torch.distributed.is_initialized():
        yield
        return
    device = choose_device(args.device, args.cuda)
    idist.initialize("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        idist.finalize()
