"""The validation set chooses the epoch, and the test sets are looked at once: interrupted or not."""

import math
import os
import shutil
import signal

import pytest
import torch
from ignite.metrics import Metric
from torch import nn
from torch.nn.functional import nll_loss
from torch.utils.data import TensorDataset

from cheblienet.graphs import R2GEGraph
from cheblienet.nn import ChebConv, GlobalPool, VertexBatchNorm
from cheblienet.train import Options, Task, classification_metrics, fit, load_state

EPOCHS, STEPS, BATCH = 4, 3, 4
GRAPH = R2GEGraph((4, 4), (1.0, 1.0, 1.0), 4)


class Counted(TensorDataset):
    """Counts how often an item is taken."""

    taken = 0

    def __getitem__(self, index):
        self.taken += 1
        return super().__getitem__(index)


class Scripted(Metric):
    """The scores that it is told, one for each evaluation, whatever the network does."""

    def __init__(self, scores):
        self.scores = scores
        super().__init__()

    def reset(self):
        pass

    def update(self, output):
        pass

    def compute(self):
        return self.scores.pop(0)


def draw_set(size, kind=TensorDataset):
    return kind(torch.randn(size, 1, 16), torch.randint(3, (size,)))


def make_task(scores=None, at_step=lambda step: None):
    """With `scores`, those of the validation set after each epoch, and of the test set after them."""
    torch.manual_seed(1)
    model = nn.Sequential(
        ChebConv(1, 4, 2, GRAPH), VertexBatchNorm(4), ChebConv(4, 3, 2, GRAPH), GlobalPool("avg"), nn.LogSoftmax(1)
    )
    steps = iter(range(1, 1000))
    scripted = Scripted(scores)
    return Task(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.05),
        loss=nll_loss,
        prepare_batch=lambda batch, device, non_blocking: tuple(batch),
        train_set=draw_set(BATCH * STEPS),
        test_sets={"test": draw_set(5, Counted)},
        metrics=lambda: {**classification_metrics(3, nll_loss), **({"scripted": scripted} if scores else {})},
        validation_set=draw_set(30, Counted),
        score="scripted" if scores else "accuracy",
        before_step=lambda: at_step(next(steps)),
    )


def make_options(out, **changes):
    return Options(**{"out": out, "max_epochs": EPOCHS, "batch_size": BATCH, "device": torch.device("cpu"), **changes})


def content(rows):
    return [{key: value for key, value in row.items() if key != "samples_per_second"} for row in rows]


def same_state(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def assert_same_run(first, second):
    for name in ("best.pt", "checkpoint.pt"):
        a, b = load_state(first / name), load_state(second / name)
        assert same_state(a["model"], b["model"]), name
        assert a.get("best", a.get("epoch")) == b.get("best", b.get("epoch")), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    report = fit(make_task(), make_options(folder))
    assert 0 < report.epoch < EPOCHS  # the best is not the last: what resumes is told apart
    return folder, report


@pytest.mark.parametrize(
    ("scores", "best"), [([0.2, 0.9, 0.9, 0.1], 2), ([0.1, 0.2, 0.3, 0.4], 4), ([0.0, 0.0, 0.0, 0.0], 1)]
)
def test_the_best_epoch_is_kept_and_tested_once(tmp_path, scores, best):
    task = make_task([*scores, 0.7])
    report = fit(task, make_options(tmp_path, models=tmp_path / "models"))
    kept = load_state(tmp_path / "best.pt")
    assert (kept["epoch"], kept["score"]) == (best, scores[best - 1]) == (report.epoch, report.score)
    assert same_state(kept["model"], load_state(tmp_path / "models" / f"model_{best}.pt"))
    assert same_state(kept["model"], task.model.state_dict())
    assert same_state(load_state(tmp_path / "checkpoint.pt")["model"], load_state(tmp_path / "models/model_4.pt"))
    assert task.test_sets["test"].taken == len(task.test_sets["test"])
    assert task.validation_set.taken == EPOCHS * len(task.validation_set)
    assert [row["validation_scripted"] for row in report.rows if "validation_scripted" in row] == scores
    *others, last = report.rows
    assert not any("test_loss" in row for row in others)
    assert (last["iteration"], last["epoch"], last["best_epoch"]) == (EPOCHS * STEPS, EPOCHS, best)
    assert {name: last[name] for name in report.metrics} == report.metrics
    with torch.no_grad():
        x, y = task.test_sets["test"].tensors
        assert report.metrics["test_loss"] == pytest.approx(float(nll_loss(task.model.eval()(x), y)))


def test_without_a_validation_set_every_epoch_is_tested(tmp_path):
    task = make_task()
    task.validation_set = None
    report = fit(task, make_options(tmp_path))
    assert task.test_sets["test"].taken == EPOCHS * len(task.test_sets["test"])
    assert (report.epoch, report.score) == (EPOCHS, None)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "metrics.jsonl"}


@pytest.mark.parametrize("stops", [[2], [STEPS], [4, 10], [EPOCHS * STEPS]])
def test_a_resumed_run_keeps_the_best_so_far(tmp_path, whole, stops):
    done = 0
    for stop in stops:
        task = make_task(at_step=lambda step, at=stop - done: step == at and os.kill(os.getpid(), signal.SIGINT))
        report = fit(task, make_options(tmp_path, resume=done > 0))
        assert (report.signal, report.metrics) == (signal.SIGINT, {})
        assert task.test_sets["test"].taken == 0
        done = stop
    report = fit(make_task(), make_options(tmp_path, resume=True))
    folder, expected = whole
    assert (report.epoch, report.score, report.metrics) == (expected.epoch, expected.score, expected.metrics)
    assert content(report.rows) == content(expected.rows)
    assert_same_run(tmp_path, folder)


