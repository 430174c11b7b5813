"""Builds the probe of csrc/math with the C++ compiler that built the package."""

import importlib.util
import os
import shlex
import subprocess
import sysconfig
from pathlib import Path

import pybind11
import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    library = tmp_path_factory.mktemp("probe") / f"cheblienet_math_probe{sysconfig.get_config_var('EXT_SUFFIX')}"
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    includes = [f"-I{pybind11.get_include()}", f"-I{sysconfig.get_paths()['include']}"]
    flags = ["-O1", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run([*compiler, *flags, *includes, str(HERE / "probe.cpp"), "-o", str(library)], check=True)
    spec = importlib.util.spec_from_file_location("cheblienet_math_probe", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
