import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from cheblienet import _progress, ops
from cheblienet.groups import R2

SIGMAS, CPU = (1.0, 1.0, 1.0), torch.device("cpu")


def test_short_work_and_that_of_a_gpu_is_called_as_it_is():
    assert _progress.run(lambda mailbox: mailbox, 10, CPU, None) is None
    assert _progress.run(lambda mailbox: mailbox, 10**6, torch.device("cuda"), None) is None


def test_long_work_reports_and_returns_or_raises(capsys):
    def work(mailbox):
        mailbox[0] = 50_000
        return threading.current_thread()

    assert _progress.run(work, 50_000, CPU, "work") is not threading.main_thread()
    assert "work" in capsys.readouterr().err

    def fails(mailbox):
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        _progress.run(fails, 50_000, CPU, None)


def test_long_searches_have_the_result_of_short_ones(capsys):
    elements = torch.rand(50_000, 2, dtype=torch.float64)
    index, sqdist = ops.nearest_neighbors(elements, SIGMAS, 4, R2, progress=True)
    assert "50000/50000" in capsys.readouterr().err.replace(".0k", "000")
    metric = torch.ones(3, dtype=torch.float64)
    expected = torch.ops.cheblienet.nearest_neighbors(elements, metric, 4, "r2")
    assert torch.equal(index, expected[0])
    assert torch.equal(sqdist, expected[1])
    edges = ops.mutual_neighbors(index, sqdist, progress=True)
    assert torch.equal(edges[0], torch.ops.cheblienet.mutual_neighbors(index, sqdist, float("inf"))[0])


def test_a_stopped_search_ends_early():
    elements = torch.rand(200_000, 2, dtype=torch.float64)
    mailbox = torch.tensor([0, 1])
    torch.ops.cheblienet.nearest_neighbors(elements, torch.ones(3, dtype=torch.float64), 16, "r2", mailbox)
    assert mailbox[0] == 0


INTERRUPTED = """
import torch
from cheblienet import ops
from cheblienet.groups import SE2
elements = torch.rand(20_000, 3, dtype=torch.float64)
print("begin", flush=True)
ops.nearest_neighbors(elements.repeat(5, 1), (1.0, 1.0, 1.0), 5_000, SE2)  # half an hour of work
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX systems")
def test_ctrl_c_leaves_a_long_search():
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begin\n"
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT  # as Python ends an interrupted program, no other way
    assert errors.rstrip().endswith("KeyboardInterrupt")
