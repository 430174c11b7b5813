"""The flags that all training programs share, and the runs they describe."""

import argparse
from pathlib import Path
from typing import Any

from torch import nn

from .._checks import MAX_WORKERS, check_integer
from ..data.splits import VALIDATION_SHARE
from ..train import SCHEDULES, Options, schedule
from ..train.checkpoint import CHECKPOINT
from ..train.distributed import choose_device
from ..train.optimizer import adam
from ..train.options import MATMUL_PRECISIONS, MAX_SEED
from .flags import folder, integer, not_negative, part, positive

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

_MAX_RUNS = 10_000


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
    parser.add_argument("--seed", type=integer(0, MAX_SEED), default=0)
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
    parser.add_argument("--sync_bn", action="store_true", help="batch statistics over all processes")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out")
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="constant",
        help="of the learning rate; cosine: down to 0; onecycle: up from a 25th, then down; step: a tenth from the half, "
        "a hundredth from three quarters on (%(default)s, as the original)",
    )
    parser.add_argument(
        "--weight_decay", type=not_negative, default=0.0, help="as in AdamW (%(default)s, as the original)"
    )
    parser.add_argument(
        "--clip_norm",
        type=positive,
        metavar="NORM",
        help="scale longer gradients down to this norm; none are by default",
    )
    parser.add_argument(
        "--validation_share",
        type=part,
        default=VALIDATION_SHARE,
        metavar="SHARE",
        help="of what is there for training, held back to choose the epoch (%(default)s)",
    )
    parser.add_argument("--original_protocol", action="store_true", help="no validation: see the protocol below")


def optimisation(args: argparse.Namespace, options: Options, model: nn.Module, num_samples: int) -> dict[str, Any]:
    """What the flags say about the steps on `num_samples`, as parts of a `Task`: the original's Adam, by default."""
    optimizer = adam(model.parameters(), args.lr, args.weight_decay)
    steps = max(1, num_samples // options.batch_size)  # `fit` refuses a batch that is too large
    return {
        "optimizer": optimizer,
        "scheduler": schedule(args.schedule, optimizer, options.max_epochs * steps),
        "clip_norm": args.clip_norm,
    }


def experiments(args: argparse.Namespace, settings: dict[str, object]) -> list[Options]:
    """The options of each of `num_experiments` runs. With several, each has a folder of its own in `out`.

    With `resume`, runs after the first that have no checkpoint start anew: the former program did not come to them.

    Args:
        args: the parsed flags.
        settings: what else defines a run, such as the graphs' parameters.
    """
    count = check_integer("num_experiments", args.num_experiments, 1, _MAX_RUNS)
    flags = {key: value for key, value in vars(args).items() if key not in _NOT_COMPARED}
    if getattr(args, "schedule", "constant") != "constant":  # a schedule has a length
        flags["max_epochs"] = args.max_epochs
    keep = Path(args.path_to_model or args.out / "models") if getattr(args, "save_models", False) else None
    device = choose_device(args.device, args.cuda)
    runs = []
    for k in range(count):
        run = Path() if count == 1 else Path(str(k + 1))
        seed = args.seed + k
        resume = args.resume and (k == 0 or (args.out / run / CHECKPOINT).exists())
        runs.append(
            Options(
                out=args.out / run,
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
                models=None if keep is None else keep / run,
                config={**flags, **settings, "seed": seed},
            )
        )
    return runs
