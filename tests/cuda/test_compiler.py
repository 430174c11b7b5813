"""What the compiler made of the kernels, read from the compiled module: nothing is spilled, everything is built."""

import re

import pytest

import cheblienet
from benchmarks.cuda import compiler

# The toolkit's sine and cosine reduce very large arguments in an array of 40 bytes.
OF_THE_TOOLKIT = {"tree_leaves": 40}
# What launchers may assume when they fill a processor: a quarter of its threads.
LEAST_OCCUPANCY = 0.25


@pytest.fixture(scope="module")
def kernels():
    try:
        return compiler.kernels(compiler.cuda_module())
    except compiler.NoCompiledKernelsError as error:
        pytest.skip(str(error))


def test_nothing_is_spilled(kernels):
    spilled = [k for k in kernels if k.local or k.stack > OF_THE_TOOLKIT.get(k.name, 0)]
    assert not spilled


def test_every_architecture_has_every_kernel(kernels):
    listed = cheblienet.build_info()["cuda_architectures"].replace("+PTX", "")
    wanted = {"sm_" + "".join(re.findall(r"\d", arch)) for arch in re.split("[; ]", listed)}
    by_arch = {arch: {k.instance for k in kernels if k.arch == arch} for arch in {k.arch for k in kernels}}
    assert set(by_arch) == wanted
    assert len({frozenset(names) for names in by_arch.values()}) == 1
    names = {k.name for k in kernels}
    assert {"chebyshev_step", "gather_reduce", "norm_apply", "nearest_in_tree", "find_mutual"} <= names


def test_processors_can_be_filled(kernels):
    assert min(k.occupancy for k in kernels) >= LEAST_OCCUPANCY


@pytest.mark.parametrize(
    ("arch", "block", "registers", "shared", "expected"),
    [
        ("sm_90", 256, 32, 0, 1.0),
        ("sm_90", 256, 33, 0, 0.75),  # 40 registers after rounding: 6 blocks of 8 warps
        ("sm_75", 256, 64, 0, 1.0),
        ("sm_86", 256, 40, 0, 1.0),
        ("sm_80", 128, 128, 15360, 0.25),
        ("sm_80", 1024, 32, 16384, 1.0),
        ("sm_86", 128, 32, 50200, 4 * 1 / 48),  # with what is reserved, two blocks lack 256 bytes
        ("sm_89", 32, 16, 0, 0.5),  # 24 blocks of a warp
    ],
)
def test_occupancy(arch, block, registers, shared, expected):
    assert compiler.PROCESSORS[arch].occupancy(block, registers, shared) == pytest.approx(expected)
