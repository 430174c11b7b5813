"""Metrics of classification and segmentation, over all samples of a set and all processes."""

from collections.abc import Callable, Sequence

import ignite.distributed as idist
import torch
from ignite.metrics import Accuracy, ConfusionMatrix, DiceCoefficient, EpochMetric, Loss, Metric, mIoU
from ignite.metrics.confusion_matrix import cmRecall
from torch import Tensor

LossFunction = Callable[[Tensor, Tensor], Tensor]


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
        class's precision-recall curve, from its probability as the score, and the mean; and the confusion matrix. A class
        that occurs neither in truth nor in prediction counts as 0 but in "mAP", which leaves out the classes that do not
        occur in truth: their average precision is NaN.
    """
    confusion = ConfusionMatrix(len(classes))
    recall = cmRecall(confusion, average=False)
    precision = AveragePrecisions(len(classes))
    metrics: dict[str, Metric] = {
        "loss": Loss(loss),
        "F1": DiceCoefficient(confusion).mean(),
        "mIoU": mIoU(confusion),
        "mIoU_wo_bg": mIoU(confusion, ignore_index=0),
        "mAP": precision.nanmean(),
        "confusion": confusion,
    }
    for index, name in enumerate(classes):
        metrics[f"acc_{name}"] = recall[index]
        metrics[f"AP_{name}"] = precision[index]
    return metrics


class AveragePrecisions(EpochMetric):
    """The average precision of each class, (C,), by scikit-learn; NaN for a class that does not occur in truth."""

    def __init__(self, num_classes: int) -> None:
        def each(scores: Tensor, labels: Tensor) -> Tensor:
            from sklearn.metrics import average_precision_score

            found = torch.full((num_classes,), torch.nan)
            for label in labels.unique().tolist():
                found[label] = average_precision_score((labels == label).numpy(), scores[:, label].numpy())
            return found

        super().__init__(each, output_transform=_flatten_vertices, check_compute_fn=False)

    def compute(self) -> Tensor:
        if self._result is None:  # the base class gathers shares of one size only, and broadcasts single numbers
            scores, labels = (_gather_rows(torch.cat(parts)) for parts in (self._predictions, self._targets))
            self._result = self.compute_fn(scores, labels)
        return self._result


def _gather_rows(share: Tensor) -> Tensor:
    """The rows of all processes, which may have different numbers of them."""
    if idist.get_world_size() == 1:
        return share
    counts = idist.all_gather(len(share))
    padded = share.new_zeros((max(counts), *share.shape[1:]))
    padded[: len(share)] = share
    gathered = idist.all_gather(padded[None])
    return torch.cat([rows[:count] for rows, count in zip(gathered, counts, strict=True)])


def _flatten_vertices(output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """(B, C, V), (B, V) -> (B V, C), (B V,)."""
    scores, labels = output
    return scores.transpose(1, 2).flatten(0, 1), labels.flatten()
