"""Runs whose steps are recorded: the same as without, interrupted or not, and resumed on another device."""

import os
import signal

import pytest
import torch
from torch import nn
from torch.nn.functional import nll_loss
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import TensorDataset

from cheblienet.graphs import R2GEGraph
from cheblienet.nn import ChebConv, GlobalPool, SE2SpatialPool, VertexBatchNorm
from cheblienet.train import Options, Task, classification_metrics, engine, fit
from cheblienet.train.capture import WARM_UP
from cheblienet.train.optimizer import adam

EPOCHS, STEPS, BATCH = 3, 5, 4
GRAPH, COARSE = R2GEGraph((4, 4), (1.0, 1.0, 1.0), 4), R2GEGraph((2, 2), (1.0, 1.0, 1.0), 2)


def make_task(device, at_step=lambda step: None, make_optimizer=adam, loss=nll_loss):
    """Random pooling, running statistics, a rate that changes at every step."""
    torch.manual_seed(1)
    model = nn.Sequential(
        ChebConv(1, 4, 2, GRAPH),
        VertexBatchNorm(4),
        SE2SpatialPool(2, GRAPH.size, "rand"),
        ChebConv(4, 3, 2, COARSE),
        GlobalPool("avg"),
        nn.LogSoftmax(1),
    ).to(device)
    optimizer = make_optimizer(model.parameters(), lr=1e-2)
    data = TensorDataset(torch.randn(BATCH * STEPS + 2, 1, 16), torch.randint(3, (BATCH * STEPS + 2,)))
    steps = iter(range(1, 1000))

    def prepare_batch(batch, device, non_blocking):
        if model.training:
            at_step(next(steps))
        return tuple(part.to(device) for part in batch)

    return Task(
        model=model,
        optimizer=optimizer,
        loss=loss,
        prepare_batch=prepare_batch,
        train_set=data,
        test_sets={"test": data},
        metrics=lambda: classification_metrics(3, nll_loss),
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * STEPS),
    )


CPU = torch.device("cpu")


def make_options(out, device=CPU, **changes):
    return Options(**{"out": out, "max_epochs": EPOCHS, "batch_size": BATCH, "device": device, **changes})


def results(report):
    return [{key: value for key, value in row.items() if key != "samples_per_second"} for row in report.rows]


def assert_same_checkpoints(first, second):
    def flat(value):
        if isinstance(value, dict):
            return [leaf for key in sorted(value, key=str) for leaf in flat(value[key])]
        return [leaf for part in value for leaf in flat(part)] if isinstance(value, list | tuple) else [value]

    a, b = (flat(torch.load(path / "checkpoint.pt", weights_only=True)) for path in (first, second))
    assert all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b, strict=True))


def test_a_recorded_run_is_the_same(graphs, tmp_path):
    task = make_task(graphs.device)
    report = fit(task, make_options(tmp_path / "recorded", graphs.device))
    assert (graphs.begun, graphs.replays) == (1, EPOCHS * STEPS - WARM_UP)
    assert all(parameter.grad is None for parameter in task.model.parameters())  # the graph's memory is free
    eager = fit(make_task(graphs.device), make_options(tmp_path / "eager", graphs.device, capture=False))
    assert graphs.begun == 1
    assert results(report) == results(eager)
    assert report.metrics == eager.metrics
    assert_same_checkpoints(tmp_path / "recorded", tmp_path / "eager")


@pytest.mark.parametrize("stop", [2, 7])
def test_interrupted_and_resumed(graphs, tmp_path, stop):
    whole = fit(make_task(graphs.device), make_options(tmp_path / "whole", graphs.device))
    task = make_task(graphs.device, lambda step: step == stop and os.kill(os.getpid(), signal.SIGINT))
    assert fit(task, make_options(tmp_path / "parts", graphs.device)).signal == signal.SIGINT
    graphs.replays = 0
    resumed = fit(make_task(graphs.device), make_options(tmp_path / "parts", graphs.device, resume=True))
    assert graphs.replays == EPOCHS * STEPS - stop - WARM_UP
    assert results(resumed) == results(whole)
    assert_same_checkpoints(tmp_path / "parts", tmp_path / "whole")


