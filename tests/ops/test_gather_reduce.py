import pytest
import torch

from cheblienet import ops
from cheblienet.ops import reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
TABLE = torch.tensor([[0, 1, 2], [2, 3, -1], [-1, 5, -1], [5, 0, 1], [4, 4, 4]])  # vertex 6 is read by nobody


def choice_of(pooling, seed):
    torch.manual_seed(seed)
    return ops.gather_reduce(torch.arange(7.0).view(1, 7, 1), pooling, "rand").flatten().long()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 5, 8, 64])
@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("reduction", ["max", "avg"])
def test_value_and_gradient_agree_with_the_reference(reduction, batch, channels, dtype, assert_close):
    pooling = ops.gather_index(TABLE, 7)
    x = torch.randn(batch, 7, channels).to(dtype).requires_grad_()
    exact = x.detach().double().requires_grad_()
    y, expected = ops.gather_reduce(x, pooling, reduction), reference.gather_reduce(exact, TABLE, None, reduction)
    assert_close(y, expected)
    dy = torch.randn(batch, 5, channels).to(dtype)
    (dx,) = torch.autograd.grad(y, x, dy)
    assert_close(dx, torch.autograd.grad(expected, exact, dy.double())[0], factor=2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rand_takes_one_member_and_sends_the_gradient_there(dtype):
    pooling = ops.gather_index(TABLE, 7)
    x = torch.randn(2, 7, 6).to(dtype).requires_grad_()
    chosen = choice_of(pooling, 3)
    torch.manual_seed(3)
    y = ops.gather_reduce(x, pooling, "rand")
    assert torch.equal(y, x[:, chosen])
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert torch.equal(dx[0, :, 0].long(), torch.bincount(chosen, minlength=7))


def test_rand_is_uniform_over_the_members_and_reproducible():
    pooling = ops.gather_index(TABLE, 7)
    draws = torch.stack([choice_of(pooling, seed) for seed in range(600)])
    assert set(draws[:, 1].tolist()) == {2, 3}
    assert set(draws[:, 2].tolist()) == {5}
    frequency = torch.bincount(draws[:, 0], minlength=3) / 600
    assert (frequency - 1 / 3).abs().max() < 0.08
    assert torch.equal(choice_of(pooling, 11), choice_of(pooling, 11))


def test_max_takes_the_first_of_equals_and_lets_nan_win():
    pooling = ops.gather_index(TABLE, 7)
    x = torch.zeros(1, 7, 1, requires_grad=True)
    (dx,) = torch.autograd.grad(ops.gather_reduce(x, pooling, "max").sum(), x)
    assert dx.flatten().tolist() == [1, 0, 1, 0, 1, 2, 0]
    with torch.no_grad():
        x[0, 1] = torch.nan
    assert ops.gather_reduce(x, pooling, "max").isnan().flatten().tolist() == [True, False, False, True, False]


@pytest.mark.parametrize("reduction", ["max", "avg", "rand"])
def test_gradcheck_once_and_twice(reduction):
    pooling = ops.gather_index(TABLE, 7)
    x = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)

    def f(x):
        torch.manual_seed(1)
        return ops.gather_reduce(x, pooling, reduction)

    assert torch.autograd.gradcheck(f, (x,))
    assert torch.autograd.gradgradcheck(f, (x,))


@pytest.mark.parametrize("reduction", ["max", "avg", "rand"])
def test_registrations(reduction):
    pooling = ops.gather_index(TABLE, 7)
    x = torch.randn(2, 7, 3, requires_grad=True)
    choice = torch.tensor([0, 1, 1, 2, 0], dtype=torch.uint8) if reduction == "rand" else None
    args = (x, pooling.members, pooling.rowptr, pooling.entry, choice, reduction)
    torch.library.opcheck(torch.ops.cheblienet.gather_reduce, args)
    y, winner = torch.ops.cheblienet.gather_reduce(*args)
    backward = (torch.randn_like(y).requires_grad_(), winner, pooling.members, pooling.rowptr, pooling.entry, reduction)
    torch.library.opcheck(torch.ops.cheblienet.gather_reduce_backward, backward)


def test_non_contiguous_input_and_autocast():
    pooling, x = ops.gather_index(TABLE, 7), torch.randn(2, 4, 7).transpose(1, 2)
    expected = ops.gather_reduce(x.contiguous(), pooling, "max")
    assert torch.equal(ops.gather_reduce(x, pooling, "max"), expected)
    with torch.autocast("cpu", torch.bfloat16):  # pooling keeps the dtype it is given
        assert torch.equal(ops.gather_reduce(x, pooling, "max"), expected)


def test_says_what_is_wrong():
    pooling, x = ops.gather_index(TABLE, 7), torch.randn(2, 7, 3)
    with pytest.raises(ValueError, match=r"num_vertices: expected an integer between 1 and 2147483647, got 2147483648"):
        ops.gather_index(torch.zeros(2, 1, dtype=torch.int64), 2**31)
    with pytest.raises(ValueError, match=r"reduction: expected one of 'max', 'avg', 'rand', got 'sum'"):
        ops.gather_reduce(x, pooling, "sum")
    with pytest.raises(ValueError, match=r"x: expected V = 7 vertices as in the index, got \(2, 6, 3\)"):
        ops.gather_reduce(x[:, 1:], pooling, "max")
    with pytest.raises(ValueError, match=r"x: expected shape \(B, V, C\), got \(7, 3\)"):
        ops.gather_reduce(x[0], pooling, "max")
    with pytest.raises(TypeError, match=r"x: expected float64, .* got torch.int64"):
        ops.gather_reduce(x.long(), pooling, "max")
    with pytest.raises(ValueError, match=r"pooling: members: expected a tensor on meta, got one on cpu"):
        ops.gather_reduce(x.to("meta"), pooling, "max")
    with pytest.raises(ValueError, match=r"index: expected members from 0 to 4, or -1 for none, got -1 to 5"):
        ops.gather_index(TABLE, 5)
    with pytest.raises(ValueError, match=r"index: expected a member for each output, got none for 1"):
        ops.gather_index(torch.tensor([[0], [-1]]), 2)
    with pytest.raises(TypeError, match=r"index: expected int64, got torch.int32"):
        ops.gather_index(TABLE.int(), 7)
    with pytest.raises(ValueError, match=r"index: expected 1 to 255 members"):
        ops.gather_index(torch.zeros(2, 300, dtype=torch.int64), 7)


def test_parts_that_do_not_fit_are_refused():
    pooling, x = ops.gather_index(TABLE, 7), torch.randn(2, 7, 3)
    for parts, error, message in (
        (dict(members=TABLE.int()), TypeError, "pooling: members: expected int64, got torch.int32"),
        (dict(members=TABLE[0]), ValueError, r"pooling: members: expected shape \(Vout, m\)"),
        (
            dict(rowptr=pooling.rowptr.to("meta")),
            ValueError,
            "pooling: rowptr: expected a tensor on cpu, got one on meta",
        ),
        (dict(entry=torch.zeros(100).long()), ValueError, "pooling: expected .* in entry, got 8 and 100"),
        (dict(rowptr=pooling.rowptr[:5]), ValueError, r"x: expected V = 4 vertices as in the index"),
    ):
        with pytest.raises(error, match=message):
            ops.gather_reduce(x, pooling._replace(**parts), "max")
