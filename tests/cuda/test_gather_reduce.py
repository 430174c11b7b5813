"""The kernels of gather_reduce.cuh, executed instruction by instruction, against the CPU operator."""

import numpy as np
import pytest
import torch

from cheblienet import ops

TABLE = torch.tensor([[0, 1, 2], [2, 3, -1], [-1, 5, -1], [5, 0, 1], [4, 4, 4]])
C_TYPES = {torch.float64: "double", torch.float32: "float", torch.float16: "__half", torch.bfloat16: "__nv_bfloat16"}
FORWARD = "({t}const {T}*, const int64_t*, const uint8_t*, {T}*, uint8_t*, int64_t, int64_t, int64_t, int, int);"
BACKWARD = (
    "({t}const {T}*, const uint8_t*, const int64_t*, const int64_t*, const int64_t*, {T}*, "
    "int64_t, int64_t, int64_t, int, int);"
)


@pytest.fixture(scope="module", params=["sm_80", "sm_90"])
def kernels(request, ptx_module):
    instantiations = [
        f"template __global__ void cheblienet::{name}<{T}, {pack}, cheblienet::Reduction::{reduction}>"
        + arguments.format(t="", T=T)
        for name, arguments in (("gather_reduce", FORWARD), ("gather_reduce_backward", BACKWARD))
        for dtype, T in C_TYPES.items()
        for pack in (1, 16 // dtype.itemsize)
        for reduction in ("max", "avg", "rand")
    ]
    return ptx_module("gather_reduce.cuh", instantiations, request.param)


def as_numpy(tensor):
    """bfloat16 travels as its bits."""
    return (
        tensor.contiguous().view(torch.int16).numpy().view(np.uint16)
        if tensor.dtype == torch.bfloat16
        else tensor.numpy()
    )


def poisoned(shape, dtype):
    """An output that shows every element which a kernel fails to write."""
    return as_numpy(
        torch.full(shape, torch.nan, dtype=dtype) if dtype.is_floating_point else torch.full(shape, 99, dtype=dtype)
    )


def kernel_name(name, dtype, channels, reduction):
    pack = 16 // dtype.itemsize if channels % (16 // dtype.itemsize) == 0 else 1
    number = {"max": 0, "avg": 1, "rand": 2}[reduction]
    return rf"{name}<{C_TYPES[dtype]}, \(?(int\))?{pack}, \(cheblienet::Reduction\){number}>"


@pytest.mark.parametrize("dtype", C_TYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 5, 16])
@pytest.mark.parametrize("reduction", ["max", "avg", "rand"])
def test_kernels_agree_with_the_cpu(kernels, reduction, channels, dtype):
    pooling, batch, vertices, outputs = ops.gather_index(TABLE, 7), 3, 7, 5
    x, dy = torch.randn(batch, vertices, channels).to(dtype), torch.randn(batch, outputs, channels).to(dtype)
    choice = torch.tensor([2, 1, 1, 0, 0], dtype=torch.uint8) if reduction == "rand" else None
    y, winner = torch.ops.cheblienet.gather_reduce(x, pooling.members, pooling.rowptr, pooling.entry, choice, reduction)
    dx = torch.ops.cheblienet.gather_reduce_backward(
        dy, winner, pooling.members, pooling.rowptr, pooling.entry, reduction
    )

    sizes = [np.int64(batch), np.int64(vertices), np.int64(outputs), np.int32(TABLE.shape[1]), np.int32(channels)]
    bits = []
    for seed in (0, 1, 2):
        actual, won = poisoned(y.shape, dtype), poisoned(winner.shape, torch.uint8)
        launch = dict(grid=(1 + y.numel() // 256,), block=(256,), seed=seed, check=True, race=True)
        arguments = [
            as_numpy(x),
            pooling.members.numpy(),
            None if choice is None else choice.numpy(),
            actual,
            won,
            *sizes,
        ]
        kernels.launch(kernel_name("gather_reduce", dtype, channels, reduction), args=arguments, **launch)
        gradient = poisoned(dx.shape, dtype)
        launch["grid"] = (1 + dx.numel() // 256,)
        arguments = [
            as_numpy(dy),
            winner.numpy(),
            pooling.members.numpy(),
            pooling.rowptr.numpy(),
            pooling.entry.numpy(),
            gradient,
            *sizes,
        ]
        kernels.launch(kernel_name("gather_reduce_backward", dtype, channels, reduction), args=arguments, **launch)
        bits.append((actual.tobytes(), gradient.tobytes()))
    assert len(set(bits)) == 1

    tolerance = dict(rtol=2 * torch.finfo(dtype).eps, atol=2 * torch.finfo(dtype).eps)
    torch.testing.assert_close(torch.from_numpy(actual).view(dtype), y, **tolerance)
    torch.testing.assert_close(torch.from_numpy(gradient).view(dtype), dx, **tolerance)
    if reduction == "max":
        assert (won == winner.numpy()).all()
