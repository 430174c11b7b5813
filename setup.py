"""Builds the CPU kernels, and the CUDA kernels where nvcc of the framework's CUDA major version is found.

CHEBLIENET_CUDA=auto (default) builds them if possible, 0 leaves them out, 1 fails with the reason where they cannot be built.
TORCH_CUDA_ARCH_LIST chooses the GPU architectures; by default, those of ARCHITECTURES that nvcc knows. A GPU is not needed to
build for one.
"""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import torch
from setuptools import setup

CSRC = Path("csrc")
ARCHITECTURES = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0")
# The oldest framework that the binary runs on (2.11), whatever it is built with: the stable ABI.
FLAGS = ["-O3", "-std=c++17", "-DTORCH_TARGET_VERSION=0x020b000000000000"]
HIDDEN = "-fvisibility=hidden"  # as the framework's own headers are; modules are found by name


def toolkit_root() -> Path | None:
    """Where the CUDA toolkit is: where the framework looks, in its order."""
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if named:
        return Path(named)
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return Path("/usr/local/cuda") if Path("/usr/local/cuda").exists() else None
    # nvcc on PATH may be a wrapper, so nvcc itself is asked for its root.
    top = re.search(r"TOP=(\S+)", said_by(nvcc, "--dryrun", "-x", "cu", os.devnull))
    return Path(top.group(1)).resolve() if top else None


def said_by(*command: str | Path) -> str:
    """What a program of the toolkit prints; nothing where it cannot run."""
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError:
        return ""
    return run.stdout


def why_no_cuda(root: Path | None) -> str:
    """Why the CUDA kernels cannot be built; empty if they can."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    if root is None:
        return "nvcc was found neither through CUDA_HOME or CUDA_PATH, nor on PATH, nor in /usr/local/cuda"
    nvcc = root / "bin" / "nvcc"
    if not nvcc.exists():
        return f"there is no {nvcc}"
    release = re.search(r"release (\d+)\.(\d+)", said_by(nvcc, "--version"))
    if release is None:
        return f"{nvcc} --version names no release"
    if release.group(1) != torch.version.cuda.split(".")[0]:
        return f"nvcc is of CUDA {release.group(1)}.{release.group(2)}, torch of CUDA {torch.version.cuda}"
    if not architectures(nvcc):
        return f"{nvcc} --list-gpu-arch names none of {', '.join(ARCHITECTURES)}"
    return ""


def architectures(nvcc: Path) -> str:
    """What to compile for, as TORCH_CUDA_ARCH_LIST has it; newer GPUs compile the last one's PTX when they load it."""
    chosen = os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip()
    if chosen:
        return chosen
    known = re.findall(r"compute_(\d+)", said_by(nvcc, "--list-gpu-arch"))
    kept = [arch for arch in ARCHITECTURES if arch.replace(".", "") in known]
    return ";".join(kept) + "+PTX" if kept else ""


def cuda_status() -> str:
    """ "built", or why not; CHEBLIENET_CUDA decides what an impossible build means."""
    wanted = os.environ.get("CHEBLIENET_CUDA", "auto")
    if wanted not in ("auto", "0", "1"):
        raise SystemExit(f"CHEBLIENET_CUDA: expected auto, 0 or 1, got {wanted!r}")
    if wanted == "0":
        return "left out by CHEBLIENET_CUDA=0"
    root = toolkit_root()
    reason = why_no_cuda(root)
    if reason and wanted == "1":
        raise SystemExit(f"CHEBLIENET_CUDA=1, but the CUDA kernels cannot be built: {reason}")
    if not reason:
        os.environ["CUDA_HOME"] = str(root)  # before the framework looks for itself
        os.environ["TORCH_CUDA_ARCH_LIST"] = architectures(root / "bin" / "nvcc")
    return reason or "built"


if sysconfig.get_config_var("Py_GIL_DISABLED"):
    raise SystemExit("cheblienet: free-threaded Python has no stable ABI to build for: use an ordinary interpreter")
status = cuda_status()
print(f"cheblienet: CUDA kernels: {os.environ['TORCH_CUDA_ARCH_LIST'] if status == 'built' else status}")

from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension  # noqa: E402  (reads CUDA_HOME)


def extension(kind, name: str, folders: list[str], flags: dict[str, list[str]]):
    sources = [
        path for folder in folders for path in sorted((CSRC / folder).glob("*.c*")) if path.suffix in (".cpp", ".cu")
    ]
    headers = [*CSRC.rglob("*.h"), *CSRC.rglob("*.cuh")]
    return kind(
        name,
        [str(s) for s in sources],
        depends=[str(h) for h in headers],
        py_limited_api=True,
        extra_compile_args=flags,
    )


def quoted(name: str, value: str) -> str:
    return f'-D{name}="{value}"'


modules = [
    extension(
        CppExtension, "cheblienet._C", ["", "cpu"], {"cxx": [*FLAGS, HIDDEN, quoted("CHEBLIENET_CUDA_STATUS", status)]}
    )
]
if status == "built":
    flags = [*FLAGS, "-DUSE_CUDA", quoted("CHEBLIENET_CUDA_ARCHITECTURES", os.environ["TORCH_CUDA_ARCH_LIST"])]
    modules.append(extension(CUDAExtension, "cheblienet._C_cuda", ["cuda"], {"cxx": [*flags, HIDDEN], "nvcc": flags}))


class KeptObjects(BuildExtension):
    """Compiles what has changed, also for an editable installation, whose objects pip would delete."""

    def run(self) -> None:
        self.build_temp = os.path.join("build", "objects")
        super().run()


setup(
    ext_modules=modules,
    cmdclass={"build_ext": KeptObjects},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
