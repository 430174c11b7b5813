"""A network's metrics on named data sets, over all samples and all processes."""

from collections.abc import Callable, Mapping

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator
from ignite.handlers import ProgressBar
from torch import Tensor, nn
from torch.utils.data import Dataset

from .interrupt import StopRequest
from .options import Options
from .sampling import evaluation_loader
from .task import Task

Forward = Callable[[nn.Module, Tensor], Tensor]


class Evaluation:
    """Evaluates `model` on `sets`, as `task` says, each with an engine and a loader of its own.

    What is random draws from a generator of its own: an evaluation is reproducible and leaves the training alone.

    Args:
        task, options: see there.
        model: the network, in the shape in which it is trained.
        forward: computes its log-probabilities.
        sets: by name.
        stop: ends an evaluation when a signal asks for it.
    """

    def __init__(
        self,
        task: Task,
        options: Options,
        model: nn.Module,
        forward: Forward,
        sets: Mapping[str, Dataset],
        stop: StopRequest,
    ) -> None:
        self.task, self.options, self.model, self.forward, self.stop = task, options, model, forward, stop
        self.pin_memory = options.device.type == "cuda"
        self.evaluators = {name: self._evaluator() for name in sets}
        self.loaders = {
            name: evaluation_loader(name, dataset, options.batch_size, options.workers, self.pin_memory)
            for name, dataset in sets.items()
        }

    def run(self) -> tuple[dict[str, float], dict[str, Tensor]] | None:
        """Numbers and other tensors by "SET_METRIC", or None if a signal came between; all processes call it."""
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
                    return None
                for key, value in evaluator.state.metrics.items():
                    if isinstance(value, Tensor) and value.ndim > 0:
                        tensors[f"{name}_{key}"] = value.cpu()
                    else:
                        metrics[f"{name}_{key}"] = float(value)
        return metrics, tensors

    def _evaluator(self) -> Engine:
        evaluator = create_supervised_evaluator(
            self.model,
            self.task.metrics(),
            self.options.device,
            non_blocking=self.pin_memory,
            prepare_batch=self.task.prepare_batch,
            model_fn=self.forward,
        )
        if idist.get_rank() == 0:
            ProgressBar(persist=False, desc="Evaluation", disable=None).attach(evaluator)
        if idist.get_world_size() == 1:  # several processes would have to agree, and their shares differ in length
            evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._terminate_if_asked)
        return evaluator

    def _terminate_if_asked(self, engine: Engine) -> None:
        if self.stop.agreed():
            engine.terminate(skip_completed=True)
