"""One training run: steps, evaluations, records, checkpoints, on one process or many. Built on pytorch-ignite."""

import contextlib
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator
from ignite.handlers import ProgressBar
from ignite.metrics import Frequency, Metric
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset
from tqdm import tqdm

from .._files import occupying
from ..nn import convert_sync_batchnorm
from .capture import TrainingStep
from .checkpoint import CHECKPOINT, all_finite, load_checkpoint, restore_generators, save_checkpoint, write_state
from .interrupt import StopRequest
from .metrics import LossFunction
from .optimizer import plain_numbers
from .options import Options, matmul_precision
from .recorder import RECORDERS
from .records import Records
from .sampling import EpochBatches, evaluation_loader, training_loader

Batch = tuple[Tensor, Tensor]
PrepareBatch = Callable[[Batch, torch.device, bool], Batch]

_STEPS_BETWEEN_CHECKPOINTS = 1000
_MODELS_KEPT = 5
_REPORTS_PER_EPOCH = 200


@dataclass
class Task:
    """What to train, and on what.

    Attributes:
        model: (B, C, V) signals -> log-probabilities; on the device already.
        optimizer: of the model's parameters; on CUDA, see `TrainingStep`.
        loss: of log-probabilities and labels; a mean over samples, so that processes average to the whole.
        prepare_batch: called as prepare_batch(batch, device, non_blocking), makes (signals, labels) on the device.
        train_set: items (sample, label).
        test_sets: by name, each evaluated at the end of every epoch.
        metrics: makes the metrics of an evaluation, by name.
        scheduler: stepped after every step, or None.
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
    scheduler: LRScheduler | None = None
    before_step: Callable[[], None] | None = None
    before_evaluation: Callable[[], None] | None = None


@dataclass
class Report:
    """How a run ended.

    Attributes:
        signal: the signal that stopped it, or 0 if it went through.
        metrics: of the last evaluation, numbers by "SET_METRIC".
        tensors: what the last evaluation returned beside numbers, such as confusion matrices, by the same names.
        rows: all rows of the metrics file.
    """

    signal: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


def fit(task: Task, options: Options) -> Report:
    """Trains for `options.max_epochs` epochs, evaluating all test sets after each; see `Task` and `Options`.

    OUT/checkpoint.pt is replaced every 1000 steps, at the end of every epoch, and on Ctrl-C or SIGTERM, which end the run
    after the present step. A resumed run does the steps that were left; on the CPU, to the last bit. Evaluations draw
    from a generator of their own, so they are reproducible and leave the training alone. A run keeps OUT to itself.

    On CUDA a step is recorded as a graph and replayed, unless `options.capture` is false, several processes train together,
    the task has a `before_step` or the network is compiled; the results are the same. Evaluations are not recorded: they are
    the smaller part of an epoch, and a graph of theirs would keep memory from the training.

    Raises:
        FileExistsError: if OUT holds a checkpoint and the run is not to resume, or another run is writing there.
        FileNotFoundError, ValueError: for a checkpoint that cannot be resumed from.
        OSError: naming a file that cannot be written, as on a full disk; the last checkpoint stays.
        FloatingPointError: when the loss, or the state to be saved, is no longer finite; the last checkpoint stays.
    """
    with matmul_precision(options.matmul_precision):
        return _Run(task, options).go()


class _Run:
    def __init__(self, task: Task, options: Options) -> None:
        self.task, self.options = task, options
        self.config = dict(options.config or {})
        self.path = options.out / CHECKPOINT
        self.report, self.stop = Report(), StopRequest()
        self.saved = 0  # the iteration that the checkpoint holds
        self.model = task.model
        if options.sync_bn:
            self.model = convert_sync_batchnorm(self.model)
        if options.compile:
            self.model.compile()
        self.pin_memory = options.device.type == "cuda"
        self.batches = EpochBatches(len(task.train_set), options.batch_size, options.seed)
        self.loader = training_loader(task.train_set, self.batches, options.workers, self.pin_memory)
        self.evaluators = {name: self._evaluator() for name in task.test_sets}
        self.loaders = {
            name: evaluation_loader(dataset, options.batch_size, options.workers, self.pin_memory)
            for name, dataset in task.test_sets.items()
        }
        self.trainer = self._trainer()

    def go(self) -> Report:
        if self.options.resume and not self.options.out.is_dir():
            raise FileNotFoundError(f"{self.path}: there is no checkpoint to resume from")
        # The first process writes everything.
        with occupying(self.options.out) if idist.get_rank() == 0 else contextlib.nullcontext():
            return self._go()

    def _go(self) -> Report:
        torch.manual_seed(self.options.seed + idist.get_rank())
        iteration = self._restore()
        options, state = self.options, self.trainer.state
        if options.models is not None:
            options.models.mkdir(parents=True, exist_ok=True)
        self.records = Records(options.out, options.log, self.config, iteration)
        self.report.rows = self.records.rows
        try:
            with self.stop:
                if iteration and iteration % len(self.batches) == 0:
                    # What ends an epoch was interrupted, or its figures are to be shown again.
                    self._keep_model()
                    self._evaluate()
                if iteration < options.max_epochs * len(self.batches) and not self.stop.agreed():
                    self.trainer.run(self.loader, max_epochs=options.max_epochs)
                if self.stop.agreed() and state.iteration > iteration:
                    self._save()
        finally:
            self.records.close()
            self.step.reset()
        self.report.signal = self.stop.signal
        return self.report

    def _trainer(self) -> Engine:
        task, options = self.task, self.options
        wrapped = self.model
        if idist.get_world_size() > 1:
            device_ids = [options.device] if options.device.type == "cuda" else None
            wrapped = DistributedDataParallel(self.model, device_ids=device_ids)
        loss = lambda x, y: task.loss(self._forward(wrapped, x), y)  # noqa: E731
        self.step = TrainingStep(self.model, task.optimizer, loss, capture=options.capture and self._can_capture())

        def update(_: Engine, batch: Batch) -> tuple[Tensor, int]:
            x, y = task.prepare_batch(batch, options.device, self.pin_memory)
            return self.step(x, y), len(y)

        trainer = Engine(update)
        every = Events.ITERATION_COMPLETED(every=max(1, len(self.batches) // _REPORTS_PER_EPOCH))
        trainer.add_event_handler(Events.EPOCH_STARTED, self._choose_batches)
        trainer.add_event_handler(Events.EPOCH_STARTED, lambda: wrapped.train())  # evaluations end epochs
        if task.before_step is not None:
            trainer.add_event_handler(Events.ITERATION_STARTED, lambda: task.before_step())
        if task.scheduler is not None:
            trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: task.scheduler.step())
        self.frequency = Frequency(output_transform=lambda output: output[1])
        trainer.add_event_handler(Events.EPOCH_STARTED, self.frequency.started)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self.frequency.iteration_completed)
        trainer.add_event_handler(every, self._report_step)
        if idist.get_rank() == 0:
            bar = ProgressBar(desc="Training", disable=None)
            bar.attach(trainer, metric_names=["loss", "samples/s"], event_name=every)
        trainer.add_event_handler(Events.ITERATION_COMPLETED(every=_STEPS_BETWEEN_CHECKPOINTS), self._save)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._save)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._keep_model)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._evaluate)
        # Processes agree by exchanging a number, for which a GPU would have to wait: not at every step.
        step = every if idist.get_world_size() > 1 else Events.ITERATION_COMPLETED
        trainer.add_event_handler(step | Events.EPOCH_COMPLETED, self._terminate_if_asked)
        return trainer

    def _can_capture(self) -> bool:
        """Whether steps may be recorded; says so where they would be, and may not."""
        obstacle = None
        if self.task.before_step is not None:
            obstacle = "the network may change before each"
        elif self.options.compile:
            obstacle = "a compiled network decides in Python what it runs"
        if obstacle and self.options.capture and self.options.device.type in RECORDERS and idist.get_rank() == 0:
            warnings.warn(f"fit: steps are not recorded: {obstacle}", stacklevel=2)
        return obstacle is None

    def _evaluator(self) -> Engine:
        evaluator = create_supervised_evaluator(
            self.model,
            self.task.metrics(),
            self.options.device,
            non_blocking=self.pin_memory,
            prepare_batch=self.task.prepare_batch,
            model_fn=self._forward,
        )
        if idist.get_rank() == 0:
            ProgressBar(persist=False, desc="Evaluation", disable=None).attach(evaluator)
        if idist.get_world_size() == 1:  # several processes would have to agree, and their shares differ in length
            evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._terminate_if_asked)
        return evaluator

    def _forward(self, model: nn.Module, x: Tensor) -> Tensor:
        device = self.options.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.options.amp):
            y = model(x)
        return y.float() if self.options.amp else y

    def _choose_batches(self, trainer: Engine) -> None:
        self.batches.epoch = trainer.state.epoch - 1

    def _report_step(self, trainer: Engine) -> None:
        state = trainer.state
        loss = float(idist.all_reduce(state.output[0].double())) / idist.get_world_size()
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at iteration {state.iteration}; {self._last_saved()}")
        rate = self.frequency.compute()
        state.metrics.update({"loss": loss, "samples/s": rate})
        self.records.add(state.iteration, state.epoch, {"train_loss": loss, "samples_per_second": round(rate, 3)})

    def _evaluate(self) -> None:
        """Evaluates all test sets and adds a row, unless a signal comes between or the row exists."""
        state = self.trainer.state
        if self.task.before_evaluation is not None:
            self.task.before_evaluation()
        if idist.get_world_size() > 1:
            for buffer in self.model.buffers():  # each process has running statistics of its own; the first one's count
                torch.distributed.broadcast(buffer, 0)
        metrics, tensors = {}, {}
        with torch.random.fork_rng(devices=[self.options.device] if self.pin_memory else []):
            for name, evaluator in self.evaluators.items():
                torch.manual_seed(self.options.seed)
                evaluator.run(self.loaders[name])
                if self.stop.agreed():
                    return
                for key, value in evaluator.state.metrics.items():
                    if isinstance(value, Tensor) and value.ndim > 0:
                        tensors[f"{name}_{key}"] = value.cpu()
                    else:
                        metrics[f"{name}_{key}"] = float(value)
        self.report.metrics, self.report.tensors = metrics, tensors
        if not any(row["iteration"] == state.iteration and row.keys() >= metrics.keys() for row in self.records.rows):
            self.records.add(state.iteration, state.epoch, metrics)
        if idist.get_rank() == 0:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            tqdm.write(f"epoch {state.epoch} of {state.max_epochs}: {shown}")

    def _terminate_if_asked(self, engine: Engine) -> None:
        if self.stop.agreed():
            engine.terminate(skip_completed=True)

    def _save(self) -> None:
        scheduler, optimizer = self.task.scheduler, self.task.optimizer.state_dict()
        content = {
            "config": self.config,
            "iteration": self.trainer.state.iteration,
            "epoch_length": len(self.batches),
            "model": self.model.state_dict(),
            "optimizer": {**optimizer, "param_groups": plain_numbers(optimizer["param_groups"])},
            "scheduler": None if scheduler is None else plain_numbers(scheduler.state_dict()),
        }
        # Losses are looked at between reports only. Processes agree: their running statistics differ.
        if idist.all_reduce(float(not all_finite(content))) > 0:
            raise FloatingPointError(
                f"the state at iteration {self.trainer.state.iteration} is not finite and not saved; {self._last_saved()}"
            )
        self.records.sync()
        save_checkpoint(self.path, content)
        self.saved = self.trainer.state.iteration

    def _keep_model(self) -> None:
        """Writes the network at the end of an epoch, as the checkpoint has it already, and removes an older one."""
        if self.options.models is None or idist.get_rank() > 0:
            return
        epoch = self.trainer.state.epoch
        write_state(self.options.models / f"model_{epoch}.pt", self.model.state_dict())
        (self.options.models / f"model_{epoch - _MODELS_KEPT}.pt").unlink(missing_ok=True)

    def _last_saved(self) -> str:
        return f"{self.path} is of iteration {self.saved}" if self.saved else f"{self.path} was not written"

    def _restore(self) -> int:
        """The number of steps done before; with `resume`, after taking up the state they left."""
        if not self.options.resume:
            if self.path.exists():
                raise FileExistsError(f"{self.path}: holds a run; resume it, or choose another folder for a new one")
            return 0
        state = load_checkpoint(self.path, self.config)
        try:
            if state["epoch_length"] != len(self.batches):
                raise ValueError(f"epochs of {state['epoch_length']} steps, not {len(self.batches)}")
            self.model.load_state_dict(state["model"])
            self.task.optimizer.load_state_dict(state["optimizer"])
            if self.task.scheduler is not None:
                self.task.scheduler.load_state_dict(state["scheduler"])
            restore_generators(state["generators"])
        except Exception as error:  # what the file holds can be wrong in as many ways
            raise ValueError(f"{self.path}: does not fit this run: {error}") from error
        iteration = self.saved = int(state["iteration"])
        self.batches.start = iteration % len(self.batches)
        epochs = max(self.options.max_epochs, math.ceil(iteration / len(self.batches)))
        self.trainer.load_state_dict({"iteration": iteration, "epoch_length": len(self.batches), "max_epochs": epochs})
        return iteration
