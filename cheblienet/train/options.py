"""How to train."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ignite.distributed as idist
import torch

from .._checks import MAX_WORKERS, check_choice, check_folder, check_integer

MATMUL_PRECISIONS = ("highest", "high")

# What torch's generators take.
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Options:
    """How to train.

    Attributes:
        out: folder of everything a run writes.
        max_epochs, batch_size: the batch is the one of all processes together.
        device: where this process computes.
        seed: of parameters, order of the data, random layers.
        amp: whether to compute in bfloat16 where autocast does.
        compile: whether to compile the network.
        sync_bn: whether batch statistics are those of all processes together.
        resume: whether to continue from the checkpoint in `out`.
        workers: processes that load data, for each training process.
        log: "tensorboard", "wandb" or "none".
        models: folder for the networks of the last five epochs, or None.
        config: what defines the run; a checkpoint belongs to one.
        capture: whether to record steps as CUDA graphs, where that is possible; the results are the same. See `fit`.
        matmul_precision: "highest", or "high" for float32 products in TF32 on GPUs that have it, while the run lasts: sums in
            float32 of products of factors rounded to 10 bits, instead of 23, after the leading one.
    """

    out: Path
    max_epochs: int
    batch_size: int
    device: torch.device
    seed: int = 0
    amp: bool = False
    compile: bool = False
    sync_bn: bool = False
    resume: bool = False
    workers: int = 0
    log: str = "none"
    models: Path | None = None
    config: dict[str, object] | None = None
    capture: bool = True
    matmul_precision: str = "highest"

    def __post_init__(self) -> None:
        check_choice("matmul_precision", self.matmul_precision, MATMUL_PRECISIONS)
        check_integer("max_epochs", self.max_epochs, 1)
        check_integer("batch_size", self.batch_size, 1)
        check_integer("workers", self.workers, 0, MAX_WORKERS)
        check_integer("seed", self.seed, 0, MAX_SEED)
        check_folder("out", self.out)
        if self.models is not None:
            check_folder("models", self.models)
        if self.batch_size % idist.get_world_size():
            raise ValueError(
                f"batch_size: expected a multiple of the {idist.get_world_size()} processes, got {self.batch_size}"
            )


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """`torch.set_float32_matmul_precision`, and what was set before at the end."""
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(former)
