"""What to train, and how a run ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from ignite.metrics import Metric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset

from .metrics import LossFunction

Batch = tuple[Tensor, Tensor]
PrepareBatch = Callable[[Batch, torch.device, bool], Batch]


@dataclass
class Task:
    """What to train, and on what.

    Attributes:
        model: (B, C, V) signals -> log-probabilities; on the device already.
        optimizer: of the model's parameters; on CUDA, see `TrainingStep`.
        loss: of log-probabilities and labels; a mean over samples, so that processes average to the whole.
        prepare_batch: called as prepare_batch(batch, device, non_blocking), makes (signals, labels) on the device.
        train_set: items (sample, label).
        test_sets: by name. With a validation set, evaluated once, at the end; without one, after every epoch.
        metrics: makes the metrics of an evaluation, by name.
        validation_set: evaluated after every epoch, to choose one; or None.
        score: the metric of the validation set that chooses the epoch; larger is better.
        scheduler: stepped after every step, or None.
        clip_norm: the largest norm of the gradient of all parameters together, see `TrainingStep`; or None.
        before_step, before_evaluation: called then, such as to sample a sub-graph and to restore it. With the first, which
            may change the network, steps are not recorded.
    """

    model: nn.Module
    optimizer: Optimizer
    loss: LossFunction
    prepare_batch: PrepareBatch
    train_set: Dataset
    test_sets: Mapping[str, Dataset]
    metrics: Callable[[], dict[str, Metric]]
    validation_set: Dataset | None = None
    score: str = "accuracy"
    scheduler: LRScheduler | None = None
    clip_norm: float | None = None
    before_step: Callable[[], None] | None = None
    before_evaluation: Callable[[], None] | None = None


@dataclass
class Report:
    """How a run ended.

    Attributes:
        signal: the signal that stopped it, or 0 if it went through.
        metrics: of the test sets, numbers by "SET_METRIC". With a validation set there are none before the run's end.
        tensors: what the evaluation returned beside numbers, such as confusion matrices, by the same names.
        rows: all rows of the metrics file.
        epoch: the one whose network `metrics` are of, or 0 before there are any.
        score: that network's score on the validation set, or None without one.
    """

    signal: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    epoch: int = 0
    score: float | None = None
