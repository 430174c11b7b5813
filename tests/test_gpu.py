"""`make gpu` without a GPU: a part that fails, hangs or is killed costs itself alone, and every part's code runs here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.gpu import construction, convolution, facts, parts, report, timing, training
from benchmarks.gpu.runner import Part, run_all

ROOT = Path(__file__).resolve().parents[1]


def python(name, code, limit=60.0, **options):
    return Part(name, [sys.executable, "-c", code], limit, **options)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_parts_lose_nothing_of_one_another(tmp_path):
    write = "import os, pathlib; pathlib.Path(os.environ['OUT'], '{}').write_text('here')"
    out = {"environment": {"OUT": str(tmp_path)}}
    child = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    )
    said = []
    outcomes = run_all(
        [
            python("first", write.format("first"), **out),
            python("fails", "print('one'); raise SystemExit('no such thing')"),
            python("hangs", child + "print(p.pid, flush=True); time.sleep(60)", limit=2.0),
            python("is killed", "import os; os.kill(os.getpid(), 9)"),
            Part("does not start", [str(tmp_path / "nothing")], 5.0),
            python("is not for here", "", missing="there is no checker"),
            python("last", write.format("last"), **out),
        ],
        tmp_path,
        tmp_path,
        100.0,
        said.append,
    )
    status = {outcome.name: outcome.status for outcome in outcomes}
    assert status == {
        "first": "done",
        "fails": "failed",
        "hangs": "timed out",
        "is killed": "killed",
        "does not start": "failed",
        "is not for here": "left out",
        "last": "done",
    }
    assert (tmp_path / "first").read_text() == (tmp_path / "last").read_text() == "here"
    assert outcomes[1].said == "exit status 1: no such thing"
    assert (tmp_path / "logs" / "fails.log").read_text() == "one\nno such thing\n"
    assert outcomes[3].said == "by signal SIGKILL"
    assert not alive(int((tmp_path / "logs" / "hangs.log").read_text()))
    assert [record["status"] for record in json.loads((tmp_path / "parts.json").read_text())] == list(status.values())
    assert said[5] == "is not for here: left out in 0 s, there is no checker"


def test_the_whole_has_a_limit_too(tmp_path):
    sleeping = "import time; time.sleep(60)"
    outcomes = run_all([python("a", sleeping), python("b", sleeping)], tmp_path, tmp_path, 2.0, lambda _: None)
    assert [outcome.status for outcome in outcomes] == ["timed out", "left out"]
    assert outcomes[1].said == "the 2 s of all parts are spent"


def test_failures_of_tests_are_named_as_they_happen(tmp_path):
    test = tmp_path / "test_it.py"
    test.write_text(
        "import os\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2\n"
        "def test_ends(): os._exit(7)\n"
        "def test_never(): pass\n"
    )
    options = ["-p", "benchmarks.gpu.failures", "--outcomes", str(tmp_path / "tests.jsonl"), "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "-c", os.devnull, str(test)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    assert run.returncode == 7
    with (tmp_path / "tests.jsonl").open("a") as file:
        file.write('{"passed": 1, "fai')  # as if it had been ended in the middle of a line
    said = report.tests(tmp_path, "tests")
    assert said.startswith("1 passed, 1 failed, 0 skipped")
    assert "test_it.py::test_bad` (call)" in said
    assert "assert 1 == 2" in said


def test_without_a_gpu_it_says_so_in_a_line(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=120)
    assert run.returncode == 1
    assert run.stderr == "make gpu: torch sees no GPU\n"
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_captured_keeps_its_other_time(monkeypatch):
    def fails(step, device):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(timing, "captured", fails)
    found = timing.eager_and_captured(lambda: None, "cpu", 0.0)
    assert found["eager_ms"] >= 0
    assert found["error"] == "not captured: RuntimeError: operation not permitted when stream is capturing"


@pytest.fixture
def folder(tmp_path):
    """What all parts leave, at sizes for a CPU."""
    known = {**facts.facts(), "card": "a card", "chooses steps": False}
    (tmp_path / "facts.json").write_text(json.dumps(known))
    sizes = {"side": 4, "widths": ((2, 4),), "batch": 2, "budget": 0.01}
    convolution.measure(timing.Rows(tmp_path / "convolution.json"), "ours", "cpu", **sizes)
    with torch.compiler.set_stance("force_eager"):  # compiling would take a minute
        convolution.measure(timing.Rows(tmp_path / "convolution-others.json"), "others", "cpu", **sizes)
    training.measure(timing.Rows(tmp_path / "training.json"), "cpu", side=4, batch=2, budget=0.01)
    small = {"SE(2) 4x4x6": lambda device: convolution.graph_of(4)}
    construction.measure(timing.Rows(tmp_path / "construction.json"), "cpu", small)
    (tmp_path / "parts.json").write_text(
        json.dumps([{"name": "memcheck", "status": "timed out", "said": "after 60 s", "seconds": 60.0}])
    )
    return tmp_path


def test_every_part_measures_and_is_reported(folder):
    ours = json.loads((folder / "convolution.json").read_text())
    assert [row["precision"] for row in ours] == list(timing.PRECISIONS)
    assert all(row["eager_ms"] > 0 and row["captured_ms"] is None for row in ours)
    others = json.loads((folder / "convolution-others.json").read_text())
    measured = {row["contender"] for row in others if "error" not in row}
    assert {"reference", "cuSPARSE", "compiled ELL"} <= measured
    steps = json.loads((folder / "training.json").read_text())
    assert all(row["eager_ms"] > 0 for row in steps), steps
    assert json.loads((folder / "construction.json").read_text())[0]["same_bits"] is True

    report.write(folder)
    text = (folder / "README.md").read_text()
    assert text.startswith("# a card\n")
    for wanted in (
        "| memcheck | timed out | after 60 s | 60 |",
        "| 2->4 | bfloat16 | cheblienet |",
        "| SE(2) 4x4x6 | 96 |",
    ):
        assert wanted in text
    assert "No test was run." in text
    assert (folder / "convolution.png").stat().st_size > 5000


def test_a_part_that_cannot_be_measured_says_why(tmp_path):
    rows = timing.Rows(tmp_path / "rows.json")
    rows.add({"contender": "a"}, lambda: {"eager_ms": 1.0})
    rows.add({"contender": "b"}, lambda: torch.zeros(2) @ torch.zeros(3))
    rows.add({"contender": "c"}, lambda: __import__("a_package_that_nobody_has"))
    rows.add({"contender": "d"}, lambda: timing.eager_and_captured(lambda: None, "cpu", 0.0))
    with pytest.raises(SystemExit, match="1 of 4 rows"):
        rows.close()
    found = json.loads((tmp_path / "rows.json").read_text())
    assert found[0] == {"contender": "a", "eager_ms": 1.0}
    assert found[1]["error"].startswith("RuntimeError: ")
    assert found[2]["error"] == "left out: No module named 'a_package_that_nobody_has'"


def test_all_parts_fit_into_eight_minutes(tmp_path):
    known = {"chooses steps": True, "pytest": True}
    chosen = parts.parts(sys.executable, tmp_path, ROOT, known)
    assert parts.BUDGET < 480
    names = [part.name for part in chosen]
    assert len(set(names)) == len(names)
    assert {"convolution-rows", "convolution-tiles", "training-rows", "training-auto", "construction"} <= set(names)
    assert {"convolution-others", "tests", "memcheck", "racecheck"} <= set(names)
    by_name = {part.name: part for part in chosen}
    assert by_name["convolution-tiles"].environment == {"CHEBLIENET_STEPS": "tiles"}
    assert "tests/cuda" in by_name["tests"].command
    assert "tests/graphs/test_manifold.py" in by_name["tests"].command
    without = parts.parts(sys.executable, tmp_path, ROOT, {"chooses steps": False, "pytest": False})
    assert "convolution" in [part.name for part in without]
    assert {part.missing for part in without if part.name in ("tests", "memcheck")} == {"pytest is not installed"}
