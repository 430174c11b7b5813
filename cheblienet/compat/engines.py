"""The original's engines, by those of pytorch-ignite."""

from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Engine
from ignite.engine import create_supervised_evaluator as ignite_evaluator
from ignite.engine import create_supervised_trainer as ignite_trainer
from ignite.metrics import Metric, MetricsLambda, Recall
from torch import Tensor, nn

from ..graphs import Graph

PrepareBatch = Callable[[Any, Graph, Any], tuple[Tensor, Tensor]]


def prepare_batch(batch: tuple[Tensor, Tensor], graph: Graph, device: Any) -> tuple[Tensor, Tensor]:
    """Signals (..., V), on the vertices that a random sub-graph has left, and targets, on `device`."""
    image, target = batch
    if hasattr(graph, "sub_vertex_index"):
        image = image[..., graph.sub_vertex_index]
    return image.to(device), target.to(device)


def create_supervised_trainer(
    graph: Graph,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[..., Tensor],
    device: Any = None,
    prepare_batch: PrepareBatch | None = None,
    output_transform: Callable[..., Any] | None = None,
) -> Engine:
    """An engine that updates `model` once per batch; its output is the loss unless `output_transform` gives another."""
    options = {} if output_transform is None else {"output_transform": output_transform}
    return ignite_trainer(model, optimizer, loss_fn, device or "cpu", False, _on(graph, prepare_batch), **options)


def create_supervised_evaluator(
    graph: Graph,
    model: nn.Module,
    metrics: dict[str, Metric] | None = None,
    device: Any = None,
    prepare_batch: PrepareBatch | None = None,
    output_transform: Callable[..., Any] | None = None,
) -> Engine:
    """An engine that evaluates `model` and `metrics`; its output is (y_pred, y) unless `output_transform` gives another."""
    options = {}
    if output_transform is not None:
        options["output_transform"] = output_transform
    return ignite_evaluator(model, metrics, device or "cpu", False, _on(graph, prepare_batch), **options)


def _on(graph: Graph, prepare: PrepareBatch | None) -> Callable[..., tuple[Tensor, Tensor]]:
    return lambda batch, device, non_blocking: (prepare or prepare_batch)(batch, graph, device)


def output_transform_mAP(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Scores (B, C, V) and classes (B, V) as one-hot rows (B V, C), int64."""
    y_pred, y = batch
    classes = y_pred.shape[1]
    predicted = nn.functional.one_hot(y_pred.argmax(1).flatten(), classes)
    return predicted, nn.functional.one_hot(y.flatten(), classes)


def PerClassAccuracy(cl: int, output_transform: Callable[..., Any] = lambda x: x, device: Any = "cpu") -> MetricsLambda:
    """The share of the samples of class `cl` that are predicted as such."""
    return Recall(output_transform=output_transform, average=False, device=device)[cl].item()


def wandb_log(trainer: Engine, evaluator: Engine, data_loader: Any) -> None:
    """Runs `evaluator` and logs its metrics, with the trainer's epoch, to the running wandb experiment."""
    import wandb

    for name, value in evaluator.run(data_loader).metrics.items():
        wandb.log({name: value, "epoch": trainer.state.epoch})