@pytest.mark.parametrize("evaluation", [1, 2, EPOCHS, EPOCHS + 1])
def test_a_signal_during_an_evaluation(tmp_path, whole, evaluation):
    """The last one is the final test: the checkpoint keeps the last epoch's network."""
    task, begun = make_task(), iter(range(1, 100))
    task.before_evaluation = lambda: next(begun) == evaluation and os.kill(os.getpid(), signal.SIGTERM)
    report = fit(task, make_options(tmp_path))
    assert (report.signal, report.metrics, report.epoch) == (signal.SIGTERM, {}, 0)
    report = fit(make_task(), make_options(tmp_path, resume=True))
    assert report.metrics == whole[1].metrics
    assert content(report.rows) == content(whole[1].rows)
    assert_same_run(tmp_path, whole[0])


@pytest.mark.parametrize("again", [0.8, 0.1])
def test_killed_between_the_best_network_and_the_next_checkpoint(tmp_path, again):
    """Even where the evaluation, repeated, comes out lower: the network of the former best epoch is gone."""
    fit(make_task([0.5, 0.8, 0.7]), make_options(tmp_path, max_epochs=2))
    assert load_state(tmp_path / "checkpoint.pt")["best"] == {
        "epoch": 1,
        "score": 0.5,
    }  # of the end of the second epoch
    (tmp_path / "metrics.jsonl").unlink()
    report = fit(make_task([again, 0.7]), make_options(tmp_path, max_epochs=2, resume=True))
    assert (report.epoch, report.score) == (2, 0.8)
    assert load_state(tmp_path / "best.pt")["epoch"] == 2


def test_more_epochs_may_find_a_better_one(tmp_path):
    fit(make_task([0.5, 0.4, 0.7]), make_options(tmp_path, max_epochs=2))
    report = fit(make_task([0.4, 0.6, 0.7]), make_options(tmp_path, max_epochs=3, resume=True))
    assert (report.epoch, report.score) == (3, 0.6)


def test_a_finished_run_is_shown_again(tmp_path, whole):
    shutil.copytree(whole[0], tmp_path / "copy")
    report = fit(make_task(), make_options(tmp_path / "copy", resume=True))
    assert (report.metrics, report.epoch) == (whole[1].metrics, whole[1].epoch)
    assert content(report.rows) == content(whole[1].rows)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda path: path.unlink(), FileNotFoundError, "expected the network of the best epoch so far, "),
        (lambda path: path.write_bytes(path.read_bytes()[:-50]), ValueError, "not a usable checkpoint"),
        (lambda path: torch.save({"model": {}}, path), ValueError, "expected a network, its epoch and its score"),
        (
            lambda path: torch.save({**load_state(path), "epoch": 9}, path),
            ValueError,
            "expected the network of epoch [123], got",
        ),
    ],
)
def test_a_best_network_that_does_not_fit_is_named(tmp_path, whole, damage, error, message):
    shutil.copytree(whole[0], tmp_path / "copy")
    damage(tmp_path / "copy" / "best.pt")
    with pytest.raises(error, match=f"copy/best.pt: {message}"):
        fit(make_task(), make_options(tmp_path / "copy", resume=True, max_epochs=EPOCHS + 1))


def test_what_a_former_run_left_does_not_count(tmp_path):
    """Even where the run is stopped before it has a best network of its own."""
    torch.save({"epoch": 1, "score": 9.0, "model": {}}, tmp_path / "best.pt")
    task = make_task([0.5, 0.7])
    task.before_evaluation = lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert fit(task, make_options(tmp_path, max_epochs=1)).signal == signal.SIGTERM
    report = fit(make_task([0.5, 0.7]), make_options(tmp_path, max_epochs=1, resume=True))
    assert (report.epoch, report.score) == (1, 0.5)


def test_gradients_of_a_run_are_clipped(tmp_path):
    task = make_task()
    task.optimizer, task.clip_norm = torch.optim.SGD(task.model.parameters(), lr=1.0), 1e-3
    before = torch.cat([p.detach().flatten() for p in task.model.parameters()])
    task.validation_set = None
    fit(task, make_options(tmp_path, max_epochs=1))
    moved = torch.cat([p.detach().flatten() for p in task.model.parameters()]) - before
    assert 0 < float(moved.norm()) <= STEPS * 1e-3 * (1 + 1e-4)


def test_scores_that_choose_nothing(tmp_path):
    with pytest.raises(FloatingPointError, match=r"the scripted of epoch 2 is nan; .*checkpoint.pt is of iteration 6"):
        fit(make_task([0.5, math.nan]), make_options(tmp_path))
    task = make_task()
    task.score = "mAP"
    with pytest.raises(ValueError, match="score: expected one of the metrics accuracy, loss, confusion, got 'mAP'"):
        fit(task, make_options(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_checkpoints_from_before_validation_sets_resume_without_one(tmp_path):
    def without():
        task = make_task()
        task.validation_set = None
        return task

    fit(without(), make_options(tmp_path, max_epochs=1))
    state = load_state(tmp_path / "checkpoint.pt")
    del state["best"]
    torch.save({**state, "format": 1}, tmp_path / "checkpoint.pt")
    report = fit(without(), make_options(tmp_path, max_epochs=2, resume=True))
    assert report.epoch == 2