def test_losses_are_those_of_their_steps(graphs, tmp_path, monkeypatch):
    """Though the step that is reported is not the last one that was launched."""
    seen, step = [], engine.TrainingStep.__call__

    def recording(self, *batch):
        seen.append(step(self, *batch))
        return seen[-1]

    monkeypatch.setattr(engine.TrainingStep, "__call__", recording)
    report = fit(make_task(graphs.device), make_options(tmp_path, graphs.device))
    assert [float(loss) for loss in seen] == [row["train_loss"] for row in report.rows if "train_loss" in row]
    assert len(set(map(float, seen))) == EPOCHS * STEPS


class CountsWaiting(TorchDispatchMode):
    waiting = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        # Integers are read from the loader's generator, on the CPU.
        self.waiting += func is torch.ops.aten._local_scalar_dense.default and args[0].is_floating_point()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("reports", "expected"), [(200, EPOCHS * STEPS), (1, EPOCHS)])
def test_the_host_waits_for_reports_alone(graphs, tmp_path, monkeypatch, reports, expected):
    monkeypatch.setattr(engine, "_REPORTS_PER_EPOCH", reports)
    task = make_task(graphs.device)
    task.test_sets = {}
    with CountsWaiting() as mode:
        fit(task, make_options(tmp_path, graphs.device))
    assert mode.waiting == expected


def test_a_loss_that_is_not_finite_ends_a_recorded_run(graphs, tmp_path):
    task = make_task(graphs.device)
    task.train_set.tensors[0][3] = torch.inf
    with pytest.raises(FloatingPointError, match="the loss is nan at iteration"):
        fit(task, make_options(tmp_path, graphs.device))


@pytest.mark.parametrize(
    ("before_step", "compiled", "reason"),
    [
        (lambda: None, False, "the network may change before each"),
        (None, True, "a compiled network decides in Python what it runs"),
    ],
)
def test_what_is_not_recorded(graphs, tmp_path, monkeypatch, before_step, compiled, reason):
    monkeypatch.setattr(nn.Module, "compile", lambda self: None)
    task = make_task(graphs.device)
    task.before_step = before_step
    with pytest.warns(UserWarning, match=f"fit: steps are not recorded: {reason}"):
        fit(task, make_options(tmp_path, graphs.device, max_epochs=1, compile=compiled))
    assert graphs.begun == 0


def test_a_recording_that_fails_loses_nothing(graphs, tmp_path):
    def waits(output, labels):
        return nll_loss(output, labels) + 0 * float(output.detach().sum())

    eager = fit(make_task(graphs.device, loss=waits), make_options(tmp_path / "a", graphs.device, capture=False))
    with pytest.warns(UserWarning, match="TrainingStep: steps are not recorded from here on: "):
        report = fit(make_task(graphs.device, loss=waits), make_options(tmp_path / "b", graphs.device))
    assert (graphs.begun, graphs.replays) == (1, 0)
    assert results(report) == results(eager)
    assert_same_checkpoints(tmp_path / "a", tmp_path / "b")


def tensor_rate(parameters, lr):
    return torch.optim.Adam(parameters, lr=torch.tensor(lr), fused=True)


@pytest.mark.parametrize("make_optimizer", [adam, tensor_rate])
def test_checkpoints_hold_numbers(graphs, tmp_path, make_optimizer):
    task = make_task(graphs.device, make_optimizer=make_optimizer)
    fit(task, make_options(tmp_path, graphs.device, max_epochs=1))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    (group,) = state["optimizer"]["param_groups"]
    rates = [group["lr"], group["initial_lr"], *state["scheduler"]["base_lrs"], *state["scheduler"]["_last_lr"]]
    assert all(type(rate) is float for rate in rates)
    assert rates[:3] == pytest.approx([rates[3], 1e-2, 1e-2])
    assert 0 < rates[0] < 1e-2
    resumed = make_task(graphs.device, make_optimizer=make_optimizer)
    kind = type(resumed.optimizer.param_groups[0]["lr"])
    fit(resumed, make_options(tmp_path, graphs.device, resume=True))
    assert type(resumed.optimizer.param_groups[0]["lr"]) is kind


