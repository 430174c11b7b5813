"""The flags that all training programs share, and the processes and the device they choose."""

import argparse
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ignite.distributed as idist
import torch

from .._checks import MAX_WORKERS, check_choice, check_folder, check_integer
from .checkpoint import CHECKPOINT
from .flags import folder, integer, positive

# Flags that say where and how long a run goes, not what it computes: a resumed run may change them.
_NOT_COMPARED = (
    "path_to_graph",
    "path_to_data",
    "path_to_model",
    "save_models",
    "num_experiments",
    "max_epochs",
    "cuda",
    "device",
    "capture",
    "workers",
    "log",
    "out",
    "resume",
)

MATMUL_PRECISIONS = ("highest", "high")

# What torch's generators take.
_MAX_SEED = 2**63 - 1
_MAX_RUNS = 10_000


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
        check_integer("seed", self.seed, 0, _MAX_SEED)
        check_folder("out", self.out)
        if self.models is not None:
            check_folder("models", self.models)
        if self.batch_size % idist.get_world_size():
            raise ValueError(
                f"batch_size: expected a multiple of the {idist.get_world_size()} processes, got {self.batch_size}"
            )


def add_arguments(parser: argparse.ArgumentParser, name: str, max_epochs: int) -> None:
    """The flags of the original programs that all of them have, and the added ones."""
    parser.add_argument("--path_to_graph", type=folder, help="folder of cached graphs; none are kept without it")
    parser.add_argument("--path_to_data", default="data", help="folder of the data (%(default)s)")
    parser.add_argument(
        "--num_experiments", type=integer(1, _MAX_RUNS), default=1, help="runs, with seeds that follow --seed"
    )
    parser.add_argument("--max_epochs", type=integer(1), default=max_epochs)
    parser.add_argument("--lr", type=positive, default=1e-3)
    parser.add_argument("--cuda", action="store_true", help="use a GPU if there is one")
    parser.add_argument("--device", help="such as cpu or cuda:1; overrides --cuda")
    parser.add_argument("--amp", action="store_true", help="bfloat16 by autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument(
        "--no-capture", dest="capture", action="store_false", help="launch a GPU's kernels one by one, not as a graph"
    )
    parser.add_argument(
        "--matmul-precision",
        choices=MATMUL_PRECISIONS,
        default="highest",
        help="high: float32 products in TF32, faster on a GPU and less precise (%(default)s)",
    )
    parser.add_argument("--sync_bn", action="store_true", help="batch statistics over all processes")
    parser.add_argument("--seed", type=integer(0, _MAX_SEED), default=0)
    parser.add_argument("--workers", type=integer(0, MAX_WORKERS), default=0, help="processes that load data")
    parser.add_argument("--subset", type=integer(1), metavar="N", help="N samples of each set, for a trial")
    parser.add_argument("--log", choices=("tensorboard", "wandb", "none"), default="tensorboard")
    parser.add_argument(
        "--out",
        type=folder,
        default=Path("outputs") / name,
        help="folder for checkpoint, metrics and pictures (%(default)s)",
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of programs that train one network, beside those of `add_arguments`."""
    parser.add_argument("--batch_size", type=integer(1), default=16, help="of all processes together")
    parser.add_argument("--anisotropic", action="store_true")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out")


def experiments(args: argparse.Namespace, settings: dict[str, object]) -> list[Options]:
    """The options of each of `num_experiments` runs. With several, each has a folder of its own in `out`.

    With `resume`, runs after the first that have no checkpoint start anew: the former program did not come to them.

    Args:
        args: the parsed flags.
        settings: what else defines a run, such as the graphs' parameters.
    """
    count = check_integer("num_experiments", args.num_experiments, 1, _MAX_RUNS)
    flags = {key: value for key, value in vars(args).items() if key not in _NOT_COMPARED}
    keep = Path(args.path_to_model or args.out / "models") if getattr(args, "save_models", False) else None
    device = choose_device(args.device, args.cuda)
    runs = []
    for k in range(count):
        part = Path() if count == 1 else Path(str(k + 1))
        seed = args.seed + k
        resume = args.resume and (k == 0 or (args.out / part / CHECKPOINT).exists())
        runs.append(
            Options(
                out=args.out / part,
                max_epochs=args.max_epochs,
                batch_size=args.batch_size,
                device=device,
                seed=seed,
                amp=args.amp,
                compile=args.compile,
                capture=args.capture,
                matmul_precision=args.matmul_precision,
                sync_bn=args.sync_bn,
                resume=resume,
                workers=args.workers,
                log=args.log,
                models=None if keep is None else keep / part,
                config={**flags, **settings, "seed": seed},
            )
        )
    return runs


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
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device: expected one that torch has, got {device!r} and no GPU is available")
        if chosen.index is None:
            chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(chosen)
    return chosen


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """`torch.set_float32_matmul_precision`, and what was set before at the end."""
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(former)


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
