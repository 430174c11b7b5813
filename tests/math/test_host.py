"""The host tests of csrc/math through CMake, watched by the address and undefined-behaviour sanitizers."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("sanitizers", ["", "address,undefined"])
def test_host_tests_pass(tmp_path, sanitizers):
    configure = ["cmake", "-S", str(ROOT), "-B", str(tmp_path), f"-DCHEBLIENET_SANITIZE={sanitizers}"]
    configure += ["-DCMAKE_CUDA_COMPILER=NOTFOUND", "-DCMAKE_BUILD_TYPE=Debug"]
    for command in (configure, ["cmake", "--build", str(tmp_path)], ["ctest", "--test-dir", str(tmp_path)]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "compile_commands.json").exists()