def test_schedulers_with_state_of_their_own_resume(tmp_path):
    def steps(task):
        task.scheduler = torch.optim.lr_scheduler.MultiStepLR(task.optimizer, [3, 8], gamma=0.1)
        return task

    fit(steps(make_task("cpu")), make_options(tmp_path, max_epochs=1))
    task = steps(make_task("cpu"))
    fit(task, make_options(tmp_path, max_epochs=2, resume=True))
    assert task.optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)
    assert sorted(task.scheduler.milestones.elements()) == [3, 8]


def of_the_cpu(parameters, lr):
    return torch.optim.Adam(parameters, lr=lr)


@pytest.mark.parametrize("first_on_graphs", [True, False])
def test_a_run_goes_on_where_there_are_other_implementations(graphs, tmp_path, monkeypatch, first_on_graphs):
    """What a device needs of an optimizer is its own, whatever device the checkpoint is of."""
    order = [(graphs.device, adam), (torch.device("cpu"), of_the_cpu)]
    for k, (device, make_optimizer) in enumerate(order if first_on_graphs else reversed(order)):
        task = make_task(device, make_optimizer=make_optimizer)
        with monkeypatch.context() as patch:
            if make_optimizer is of_the_cpu:
                patch.delitem(engine.RECORDERS, "cpu", raising=False)
            report = fit(task, make_options(tmp_path, device, max_epochs=k + 1, resume=k > 0))
        (group,) = task.optimizer.param_groups
        on_graphs = make_optimizer is adam
        assert (group["fused"], group["capturable"]) == ((True, True) if on_graphs else (None, False))
        for parameter in group["params"]:
            step = task.optimizer.state[parameter]["step"]
            assert step.device == (parameter.device if on_graphs else torch.device("cpu"))
            assert int(step) == (k + 1) * STEPS
    assert [row["iteration"] for row in report.rows if "train_loss" in row] == list(range(1, 2 * STEPS + 1))


def test_matmul_precision_lasts_as_long_as_the_run(tmp_path):
    seen = []
    task = make_task("cpu", lambda step: seen.append(torch.get_float32_matmul_precision()))
    fit(task, make_options(tmp_path / "a", matmul_precision="high", max_epochs=1))
    assert set(seen) == {"high"}
    assert torch.get_float32_matmul_precision() == "highest"
    task.train_set.tensors[0].fill_(torch.nan)
    with pytest.raises(FloatingPointError):
        fit(task, make_options(tmp_path / "b", matmul_precision="high"))
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(ValueError, match="matmul_precision: expected one of 'highest', 'high', got 'medium'"):
        make_options(tmp_path, matmul_precision="medium")


def test_checkpoints_from_before_the_flag_are_of_the_highest_precision(tmp_path):
    fit(make_task("cpu"), make_options(tmp_path, max_epochs=1, config={"lr": 0.1}))
    config = {"lr": 0.1, "matmul_precision": "highest"}
    fit(make_task("cpu"), make_options(tmp_path, max_epochs=2, config=config, resume=True))
    with pytest.raises(ValueError, match="a run with matmul_precision = 'highest', not 'high'"):
        fit(make_task("cpu"), make_options(tmp_path, config={**config, "matmul_precision": "high"}, resume=True))


def test_a_state_that_is_not_finite_is_never_saved(graphs, tmp_path, monkeypatch):
    """It comes between two reports; the checkpoint before stays, and the message tells its step."""
    monkeypatch.setattr(engine, "_REPORTS_PER_EPOCH", 1)
    monkeypatch.setattr(engine, "_STEPS_BETWEEN_CHECKPOINTS", 3)
    task = make_task(graphs.device, lambda step: step == 6 and task.model[0].weight.data.fill_(torch.nan))
    with pytest.raises(FloatingPointError, match=r"at iteration 6 is not finite and not saved; .* is of iteration 5"):
        fit(task, make_options(tmp_path, graphs.device))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["iteration"] == 5
    assert engine.all_finite(state)
