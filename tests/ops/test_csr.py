"""What is no symmetric matrix is refused where a `Csr` is made of it."""

import pytest
import torch

from cheblienet import ops


def matrix(rowptr, col, values, size=3):
    parts = torch.tensor(rowptr), torch.tensor(col), torch.as_tensor(values, dtype=torch.float32)
    return torch.sparse_csr_tensor(*parts, (size, size), check_invariants=False)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([0, 1, 1, 1], [1], [1.0]), r"symmetric matrix, got an entry \(0, 1\) and none \(1, 0\)"),
        (([0, 0, 0, 1], [0], [1.0]), r"symmetric matrix, got an entry \(2, 0\) and none \(0, 2\)"),
        (([0, 1, 2, 3], [1, 2, 0], [1.0] * 3), r"symmetric matrix, got an entry \(\d, \d\) and none"),
        (([0, 1, 2, 2], [1, 0], [1.0, 2.0]), r"symmetric matrix, got 1 at \(0, 1\) and 2 at \(1, 0\)"),
        (([0, 1, 2, 2], [1, 0], [1.0, 1.0 + 1e-5]), "symmetric matrix, got 1 at"),
        (([0, 1, 2, 2], [1, 0], [torch.nan] * 2), "finite values, got NaN or infinity"),
        (([0, 1, 2, 2], [1, -1], [1.0, 1.0]), "columns from 0 to 2, got -1"),
        (([0, 1, 2, 2], [3, 0], [1.0, 1.0]), "columns from 0 to 2, got 3"),
        (([0, 2, 3, 4], [1, 1, 0, 0], [1.0] * 4), "ascending columns in every row, each once, got others in row 0"),
        (([0, 0, 2, 3], [2, 1, 1], [1.0] * 3), "ascending columns in every row, each once, got others in row 1"),
        (([0, 2, 1, 2], [1, 0], [1.0, 1.0]), "row pointers that ascend from 0 to E = 2"),
        (([1, 1, 2, 2], [1, 0], [1.0, 1.0]), "row pointers that ascend from 0 to E = 2"),
        (([0, 1, 2, 9], [1, 0], [1.0, 1.0]), "row pointers that ascend from 0 to E = 2"),
    ],
)
def test_what_is_no_symmetric_matrix_is_refused(parts, message):
    with pytest.raises(ValueError, match=f"csr: matrix: expected .*{message}"):
        ops.csr(matrix(*parts))


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="csr: matrix: expected floating-point values, got torch.int64"):
        ops.csr(torch.eye(3).long().to_sparse_csr())
    with pytest.raises(TypeError, match="csr: matrix: expected a torch.sparse_csr matrix, got ndarray"):
        ops.csr(torch.eye(3).numpy())


def test_values_are_symmetric_up_to_rounding():
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        scale, weights = torch.rand(300, dtype=dtype), torch.rand(300, 300, dtype=dtype)
        rounded = scale[:, None] * (weights + weights.T) * scale  # in an order of its own in each triangle
        assert (rounded != rounded.T).any()
        assert len(ops.csr(rounded.to_sparse_csr()).col) == 300**2


def test_parts_that_do_not_fit_are_refused():
    laplacian, x, weight = ops.csr(torch.ones(20, 20).to_sparse_csr()), torch.randn(2, 20, 3), torch.randn(2, 3, 4)
    rows, col, values, _ = laplacian
    for parts, error, message in (
        (dict(values=values[:10]), ValueError, r"expected E columns and values, got \(400,\) and \(10,\)"),
        (dict(values=values[:10], col=col[:10]), RuntimeError, "rows: .* entries one row after the other .* E = 10"),
        (dict(values=values.double()), TypeError, "expected torch.float32 values"),
        (dict(rows=rows[:, :3]), ValueError, "expected V = 20 vertices"),
        (dict(rows=rows.long()), TypeError, "expected int32 indices"),
        (dict(col=col.to("meta")), ValueError, "expected a tensor on cpu, got one on meta"),
        (dict(tables=(col[:10],)), ValueError, "expected tables of the vertices of its E = 400 entries"),
    ):
        with pytest.raises(error, match=message):
            ops.chebyshev(x, weight, laplacian._replace(**parts))


def test_views_of_parts_are_read_right():
    laplacian, x, weight = ops.csr(torch.ones(20, 20).to_sparse_csr()), torch.randn(2, 20, 3), torch.randn(2, 3, 4)
    expected = ops.chebyshev(x, weight, laplacian)
    rows = torch.zeros(81, dtype=torch.int32)[1:].view(20, 4).copy_(laplacian.rows)
    values = torch.zeros(800)[::2].copy_(laplacian.values)
    actual = ops.chebyshev(x, weight, laplacian._replace(rows=rows, values=values))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
