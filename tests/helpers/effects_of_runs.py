"""The effects of the flags that say where, how long and how a program trains."""

import math
from contextlib import nullcontext
from unittest import mock

import pytest
import torch
from flag_programs import drawn, effect, first_batch, items, parameters, steps
from torch import nn

from cheblienet.data.synthetic import write_synthetic_artc
from cheblienet.train import engine


@effect("--config")
def _(program):
    (program.folder / "run.toml").write_text("lr = 0.25\n")
    assert program.one("--config", "run.toml").task.optimizer.param_groups[0]["lr"] == 0.25


@effect("--path_to_graph")
def _(program):
    program()
    assert not list(program.folder.rglob("graphs/*.npz"))
    program("--path_to_graph", "graphs")
    assert list((program.folder / "graphs").glob("*.npz"))


@effect("--path_to_data")
def _(program):
    """It is where the data are looked for."""
    with mock.patch("urllib.request.urlopen", side_effect=OSError("no network in tests")):
        for folder in ("here", "there"):
            with pytest.raises(FileNotFoundError, match=folder):
                program("--dataset", program.dataset, "--path_to_data", folder)


@effect("--dataset")
def _(program):
    if program.name == "artc":
        assert program.one().task.train_set.folder.name == "synthetic"
        with pytest.raises(FileNotFoundError, match="ClimateNet|states"):
            program("--dataset", "climatenet", "--path_to_data", "nowhere")
        return
    small = program.one("--subset", "9999")
    assert sum(items(small)[1].values()) + items(small)[0] >= 1347
    with (
        mock.patch("urllib.request.urlopen", side_effect=OSError("no network in tests")),
        pytest.raises(FileNotFoundError, match=program.dataset),
    ):
        program("--dataset", program.dataset)


@effect("--num_experiments")
def _(program):
    assert len(program("--num_experiments", 1)) == 1
    runs = program("--num_experiments", 3, "--seed", 7)
    assert len(runs) == len({run.options.out for run in runs}) == 3
    if not program.search:
        assert [run.options.seed for run in runs] == [7, 8, 9]
        assert [run.options.out.name for run in runs] == ["1", "2", "3"]


@effect("--max_epochs")
def _(program):
    run = program.one("--max_epochs", 2, train=True)
    assert len(run.seen) == 2 * steps(run)
    assert max(row["epoch"] for row in run.report.rows) == 2


@effect("--device")
def _(program):
    assert program.one("--cuda", "--device", "cpu").options.device == torch.device("cpu")
    with pytest.raises(ValueError, match="device: expected .*cuda:99"):
        program("--device", "cuda:99")


@effect("--cuda")
def _(program):
    there = torch.cuda.is_available()
    with nullcontext() if there else pytest.warns(UserWarning, match="--cuda: no GPU is available to torch"):
        run = program.one("--cuda")
    assert run.options.device.type == next(run.task.model.parameters()).device.type == ("cuda" if there else "cpu")
    assert program.one().options.device.type == "cpu"


@effect("--amp")
def _(program):
    assert {s["amp"] for s in program.one(train=True).seen} == {False}
    assert {s["amp"] for s in program.one("--amp", train=True).seen} == {True}


@effect("--compile")
def _(program):
    compiled = []
    with mock.patch.object(nn.Module, "compile", lambda self: compiled.append(self)):
        program(train=True)
        assert compiled == []
        run = program.one("--compile", train=True)
    assert compiled == [run.task.model]


@effect("--no-capture")
def _(program):
    asked = []

    class Step(engine.TrainingStep):
        def __init__(self, *args, capture, **kwargs):
            asked.append(capture)
            super().__init__(*args, capture=capture, **kwargs)

    with mock.patch.object(engine, "TrainingStep", Step):
        program(train=True)
        program("--no-capture", train=True)
    assert asked == [True, False]


@effect("--matmul-precision")
def _(program):
    for precision in ("high", "highest"):
        run = program.one("--matmul-precision", precision, train=True)
        assert {s["precision"] for s in run.seen} == {precision}
    assert torch.get_float32_matmul_precision() == "highest"


@effect("--sync_bn")
def _(program):
    with mock.patch.object(engine, "convert_sync_batchnorm", wraps=engine.convert_sync_batchnorm) as convert:
        program(train=True)
        assert not convert.called
        run = program.one("--sync_bn", train=True)
    convert.assert_called_once_with(run.task.model)


@effect("--seed")
def _(program):
    one, same, other = (program.one("--seed", seed) for seed in (1, 1, 2))
    assert (one.options.seed, other.options.seed) == (1, 2)
    assert torch.equal(parameters(one), parameters(same))
    if program.search:  # another seed is another first trial
        assert one.options.config != other.options.config
    else:
        assert not torch.equal(parameters(one), parameters(other))
    assert drawn(one) == drawn(same)
    assert drawn(one) != drawn(other)


@effect("--workers")
def _(program):
    assert {s["workers"] for s in program.one(train=True).seen} == {0}
    assert {s["workers"] for s in program.one("--workers", 2, train=True).seen} == {2}


