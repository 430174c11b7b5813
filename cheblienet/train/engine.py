"""One training run: steps, evaluations, records, checkpoints, on one process or many. Built on pytorch-ignite."""

import contextlib
import math
import warnings

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from ignite.metrics import Frequency
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from .._files import occupying
from ..nn import convert_sync_batchnorm
from .best import BEST, BestNetwork
from .capture import TrainingStep
from .checkpoint import CHECKPOINT, all_finite, load_checkpoint, restore_generators, save_checkpoint, write_state
from .evaluation import Evaluation
from .interrupt import StopRequest
from .optimizer import plain_numbers
from .options import Options, matmul_precision
from .recorder import RECORDERS
from .records import Records
from .sampling import EpochBatches, training_loader
from .task import Batch, Report, Task

_VALIDATION = "validation"
_STEPS_BETWEEN_CHECKPOINTS = 1000
_MODELS_KEPT = 5
_REPORTS_PER_EPOCH = 200


def fit(task: Task, options: Options) -> Report:
    """Trains for `options.max_epochs` epochs; see `Task` and `Options`.

    With a validation set, it is evaluated after every epoch, and OUT/best.pt holds the network of the epoch with the best
    score, the earlier of equal ones. At the end of the run the test sets are evaluated once, with that network, which
    `task.model` has then. Without a validation set all test sets are evaluated after every epoch.

    OUT/checkpoint.pt is replaced every 1000 steps, at the end of every epoch, and on Ctrl-C or SIGTERM, which end the run
    after the present step. A resumed run does the steps that were left; on the CPU, to the last bit. Evaluations draw
    from a generator of their own, so they are reproducible and leave the training alone. A run keeps OUT to itself.

    On CUDA a step is recorded as a graph and replayed, unless `options.capture` is false, several processes train together,
    the task has a `before_step` or the network is compiled; the results are the same. Evaluations are not recorded: they are
    the smaller part of an epoch, and a graph of theirs would keep memory from the training.

    Raises:
        FileExistsError: if OUT holds a checkpoint and the run is not to resume, or another run is writing there.
        FileNotFoundError, ValueError: for a checkpoint, or a best.pt, that cannot be resumed from.
        ValueError: for a score that is none of the task's metrics.
        OSError: naming a file that cannot be written, as on a full disk; the last checkpoint stays.
        FloatingPointError: when the loss, the score, or the state to be saved is no longer finite; the last checkpoint stays.
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
        evaluation = lambda sets: Evaluation(task, options, self.model, self._forward, sets, self.stop)  # noqa: E731
        self.tests = evaluation(task.test_sets)
        self.validation = self.best = None
        if task.validation_set is not None:
            if task.score not in (known := task.metrics()):
                raise ValueError(f"score: expected one of the metrics {', '.join(known)}, got {task.score!r}")
            self.validation = evaluation({_VALIDATION: task.validation_set})
            self.best = BestNetwork(options.out / BEST)
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
                stopped = self.stop.agreed()
                if stopped and state.iteration > iteration:
                    self._save()
                if not stopped and self.best is not None:
                    self._test_best()
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
        self.step = TrainingStep(
            self.model, task.optimizer, loss, clip_norm=task.clip_norm, capture=options.capture and self._can_capture()
        )

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
        """What ends an epoch: the validation set, or the test sets where there is none, unless a signal comes between."""
        epoch = self.trainer.state.epoch
        if self.validation is None:
            if (found := self.tests.run()) is not None:
                self._report_tests(*found, epoch)
        elif (found := self.validation.run()) is not None:
            score = found[0][f"{_VALIDATION}_{self.task.score}"]
            if not math.isfinite(score):
                raise FloatingPointError(f"the {self.task.score} of epoch {epoch} is {score}; {self._last_saved()}")
            self.best.offer(epoch, score, self.model)
            self._add_row(found[0])

    def _test_best(self) -> None:
        """The end of a run: the test sets, with the network of the best epoch. The checkpoint keeps the last one's."""
        self.best.load(self.model)
        if (found := self.tests.run()) is not None:
            self._report_tests(*found, self.best.epoch)
            self.report.score = self.best.score

    def _report_tests(self, metrics: dict[str, float], tensors: dict[str, Tensor], epoch: int) -> None:
        self.report.metrics, self.report.tensors, self.report.epoch = metrics, tensors, epoch
        self._add_row(metrics if self.best is None else {**metrics, "best_epoch": epoch})

    def _add_row(self, metrics: dict[str, float]) -> None:
        """Adds a row unless it exists, which a run that is shown again has."""
        state = self.trainer.state
        if not any(row["iteration"] == state.iteration and row.keys() >= metrics.keys() for row in self.records.rows):
            self.records.add(state.iteration, state.epoch, metrics)
        if idist.get_rank() == 0:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name != "best_epoch")
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
            "best": None if self.best is None else self.best.state(),
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
            if self.best is not None:
                self.best.begin()
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
        if self.best is not None:
            self.best.restore(state["best"], None if self.batches.start else iteration // len(self.batches))
        epochs = max(self.options.max_epochs, math.ceil(iteration / len(self.batches)))
        self.trainer.load_state_dict({"iteration": iteration, "epoch_length": len(self.batches), "max_epochs": epochs})
        return iteration
