"""What a run has written survives: damage is named, a full disk and a second run do no harm, bad numbers are not saved."""

import os
import resource
import signal
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import nll_loss
from torch.utils.data import TensorDataset

from cheblienet.graphs import R2GEGraph
from cheblienet.nn import ChebConv, GlobalPool
from cheblienet.train import Options, Task, checkpoint, classification_metrics, fit, load_state
from cheblienet.train.checkpoint import load_checkpoint

STEPS, BATCH = 3, 4


def make_task(at_step=lambda step: None, channels=3):
    torch.manual_seed(1)
    graph = R2GEGraph((4, 4), (1.0, 1.0, 1.0), 4)
    model = nn.Sequential(
        ChebConv(1, channels, 2, graph), ChebConv(channels, 3, 2, graph), GlobalPool("avg"), nn.LogSoftmax(1)
    )
    data = TensorDataset(torch.randn(BATCH * STEPS, 1, 16), torch.randint(3, (BATCH * STEPS,)))
    steps = iter(range(1, 1000))
    return Task(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2),
        loss=nll_loss,
        prepare_batch=lambda batch, device, non_blocking: tuple(batch),
        train_set=data,
        test_sets={"test": data},
        metrics=lambda: classification_metrics(3, nll_loss),
        before_step=lambda: at_step(next(steps)),
    )


def make_options(out, epochs=1, **changes):
    return Options(**{"out": out, "max_epochs": epochs, "batch_size": BATCH, "device": torch.device("cpu"), **changes})


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    fit(make_task(), make_options(folder, models=folder / "models"))
    return folder


@pytest.mark.parametrize("name", ["checkpoint.pt", "models/model_1.pt"])
def test_no_flipped_bit_changes_what_is_loaded(tmp_path, saved, name):
    intact, path = (saved / name).read_bytes(), tmp_path / "damaged.pt"
    expected = load_state(saved / name)
    refused = 0
    with zipfile.ZipFile(saved / name) as archive:
        directory = archive.start_dir
    places = [(k, k % 8) for k in range(0, len(intact), 23)]
    places += [(k, 4) for k in range(directory, len(intact))]
    for position, bit in places:
        damaged = bytearray(intact)
        damaged[position] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            state = load_state(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: not a usable checkpoint: ")  # noqa: PT017
            refused += 1
        else:
            assert same(state, expected), (position, bit)
    assert refused > len(places) / 4  # the rest is padding, dates and the like


def test_a_cut_checkpoint_is_named(tmp_path, saved):
    intact, path = (saved / "checkpoint.pt").read_bytes(), tmp_path / "checkpoint.pt"
    for length in (*range(0, len(intact), len(intact) // 60), len(intact) - 1):
        path.write_bytes(intact[:length])
        with pytest.raises(ValueError, match=rf"{path}: not a usable checkpoint: "):
            load_checkpoint(path, {})


def changed(state, **parts):
    return {**state, **parts}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: changed(s, format=3), "not a checkpoint of this program, or of another version"),
        (lambda s: changed(s, config=[]), "not a checkpoint of this program"),
        (lambda s: changed(s, more=1), "not a checkpoint of this program"),
        (lambda s: [s], "not a checkpoint of this program"),
        (lambda s: changed(s, model={"w": torch.tensor([torch.nan])}), "expected finite numbers, got NaN or infinity"),
        (lambda s: changed(s, model={}), "does not fit this run: .*Missing key"),
        (lambda s: changed(s, optimizer={}), "does not fit this run"),
        (lambda s: changed(s, generators={"cpu": torch.zeros(1, 3), "cuda": []}), "does not fit this run"),
        (lambda s: changed(s, epoch_length=7), "does not fit this run: epochs of 7 steps, not 3"),
    ],
)
def test_other_content_is_named(tmp_path, saved, change, message):
    path = tmp_path / "checkpoint.pt"
    torch.save(change(load_state(saved / "checkpoint.pt")), path)
    with pytest.raises(ValueError, match=rf"(?s){path}: .*{message}"):
        fit(make_task(), make_options(tmp_path, resume=True))


