"""Metrics of classification and segmentation, over all samples of a set and all processes."""

from collections.abc import Callable, Sequence

import torch
from ignite.metrics import Accuracy, ConfusionMatrix, DiceCoefficient, Loss, Metric, mIoU
from ignite.metrics.confusion_matrix import cmRecall
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from torch import Tensor

LossFunction = Callable[[Tensor, Tensor], Tensor]

# Bins of scores: per sign, the powers of two from 2^-26 to 2^10 with 13 bits of the fraction. float32 log-probabilities end
# in zero or a multiple of 2^-24 on one side, and lie above -1024 on the other; what lies beyond shares the outermost bins.
_FRACTION_BITS = 13
_DROPPED_BITS = 23 - _FRACTION_BITS
_SMALLEST, _LARGEST = ((127 + exponent) << _FRACTION_BITS for exponent in (-26, 10))
_LEVELS = _LARGEST - _SMALLEST
_BINS = 2 * _LEVELS + 1


def classification_metrics(num_classes: int, loss: LossFunction) -> dict[str, Metric]:
    """Accuracy, mean loss, and the confusion matrix (num_classes, num_classes), one row for each true class.

    They take log-probabilities (B, C) and labels (B,).
    """
    return {"accuracy": Accuracy(), "loss": Loss(loss), "confusion": ConfusionMatrix(num_classes)}


def segmentation_metrics(classes: Sequence[str], loss: LossFunction) -> dict[str, Metric]:
    """Metrics over all vertices, from log-probabilities (B, C, V) and labels (B, V).

    Args:
        classes: short names of the classes, the background first.
        loss: the loss that is averaged.

    Returns:
        "loss"; "F1", the mean over classes; "mIoU" and "mIoU_wo_bg", the mean intersection over union with and without the
        background; "acc_NAME", the share of a class's vertices that are found; "AP_NAME" and "mAP", the area under a
        class's precision-recall curve, from its probability as the score, and the mean; "mAP_bound", how far the exact mean
        can be from "mAP" (see `AveragePrecisions`); and the confusion matrix. A class that occurs neither in truth nor in
        prediction counts as 0 but in "mAP", which leaves out the classes that do not occur in truth: their average
        precision is NaN.
    """
    confusion = ConfusionMatrix(len(classes))
    recall = cmRecall(confusion, average=False)
    precision = AveragePrecisions(len(classes))
    average, bound = precision[0], precision[1]
    metrics: dict[str, Metric] = {
        "loss": Loss(loss),
        "F1": DiceCoefficient(confusion).mean(),
        "mIoU": mIoU(confusion),
        "mIoU_wo_bg": mIoU(confusion, ignore_index=0),
        "mAP": average.nanmean(),
        "mAP_bound": bound.nanmean(),
        "confusion": confusion,
    }
    for index, name in enumerate(classes):
        metrics[f"acc_{name}"] = recall[index]
        metrics[f"AP_{name}"] = average[index]
    return metrics


class AveragePrecisions(Metric):
    """Average precision of each class from log-probabilities (B, C, V) and labels (B, V), in memory that does not grow.

    `compute` gives (2, C) float64: average precisions as scikit-learn defines them, and how far the exact ones can be from
    them. Both are NaN for a class that does not occur in truth. Memory is 24 bytes times `_BINS`, 14 MB, a class.

    Scores are counted in bins: equal sign, exponent and upper 13 of 23 bits of the fraction in single precision. So a bin
    is as wide as 1/8192 of the score or less, and log-probabilities are told apart near 0 as well as far below. Let a bin
    hold p positives and n negatives, with T positives among the N scores above it. Wherever a threshold falls in the bin,
    precision is (T + i) / (N + i + j) for some i <= p and j <= n. So the bin's positives add up to at most
    p (T + p) / (N + p), when they tie above all its negatives, and to at least the sum of (T + i) / (N + n + i) over
    i = 1 .. p, when all its negatives come first. A bin whose scores are all equal is exact: p (T + p) / (N + p + n).
    The middle between both sums over all bins is the value, half their distance the bound. Rounding adds less than 1e-6 up
    to 10^8 vertices.

    Raises ValueError for scores that are NaN, and for labels that are no class.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        super().__init__()

    @reinit__is_reduced
    def reset(self) -> None:
        shape = (self._num_classes, _BINS)
        self._counts = torch.zeros(2, *shape, dtype=torch.int64, device=self._device)  # negatives, positives
        self._lowest = torch.full(shape, torch.inf, device=self._device)
        self._highest = torch.full(shape, -torch.inf, device=self._device)

    @reinit__is_reduced
    def update(self, output: tuple[Tensor, Tensor]) -> None:
        scores = output[0].detach().to(self._device, torch.float32).transpose(0, 1).flatten(1)  # (C, B V)
        labels = output[1].detach().to(self._device).flatten()
        if scores.isnan().any():
            raise ValueError("AveragePrecisions: scores: expected numbers, got NaN")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self._num_classes:
            raise ValueError(
                f"AveragePrecisions: labels: expected classes from 0 to {self._num_classes - 1}, "
                f"got {int(labels.min())} to {int(labels.max())}"
            )
        classes = torch.arange(self._num_classes, device=self._device)[:, None]
        index = (_bins(scores) + classes * _BINS).flatten()
        positive = (labels == classes).flatten()
        self._counts.view(-1).scatter_add_(0, index + positive * self._lowest.numel(), torch.ones_like(index))
        self._lowest.view(-1).scatter_reduce_(0, index, scores.flatten(), "amin")
        self._highest.view(-1).scatter_reduce_(0, index, scores.flatten(), "amax")

    @sync_all_reduce("_counts:SUM", "_lowest:MIN", "_highest:MAX")
    def compute(self) -> Tensor:
        equal = (self._lowest == self._highest).cpu()
        return torch.stack([_average_precision(*counts) for counts in zip(*self._counts.cpu(), equal, strict=True)], 1)


def _bins(scores: Tensor) -> Tensor:
    """Bins int64 of float32 scores, in their order."""
    magnitude = (scores.abs().view(torch.int32) >> _DROPPED_BITS) - _SMALLEST
    return _LEVELS + magnitude.clamp(0, _LEVELS).long() * scores.sign().long()


def _average_precision(negatives: Tensor, positives: Tensor, equal: Tensor) -> Tensor:
    """(2,), the average precision and its bound, from counts (bins,) and whether a bin's scores are all equal."""
    present = positives.flip(0) > 0
    p, n = positives.flip(0).double(), negatives.flip(0).double()
    above, T = (p + n).cumsum(0) - p - n, p.cumsum(0) - p
    p, n, above, T, equal = (each[present] for each in (p, n, above, T, equal.flip(0)))
    tied, most, last = p * (T + p) / (above + p + n), p * (T + p) / (above + p), above + n
    # (T + i) / (last + i) = 1 - (last - T) / (last + i), whose sum over i is a difference of digamma functions.
    least = p - (last - T) * (torch.digamma(last + p + 1) - torch.digamma(last + 1))
    least, most = (torch.where(equal, tied, each).sum() for each in (torch.minimum(least, most), most))
    return torch.stack([most + least, most - least]) / (2 * p.sum())
