"""Hyper-parameter searches on images, by optuna."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from torch import nn
from torch.utils.data import TensorDataset

from ..data import load_images
from ..graphs import Graph
from ..train import Options, fit
from ..train.distributed import choose_device
from ..train.optimizer import adam
from ..train.records import write_rows
from .arguments import add_arguments
from .classification import LiftImages, add_image_arguments, image_task
from .parser import Parser

_VALIDATION_SHARE = 0.3

# Makes the input's graph and the network from a trial's parameters.
Build = Callable[[dict[str, Any]], tuple[Graph, nn.Module]]


def sweep_parser(description: str, dataset: str, prog: str | None) -> Parser:
    """The flags of a search: those of training, where `num_experiments` is the number of trials, endless without it."""
    parser = Parser(prog=prog, description=description)
    add_arguments(parser, f"hpo_{dataset}", max_epochs=1)
    add_image_arguments(parser, dataset)
    parser.add_argument("--resume", action="store_true", help="add to the trials in --out")
    parser.set_defaults(num_experiments=None)
    return parser


def search_space(trial: optuna.Trial) -> dict[str, Any]:
    """The original's search space."""
    return {
        "batch_size": trial.suggest_categorical("batch_size", [8, 16, 32]),
        "kernel_size": trial.suggest_categorical("kernel_size", [2, 3, 4, 5, 6]),
        "K": trial.suggest_categorical("K", [8, 16, 32]),
        "xi": trial.suggest_float("xi", 1e-4, 1e-1, log=True),
        "ntheta": trial.suggest_int("ntheta", 2, 9),
        "eps": trial.suggest_float("eps", 1e-2, 1.0, log=True),
    }


def run_sweep(args: argparse.Namespace, side: int, channels: int, build: Build) -> optuna.Study:
    """Maximises the accuracy on 30 % of the training images after `max_epochs` epochs, by Parzen estimators (TPE).

    The study is OUT/study.log, to which several programs may add at a time with --resume; OUT/trials.jsonl lists its
    trials, and each has its folder of metrics. A signal ends the search, and its trial counts as failed.
    """
    path = args.out / "study.log"
    if path.exists() and not args.resume:
        raise FileExistsError(f"{path}: holds a search; resume it, or choose another folder for a new one")
    args.out.mkdir(parents=True, exist_ok=True)
    images = load_images(args.dataset, args.path_to_data, True, side, channels).subset(args.subset, args.seed)
    training, validation = (
        TensorDataset(part.images, part.labels) for part in images.hold_out(_VALIDATION_SHARE, args.seed)
    )
    base = Options(
        out=args.out,
        max_epochs=args.max_epochs,
        batch_size=1,
        device=choose_device(args.device, args.cuda),
        seed=args.seed,
        amp=args.amp,
        compile=args.compile,
        capture=args.capture,
        matmul_precision=args.matmul_precision,
        workers=args.workers,
        log=args.log,
    )

    def objective(trial: optuna.Trial) -> float:
        parameters = search_space(trial)
        torch.manual_seed(args.seed)
        graph, model = build(parameters)
        folder = args.out / f"trial-{trial.number:04}"
        options = replace(base, out=folder, batch_size=parameters["batch_size"], config=parameters)
        lift = LiftImages(graph, images.mean, images.std)
        model = model.to(options.device)
        optimizer = adam(model.parameters(), args.lr)
        report = fit(image_task(model, lift, training, {"validation": validation}, optimizer=optimizer), options)
        if report.signal:
            raise KeyboardInterrupt
        return report.metrics["validation_accuracy"]

    study = optuna.create_study(
        study_name=f"{args.dataset}-{side}",
        storage=JournalStorage(JournalFileBackend(str(path))),
        sampler=optuna.samplers.TPESampler(seed=args.seed),
        direction="maximize",
        load_if_exists=True,
    )
    complete = len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))
    remaining = None if args.num_experiments is None else max(0, args.num_experiments - complete)
    try:
        study.optimize(objective, n_trials=remaining)
    finally:
        write_rows(
            args.out / "trials.jsonl",
            ({"trial": t.number, "state": t.state.name, "accuracy": t.value, **t.params} for t in study.trials),
        )
    best = study.best_trial
    print(f"\n{args.dataset}: best of {len(study.trials)} trials is {best.number}, accuracy {best.value:.4f}")
    print("\n".join(f"  {name} = {value}" for name, value in best.params.items()))
    return study
