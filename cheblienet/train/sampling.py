"""Which samples make a batch: a function of seed, epoch and position, for any number of processes."""

from collections.abc import Iterator

import ignite.distributed as idist
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset


class EpochBatches(Sampler[list[int]]):
    """The batches of an epoch: a permutation drawn from (seed, epoch), cut into whole batches.

    Every process takes its share of each batch, so one step sees the same samples whatever their number. A last batch
    that is not whole is left out: shares of different sizes would not average to the gradient of the whole.

    Args:
        num_samples: size of the data set, at least one batch.
        batch_size: of all processes together, a multiple of their number.
        seed: of the permutations.

    Attributes:
        epoch: the epoch that the next iteration goes through.
        start: the number of batches that the next iteration leaves out, once: where a run was interrupted.
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int) -> None:
        if num_samples < batch_size:
            raise ValueError(f"batch_size: expected at most the {num_samples} training samples, got {batch_size}")
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.epoch = self.start = 0

    def __len__(self) -> int:
        """The number of batches of a whole epoch."""
        return self.num_samples // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        start, self.start = self.start, 0
        # The pair seeds by mixing: epoch 1 of seed 0 and epoch 0 of seed 1 have nothing in common.
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_samples)
        batches = order[: len(self) * self.batch_size].reshape(len(self), self.batch_size)
        for batch in batches[start:]:
            yield batch[idist.get_rank() :: idist.get_world_size()].tolist()


def training_loader(dataset: Dataset, batches: EpochBatches, workers: int, pin_memory: bool) -> DataLoader:
    """Loads `batches`. Its draws are its own: they leave torch's global generator alone."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        generator=torch.Generator(),
    )


def evaluation_loader(name: str, dataset: Dataset, batch_size: int, workers: int, pin_memory: bool) -> DataLoader:
    """Loads this process's share of the data set `name`, every sample once over all processes."""
    world = idist.get_world_size()
    if len(dataset) < world:
        raise ValueError(f"{name}: expected a sample for each of {world} processes, got {len(dataset)}")
    share = Subset(dataset, range(idist.get_rank(), len(dataset), world))
    return DataLoader(
        share, batch_size=batch_size // world, num_workers=workers, pin_memory=pin_memory, generator=torch.Generator()
    )
