"""The runner in a clone of the original: a folder with another package `cheblienet` and scripts that import it."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import cheblienet

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(cheblienet.__file__).resolve().parent  # in this clone, or installed

# What a clone has in the place of modules of this package. Nobody may import it.
OTHER = "raise ImportError('a module of the clone')"

SCRIPT = """
    import os
    import subprocess
    import sys

    import cheblienet
    from beside import SIZE
    from cheblienet.graphs.graphs import R2GEGraph
    from torch.utils.data import DataLoader, Dataset


    class Files(Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            from cheblienet.utils.utils import delta_kronecker

            assert delta_kronecker(SIZE, index).sum() == 1
            return cheblienet.__file__


    if __name__ == "__main__":
        assert {*os.environ["PYTHONPATH"].split(os.pathsep)[1:]} <= {*sys.path}  # the first is the runner's
        assert R2GEGraph([SIZE, SIZE, 1], (1.0, 1.0, 1.0), 4, None).num_vertices == SIZE**2
        packages = {cheblienet.__file__}
        for method in sys.argv[1:]:
            for (package,) in DataLoader(Files(), num_workers=1, multiprocessing_context=method):
                packages.add(package)
        code = "from cheblienet.utils.utils import mod; import cheblienet; print(cheblienet.__file__)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        print(*packages | {done.stdout.strip()})
"""


@pytest.fixture
def clone(tmp_path):
    """With scripts at its root and in a folder, as the original has them."""
    root = tmp_path / "clone"
    for folder in (root, root / "scripts"):
        folder.mkdir()
        (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
        (folder / "beside.py").write_text("SIZE = 4\n")
    (root / "cheblienet").mkdir()
    (root / "cheblienet" / "__init__.py").write_text("__version__ = '0.0.1'\n")
    for package in ("graphs", "utils", "nn"):
        (root / "cheblienet" / package).mkdir()
        (root / "cheblienet" / package / "__init__.py").write_text(OTHER)
    return root


def run(clone, *command, **environment):
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"} | environment
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, cwd=clone)


@pytest.fixture
def command(tmp_path):
    """A file such as installers write for a command."""
    file = tmp_path / "bin" / "cheblienet-compat"
    file.parent.mkdir()
    file.write_text("import sys\nfrom cheblienet.compat.__main__ import main\nsys.exit(main())\n")
    return str(file)


def test_the_command_runs_scripts_of_a_clone(clone, command):
    done = run(clone, command, "script.py", "fork", "spawn")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(PACKAGE / "__init__.py")]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.11 brought -P")
def test_so_does_the_module_without_the_present_folder(clone):
    done = run(clone, "-P", "-m", "cheblienet.compat", "scripts/script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(PACKAGE / "__init__.py")]


def test_so_does_the_module_of_an_editable_installation(clone, tmp_path):
    """Which lets Python find modules of this package within the clone's."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
            import sys
            from importlib.machinery import PathFinder

            class Finder:
                def find_spec(name, path=None, target=None):
                    if name == "cheblienet.compat":
                        return PathFinder.find_spec(name, [{str(PACKAGE)!r}])

            sys.meta_path.insert(0, Finder)
        """)
    )
    done = run(
        clone, "-m", "cheblienet.compat", "script.py", PYTHONPATH=os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(PACKAGE / "__init__.py")]


def test_what_an_environment_runs_at_the_start_still_runs(clone, command, tmp_path):
    own = tmp_path / "environment"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import os\nos.environ['STARTED'] = os.environ.get('STARTED', '') + 'x'\n")
    (clone / "script.py").write_text(
        "import os, subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import os, sys; print(os.environ[\"STARTED\"], *sys.path)'], check=True)\n"
    )
    done = run(clone, command, "script.py", PYTHONPATH=os.pathsep.join([str(PACKAGE.parent), str(own)]))
    assert done.returncode == 0, done.stderr
    started, *path = done.stdout.split()
    assert started == "xx"  # once in each of two processes
    assert str(PACKAGE / "compat" / "startup") not in path


def test_the_command_is_the_runner():
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.11 brought tomllib")
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["cheblienet-compat"] == "cheblienet.compat.__main__:main"
