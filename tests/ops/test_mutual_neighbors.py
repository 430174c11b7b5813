import math

import pytest
import torch

from cheblienet import ops
from cheblienet.ops import reference


def neighbourhoods(vertices, K, seed=0):
    torch.manual_seed(seed)
    index = torch.rand(vertices, vertices).fill_diagonal_(2).argsort(1)[:, :K].contiguous()
    index[torch.rand(vertices, K) < 0.2] = -1
    return index, torch.rand(vertices, K, dtype=torch.float64)


@pytest.mark.parametrize(("vertices", "K"), [(0, 0), (4, 0), (1, 1), (2, 1), (9, 8), (300, 40), (5000, 7)])
@pytest.mark.parametrize("limit", [math.inf, 0.5, 0.0])
def test_agrees_with_the_reference(vertices, K, limit):
    index, sqdist = neighbourhoods(vertices, K)
    if vertices == 1:
        index.fill_(-1)
    actual, expected = ops.mutual_neighbors(index, sqdist, limit), reference.mutual_neighbors(index, sqdist, limit)
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))
    strided = index.T.contiguous().T
    assert torch.equal(ops.mutual_neighbors(strided, sqdist, limit)[0], expected[0])


def test_registration():
    torch.library.opcheck(torch.ops.cheblienet.mutual_neighbors, (*neighbourhoods(20, 5), math.inf))


def test_says_what_is_wrong():
    index, sqdist = neighbourhoods(6, 3)
    with pytest.raises(TypeError, match=r"index: expected int64, got torch.int32"):
        ops.mutual_neighbors(index.int(), sqdist)
    with pytest.raises(TypeError, match=r"sqdist: expected float64, got torch.float32"):
        ops.mutual_neighbors(index, sqdist.float())
    with pytest.raises(ValueError, match=r"sqdist: expected shape \(6, 3\) as index, got \(6, 2\)"):
        ops.mutual_neighbors(index, sqdist[:, :2])
    with pytest.raises(ValueError, match=r"limit: expected a number of at least 0, got nan"):
        ops.mutual_neighbors(index, sqdist, math.nan)
    index[2, 1] = 6
    with pytest.raises(ValueError, match=r"index: expected vertices below 6 or -1, got 6"):
        ops.mutual_neighbors(index, sqdist)
