import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

import cheblienet


def test_build_info_says_what_was_built():
    info = cheblienet.build_info()
    assert info["version"] == cheblienet.__version__
    assert info["torch"] == torch.__version__
    assert info["simd"] in ("avx512", "avx2", "baseline")
    assert info["threads"] == torch.get_num_threads()
    built = info["cuda"] == "built and loaded"
    assert built == bool(info["cuda_architectures"])
    assert built or info["cuda"].startswith(("not built: ", "built, not loaded: "))


def test_command_line_prints_it():
    said = subprocess.run([sys.executable, "-m", "cheblienet"], capture_output=True, text=True, check=True).stdout
    for name, value in cheblienet.build_info().items():
        assert f"{name}:" in said
        assert str(value) in said


def test_cuda_kernels_are_registered_where_they_were_built():
    if cheblienet.build_info()["cuda"] == "built and loaded":
        assert torch._C._dispatch_has_kernel_for_dispatch_key("cheblienet::gather_reduce", "CUDA")
        assert torch._C._dispatch_has_kernel_for_dispatch_key("cheblienet::gather_reduce_backward", "CUDA")


@pytest.fixture
def clone(tmp_path):
    """A folder with the package's sources and no compiled module."""
    package = Path(cheblienet.__file__).parent
    shutil.copytree(package, tmp_path / "clone" / "cheblienet", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return tmp_path / "clone"


def run_in(folder, code, path=""):
    # Without what finds an editable installation, which is this one.
    code = "import sys; sys.meta_path = [f for f in sys.meta_path if 'ditable' not in repr(f)]; " + code
    env = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)


def test_a_clone_does_not_hide_the_installed_package(clone, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "cheblienet").symlink_to(Path(cheblienet.__file__).parent)
    run = run_in(
        clone, "import cheblienet; print(cheblienet.__path__[0], cheblienet.ops.Csr.__name__)", tmp_path / "site"
    )
    assert run.stdout.split() == [str(tmp_path / "site" / "cheblienet"), "Csr"], run.stderr


def test_a_clone_that_is_not_installed_says_so(clone, tmp_path):
    # All that is installed beside the package, and what says that it is, without the package.
    installed, site = Path(sysconfig.get_path("purelib")), tmp_path / "site"
    site.mkdir()
    for entry in installed.iterdir():
        if entry.name != "cheblienet":
            (site / entry.name).symlink_to(entry)
    elsewhere = (
        f"from pathlib import Path; sys.path = [{str(site)!r} if p == {str(installed)!r} else p for p in sys.path]; "
        "sys.path = [p for p in sys.path if not p or not Path(p, 'cheblienet').exists()]; "
    )
    run = run_in(clone, elsewhere + "import cheblienet")
    assert run.returncode == 1
    assert f"{clone}/cheblienet holds no compiled module" in run.stderr


def test_a_module_that_torch_does_not_fit_says_so(clone):
    """As an older torch does: a function that the module calls is not there."""
    source = clone / "module.c"
    source.write_text(
        "void torch_has_no_such_function(void);\nvoid *PyInit__C(void) { torch_has_no_such_function(); return 0; }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", clone / "cheblienet" / "_C.abi3.so", source], check=True)
    run = run_in(clone, "import cheblienet")
    assert run.returncode == 1
    assert f"with torch {torch.__version__}; it needs torch >= 2.11" in run.stderr
    assert "undefined symbol: torch_has_no_such_function" in run.stderr
