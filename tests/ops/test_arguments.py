"""What the functions of cheblienet.ops are given in the place of an argument is refused by its name."""

import numpy as np
import pytest
import torch

from cheblienet import groups, ops

INDEX = torch.tensor([[1, 2], [0, 2], [0, 1]])


def chebyshev(**changed):
    matrix = torch.ones(3, 3).to_sparse_csr()
    arguments = {"x": torch.ones(2, 3, 4), "weight": torch.ones(2, 4, 5), "laplacian": ops.csr(matrix), "bias": None}
    return ops.chebyshev(**{**arguments, **changed})


def batch_norm(**changed):
    return ops.batch_norm(**{"x": torch.ones(2, 3, 4), "weight": torch.ones(4), "bias": torch.ones(4), **changed})


def gather_reduce(**changed):
    return ops.gather_reduce(
        **{"x": torch.ones(2, 3, 4), "pooling": ops.gather_index(INDEX, 3), "reduction": "avg", **changed}
    )


def gather_index(**changed):
    return ops.gather_index(**{"index": INDEX, "num_vertices": 3, **changed})


def csr(**changed):
    return ops.csr(**changed)


def nearest_neighbors(**changed):
    elements = torch.rand(5, 2, dtype=torch.float64)
    return ops.nearest_neighbors(
        **{"elements": elements, "sigmas": (1.0, 1.0, 1.0), "K": 2, "group": groups.R2, **changed}
    )


def mutual_neighbors(**changed):
    return ops.mutual_neighbors(**{"index": INDEX, "sqdist": torch.ones(3, 2, dtype=torch.float64), **changed})


RUNNING = torch.zeros(4), torch.ones(4), torch.tensor(0)
CASES = [
    (chebyshev, {"laplacian": None}, "laplacian: expected a Csr, got NoneType"),
    (chebyshev, {"laplacian": ops.Csr("rows", "col", "values")}, "laplacian: rows: expected a tensor"),
    (chebyshev, {"bias": "bias"}, "bias: expected a tensor"),
    (chebyshev, {"bias": torch.ones(5).to_sparse_coo()}, "bias: expected a dense tensor"),
    (batch_norm, {"weight": None}, "weight: expected a tensor"),
    (batch_norm, {"bias": torch.ones(4).to_sparse_coo()}, "bias: expected a dense tensor"),
    (batch_norm, {"residual": 3.0}, "residual: expected a tensor"),
    (batch_norm, {"relu": torch.ones(0)}, "relu: expected True or False"),
    (batch_norm, {"channels_second": np.ones(0)}, "channels_second: expected True or False"),
    (batch_norm, {"eps": "small"}, "eps: expected a number, got 'small'"),
    (batch_norm, {"eps": float("nan")}, "eps: expected a finite number of at least 0, got nan"),
    (batch_norm, {"momentum": [0.1]}, "momentum: expected a number"),
    (batch_norm, {"running": None, "mean": 1.0, "var": 1.0}, "mean: expected a tensor"),
    (batch_norm, {"running": RUNNING[:2]}, "running: expected a mean, a variance and a number of batches, got 2"),
    (batch_norm, {"running": (None, *RUNNING[1:])}, "running mean: expected a tensor"),
    (batch_norm, {"running": (RUNNING[0].int(), *RUNNING[1:])}, "running mean: expected float64, float32"),
    (batch_norm, {"running": (*RUNNING[:2], torch.zeros(4))}, "number of batches: expected shape"),
    (batch_norm, {"running": (*RUNNING[:2], torch.tensor(0.0))}, "number of batches: expected int64"),
    (gather_reduce, {"pooling": (1, 2, 3)}, "pooling: expected a GatherIndex, got tuple"),
    (gather_index, {"index": INDEX.to("meta")}, "index: expected a tensor that holds numbers, got one on meta"),
    (csr, {"matrix": torch.ones(3, 3).to_sparse_csr().to("meta")}, "matrix: expected a tensor that holds numbers"),
    (nearest_neighbors, {"group": "r2"}, "group: expected a cheblienet.groups.Group, got str"),
    (
        nearest_neighbors,
        {"elements": torch.ones(5, 2, device="meta")},
        "elements: expected a tensor that holds numbers",
    ),
    (
        nearest_neighbors,
        {"elements": torch.full((5, 2), 1e101, dtype=torch.float64)},
        "elements: expected finite coordinates up to 1e",
    ),
    (
        nearest_neighbors,
        {"elements": 1e200 * torch.eye(5, 2).double()},
        "elements: expected finite coordinates up to 1e",
    ),
    (nearest_neighbors, {"sigmas": (1.0, 1e-200, 1.0)}, "sigmas: expected numbers from 1e-100 to 1e"),
    (nearest_neighbors, {"sigmas": (1e200, 1.0, 1.0)}, "sigmas: expected numbers from 1e-100 to 1e"),
    (nearest_neighbors, {"sigmas": torch.ones(3).to_sparse_coo()}, "sigmas: expected three positive numbers"),
    (nearest_neighbors, {"sigmas": torch.ones(3, device="meta")}, "sigmas: expected three positive numbers"),
    (mutual_neighbors, {"limit": "near"}, "limit: expected a number, got 'near'"),
    (mutual_neighbors, {"limit": np.ones(2)}, "limit: expected a number"),
    (mutual_neighbors, {"index": INDEX - 1}, "index: expected neighbours other than the vertex itself, got 0"),
    (mutual_neighbors, {"index": INDEX.to("meta")}, "index: expected a tensor that holds numbers"),
]


@pytest.mark.parametrize(("call", "changed", "message"), CASES)
def test_is_refused_by_name(call, changed, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(**changed)


def test_a_neighbour_twice_is_refused():
    with pytest.raises(RuntimeError, match="index: expected each neighbour of a vertex once, got one twice"):
        mutual_neighbors(index=torch.tensor([[1, 1], [0, 2], [0, 1]]))


def test_meta_tensors_are_convolved_to_meta_tensors():
    laplacian = ops.csr(torch.ones(3, 3).to_sparse_csr())
    laplacian = ops.Csr(*(part.to("meta") for part in laplacian[:3]))
    x, weight = torch.ones(2, 3, 4, device="meta", requires_grad=True), torch.ones(2, 4, 5, device="meta")
    y = chebyshev(x=x, weight=weight, laplacian=laplacian)
    assert (y.shape, y.device.type) == ((2, 3, 5), "meta")
    y.sum().backward()
    assert x.grad.shape == x.shape
