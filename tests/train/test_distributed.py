"""Two processes train as one does: the same parameters, metrics over all samples, one set of files."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def torchrun(program, *args):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program, *args]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-4000:]
    return result


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
def test_two_processes_train_as_one(tmp_path):
    result = torchrun(str(HERE / "two_processes.py"), str(tmp_path / "two"))
    said = result.stderr.count("TrainingStep: steps are not recorded: processes that train together exchange gradients")
    assert said == 1  # by the first process; Python shows its second run's, from the same line, no more
    spec = importlib.util.spec_from_file_location("two_processes", HERE / "two_processes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    report = module.run(tmp_path / "one")

    one, two = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("one", "two"))
    assert one["iteration"] == two["iteration"] == 6
    for name, value in one["model"].items():
        torch.testing.assert_close(two["model"][name], value, rtol=1e-5, atol=1e-6)
    assert len(two["generators"]["cpu"]) == 2
    rows = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == len(report.rows) == 8
    for row, expected in zip(rows, report.rows, strict=True):
        assert row.keys() == expected.keys()
        for key, value in expected.items():
            assert key == "samples_per_second" or row[key] == pytest.approx(value, rel=1e-4), key
    report = module.run(tmp_path / "alone", max_epochs=4, validated=True)
    assert 0 < report.epoch < 4  # the best is not the last
    best = [
        torch.load(path / "best.pt", weights_only=True) for path in (tmp_path / "alone", tmp_path / "two/validated")
    ]
    assert best[0]["epoch"] == best[1]["epoch"] == report.epoch
    for name, value in best[0]["model"].items():
        torch.testing.assert_close(best[1]["model"][name], value, rtol=1e-5, atol=1e-6)
    for rank in range(2):
        epoch, score, metrics = torch.load(tmp_path / "two" / f"report_{rank}.pt", weights_only=True)
        assert (epoch, score) == (report.epoch, pytest.approx(report.score, rel=1e-4))
        assert metrics == pytest.approx(report.metrics, rel=1e-4)
        found = torch.load(tmp_path / "two" / f"average_precisions_{rank}.pt", weights_only=True)
        assert torch.equal(found, module.average_precisions())
