"""The memory that is kept for results."""

import torch

from .. import _library  # noqa: F401  (registers the operators)


def empty_cache() -> None:
    """Gives back to the system what is kept for results on the CPU, as `torch.cuda.empty_cache` does on a GPU.

    The results of convolutions and normalisations of 1 MiB and more give their memory to the next ones of exactly their
    size, because the system would clear it first; up to 1 GiB is kept. Tensors that are alive are not touched.
    """
    torch.ops.cheblienet.empty_cache()