@effect("--subset")
def _(program):
    training, others = items(program.one("--subset", 3))
    if program.name == "artc":
        assert training == others["test"] == 3
    else:
        assert training + others.pop("validation") == 3
        assert set(others.values()) <= {3}


@effect("--log")
def _(program):
    run = program.one(train=True)
    assert not (run.options.out / "tensorboard").exists()
    run = program.one("--log", "tensorboard", train=True)
    assert list((run.options.out / "tensorboard").glob("events*"))


@effect("--out")
def _(program):
    run = program.one("--out", "elsewhere", train=True)
    assert run.options.out.is_relative_to("elsewhere")
    assert (run.options.out / "checkpoint.pt").exists()


@effect("--resume")
def _(program):
    first = program("--out", "same", train=True)
    with pytest.raises(FileExistsError, match="same"):
        program("--out", "same", train=True)
    if program.search:
        assert len(program("--out", "same", "--resume", "--num_experiments", 3)) == 2
        return
    run = program.one("--out", "same", "--resume", "--max_epochs", 2, train=True)
    assert len(run.seen) == len(first[0].seen) == steps(run)  # one epoch, not two
    assert {row["epoch"] for row in run.report.rows} == {1, 2}


# What a run computes.


@effect("--lr")
def _(program):
    before, run = parameters(program.one()), program.one("--lr", 1e-3, train=True)
    moved = (parameters(run) - before).abs().max()
    assert float(moved) == pytest.approx(1e-3 * len(run.seen), rel=0.3)  # Adam's first steps are of lr
    assert float((parameters(program.one("--lr", 1e-6, train=True)) - before).abs().max()) < 1e-5


@effect("--batch_size")
def _(program):
    assert {s["samples"] for s in program.one("--batch_size", 5, train=True).seen} == {5}


@effect("--anisotropic")
def _(program):
    flat, lifted = program.one(), program.one("--anisotropic")
    orientations = 5 if program.name == "artc" else 6
    (x, _), (y, _) = (first_batch(run) for run in (flat, lifted))
    assert y.shape == (*x.shape[:2], orientations * x.shape[2])
    flat.task.model(x)
    lifted.task.model(y)


@effect("--schedule")
def _(program):
    rates = {}
    for name in ("constant", "cosine", "onecycle", "step"):
        run = program.one("--schedule", name, "--lr", 1e-3, "--max_epochs", 8)
        optimizer, scheduler = run.task.optimizer, run.task.scheduler
        count = 8 * steps(run)
        rates[name] = []
        for _ in range(count):
            rates[name].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
    assert set(rates["constant"]) == {1e-3}
    assert rates["cosine"] == pytest.approx([1e-3 * (1 + math.cos(math.pi * k / count)) / 2 for k in range(count)])
    assert (rates["onecycle"][0], max(rates["onecycle"])) == pytest.approx((1e-3 / 25, 1e-3), rel=0.1)
    assert rates["onecycle"][-1] < 1e-6
    assert [rates["step"][k] for k in (0, count // 2, count - 1)] == pytest.approx([1e-3, 1e-4, 1e-5])


@effect("--weight_decay")
def _(program):
    plain, decayed = program.one("--weight_decay", 0), program.one("--weight_decay", 0.5, "--lr", 0.1)
    for run in (plain, decayed):
        before = parameters(run)
        for p in run.task.model.parameters():
            p.grad = torch.zeros_like(p)
        run.task.optimizer.step()
        torch.testing.assert_close(parameters(run), before * (1 if run is plain else 1 - 0.1 * 0.5))


@effect("--clip_norm")
def _(program):
    assert program.one().task.clip_norm is None
    run = program.one("--clip_norm", 1e-3, train=True)
    norm = torch.cat([p.grad.flatten() for p in run.task.model.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)  # of the last step


@effect("--validation_share")
def _(program):
    flags, whole = [], 24
    if (
        program.name == "artc"
    ):  # where no validation states are published: here are four dates of eight states, and a fifth
        train, test = (program.folder / "states" / f"data_{part}" for part in ("train", "test"))
        write_synthetic_artc(train, 40, 1, seed=0)
        test.mkdir()
        for path in sorted(train.glob("*.npz"))[32:]:
            path.rename(test / path.name)
        flags, whole = ["--dataset", "artc", "--path_to_data", train.parent, "--subset", 99], 32
    for share in (0.25, 0.5):
        training, others = items(program.one("--validation_share", share, *flags))
        assert (training, others["validation"]) == (whole * (1 - share), whole * share)


@effect("--original_protocol")
def _(program):
    training, others = items(program.one())
    whole, tests = items(program.one("--original_protocol"))
    assert others.pop("validation") > 0
    assert "validation" not in tests
    if program.name != "artc":  # where validation states are published
        assert whole == 24 > training
    else:
        runs = [program.one("--anisotropic", *flag) for flag in ([], ["--original_protocol"])]
        assert [first_batch(run)[0].shape[2] for run in runs] == [5 * 42, 6 * 42]