def test_a_directory_in_place_of_a_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoint.pt").mkdir()
    with pytest.raises(ValueError, match=r"checkpoint.pt: not a usable checkpoint: .*Is a directory"):
        fit(make_task(), make_options(tmp_path, resume=True))
    with pytest.raises(FileExistsError, match=r"checkpoint.pt: holds a run"):
        fit(make_task(), make_options(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads files whatever their mode")
def test_an_unreadable_checkpoint_is_named(tmp_path, saved):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes((saved / "checkpoint.pt").read_bytes())
    path.chmod(0)
    with pytest.raises(ValueError, match=r"checkpoint.pt: not a usable checkpoint: .*Permission denied"):
        fit(make_task(), make_options(tmp_path, resume=True))


def test_resuming_where_nothing_is_makes_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent/checkpoint.pt: there is no checkpoint to resume from"):
        fit(make_task(), make_options(tmp_path / "absent", resume=True))
    assert not (tmp_path / "absent").exists()


def test_rows_damaged_before_the_end_are_named(tmp_path):
    fit(make_task(), make_options(tmp_path))
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged in (b"\x80{]\n", b"[]\n", b'{"epoch": 1}\n', b"\n"):
        path.write_bytes(b"".join([lines[0], damaged, *lines[2:]]))
        with pytest.raises(ValueError, match=rf"{path}: line 2 is damaged"):
            fit(make_task(), make_options(tmp_path, 2, resume=True))
    path.write_bytes(b"".join(lines) + bytes(100))  # what a power cut can leave
    assert len(fit(make_task(), make_options(tmp_path, 2, resume=True)).rows) == 2 * (STEPS + 1)


@contextmanager
def small_disk(size):
    """No file of this process can grow beyond `size` bytes, or -1 for any size."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@contextmanager
def on_small_disk(writing, small):
    with small_disk(500 if small else -1), writing as file:
        yield file


@pytest.mark.parametrize("name", ["checkpoint.pt", "model_2.pt", "metrics.jsonl"])
def test_a_full_disk_names_the_file_and_the_last_good_one_stays(tmp_path, monkeypatch, name):
    options = make_options(tmp_path, 2, resume=True, models=tmp_path / "models")
    fit(make_task(), replace(options, max_epochs=1, resume=False))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pt")}
    writing = checkpoint.replacing
    monkeypatch.setattr(checkpoint, "replacing", lambda path: on_small_disk(writing(path), path.name == name))
    rows = (tmp_path / "metrics.jsonl").stat().st_size + 10 if name == "metrics.jsonl" else -1
    with small_disk(rows), pytest.raises(OSError, match=rf"File too large: '{tmp_path}/.*{name}'"):
        fit(make_task(), options)
    assert not list(tmp_path.rglob("*.tmp"))
    for path, content in before.items():
        assert (name == "model_2.pt" and path.name == "checkpoint.pt") or path.read_bytes() == content
    # Once there is space, the run goes on.
    monkeypatch.undo()
    report = fit(make_task(), options)
    assert [row["iteration"] for row in report.rows] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"model_1.pt", "model_2.pt"}


# Waits at its second step until it is told to go on.
OTHER_RUN = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("tests", sys.argv[1])
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
def wait(step):
    if step == 2:
        print("there", flush=True)
        input()
tests.fit(tests.make_task(wait), tests.make_options(Path(sys.argv[2])))
"""


def test_two_runs_do_not_mix(tmp_path, saved):
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", OTHER_RUN, __file__, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        for line in other.stdout:
            if line == "there\n":
                break
        with pytest.raises(FileExistsError, match=rf"{tmp_path}: another process is writing there"):
            fit(make_task(), make_options(tmp_path))
        other.communicate("\n", timeout=120)
    assert other.returncode == 0
    assert same(load_state(tmp_path / "checkpoint.pt"), load_state(saved / "checkpoint.pt"))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_networks_that_are_not_finite_are_not_kept(tmp_path, value):
    task = make_task()

    def spoil(step):
        if step == 2 * STEPS:  # the loss of this step is still finite
            task.model[1].weight.register_hook(lambda gradient: torch.full_like(gradient, value))

    task.before_step = make_task(spoil).before_step
    options = make_options(tmp_path, 3, models=tmp_path / "models")
    with pytest.raises(FloatingPointError, match=r"is not finite and not saved; .*checkpoint.pt is of iteration 3"):
        fit(task, options)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["model_1.pt"]
    model, state = load_state(tmp_path / "models" / "model_1.pt"), load_state(tmp_path / "checkpoint.pt")
    assert state["iteration"] == STEPS
    assert same(dict(model), dict(state["model"]))


def test_the_last_five_networks_are_kept_over_interruptions(tmp_path):
    models = tmp_path / "parts" / "models"
    fit(make_task(), make_options(tmp_path / "whole", 7, models=tmp_path / "whole" / "models"))
    # At the last step of the sixth epoch: the checkpoint has it, the network is still to be written.
    stop = make_task(lambda step: step == 6 * STEPS and os.kill(os.getpid(), signal.SIGTERM))
    assert fit(stop, make_options(tmp_path / "parts", 7, models=models)).signal == signal.SIGTERM
    assert not (models / "model_6.pt").exists()
    fit(make_task(), make_options(tmp_path / "parts", 7, models=models, resume=True))
    assert {path.name for path in models.iterdir()} == {f"model_{k}.pt" for k in range(3, 8)}
    for path in models.iterdir():
        assert same(load_state(path), load_state(tmp_path / "whole" / "models" / path.name))


def test_safetensors_name_no_flipped_bit_but_every_cut(tmp_path):
    """Not a format of ours: it has no checksums, so that damage of a tensor's numbers stays unseen."""
    safetensors = pytest.importorskip("safetensors.torch")
    path, model = tmp_path / "model.safetensors", make_task().model
    safetensors.save_file(model.state_dict(), path)
    intact = path.read_bytes()
    for length in (0, 7, 100, len(intact) // 2, len(intact) - 1):
        path.write_bytes(intact[:length])
        with pytest.raises(Exception, match="(?i)header|incomplete|file size|empty"):
            safetensors.load_file(path)


def test_folders_in_the_way_are_named(tmp_path):
    file = Path(tmp_path / "file")
    file.write_text("in the way")
    for name, changes in {"out": {"out": file}, "models": {"out": tmp_path, "models": file / "models"}}.items():
        with pytest.raises(ValueError, match=rf"{name}: expected a folder, .*: {file} is a file"):
            make_options(**changes)
