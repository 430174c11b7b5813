"""Functions of the symmetric normalised Laplacian applied to signals, by Chebyshev expansion: sparse products only.

With eigenvalues lambda in [0, 2] of L, z = lambda - 1 are those of L - I = -D^-1/2 W D^-1/2, and f(L) = sum_k c_k T_k(L - I)
(Hammond, Vandergheynst, Gribonval, "Wavelets on graphs via spectral graph theory", 2011, section 6). The null space of L is
known, so its part of a signal is multiplied by f(0) and needs no polynomial.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.special
import torch
from torch import Tensor

Kernel = Callable[[Tensor], Tensor]

MAX_DEGREE = 2**16
# Where a kernel is sampled: 1.2e-5 apart in the middle of [0, 2], and 7e-11 from the ends.
_SAMPLES = 2**18
# exp(-time L) takes about 8.6 sqrt(time) products.
_MAX_HEAT_DEGREE = 2**18
# A first step of so long a time takes 200 products; then each is as long as all before.
_FIRST_STEP = 512.0
_EPSILON = 2.0**-52


class Operator(NamedTuple):
    """L - I (V, V), with zero rows for isolated vertices, and a basis (V, C) of the null space of L and its transpose.

    `torch.sparse_csr` matrices in float64.
    """

    shifted: Tensor
    null: Tensor
    null_transposed: Tensor

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The part of x (V, N) in the null space, and the rest."""
        constant = self.null @ (self.null_transposed @ x)
        return constant, x - constant

    def polynomial(self, coefficients: np.ndarray, x: Tensor) -> Tensor:
        """sum_k c_k T_k(L - I) x for coefficients (n,) and x (V, N)."""
        weights = coefficients.tolist()
        result = weights[0] * x
        if len(weights) == 1:
            return result
        previous, current = x, self.shifted @ x
        for weight in weights[1:-1]:
            result.add_(current, alpha=weight)
            previous, current = current, torch.addmm(previous, self.shifted, current, beta=-1, alpha=2)
        return result.add_(current, alpha=weights[-1])


class SelfAdjoint(torch.autograd.Function):
    """operator(x) for a linear operator on the last dimension that is its own adjoint, differentiable in x to any order."""

    @staticmethod
    def forward(x: Tensor, operator: Callable[[Tensor], Tensor]) -> Tensor:
        return operator(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.operator = inputs[1]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return SelfAdjoint.apply(gradient, ctx.operator), None

    @staticmethod
    def jvp(ctx, tangent: Tensor, _: None) -> Tensor:
        return SelfAdjoint.apply(tangent, ctx.operator)

    @staticmethod
    def vmap(_, in_dims, x: Tensor, operator: Callable[[Tensor], Tensor]) -> tuple[Tensor, int]:
        return SelfAdjoint.apply(x.movedim(in_dims[0], 0), operator), 0


def apply_heat(operator: Operator, time: float, x: Tensor) -> Tensor:
    """exp(-time L) x for x (V, N) float64.

    In steps, so that rounding errors of the first ones decay in the others, and that no more are taken once all is gone
    that decays: 1e-19 of the signal is left.
    """
    constant, rest = operator.split(x)
    gone, step, done = 1e-3 * _EPSILON * x.norm(dim=0), min(time, _FIRST_STEP), 0.0
    while done < time:
        _, rest = operator.split(operator.polynomial(heat_coefficients(step), rest))  # rounding leads back there
        done += step
        if (rest.norm(dim=0) <= gone).all():
            return constant
        step = min(done, time - done)
    return constant + rest


def heat_coefficients(time: float) -> np.ndarray:
    """c (n,) with exp(-time (1 + z)) = sum_k c_k T_k(z): c_k = (2 - [k = 0]) (-1)^k exp(-time) I_k(time).

    As many as it takes for the others to add up to less than 2^-52.
    """
    degree = math.ceil(math.sqrt(80 * time) + 40)
    if degree > _MAX_HEAT_DEGREE:
        raise ValueError(
            f"diffuse: time: expected one that {_MAX_HEAT_DEGREE} sparse products reach, about 8e8, on a graph where heat "
            f"spreads so slowly; a step of {time:.3g} would take {degree}"
        )
    coefficients = 2 * scipy.special.ive(np.arange(degree), time)
    coefficients[0] /= 2
    coefficients[1::2] *= -1
    rest = np.abs(coefficients)[::-1].cumsum()[::-1]
    return coefficients[: max(int((rest > _EPSILON).sum()), 1)]


def chebyshev_coefficients(kernel: Kernel, epsilon: float) -> np.ndarray:
    """c (n,) with kernel(1 + z) = sum_k c_k T_k(z) on [-1, 1], those above an eighth of `epsilon` times its largest value.

    Raises:
        TypeError: for a kernel that is not callable or gives no real numbers.
        ValueError: for one that is not finite or of another shape, or that takes more than 65,536 of them.
    """
    angle = np.pi * np.arange(_SAMPLES, -1, -1) / _SAMPLES
    values = kernel_values(kernel, 2 * np.sin(angle / 2) ** 2)  # 1 + z, with all its digits near 0
    largest = np.abs(values).max()
    if largest == 0:
        return np.zeros(1)
    coefficients = scipy.fft.dct(values / largest, type=1) / _SAMPLES
    coefficients[[0, -1]] /= 2
    size = np.abs(coefficients)
    # What is left beyond the highest degree is the rounding of the kernel's values, or a kernel that is not smooth.
    rounding = size[MAX_DEGREE:].max()
    if rounding > epsilon:
        raise ValueError(
            f"kernel: expected one that polynomials of degree {MAX_DEGREE} approximate to {epsilon:.1e} of its largest "
            f"value on [0, 2]: it is not smooth enough, or rounded; coefficients of {rounding:.1e} are left"
        )
    significant = (size > max(epsilon / 8, 2 * rounding)).nonzero()[0]
    return largest * coefficients[: significant.max(initial=0) + 1]


def kernel_values(kernel: Kernel, eigenvalues: np.ndarray) -> np.ndarray:
    """The values of a kernel, float64; see `chebyshev_coefficients`."""
    if not callable(kernel):
        raise TypeError(f"kernel: expected a function of the eigenvalues, got {type(kernel).__name__}")
    found = kernel(torch.from_numpy(eigenvalues))
    found = found.detach().cpu() if isinstance(found, Tensor) else torch.as_tensor(found)
    if found.is_complex():
        raise TypeError(f"kernel: expected real values, got {found.dtype}")
    if found.ndim and found.shape != eigenvalues.shape:  # a constant kernel may return one number
        raise ValueError(f"kernel: expected as many values as eigenvalues, got {tuple(found.shape)}")
    values = np.broadcast_to(found.double().numpy(), eigenvalues.shape)
    if not np.isfinite(values).all():
        raise ValueError("kernel: expected finite values on [0, 2], the range of eigenvalues of any graph")
    return values
