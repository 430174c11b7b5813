"""Some of the kills of tests/kill.py; `make kill` does all."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_killed_programs_are_resumed_right():
    pytest.importorskip("netCDF4", reason="netCDF4, of the extra `climate`, is not installed")
    program = Path(__file__).with_name("kill.py")
    done = subprocess.run([sys.executable, program, "--kills", "12"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[:2] + row[3:] for row in rows[1:5]] == [
        ["graphs", "4", "4"],
        ["training", "4", "4"],
        ["conversion", "4", "4"],
        ["all", "12", "12"],
    ]
