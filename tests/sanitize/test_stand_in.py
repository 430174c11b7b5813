"""The programs of `make sanitize` go on compiling: kernels use nothing of the framework that its stand-in lacks."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def test_kernels_compile_against_the_stand_in(tmp_path):
    configured = run("cmake", "-S", ROOT, "-B", tmp_path, "-DCMAKE_CUDA_COMPILER=NOTFOUND")
    assert configured.returncode == 0, configured.stderr
    sources = [*sorted((ROOT / "csrc" / "cpu").glob("*.cpp")), ROOT / "tests" / "sanitize" / "test_threads.cpp"]
    check = ("c++", "-std=c++17", "-fsyntax-only", "-I", tmp_path / "stand_in")
    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(lambda source: run(*check, source), sources):
            assert done.returncode == 0, done.stderr
