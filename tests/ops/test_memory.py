"""Want of memory is an error, after which smaller calls are right; a forked child computes whatever its parent does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(script, **variables):
    done = subprocess.run(
        [sys.executable, HERE / script], env={**os.environ, **variables}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{script} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the size of a process")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer needs more than any limit")
def test_smaller_calls_are_right_after_one_that_found_no_memory():
    # Freed blocks go back to the system at once, so that the limit means what is in use.
    assert "right" in run("out_of_memory.py", MALLOC_MMAP_THRESHOLD_="65536")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_children_compute_while_another_thread_of_the_parent_does():
    assert "50 children" in run("forks.py")
