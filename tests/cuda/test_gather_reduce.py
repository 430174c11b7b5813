"""The CUDA operator `gather_reduce` and its gradient against the CPU operator, on every executor."""

import pytest
import torch

from cheblienet import ops

TABLE = torch.tensor([[0, 1, 2], [2, 3, -1], [-1, 5, -1], [5, 0, 1], [4, 4, 4]])
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def problem(dtype, channels, reduction, offset=0):
    """Arguments of the forward, a gradient, and what the CPU makes of them; signals `offset` elements behind alignment."""
    pooling, batch, vertices, outputs = ops.gather_index(TABLE, 7), 3, 7, 5

    def signal(rows):
        return torch.randn(offset + batch * rows * channels).to(dtype)[offset:].view(batch, rows, channels)

    choice = torch.tensor([2, 1, 1, 0, 0], dtype=torch.uint8) if reduction == "rand" else None
    arguments = signal(vertices), *pooling, choice, reduction
    dy = signal(outputs)
    y, winner = torch.ops.cheblienet.gather_reduce(*arguments)
    dx = torch.ops.cheblienet.gather_reduce_backward(dy, winner, *pooling, reduction)
    return arguments, (dy, winner, *pooling, reduction), y, winner, dx


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("channels", "offset"), [(1, 0), (5, 0), (16, 0), (16, 1)])
@pytest.mark.parametrize("reduction", ["max", "avg", "rand"])
def test_agrees_with_the_cpu(executor, reduction, channels, offset, dtype, same_bits):
    arguments, backward_arguments, y, winner, dx = problem(dtype, channels, reduction, offset)
    actual, won = same_bits(executor, lambda: executor.gather_reduce(*arguments))
    gradient = same_bits(executor, lambda: executor.gather_reduce_backward(*backward_arguments))
    tolerance = dict(rtol=2 * torch.finfo(dtype).eps, atol=2 * torch.finfo(dtype).eps)
    torch.testing.assert_close(actual, y, **tolerance)
    torch.testing.assert_close(gradient, dx, **tolerance)
    assert torch.equal(won, winner)


def test_of_equal_members_the_first_wins_and_a_nan_beats_all(executor):
    pooling = ops.gather_index(torch.tensor([[1, 0, 2], [2, 1, 0], [0, 3, 3]]), 4)
    x = torch.tensor([1.0, 1.0, 1.0, torch.nan])[None, :, None].expand(2, 4, 8).contiguous()
    y, winner = executor.gather_reduce(x, *pooling, None, "max")
    assert torch.equal(winner, torch.tensor([0, 0, 1], dtype=torch.uint8)[None, :, None].expand(2, 3, 8))
    assert torch.equal(y.isnan(), torch.tensor([False, False, True])[None, :, None].expand(2, 3, 8))


def test_blocks_that_take_up_several_samples(executor):
    """So many vertices that the grid is full with fewer blocks than samples."""
    index = torch.randint(20000, (20000, 1))
    pooling, x = ops.gather_index(index, 20000), torch.randn(30, 20000, 1)
    assert torch.equal(executor.gather_reduce(x, *pooling, None, "avg")[0], x[:, index[:, 0]])
    winner = torch.empty(0, dtype=torch.uint8)
    expected = torch.ops.cheblienet.gather_reduce_backward(x, winner, *pooling, "avg")
    actual = executor.gather_reduce_backward(x, winner, *pooling, "avg")
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("shape", [(0, 7, 4), (3, 7, 0)])
def test_nothing_to_do(executor, shape):
    pooling = ops.gather_index(TABLE, 7)
    y, winner = executor.gather_reduce(torch.empty(shape), *pooling, None, "max")
    assert y.shape == winner.shape == (shape[0], 5, shape[2])
    assert executor.gather_reduce_backward(y, winner, *pooling, "max").shape == shape
