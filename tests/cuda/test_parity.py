"""CPU and CUDA are one operator: the same errors, limits, ties and types. One list for all; what executes the kernels is
compared with the CPU, and a GPU that is not there still has shapes, strides, types and errors."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves, tree_map

from benchmarks.cuda.executor import operator_named
from cheblienet import ops
from cheblienet.groups import R2, SE2

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
DEVICES = ["cpu", "a GPU that is not there", *(["cuda"] if torch.cuda.is_available() else [])]
ONES = (1.0, 1.0, 1.0)


def wide(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def laplacian(dtype):
    dense = -torch.rand(7, 7, dtype=torch.float64) / 14
    return ops.csr((dense + dense.T).to_sparse_csr())._replace(values=(dense + dense.T).flatten().to(wide(dtype)))


def convolution(dtype, orders=3, batch=2):
    x, weight = torch.randn(batch, 7, 5).to(dtype), torch.randn(orders, 5, 8).to(dtype) / 4
    bias, dy, (rows, col, values) = torch.randn(8).to(dtype), torch.randn(batch, 7, 8).to(dtype), laplacian(dtype)[:3]
    yield "chebyshev", (x, weight, [rows, col], values, bias)
    yield "chebyshev_backward", (dy, x, weight, [rows, col], values, True, True, True, True)


def pooling(dtype, reduction, index=((0, 2, 1), (3, -1, 3), (2, 2, 2)), channels=8):
    index = ops.gather_index(torch.tensor(index), 5)
    x = torch.randint(2, (2, 5, channels)).to(dtype)  # every maximum has equals
    x[1, 3] = torch.nan
    choice = torch.tensor([1, 0, 2], dtype=torch.uint8) if reduction == "rand" else None
    y, winner = torch.ops.cheblienet.gather_reduce(x, *index, choice, reduction)
    yield "gather_reduce", (x, *index, choice, reduction)
    yield "gather_reduce_backward", (torch.randn(y.shape).to(dtype), winner, *index, reduction)


def normalisation(dtype, given):
    x, residual, dy = (torch.randn(2, 7, 5).to(dtype) for _ in range(3))
    weight, bias, mean, var = (torch.rand(5).to(wide(dtype)) + 1 for _ in range(4))
    if given:
        yield "batch_norm.fixed", (x, residual, weight, bias, mean, var, 1e-5, True)
    else:
        running = torch.rand(5).to(wide(dtype)), torch.rand(5).to(wide(dtype)), torch.tensor(2)
        yield "batch_norm.tracked", (x, residual, weight, bias, running, None, 1e-5, True)
    yield "batch_norm", (x, residual, weight, bias, *((mean, var) if given else (None, None)), 1e-5, False)
    yield "batch_norm_backward", (dy, x, weight, bias, mean, var, 1e-5, False, not given)


def search(elements, K, group="r2"):
    yield "nearest_neighbors", (elements, torch.ones(3, dtype=torch.float64), K, group)


def edges(limit):
    index = torch.tensor([[1, 2], [0, -1], [0, 1]])
    yield "mutual_neighbors", (index, torch.tensor([[0.25, 1.0], [0.25, 2.0], [1.0, 1.0]], dtype=torch.float64), limit)


def calls():
    grid = R2.uniform_sampling(4, 4)
    parts = {f"convolution {dtype}": lambda dtype=dtype: convolution(dtype) for dtype in DTYPES}
    parts |= {"convolution of order one": lambda: convolution(torch.float32, 1), "no sample": lambda: convolution(
        torch.float32, batch=0)}  # fmt: skip
    for dtype in DTYPES:
        for reduction in ("max", "avg", "rand"):
            parts[f"pooling {dtype} {reduction}"] = lambda d=dtype, r=reduction: pooling(d, r)
        for given in (False, True):
            parts[f"normalisation {dtype} {given}"] = lambda d=dtype, g=given: normalisation(d, g)
    parts |= {
        "255 members": lambda: pooling(torch.float32, "max", torch.randint(5, (3, 255)).tolist(), 3),
        "ties of a grid": lambda: search(grid, 4),  # a corner has two at 1, one at 2, and two at 4: one too many
        "equal elements": lambda: search(torch.cat([grid, grid]), 6),
        "all others": lambda: search(grid, 15),
        "one neighbour": lambda: search(torch.rand(3, 3, dtype=torch.float64), 1, "se2"),
        "edges": lambda: edges(math.inf),
        "edges at the limit": lambda: edges(1.0),
        "no edge": lambda: edges(0.0),
    }
    return parts


CALLS = calls()


@pytest.mark.parametrize("name", CALLS)
def test_results_are_those_of_the_cpu(executor, name):
    for operator, arguments in CALLS[name]():
        copies = tree_map(lambda a: a.clone() if isinstance(a, torch.Tensor) else a, arguments)
        expected = *as_tuple(operator_named(operator)(*arguments)), *tensors(arguments)  # which may be written to
        actual = *as_tuple(getattr(executor, operator)(*copies)), *tensors(copies)
        # Both round to the type of the signal in between, one of them after every order.
        rounding = max(torch.finfo(a.dtype).eps for a in arguments if is_floating(a))
        for got, wanted in zip(actual, expected, strict=True):
            tolerance = 16 * rounding if is_floating(wanted) else 0
            torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("name", CALLS)
def test_shapes_strides_and_types_on_a_gpu_that_is_not_there(name):
    for operator, arguments in CALLS[name]():
        function = operator_named(operator)
        expected = as_tuple(function(*arguments))
        with FakeTensorMode(shape_env=ShapeEnv()) as mode:
            actual = as_tuple(function(*tree_map(lambda a: fake(mode, a), arguments)))
        for got, wanted in zip(actual, expected, strict=True):
            assert got.device.type == "cuda"
            assert got.dtype == wanted.dtype
            if operator != "mutual_neighbors":  # whose number of edges nobody knows
                assert got.shape == wanted.shape
                assert got.stride() == wanted.stride()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and torch sees none")
@pytest.mark.parametrize(
    "name", [name for name in CALLS if name.startswith(("convolution", "pooling", "normalisation"))]
)
def test_can_be_captured_in_a_cuda_graph(name):
    for operator, arguments in CALLS[name]():
        function, arguments = operator_named(operator), tree_map(to_gpu, arguments)
        expected = as_tuple(function(*arguments))
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function(*arguments)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = as_tuple(function(*arguments))
        graph.replay()
        # The vendor's library may choose other products in a graph, so those round differently; our kernels do not.
        products = name.startswith("convolution")
        for got, wanted in zip(captured, expected, strict=True):
            tolerance = 16 * torch.finfo(got.dtype).eps if products else 0
            torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)


def to_gpu(argument):
    return argument.cuda() if isinstance(argument, torch.Tensor) else argument


def tensors(arguments):
    return [a for a in tree_leaves(arguments) if isinstance(a, torch.Tensor)]


def is_floating(argument):
    return isinstance(argument, torch.Tensor) and argument.is_floating_point()


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


def fake(mode, argument):
    if not isinstance(argument, torch.Tensor):
        return argument
    return torch.empty(argument.shape, dtype=argument.dtype, device="cuda")


def error_cases():
    """What is called, the error, and its message; the calls get a function that brings tensors to the device."""
    x, weight, matrix, elements = (
        torch.ones(2, 7, 5),
        torch.ones(3, 5, 8),
        laplacian(torch.float32),
        torch.rand(9, 2).double(),
    )
    pool, ones = ops.gather_index(torch.zeros(3, 2, dtype=torch.int64), 7), torch.ones(5)
    neighbourhood = torch.zeros(4, 2, dtype=torch.int64), torch.zeros(4, 2, dtype=torch.float64)

    def chebyshev(x=x, weight=weight, matrix=matrix, bias=None):
        return lambda to: ops.chebyshev(
            to(x), to(weight), ops.Csr(*map(to, matrix[:3])), None if bias is None else to(bias)
        )

    def gather(x=x, reduction="max"):
        return lambda to: ops.gather_reduce(to(x), ops.GatherIndex(*map(to, pool)), reduction)

    def norm(x=x, weight=ones, bias=ones, residual=None):
        return lambda to: ops.batch_norm(
            to(x), to(weight), to(bias), residual=None if residual is None else to(residual)
        )

    def nearest(elements=elements, K=3, sigmas=ONES, group=R2):
        return lambda to: ops.nearest_neighbors(to(elements), sigmas, K, group)

    def mutual(index=neighbourhood[0], sqdist=neighbourhood[1], limit=1.0):
        return lambda to: ops.mutual_neighbors(to(index), to(sqdist), limit)

    return [
        (chebyshev(x=x[0]), ValueError, r"x: expected shape \(B, V, Cin\), got \(7, 5\)"),
        (chebyshev(x=x.long()), TypeError, r"x: expected float64, float32, bfloat16 or float16, got torch.int64"),
        (chebyshev(x=x[:, 1:]), ValueError, r"laplacian: expected V = 6 vertices as in x \(2, 6, 5\), got 7"),
        (chebyshev(weight=weight[:0]), ValueError, r"weight: expected R, Cin, Cout of at least 1"),
        (chebyshev(weight=weight[:, 1:]), ValueError, r"weight: expected Cin = 5 as in x"),
        (chebyshev(weight=weight.double()), TypeError, r"weight: expected torch.float32 as in x, got torch.float64"),
        (chebyshev(bias=ones), ValueError, r"bias: expected shape \(8,\), got \(5,\)"),
        (chebyshev(matrix=laplacian(torch.float64)), TypeError, r"laplacian: expected torch.float32 values"),
        (gather(x=x[0]), ValueError, r"x: expected shape \(B, V, C\), got \(7, 5\)"),
        (gather(x=x[:, 1:]), ValueError, r"x: expected V = 7 vertices as in the index"),
        (gather(x=x.int()), TypeError, r"x: expected float64, .* got torch.int32"),
        (gather(reduction="sum"), ValueError, r"reduction: expected one of 'max', 'avg', 'rand', got 'sum'"),
        (norm(weight=ones[1:]), ValueError, r"weight: expected shape \(5,\), got \(4,\)"),
        (norm(bias=ones.double()), TypeError, r"bias: expected torch.float32 for a torch.float32 signal"),
        (norm(residual=x[1:]), ValueError, r"residual: expected torch.float32 \(2, 7, 5\) as x"),
        (norm(x=x[:1, :1]), ValueError, r"x: expected more than one value per channel"),
        (nearest(elements=elements.float()), TypeError, r"elements: expected float64, got torch.float32"),
        (nearest(group=SE2), ValueError, r"elements: expected the 3 coordinates x, y, theta of se2, got shape \(9, 2\)"),
        (nearest(elements=elements[:1]), ValueError, r"elements: expected at least 2 elements, got 1"),
        (mutual(index=neighbourhood[0].int()), TypeError, r"index: expected int64, got torch.int32"),
        (mutual(sqdist=neighbourhood[1].float()), TypeError, r"sqdist: expected float64, got torch.float32"),
        (mutual(sqdist=neighbourhood[1][1:]), ValueError, r"sqdist: expected shape \(4, 2\) as index, got \(3, 2\)"),
    ]  # fmt: skip


def value_error_cases():
    """Errors that depend on values, so that somebody must have them."""
    elements, index = torch.rand(9, 2, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.int64)
    near, sqdist = torch.tensor([[1, 2], [2, 3], [3, 0], [0, 1]]), torch.zeros(4, 2, dtype=torch.float64)
    return [
        (lambda to: ops.nearest_neighbors(to(elements), ONES, 9, R2), r"K: expected an integer between 1 and 8, got 9"),
        (lambda to: ops.nearest_neighbors(to(elements), ONES, 0, R2), r"K: expected an integer between 1 and 8, got 0"),
        (lambda to: ops.nearest_neighbors(to(elements), (1.0, 0.0, 1.0), 2, R2), r"sigmas: expected three positive"),
        (lambda to: ops.nearest_neighbors(to(elements / 0), ONES, 2, R2), r"elements: expected finite coordinates"),
        (lambda to: ops.mutual_neighbors(to(near + 1), to(sqdist)), r"index: expected vertices below 4 or -1, got 4"),
        (lambda to: ops.mutual_neighbors(to(near), to(sqdist), -1.0), r"limit: expected a number of at least 0, got -1"),
        (lambda to: ops.gather_index(to(index), 0), r"num_vertices: expected an integer between 1 and 2147483647, got 0"),
        (lambda to: ops.gather_index(to(index + 3), 3), r"index: expected members from 0 to 2, or -1 for none"),
        (lambda to: ops.gather_index(to(index - 1), 3), r"index: expected a member for each output, got none for 0"),
        (lambda to: ops.gather_index(to(index[:, :1].expand(4, 256)), 3), r"index: expected 1 to 255 members"),
    ]  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
def test_errors_are_the_same_everywhere(device):
    for call, error, message in error_cases():
        if device in ("cpu", "cuda"):
            with pytest.raises(error, match=message):
                call(lambda tensor: tensor.to(device))
        else:
            with FakeTensorMode(), pytest.raises(error, match=message):
                call(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda"))


@pytest.mark.parametrize("device", [device for device in DEVICES if device in ("cpu", "cuda")])
def test_errors_of_values_are_the_same_everywhere(device):
    for call, message in value_error_cases():
        with pytest.raises(ValueError, match=message):
            call(lambda tensor: tensor.to(device))


def compiled_functions():
    x, weight, matrix = torch.randn(2, 7, 5), torch.randn(3, 5, 8) / 4, laplacian(torch.float32)
    pool, ones = ops.gather_index(torch.tensor([[0, 2, 1], [3, -1, 6], [4, 5, 2]]), 7), torch.ones(5)
    elements = torch.rand(9, 3, dtype=torch.float64)
    return {
        "chebyshev": (lambda x: ops.chebyshev(x, weight, matrix), x),
        "max": (lambda x: ops.gather_reduce(x, pool, "max"), x),
        "avg": (lambda x: ops.gather_reduce(x, pool, "avg"), x),
        "batch_norm": (lambda x: ops.batch_norm(x, ones, ones, relu=True)[0], x),
        "nearest_neighbors": (lambda e: torch.ops.cheblienet.nearest_neighbors(e, ones[:3].double(), 4, "se2")[1], elements),
    }  # fmt: skip


@pytest.mark.parametrize("name", compiled_functions())
def test_compiles_as_one_graph(name):
    function, x = compiled_functions()[name]
    compiled = torch.compile(function, fullgraph=True)
    if name == "nearest_neighbors":  # without a gradient
        torch.testing.assert_close(compiled(x), function(x))
        return
    x.requires_grad_()
    expected, actual = function(x), compiled(x)
    torch.testing.assert_close(actual, expected)
    dy = torch.randn_like(expected)
    torch.testing.assert_close(torch.autograd.grad(actual, x, dy), torch.autograd.grad(expected, x, dy))
