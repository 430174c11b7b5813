"""What segments climate states on the sphere: graphs, states, losses, pictures."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from ..data import (
    ARTC_MEAN,
    ARTC_STD,
    CLASSES,
    ArtcDataset,
    artc_parts,
    climatenet_parts,
    kept_class_counts,
    kept_statistics,
)
from ..data.synthetic import write_synthetic_artc
from ..graphs import GEGraph, S2GEGraph, SO3GEGraph
from ..nn import SO3GEUChebNet
from ..train.pictures import can_draw, draw_globe

SYNTHETIC_FILES, SYNTHETIC_LEVEL = 40, 5


def sphere_graphs(finest: int, anisotropic: bool, config: dict[str, Any], path_to_graph: str | None) -> list[GEGraph]:
    """The graphs of the levels 0 to `finest` of the icosphere, and the output's graph, on the sphere."""
    K, eps, nalpha = (config[name] for name in ("K", "eps", "nalpha"))
    sizes = [10 * 4**level + 2 for level in range(finest + 1)]
    with idist.one_rank_first(local=True):  # which leaves the others a cache file
        if anisotropic:
            graphs = [
                SO3GEGraph((n, nalpha), (1.0, eps, 10 / n), K, path_to_graph, frames=config["frames"]) for n in sizes
            ]
        else:
            graphs = [S2GEGraph((n,), (1.0, eps, 1.0), K, path_to_graph) for n in sizes]
        return [*graphs, S2GEGraph((sizes[-1],), (1.0, 1.0, 1.0), K, path_to_graph)]


def datasets(args: argparse.Namespace) -> dict[str, ArtcDataset]:
    """States of one level by "train", "val", which --original_protocol has not, and "test", as many as --subset says.

    ARTC's have its published normalisation, ClimateNet's that of their own training part.
    """
    folder, share = Path(args.path_to_data), None if args.original_protocol else args.validation_share
    if args.dataset == "synthetic":
        folder = args.out / "synthetic"
        with idist.one_rank_first(local=True):
            if not (folder / "test_split.txt").exists():  # which is written last
                write_synthetic_artc(folder, SYNTHETIC_FILES, SYNTHETIC_LEVEL, args.seed)
    normalisation = (ARTC_MEAN, ARTC_STD)
    if args.dataset == "climatenet":
        parts = climatenet_parts(folder, args.seed, share)
        with idist.one_rank_first(local=True):  # which leaves the others a file
            normalisation = kept_statistics(*parts["train"])
    else:
        parts = artc_parts(folder, args.seed, share)
    found = {
        part: ArtcDataset(where, subset(names, args.subset, args.seed), *normalisation)
        for part, (where, names) in parts.items()
    }
    train = found["train"]
    for part in found.values():
        if part.num_vertices != train.num_vertices:
            raise ValueError(
                f"{part.folder}: expected {train.num_vertices} vertices, as in {train.folder}, got {part.num_vertices}"
            )
    return found


def subset(names: Sequence[str], count: int | None, seed: int) -> Sequence[str]:
    """`count` names drawn without replacement, the same for the same seed; all of them for None or too many."""
    if count is None or count >= len(names):
        return names
    return [
        names[k] for k in torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    ]


def class_weights(dataset: ArtcDataset, workers: int) -> Tensor:
    """Weights (3,) inverse to the classes' frequencies in a data set, one on average over its vertices."""
    with idist.one_rank_first(local=True):  # which leaves the others a file
        counts = torch.tensor(kept_class_counts(dataset.folder, dataset.names, workers))
    if not counts.all():
        raise ValueError(f"--weighted: expected every class among the training labels, got counts {counts.tolist()}")
    return counts.sum() / (len(CLASSES) * counts.float())


def mean_loss(weights: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    """The negative log-likelihood, each vertex times the weight of its class, averaged over samples and vertices.

    Divided by the number of vertices and not by the sum of their weights, losses of parts of a batch average to the
    loss of the batch. The weights have to be on the losses' device: to bring them there, a step would wait.
    """
    if weights is None:
        return nll_loss
    return lambda output, labels: nll_loss(output, labels, weights, reduction="none").mean()


def prepare_batch(nalpha: int) -> Callable[..., tuple[Tensor, Tensor]]:
    """Repeats states (B, 16, V) over the orientations, on the device; in vertex-major memory, as layers read it."""

    def prepare(
        batch: tuple[Tensor, Tensor], device: torch.device, non_blocking: bool = False
    ) -> tuple[Tensor, Tensor]:
        states, labels = (part.to(device, non_blocking=non_blocking) for part in batch)
        return states.transpose(1, 2).repeat(1, nalpha, 1).transpose(1, 2), labels

    return prepare


@torch.no_grad()
def draw_prediction(
    model: SO3GEUChebNet,
    prepare: Callable[..., tuple[Tensor, Tensor]],
    sample: tuple[Tensor, Tensor],
    sphere: S2GEGraph,
    kind: str,
    path: Path,
    device: torch.device,
) -> None:
    """Truth and prediction of a sample as maps, if matplotlib is there."""
    if not can_draw():
        return
    states, labels = sample
    signals, _ = prepare((states[None], labels[None]), device)
    prediction = model.eval()(signals)[0].argmax(0).cpu()
    draw_globe(sphere, {f"truth ({kind})": labels, f"prediction ({kind})": prediction}, CLASSES, path)
