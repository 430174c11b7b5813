"""What the compiler made of the CUDA kernels, read from the compiled module: registers, stack, shared memory, and how many
threads of each architecture's processors they can keep busy at once."""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

WARP = 32


class NoCompiledKernelsError(RuntimeError):
    """There are no compiled kernels, or nothing to read them with."""


@dataclass(frozen=True)
class Processor:
    """Limits of a multiprocessor: CUDA Programming Guide, technical specifications per compute capability."""

    threads: int
    blocks: int
    shared_bytes: int
    reserved_bytes: int  # of shared memory, per block
    registers: int = 65536

    def occupancy(self, block: int, registers: int, shared_bytes: int) -> float:
        """The part of the threads that blocks of one kernel can be, at most."""
        warps = -(-block // WARP)
        # Registers are handed out to warps by 256, and to four warps at a time; shared memory by 128 bytes.
        by_registers = self.registers // (-(-registers * WARP // 256) * 256) // 4 * 4 // warps
        shared = -(-shared_bytes // 128) * 128 + self.reserved_bytes
        by_shared = self.shared_bytes // shared if shared else self.blocks
        return min(self.threads // WARP // warps, self.blocks, by_registers, by_shared) * warps * WARP / self.threads


PROCESSORS = {
    "sm_75": Processor(1024, 16, 64 << 10, 0),
    "sm_80": Processor(2048, 32, 164 << 10, 1024),
    "sm_86": Processor(1536, 16, 100 << 10, 1024),
    "sm_89": Processor(1536, 24, 100 << 10, 1024),
    "sm_90": Processor(2048, 32, 228 << 10, 1024),
    "sm_100": Processor(2048, 32, 228 << 10, 1024),
    "sm_120": Processor(1536, 24, 100 << 10, 1024),
}


@dataclass(frozen=True)
class Kernel:
    """One instance for one architecture. `stack` and `local` are bytes per thread outside of the registers."""

    arch: str
    name: str  # of the template
    instance: str  # with its arguments
    block: int
    registers: int
    shared: int
    stack: int
    local: int

    @property
    def occupancy(self) -> float:
        return PROCESSORS[self.arch].occupancy(self.block, self.registers, self.shared)


def cuda_module() -> Path:
    """The compiled module with the CUDA kernels."""
    spec = importlib.util.find_spec("cheblienet._C_cuda")
    if spec is None or spec.origin is None:
        raise NoCompiledKernelsError("cheblienet is built without CUDA kernels")
    return Path(spec.origin)


def _tools_of_triton() -> str:
    """The folder of the toolkit's programs that come with triton, nvdisasm among them, which cuobjdump asks for SASS."""
    spec = importlib.util.find_spec("triton")
    return str(Path(spec.origin).parent / "backends" / "nvidia" / "bin") if spec and spec.origin else ""


def cuobjdump(*arguments: str) -> str:
    """What the toolkit's cuobjdump says."""
    path = os.pathsep.join(filter(None, [os.environ.get("PATH"), _tools_of_triton()]))
    candidates = [shutil.which("cuobjdump", path=path)]
    nvidia = importlib.util.find_spec("nvidia")  # the package nvidia-cuda-cuobjdump
    for folder in nvidia.submodule_search_locations or [] if nvidia else []:
        candidates += map(str, Path(folder).glob("*/bin/cuobjdump"))
    tool = next(filter(None, candidates), None)
    if tool is None:
        raise NoCompiledKernelsError("cuobjdump of the CUDA toolkit is neither on PATH nor installed as a package")
    environment = {**os.environ, "PATH": path}
    return subprocess.run([tool, *arguments], check=True, capture_output=True, text=True, env=environment).stdout


def _demangled(names: list[str]) -> list[str]:
    said = subprocess.run(["c++filt"], input="\n".join(names), check=True, capture_output=True, text=True).stdout
    # "void cheblienet::name<arguments>(parameters)": only name and arguments say something.
    short = [re.sub(r"\((int|cheblienet::Reduction)\)|cheblienet::|^void ", "", line) for line in said.splitlines()]
    return [name[: _end_of_name(name)] for name in short]


def _end_of_name(name: str) -> int:
    depth = 0
    for place, letter in enumerate(name):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0:
            return place
    return len(name)


def kernels(binary: Path) -> list[Kernel]:
    """Every kernel in a compiled module or object."""
    blocks: dict[str, int] = {}
    name = ""
    for line in cuobjdump("-elf", str(binary)).splitlines():
        if line.startswith(".nv.info."):
            name = line.removeprefix(".nv.info.").split()[0]
        elif "EIATTR_MAX_THREADS" in line:
            blocks[name] = 0
        elif blocks.get(name) == 0 and "Value:" in line:
            blocks[name] = int(line.split()[1], 16)
    found, arch = [], ""
    for line in cuobjdump("-res-usage", str(binary)).splitlines():
        if line.startswith("arch = "):
            arch = line.removeprefix("arch = ").strip()
        elif line.startswith(" Function "):
            name = line.removeprefix(" Function ").rstrip(":")
        elif "REG:" in line:
            use = {key: int(value) for key, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", line)}
            found.append((arch, name, use))
    unbounded = {name for _, name, _ in found} - set(blocks)
    if unbounded:
        raise ValueError(f"{binary}: expected __launch_bounds__ on every kernel, got none on {sorted(unbounded)}")
    names = dict(zip(blocks, _demangled(list(blocks)), strict=True))
    return [
        Kernel(
            arch, names[name].split("<")[0], names[name], blocks[name],
            use["REG"], _without_reserve(arch, use["SHARED"]), use["STACK"], use["LOCAL"],
        )
        for arch, name, use in found
    ]  # fmt: skip


def _without_reserve(arch: str, shared: int) -> int:
    """From sm_90 on, the compiler counts in what is reserved of a kernel that has any shared memory."""
    return shared - PROCESSORS[arch].reserved_bytes if shared and int(arch[3:]) >= 90 else shared


def table(found: list[Kernel]) -> str:
    """One line per kernel: the most registers of any of its instances, and the least occupancy, by architecture."""
    archs = [arch for arch in PROCESSORS if any(k.arch == arch for k in found)]
    lines = [
        "| kernel | instances | threads | shared bytes | stack bytes | " + " | ".join(archs) + " |",
        "|---|---|---|---|---|" + "---|" * len(archs),
    ]
    for name in dict.fromkeys(sorted(k.name for k in found)):
        mine = [k for k in found if k.name == name]
        cells = []
        for arch in archs:
            here = [k for k in mine if k.arch == arch]
            cells.append(f"{max(k.registers for k in here)}, {min(k.occupancy for k in here):.0%}")
        instances = len({k.instance for k in mine})
        blocks = "/".join(str(b) for b in sorted({k.block for k in mine}))
        facts = instances, blocks, max(k.shared for k in mine), max(k.stack for k in mine)
        lines.append(f"| `{name}` | " + " | ".join(map(str, facts)) + " | " + " | ".join(cells) + " |")
    return "\n".join(lines)
