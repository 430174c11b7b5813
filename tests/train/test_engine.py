"""A run that is interrupted and resumed is the run that is not, and files that cannot be resumed from are errors."""

import json
import os
import signal
import sys
import types
import zipfile
from functools import partialmethod

import pytest
import torch
from torch import nn
from torch.nn.functional import nll_loss
from torch.utils.data import TensorDataset

from cheblienet.graphs import R2GEGraph
from cheblienet.nn import ChebConv, GlobalPool, SE2SpatialPool, VertexBatchNorm
from cheblienet.train import Options, Task, classification_metrics, fit

EPOCHS, STEPS, BATCH = 3, 5, 4
GRAPH, COARSE = R2GEGraph((4, 4), (1.0, 1.0, 1.0), 4), R2GEGraph((2, 2), (1.0, 1.0, 1.0), 2)


def make_task(at_step=lambda step: None):
    """A network with random pooling and running statistics, and a scheduler: all the state that a run can have."""
    torch.manual_seed(1)
    model = nn.Sequential(
        ChebConv(1, 4, 2, GRAPH),
        VertexBatchNorm(4),
        SE2SpatialPool(2, GRAPH.size, "rand"),
        ChebConv(4, 3, 2, COARSE),
        GlobalPool("avg"),
        nn.LogSoftmax(1),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    data = TensorDataset(torch.randn(BATCH * STEPS + 2, 1, 16), torch.randint(3, (BATCH * STEPS + 2,)))
    steps = iter(range(1, 1000))
    return Task(
        model=model,
        optimizer=optimizer,
        loss=nll_loss,
        prepare_batch=lambda batch, device, non_blocking: tuple(batch),
        train_set=data,
        test_sets={"test": data},
        metrics=lambda: classification_metrics(3, nll_loss),
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=EPOCHS * STEPS),
        before_step=lambda: at_step(next(steps)),
    )


def make_options(out, **changes):
    return Options(**{"out": out, "max_epochs": EPOCHS, "batch_size": BATCH, "device": torch.device("cpu"), **changes})


def content(rows):
    return [{key: value for key, value in row.items() if key != "samples_per_second"} for row in rows]


def assert_same_state(first, second):
    for a, b in zip(first.model.state_dict().items(), second.model.state_dict().items(), strict=True):
        assert a[0] == b[0]
        assert torch.equal(a[1], b[1]), a[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    task = make_task()
    return task, fit(task, make_options(tmp_path_factory.mktemp("whole"))), torch.get_rng_state()


@pytest.mark.parametrize(("stops", "workers"), [([2], 0), ([5], 0), ([7, 13], 0), ([15], 0), ([7], 1)])
def test_resumed_run_is_the_uninterrupted_one(tmp_path, whole, stops, workers):
    done = 0
    for stop in stops:
        task = make_task(lambda step, at=stop - done: step == at and os.kill(os.getpid(), signal.SIGINT))
        report = fit(task, make_options(tmp_path, resume=done > 0, workers=workers))
        assert report.signal == signal.SIGINT
        assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["iteration"] == stop
        done = stop
    torch.manual_seed(77)  # what happened between is of no account
    task = make_task()
    report = fit(task, make_options(tmp_path, resume=True, workers=workers))
    expected_task, expected, generator = whole
    assert report.signal == 0
    assert_same_state(task, expected_task)
    assert content(report.rows) == content(expected.rows)
    assert report.metrics == expected.metrics
    assert stops == [15] or torch.equal(torch.get_rng_state(), generator)
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert content(written) == content(expected.rows)


def test_more_epochs_continue_a_finished_run(tmp_path):
    def constant_rate():
        task = make_task()
        task.scheduler = None
        return task

    fit(constant_rate(), make_options(tmp_path / "a", max_epochs=1))
    resumed, straight = constant_rate(), constant_rate()
    report = fit(resumed, make_options(tmp_path / "a", max_epochs=2, resume=True))
    expected = fit(straight, make_options(tmp_path / "b", max_epochs=2))
    assert_same_state(resumed, straight)
    assert content(report.rows) == content(expected.rows)


def test_signal_during_evaluation_ends_it_and_resuming_evaluates(tmp_path, whole):
    task = make_task()
    task.before_evaluation = lambda: os.kill(os.getpid(), signal.SIGTERM)
    report = fit(task, make_options(tmp_path))
    assert report.signal == signal.SIGTERM
    assert not report.metrics
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    report = fit(make_task(), make_options(tmp_path, resume=True))
    assert content(report.rows) == content(whole[1].rows)


def test_seed_decides(tmp_path, whole):
    task = make_task()
    report = fit(task, make_options(tmp_path, seed=5))
    assert content(report.rows) != content(whole[1].rows)


def test_batches_are_a_permutation_in_whole_batches(tmp_path):
    seen = []
    task = make_task()
    task.train_set = TensorDataset(torch.arange(22.0), torch.zeros(22, dtype=torch.int64))

    def prepare(batch, device, non_blocking):
        if task.model.training:
            seen.append(batch[0])
        return torch.zeros(len(batch[0]), 1, 16), batch[1]

    task.prepare_batch = prepare
    task.test_sets = {}
    fit(task, make_options(tmp_path, max_epochs=2))
    first, second = torch.cat(seen[:5]), torch.cat(seen[5:])
    assert len(first) == len(first.unique()) == len(second.unique()) == 20
    assert not torch.equal(first, second)


def test_checkpoints_are_replaced_never_half_written(tmp_path, monkeypatch):
    fit(make_task(), make_options(tmp_path, max_epochs=1))
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def fails(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="disk full"):
        fit(make_task(), make_options(tmp_path, max_epochs=2, resume=True))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "metrics.jsonl"}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "text", "empty", "another program's"])
