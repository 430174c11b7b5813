"""Rows of a sparse matrix in another order, against the definition."""

import importlib

import pytest
import torch

from cheblienet.ops import reference

order_rows = torch.ops.cheblienet.order_rows


def pattern(vertices, density):
    """Row pointers and columns of a symmetric pattern; some rows may be empty."""
    pairs = torch.rand(vertices, vertices, generator=torch.Generator().manual_seed(1)) < density
    pairs = pairs | pairs.T
    return torch.cat([torch.zeros(1).long(), torch.cumsum(pairs.sum(1), 0)]), pairs.nonzero()[:, 1].contiguous()


@pytest.mark.parametrize(("vertices", "density"), [(0, 0.0), (1, 0.0), (1, 1.0), (9, 0.1), (60, 0.1), (5000, 0.0005)])
def test_agrees_with_the_reference(vertices, density):
    arguments = (*pattern(vertices, density), torch.randperm(vertices))
    on_gpu = importlib.import_module("cheblienet.ops.csr").order_rows  # made of operations that run anywhere
    for function in (order_rows, on_gpu):
        for actual, expected in zip(function(*arguments), reference.order_rows(*arguments), strict=True):
            assert actual.dtype == expected.dtype
            assert torch.equal(actual, expected)


def test_registrations():
    torch.library.opcheck(order_rows, (*pattern(9, 0.3), torch.randperm(9)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rowptr, col, order: (rowptr, col, order[[0, 0, 2]]), "order: expected every vertex once, got 0"),
        (lambda rowptr, col, order: (rowptr, col, order + 1), "order: expected every vertex once, got 3"),
        (lambda rowptr, col, order: (rowptr, col + 1, order), "col: expected vertices below 3"),
        (lambda rowptr, col, order: (rowptr + 1, col, order), "rowptr: expected ascending numbers from 0 to E = 9"),
        (lambda rowptr, col, order: (rowptr[:-1], col, order), r"rowptr: expected int64 \(4\), got int64 \(3\)"),
        (lambda rowptr, col, order: (rowptr.int(), col, order), r"rowptr: expected int64 \(4\), got int32 \(4\)"),
    ],
)
def test_what_is_no_matrix_is_refused(change, message):
    with pytest.raises(RuntimeError, match=message):
        order_rows(*change(*pattern(3, 1.0), torch.arange(3)))
