"""The CUDA operator `chebyshev` and its gradients against the reference: on a GPU where there is one, and with every
kernel launch of the operator executed instruction by instruction where there is a PTX simulator."""

import ctypes
import functools
import os
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils import cpp_extension

from cheblienet import ops
from cheblienet.graphs import SE2GEGraph
from cheblienet.ops import reference

C_TYPES = {torch.float64: "double", torch.float32: "float", torch.float16: "__half", torch.bfloat16: "__nv_bfloat16"}
ACCUMULATE = {"double": "double", "float": "float", "__half": "float", "__nv_bfloat16": "float"}
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and torch sees none")
MANY_BYTES = 1 << 30


class Argument(ctypes.Structure):
    """Of a kernel: memory read (0) or written (1), or a value (2)."""

    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_int64), ("kind", ctypes.c_int32)]


HOOK = ctypes.CFUNCTYPE(
    None, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_int32, ctypes.POINTER(Argument)
)


class Simulator:
    """Runs the operator on CPU tensors: its own code decides what is launched, the simulator executes the launches."""

    def __init__(self, library, kernels):
        self.library, self.kernels = library, kernels
        self.seed, self.profile, self.reports, self.failure = 0, False, {}, None
        self.hook = HOOK(self._launch)

    def _launch(self, kernel, grid, block, count, arguments):
        def argument(data, size, kind):
            if kind == 2:
                return ctypes.string_at(data, size)
            if not data:
                return None
            array = np.frombuffer((ctypes.c_uint8 * size).from_address(data), np.uint8)
            array.flags.writeable = kind == 1
            return array

        try:
            args = [argument(a.data, a.bytes, a.kind) for a in arguments[:count]]
            report = self.kernels.launch(
                kernel.decode(), (grid,), (block,), args, check=True, race=True, seed=self.seed, profile=self.profile
            )
            self.reports.setdefault(kernel.decode().split("<")[0], []).append(report)
        except Exception as error:  # an exception does not pass through the C++ code
            self.failure = self.failure or error

    def _call(self, operator, memory, arguments):
        self.library.cheblienet_probe(self.hook, ctypes.c_int64(memory))
        self.failure = None
        # Memory that nobody has written is NaN.
        torch.use_deterministic_algorithms(True)
        try:
            result = operator(*arguments)
        finally:
            torch.use_deterministic_algorithms(False)
        if self.failure:
            raise self.failure
        return result

    def forward(self, *arguments, memory=MANY_BYTES):
        return self._call(torch.ops.cheblienet_probe.chebyshev, memory, arguments)

    def backward(self, *arguments, memory=MANY_BYTES):
        return self._call(torch.ops.cheblienet_probe.chebyshev_backward, memory, arguments)


class Gpu:
    """Runs the operator of the package; how many samples a block holds is the device's business."""

    @staticmethod
    def _call(operator, arguments):
        return operator(*[a.cuda() if isinstance(a, torch.Tensor) else a for a in arguments])

    def forward(self, *arguments, memory=0):
        return self._call(torch.ops.cheblienet.chebyshev, arguments).cpu()

    def backward(self, *arguments, memory=0):
        return tuple(t.cpu() for t in self._call(torch.ops.cheblienet.chebyshev_backward, arguments))


def instantiations():
    for T, V in ACCUMULATE.items():
        edges = f"const cheblienet::RowSpan*, const cheblienet::Edge<{V}>*"
        for samples in (1, 2):
            yield (
                f"template __global__ void cheblienet::chebyshev_step<{T}, {samples}>({edges}, {V}, const {T}*, "
                f"const {T}*, const {T}*, const {T}*, {T}*, cheblienet::StepShape);"
            )
        yield (
            f"template __global__ void cheblienet::chebyshev_edge_dots<{T}>({edges}, const {T}*, const {T}*, {V}*, "
            "cheblienet::DotsShape);"
        )
    for V in ("float", "double"):
        yield (
            f"template __global__ void cheblienet::chebyshev_edges<{V}>(const cheblienet::RowSpan*, const int32_t*, "
            f"const {V}*, cheblienet::Edge<{V}>*, uint32_t);"
        )


