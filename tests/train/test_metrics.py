"""Metrics against scikit-learn, over batches and shapes that evaluations have."""

import pytest
import torch
from ignite.engine import Engine
from sklearn import metrics as sklearn
from torch.nn.functional import nll_loss

from cheblienet.train import classification_metrics, segmentation_metrics

NAMES = ("bg", "tc", "ar")


def evaluate(metrics, batches):
    engine = Engine(lambda _, batch: batch)
    for name, metric in metrics.items():
        metric.attach(engine, name)
    return engine.run(batches).metrics


def batches_of(shape, classes, present):
    generator = torch.Generator().manual_seed(3)
    result = []
    for size in (4, 4, 3):
        scores = torch.randn(size, classes, *shape, generator=generator).log_softmax(1)
        labels = torch.tensor(present)[torch.randint(len(present), (size, *shape), generator=generator)]
        result.append((scores, labels))
    return result


def flatten(batches):
    scores = torch.cat([b[0].movedim(1, -1).reshape(-1, b[0].shape[1]) for b in batches])
    return scores.double().numpy(), torch.cat([b[1].flatten() for b in batches]).numpy()


def test_classification():
    batches = batches_of((), 5, [0, 1, 2, 3, 4])
    found = evaluate(classification_metrics(5, nll_loss), batches)
    scores, labels = flatten(batches)
    assert found["accuracy"] == sklearn.accuracy_score(labels, scores.argmax(1))
    assert found["loss"] == pytest.approx(-scores[range(len(labels)), labels].mean(), rel=1e-6)
    assert found["confusion"].tolist() == sklearn.confusion_matrix(labels, scores.argmax(1)).tolist()


def test_segmentation():
    batches = batches_of((50,), 3, [0, 0, 0, 1, 2])
    found = evaluate(segmentation_metrics(NAMES, nll_loss), batches)
    scores, labels = flatten(batches)
    predicted = scores.argmax(1)
    assert found["F1"] == pytest.approx(sklearn.f1_score(labels, predicted, average="macro"))
    assert found["mIoU"] == pytest.approx(sklearn.jaccard_score(labels, predicted, average="macro"))
    without = sklearn.jaccard_score(labels, predicted, labels=[1, 2], average="macro")
    assert found["mIoU_wo_bg"] == pytest.approx(without)
    recall = sklearn.recall_score(labels, predicted, average=None)
    precision = [sklearn.average_precision_score(labels == c, scores[:, c]) for c in range(3)]
    for c, name in enumerate(NAMES):
        assert found[f"acc_{name}"] == pytest.approx(recall[c])
        assert found[f"AP_{name}"] == pytest.approx(precision[c])
    assert found["mAP"] == pytest.approx(sum(precision) / 3)
    assert found["loss"] == pytest.approx(-scores[range(len(labels)), labels].mean(), rel=1e-6)


def test_average_precision_is_of_scores_not_of_decisions():
    """Scores that rank perfectly but never win the maximum: decisions would give the class's frequency."""
    labels = torch.tensor([[0, 0, 0, 1]])
    second = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    scores = torch.stack([1 - second, second, torch.zeros(1, 4)], 1)
    found = evaluate(segmentation_metrics(NAMES, nll_loss), [(scores, labels)])
    assert found["AP_tc"] == 1
    assert found["acc_tc"] == 0


def test_a_class_that_does_not_occur():
    batches = batches_of((50,), 3, [0, 1])
    found = evaluate(segmentation_metrics(NAMES, nll_loss), batches)
    assert torch.tensor(found["AP_ar"]).isnan()
    assert found["mAP"] == pytest.approx((found["AP_bg"] + found["AP_tc"]) / 2)
    assert found["acc_ar"] == 0