def test_damaged_checkpoint_is_named(tmp_path, damage):
    fit(make_task(), make_options(tmp_path, max_epochs=1))
    path = tmp_path / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        with zipfile.ZipFile(path) as archive:
            largest = max(archive.infolist(), key=lambda member: member.file_size)
        data[largest.header_offset + 1000] ^= 0x01  # one bit of a tensor
    elif damage in ("text", "empty"):
        data = b"not a checkpoint" if damage == "text" else b""
    path.write_bytes(data)
    if damage == "another program's":
        torch.save({"model": {}}, path)
    with pytest.raises(ValueError, match=rf"{path}: not a (usable )?checkpoint"):
        fit(make_task(), make_options(tmp_path, resume=True))


def test_unfit_checkpoints_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoint.pt: there is no checkpoint to resume from"):
        fit(make_task(), make_options(tmp_path, resume=True))
    fit(make_task(), make_options(tmp_path, max_epochs=1, config={"lr": 0.1, "K": 8}))
    with pytest.raises(FileExistsError, match=r"checkpoint.pt: holds a run"):
        fit(make_task(), make_options(tmp_path))
    with pytest.raises(ValueError, match=r"checkpoint.pt: belongs to a run with K = 8, not 16"):
        fit(make_task(), make_options(tmp_path, resume=True, config={"lr": 0.1, "K": 16}))
    # It was not there when that run was saved.
    fit(make_task(), make_options(tmp_path, resume=True, config={"lr": 0.1, "K": 8, "eval_reduction": "avg"}))
    task = make_task()
    task.model = nn.Sequential(nn.Linear(16, 3))
    with pytest.raises(ValueError, match=r"(?s)checkpoint.pt: does not fit this run: .*size mismatch"):
        fit(task, make_options(tmp_path, resume=True, config={"lr": 0.1, "K": 8}))


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    task = make_task()
    task.loss = lambda output, labels: nll_loss(output, labels) * torch.nan
    with pytest.raises(FloatingPointError, match="the loss is nan at iteration 1"):
        fit(task, make_options(tmp_path))


def test_models_of_the_last_epochs_are_kept(tmp_path):
    task = make_task()
    task.scheduler = None
    fit(task, make_options(tmp_path, max_epochs=7, models=tmp_path / "models"))
    assert {path.name for path in (tmp_path / "models").iterdir()} == {f"model_{k}.pt" for k in range(3, 8)}
    last = torch.load(tmp_path / "models" / "model_7.pt", weights_only=True)
    assert torch.equal(last["0.weight"], task.model[0].weight)


def test_tensorboard_files_hold_the_rows(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report = fit(make_task(), make_options(tmp_path, log="tensorboard"))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train_loss")]
    expected = [(row["iteration"], row["train_loss"]) for row in report.rows if "train_loss" in row]
    assert losses == [(step, pytest.approx(loss)) for step, loss in expected]
    assert [event.step for event in events.Scalars("test_accuracy")] == [5, 10, 15]


def test_wandb_gets_the_rows(tmp_path, monkeypatch):
    calls = []

    class Run:
        def log(self, values, step):
            calls.append({"iteration": step, **values})

        def finish(self):
            calls.append("finished")

    def init(project, config, dir, name):
        assert (project, config, dir, name) == ("cheblienet", {"lr": 0.1}, tmp_path, tmp_path.name)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    report = fit(make_task(), make_options(tmp_path, log="wandb", max_epochs=1, config={"lr": 0.1}))
    assert calls == [*report.rows, "finished"]
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match="--log wandb: needs the package wandb: pip install wandb"):
        fit(make_task(), make_options(tmp_path / "without", log="wandb"))


def test_rows_beyond_the_checkpoint_and_half_a_line_are_dropped(tmp_path, whole):
    task = make_task(lambda step: step == 7 and os.kill(os.getpid(), signal.SIGINT))
    fit(task, make_options(tmp_path))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 8, "epoch": 2, "train_loss": 9.0}\n{"iteration": 9, "epo')
    report = fit(make_task(), make_options(tmp_path, resume=True))
    assert content(report.rows) == content(whole[1].rows)


def test_autocast_trains(tmp_path):
    report = fit(make_task(), make_options(tmp_path, amp=True, max_epochs=2))
    assert all(torch.isfinite(torch.tensor(list(row.values()))).all() for row in report.rows)


def test_compiled_run_is_the_same(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager", fullgraph=True))
    task = make_task()
    report = fit(task, make_options(tmp_path, compile=True, max_epochs=1))
    assert task.model._compiled_call_impl is not None
    expected_task, expected, _ = whole
    assert len(report.rows) == STEPS + 1
    for actual, row in zip(content(report.rows), content(expected.rows), strict=False):
        assert actual == pytest.approx(row, rel=1e-4)
    assert task.model.state_dict().keys() == expected_task.model.state_dict().keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 23}, "batch_size: expected at most the 22 training samples, got 23"),
        ({"max_epochs": 0}, "max_epochs: expected an integer at least 1, got 0"),
        ({"log": "paper"}, "log: expected one of 'tensorboard', 'wandb', 'none', got 'paper'"),
        ({"seed": -1}, "seed: expected an integer between 0 and"),
    ],
)
def test_options_out_of_range(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        fit(make_task(), make_options(tmp_path, **changes))