@pytest.fixture(scope="session")
def probe_library(tmp_path_factory):
    target = tmp_path_factory.mktemp("probe") / "chebyshev_probe.so"
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    includes = [
        argument for folder in cpp_extension.include_paths("cpu") for argument in ("-isystem", folder)
    ]  # system headers: their warnings are not ours
    flags = ["-O1", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    flags += ["-DTORCH_TARGET_VERSION=0x020a000000000000"]
    libraries = [f"-L{Path(torch.__path__[0]) / 'lib'}", "-ltorch_cpu", "-lc10"]
    source = Path(__file__).with_name("chebyshev_probe.cpp")
    subprocess.run([*compiler, *flags, *includes, str(source), "-o", str(target), *libraries], check=True)
    torch.ops.load_library(target)
    return ctypes.CDLL(str(target))


@pytest.fixture(scope="session")
def simulator_of(ptx_module, probe_library):
    return functools.cache(
        lambda arch: Simulator(probe_library, ptx_module("chebyshev.cuh", list(instantiations()), arch))
    )


@pytest.fixture(params=["sm_80", "sm_90"])
def simulator(request, simulator_of):
    return simulator_of(request.param)


@pytest.fixture(params=["gpu", "sm_80", "sm_90"])
def executor(request):
    if request.param != "gpu":
        return request.getfixturevalue("simulator_of")(request.param)
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU, and torch sees none")
    return Gpu()


def laplacian_of(vertices, dtype, isolated=2):
    """A symmetric matrix with spectrum in [-1, 1] and rows of very different lengths; the last vertices have no entry."""
    if vertices == 0:
        return ops.Csr(
            torch.empty(0, 4, dtype=torch.int32),
            torch.empty(0, dtype=torch.int32),
            torch.empty(0, dtype=values_dtype(dtype)),
        )
    present = torch.rand(vertices, vertices, dtype=torch.float64) < torch.linspace(0.02, 0.6, vertices)[:, None]
    present[max(vertices - isolated, 1) :] = False
    present[:, max(vertices - isolated, 1) :] = False
    dense = torch.rand(vertices, vertices, dtype=torch.float64) * present
    dense = dense + dense.T
    dense = -dense / max([1.0, *dense.sum(1).tolist()])
    laplacian = ops.csr(dense.to_sparse_csr())
    return laplacian._replace(values=laplacian.values.to(values_dtype(dtype)))


def values_dtype(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def problem(case, dtype):
    batch, vertices, cin, cout, orders = case
    laplacian = laplacian_of(vertices, dtype)
    x, dy = torch.randn(batch, vertices, cin).to(dtype), torch.randn(batch, vertices, cout).to(dtype)
    weight = (torch.randn(orders, cin, cout) / (orders * cin) ** 0.5).to(dtype)
    return x, weight, laplacian, torch.randn(cout).to(dtype), dy


def expected_of(x, weight, laplacian, bias, dy):
    """The value and the gradients of x, weight, bias and the Laplacian's values, in float64."""
    exact = [t.detach().double().clone().requires_grad_() for t in (x, weight, bias, laplacian.values)]
    y = reference.chebyshev(exact[0], exact[1], laplacian._replace(values=exact[3]), exact[2])
    return y, torch.autograd.grad(y, exact, dy.double(), materialize_grads=True)


# batch, vertices, Cin, Cout, R. Among them: both evaluations and both backward forms, widths of one and several packs
# and off every pack, groups of 1 to 32 lanes with and without idle ones, one and two samples per thread, one vertex, no
# vertex, no sample, order one.
CASES = [
    (2, 12, 4, 8, 4),
    (3, 12, 8, 3, 4),
    (1, 9, 1, 33, 3),
    (5, 20, 33, 8, 3),
    (4, 11, 32, 64, 2),
    (1, 7, 3, 3, 1),
    (2, 1, 3, 5, 3),
    (3, 70, 16, 16, 5),
    (0, 7, 3, 2, 3),
    (2, 0, 3, 2, 3),
]


@pytest.mark.parametrize("dtype", C_TYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradients_agree_with_the_reference(executor, case, dtype, assert_close):
    x, weight, laplacian, bias, dy = problem(case, dtype)
    y, gradients = expected_of(x, weight, laplacian, bias, dy)
    assert_close(executor.forward(x, weight, *laplacian, bias), y)
    assert_close(executor.forward(x, weight, *laplacian, None), y - bias.double())
    for need_values in (False, True):
        actual = executor.backward(dy, x, weight, *laplacian, True, True, True, need_values)
        for got, wanted in zip(actual[: 3 + need_values], gradients, strict=False):
            assert_close(got.to(dtype), wanted, factor=4)
    assert actual[3].dtype == laplacian.values.dtype


@pytest.mark.parametrize("case", [(2, 12, 4, 8, 4), (2, 12, 1, 33, 3), (1, 9, 5, 3, 3)], ids=str)
@pytest.mark.parametrize("needs", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 0, 0, 1), (0, 0, 0, 0)])
def test_only_the_gradients_asked_for(executor, case, needs, assert_close):
    x, weight, laplacian, bias, dy = problem(case, torch.float32)
    _, gradients = expected_of(x, weight, laplacian, bias, dy)
    actual = executor.backward(dy, x, weight, *laplacian, *map(bool, needs))
    for got, wanted, needed in zip(actual, gradients, needs, strict=True):
        if needed:
            assert_close(got, wanted, factor=4)
        else:
            assert got.numel() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_same_bits_whatever_the_schedule(simulator, dtype):
    x, weight, laplacian, bias, dy = problem((5, 24, 9, 13, 4), dtype)
    bits = set()
    for simulator.seed in (0, 1, 2, 3):
        results = [simulator.forward(x, weight, *laplacian, bias)]
        for need_values in (False, True):
            results += simulator.backward(dy, x, weight, *laplacian, True, True, True, need_values)
        bits.add(b"".join(t.view(torch.uint8).numpy().tobytes() for t in results if t.numel()))
    simulator.seed = 0
    assert len(bits) == 1


@pytest.mark.parametrize("case", [(5, 12, 4, 8, 4), (5, 12, 8, 3, 4), (5, 12, 1, 33, 3)], ids=str)
def test_blocks_of_samples(simulator, case, assert_close):
    x, weight, laplacian, bias, dy = problem(case, torch.float32)
    y, gradients = expected_of(x, weight, laplacian, bias, dy)
    sample = 12 * case[4] * 16 * 4  # bytes of up to 16 channels of every order
    for memory in (1, sample, 2 * sample, 6 * sample):
        assert_close(simulator.forward(x, weight, *laplacian, bias, memory=memory), y)
        for need_values in (False, True):
            actual = simulator.backward(dy, x, weight, *laplacian, True, True, True, need_values, memory=memory)
            for got, wanted in zip(actual[: 3 + need_values], gradients, strict=False):
                assert_close(got, wanted, factor=4)


def test_values_that_are_not_finite_stay_where_they_belong(executor):
    """A lane without work, and a channel that only fills up a pack, read what others own; they must not spread it."""
    x, weight, laplacian, _, _ = problem((3, 12, 3, 5, 2), torch.float32)
    x[2, 0] = torch.nan
    y = executor.forward(x, weight, *laplacian, None)
    assert torch.equal(y.isnan(), reference.chebyshev(x, weight, laplacian).isnan())


@pytest.mark.parametrize(
    ("dtype", "channels"), [(torch.float32, 8), (torch.float32, 32), (torch.bfloat16, 64)], ids=str
)
def test_traffic(simulator, dtype, channels):
    """The bytes that a step asks for: the neighbours' channels, each row's entries once per group of lanes."""
    laplacian = SE2GEGraph([14, 14, 6], (1.0, 1.0, 1.0), K=16).laplacian_csr()
    x = torch.randn(16, 14 * 14 * 6, channels).to(dtype)
    simulator.profile, simulator.reports = True, {}
    simulator.forward(x, torch.randn(2, channels, channels).to(dtype), *laplacian, None)
    simulator.profile = False
    (report,) = simulator.reports["chebyshev_step"]
    entries = 16 * len(laplacian.col)
    assert report.coalescing >= 0.95
    assert report.active_lanes >= 28
    assert report.load_bytes / entries <= 1.1 * (channels * dtype.itemsize + 8)


@NEEDS_GPU
def test_gradients_once_and_twice_on_a_gpu():
    laplacian = ops.Csr(*(t.cuda() for t in laplacian_of(6, torch.float64)))
    x = torch.randn(3, 6, 3, dtype=torch.float64, device="cuda", requires_grad=True)
    weight = torch.randn(3, 3, 4, dtype=torch.float64, device="cuda", requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, device="cuda", requires_grad=True)

    def f(x, weight, bias):
        return ops.chebyshev(x, weight, laplacian, bias)

    assert torch.autograd.gradcheck(f, (x, weight, bias), fast_mode=True)
    assert torch.autograd.gradgradcheck(f, (x, weight, bias), fast_mode=True)


@NEEDS_GPU
def test_in_a_cuda_graph_on_a_stream_of_its_own():
    x, weight, laplacian, bias, dy = (
        ops.Csr(*(t.cuda() for t in part)) if isinstance(part, tuple) else part.cuda()
        for part in problem((4, 40, 16, 24, 4), torch.float32)
    )

    def run():
        y = torch.ops.cheblienet.chebyshev(x, weight, *laplacian, bias)
        return y, *torch.ops.cheblienet.chebyshev_backward(dy, x, weight, *laplacian, True, True, True, True)

    expected = run()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    x.normal_()
    expected = run()
    graph.replay()
    for got, wanted in zip(captured, expected, strict=True):
        torch.testing.assert_close(got, wanted)


@NEEDS_GPU
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_and_compile_on_a_gpu(dtype):
    x, weight, laplacian, bias, _ = (
        ops.Csr(*(t.cuda() for t in part)) if isinstance(part, tuple) else part.cuda()
        for part in problem((4, 40, 16, 24, 4), torch.float32)
    )
    x.requires_grad_()
    with torch.autocast("cuda", dtype):
        y = torch.compile(ops.chebyshev, fullgraph=True)(x, weight, laplacian, bias)
    assert y.dtype == dtype
    torch.testing.assert_close(y, ops.chebyshev(x.to(dtype), weight.to(dtype), laplacian, bias.to(dtype)))
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32
