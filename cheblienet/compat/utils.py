"""The original's helpers on tensors, most of which the framework has by now."""

import math
from typing import Any

import scipy.sparse
import torch
from torch import Tensor


def mod(input: Tensor, n: float, d: float = 0.0) -> Tensor:
    """`input` modulo n, in [d, d + n)."""
    return torch.remainder(input - d, n) + d


def sinc(input: Tensor) -> Tensor:
    """sin(x) / x, 1 at 0."""
    return torch.sinc(input / math.pi)


def round(input: Tensor, n_digits: int = 0) -> Tensor:
    return torch.round(input, decimals=n_digits)


def weighted_norm(input: Tensor, Re: Tensor) -> Tensor:
    """c^T Re c for `input` (N, D, 1) and Re (D, D): (N,)."""
    return torch.einsum("nik,ij,njk->n", input, Re.to(input.device), input)


def shuffle_tensor(input: Tensor) -> Tensor:
    return input[torch.randperm(len(input))]


def sparsity_measure(input: Tensor) -> float:
    """The share of stored entries of a sparse matrix."""
    return input._nnz() / input.numel()


def sparse_tensor_to_sparse_array(input: Tensor) -> scipy.sparse.coo_matrix:
    entries = input.cpu().to_sparse_coo().coalesce()
    return scipy.sparse.coo_matrix((entries.values().numpy(), entries.indices().numpy()), tuple(input.shape))


def delta_kronecker(size: int | tuple[int, ...], offset: int | tuple[int, ...], device: Any = None) -> Tensor:
    """Zeros of this size with a one at `offset`."""
    if isinstance(size, tuple) != isinstance(offset, tuple) or (isinstance(size, tuple) and len(size) != len(offset)):
        raise ValueError(f"delta_kronecker: offset: expected an index into size {size}, got {offset}")
    output = torch.zeros(size, device=device)
    output[offset] = 1
    return output
