"""The training programs on small data, watched: what `tests/experiments/test_flag_effects.py` looks at.

A program is run with `fit` replaced. What it hands over, networks, data and options, shows the effects of most flags; the
others show in steps of training that watch themselves.
"""

import importlib
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, field
from unittest import mock

import pytest
import torch
from torch import Tensor

from cheblienet.experiments import artc, classification, segmentation, summary, sweep
from cheblienet.experiments.parser import Parser
from cheblienet.train import Options, Report, Task, fit

DIGITS = ["--dataset", "digits"]
NEEDED = {
    "mnist": DIGITS,
    "cifar10": DIGITS,
    "stl10": [*DIGITS, "--reduction", "max"],
    "artc": ["--dataset", "synthetic", "--reduction", "max", "--expansion", "avg"],
    "search_mnist": [*DIGITS, "--num_experiments", "1"],
    "search_cifar10": [*DIGITS, "--num_experiments", "1"],
}
STUDIES = ("rotated_study", "sphere_study", "anisotropy_study")
SMALL = {"--res_depth": "1", "--widen_factor": "1", "--batch_size": "8", "--subset": "24", "--max_epochs": "1"}


def load(name: str):
    return importlib.import_module(f"cheblienet.experiments.{name}")


def flags_of(name: str) -> list[str]:
    """The names of a program's flags, from its parser."""

    class Found(Exception):
        pass

    def caught(parser, *_):
        raise Found(parser)

    with mock.patch.object(Parser, "parse_args", caught), pytest.raises(Found) as found:
        load(name).main([])
    (parser,) = found.value.args
    return [action.option_strings[0] for action in parser._actions if "--help" not in action.option_strings]


FLAGS = {name: flags_of(name) for name in (*NEEDED, *STUDIES)}

# What sees the effect of a flag: called with a `Program`.
EFFECTS: dict[str, Callable] = {}


def effect(flag: str):
    """Says that a function sees the effect of a flag."""

    def keep(function):
        assert flag not in EFFECTS, flag
        EFFECTS[flag] = function
        return function

    return keep


@dataclass
class Run:
    """What was handed to `fit`, how it ended, and what its steps saw."""

    task: Task
    options: Options
    report: Report
    seen: list[dict] = field(default_factory=list)

    def watch(self) -> None:
        before = set(multiprocessing.active_children())  # of earlier runs, until their loaders are collected

        def look(model, inputs):
            if model.training:
                self.seen.append(
                    {
                        "samples": len(inputs[0]),
                        "amp": torch.is_autocast_enabled("cpu"),
                        "precision": torch.get_float32_matmul_precision(),
                        "workers": len(set(multiprocessing.active_children()) - before),
                    }
                )

        self.task.model.register_forward_pre_hook(look)


def _small_space(trial):
    """For small images."""
    rates = {name: trial.suggest_float(name, 0.05, 1.0) for name in ("xi", "eps")}
    return {"batch_size": 8, "kernel_size": 2, "K": 8, "ntheta": 2, **rates}


class Program:
    """A program on small data: called with flags, it gives the runs that it would train, or has trained."""

    def __init__(self, name, folder, monkeypatch):
        self.name, self.folder, self.calls = name, folder, 0
        self.search = name.startswith("search_")
        self.dataset = name.removeprefix("search_")
        monkeypatch.chdir(folder)
        for module in (classification, artc, sweep):
            monkeypatch.setattr(module, "fit", self._fit)
        monkeypatch.setattr(summary, "can_draw", lambda: False)
        monkeypatch.setattr(artc, "draw_prediction", lambda *_: None)
        monkeypatch.setattr(segmentation, "SYNTHETIC_LEVEL", 1)
        monkeypatch.setattr(segmentation, "SYNTHETIC_FILES", 20)
        monkeypatch.setattr(sweep, "search_space", _small_space)

    def _fit(self, task: Task, options: Options) -> Report:
        run = Run(task, options, Report(metrics={"validation_accuracy": 0.5} if self.search else {}))
        if self.trains:
            run.watch()
            run.report = fit(task, options)
        self.runs.append(run)
        return run.report

    def __call__(self, *flags, train=False) -> list[Run]:
        """The runs. Each call has a folder of its own, unless `flags` say otherwise."""
        self.calls += 1
        self.runs, self.trains = [], train
        words = [*NEEDED[self.name], "--log", "none", "--out", f"out-{self.calls}"]
        words += [word for flag, value in SMALL.items() if flag in FLAGS[self.name] for word in (flag, value)]
        side = {} if self.name == "artc" else {"side": 8 if self.dataset == "mnist" else 12}
        load(self.name).main([*words, *map(str, flags)], **side)
        return self.runs

    def one(self, *flags, train=False) -> Run:
        (run,) = self(*flags, train=train)
        return run


def parameters(run: Run) -> Tensor:
    return torch.cat([p.detach().flatten() for p in run.task.model.parameters()])


def items(run: Run) -> tuple[int, dict[str, int]]:
    """How many samples train, and how many the other sets have, by name."""
    validation = run.task.validation_set
    others = {**({} if validation is None else {"validation": validation}), **run.task.test_sets}
    return len(run.task.train_set), {name: len(samples) for name, samples in others.items()}


def drawn(run: Run) -> list:
    """Which samples train."""
    train_set = run.task.train_set
    return list(train_set.names) if hasattr(train_set, "names") else train_set.tensors[0].tolist()


def steps(run: Run) -> int:
    """How many make an epoch."""
    return len(run.task.train_set) // run.options.batch_size


def first_batch(run: Run) -> tuple[Tensor, Tensor]:
    """Four samples as the network gets them."""
    samples = [run.task.train_set[k] for k in range(4)]
    batch = tuple(torch.stack(list(map(torch.as_tensor, part))) for part in zip(*samples, strict=True))
    return run.task.prepare_batch(batch, torch.device("cpu"))


def output(run: Run, like: Run | None = None, training: bool = False) -> Tensor:
    """The network's output for the first batch, with the parameters of another one's."""
    if like is not None:
        run.task.model.load_state_dict(like.task.model.state_dict())
    with torch.no_grad():
        return run.task.model.train(training)(first_batch(run)[0])
