"""What setup.py decides to build, with a toolkit that only tells its version and what it compiles for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SETUP = Path(__file__).parents[1] / "setup.py"


@pytest.fixture
def toolkit(tmp_path):
    if torch.version.cuda is None:
        pytest.skip("this torch is built without CUDA, so setup.py builds no CUDA kernels")
    nvcc = tmp_path / "cuda" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --version ]; then echo "release {torch.version.cuda}"; else echo compute_80; echo compute_90; fi\n'
    )
    nvcc.chmod(0o755)
    return tmp_path / "cuda"


def kernels(**environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA", "TORCH_CUDA", "CHEBLIENET_CUDA"))}
    command = [sys.executable, str(SETUP), "--version"]
    run = subprocess.run(command, cwd=SETUP.parent, env=kept | environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()[0].removeprefix("cheblienet: CUDA kernels: ")


@pytest.mark.parametrize("variable", ["CUDA_HOME", "CUDA_PATH"])
def test_architectures_that_nvcc_does_not_know_are_left_out(toolkit, variable):
    assert kernels(**{variable: str(toolkit), "TORCH_CUDA_ARCH_LIST": ""}) == "8.0;9.0+PTX"


def test_a_list_of_architectures_is_taken_as_it_is(toolkit):
    assert kernels(CUDA_HOME=str(toolkit), TORCH_CUDA_ARCH_LIST="9.0") == "9.0"


def test_why_no_kernels_are_built(toolkit):
    assert kernels(CHEBLIENET_CUDA="0") == "left out by CHEBLIENET_CUDA=0"
    (toolkit / "bin" / "nvcc").write_text("#!/bin/sh\necho release 8.0\n")
    assert kernels(CUDA_HOME=str(toolkit)) == f"nvcc is of CUDA 8.0, torch of CUDA {torch.version.cuda}"
