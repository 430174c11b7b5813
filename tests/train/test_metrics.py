"""Metrics against scikit-learn, over batches and shapes that evaluations have."""

import pytest
import torch
from ignite.engine import Engine
from sklearn import metrics as sklearn
from torch.nn.functional import nll_loss

from cheblienet.train import classification_metrics, segmentation_metrics
from cheblienet.train.metrics import AveragePrecisions

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
        assert found[f"AP_{name}"] == pytest.approx(precision[c], abs=1e-5)
    assert found["mAP"] == pytest.approx(sum(precision) / 3, abs=float(found["mAP_bound"]))
    assert 0 < found["mAP_bound"] < 1e-5
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


def average_precisions(scores, labels):
    metric = AveragePrecisions(scores.shape[1])
    metric.update((scores, labels))
    return metric.compute()


def network_like(scale, counts, dtype=torch.float32):
    """Synthetic log-probabilities (1, 3, V) and labels (1, V): `counts` vertices of each class, logits `scale` apart."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    logits = scale * (0.5 * torch.randn(3, len(labels), generator=generator) + torch.eye(3)[labels].T)
    logits[0] += scale  # the background is what most vertices look like
    return logits.log_softmax(0).to(dtype)[None], labels[None]


@pytest.mark.parametrize(
    ("scores", "labels", "most"),
    [
        pytest.param(*network_like(1.5, (49_000, 250, 750)), 5e-5, id="smooth"),
        pytest.param(*network_like(8.0, (49_000, 250, 750)), 2e-5, id="saturated"),
        pytest.param(*network_like(40.0, (49_000, 250, 750)), 2e-5, id="hard"),
        pytest.param(*network_like(1.5, (49_990, 3, 7)), 5e-5, id="rare"),
        pytest.param(*network_like(8.0, (49_000, 250, 750), torch.bfloat16), 0, id="tied"),
        pytest.param(*network_like(1e4, (490, 250, 260)), 0.5, id="beyond the bins"),
        pytest.param(torch.zeros(1, 3, 90), torch.arange(90)[None] % 3, 0, id="equal"),
    ],
)
def test_streamed_average_precision_is_within_its_bound(scores, labels, most):
    value, bound = average_precisions(scores, labels)
    exact = [sklearn.average_precision_score(labels[0] == c, scores[0, c].float()) for c in range(3)]
    assert torch.all((value - torch.tensor(exact, dtype=torch.float64)).abs() <= bound + 1e-12)
    assert torch.all(bound <= most)


@pytest.mark.parametrize("far", [0, 5000])
def test_the_bound_is_attained(far):
    """50 positives and 30 negatives within one bin, below one positive and `far` negatives: both ends of what can be."""
    above = [0.5] * (far + 1)
    first, apart = torch.tensor([1.0]), 1 + torch.arange(80) * 2.0**-23
    for within, labels, sign in (
        (
            torch.cat([first.expand(50) + 2.0**-23, first.expand(30)]),
            [1] * 50 + [0] * 30,
            1,
        ),  # tied, above the negatives
        (apart, [1] * 50 + [0] * 30, -1),  # each apart, below the negatives
    ):
        score = torch.cat([torch.tensor(above) + 2, within])
        truth = torch.tensor([1] + [0] * far + labels)
        value, bound = average_precisions(torch.stack([-score, score])[None], truth[None])[:, 1]
        exact = sklearn.average_precision_score(truth, score)
        assert float(value + sign * bound) == pytest.approx(exact, abs=1e-9)
        assert bound > 1e-3 if far == 0 else bound > 1e-5


def test_average_precisions_do_not_depend_on_batches_and_do_not_grow():
    scores, labels = network_like(8.0, (4000, 250, 750))
    whole, parts = AveragePrecisions(3), AveragePrecisions(3)
    whole.update((scores, labels))
    size = sum(value.numel() for value in vars(parts).values() if isinstance(value, torch.Tensor))
    for part in torch.randperm(5000).split(700):
        parts.update((scores[..., part], labels[..., part]))
    assert torch.equal(parts.compute(), whole.compute())
    assert size == sum(value.numel() for value in vars(parts).values() if isinstance(value, torch.Tensor))
    whole.reset()
    assert whole.compute().isnan().all()


def test_infinite_scores_rank_last_and_first():
    scores = torch.tensor([[[-torch.inf, 0.0, torch.inf, -torch.inf]]])
    labels = torch.tensor([[0, 0, 0, 1]])
    value, bound = average_precisions(torch.cat([scores, -scores], 1), labels)
    assert value.tolist() == pytest.approx([(1 + 1 + 3 / 4) / 3, 1 / 2])
    assert bound.tolist() == [0, 0]


def test_scores_and_labels_that_mean_nothing_are_refused():
    metric = AveragePrecisions(2)
    with pytest.raises(ValueError, match="AveragePrecisions: scores: expected numbers, got NaN"):
        metric.update((torch.tensor([[[0.0], [torch.nan]]]), torch.zeros(1, 1, dtype=torch.int64)))
    for wrong in (-1, 2):
        with pytest.raises(ValueError, match=f"AveragePrecisions: labels: expected classes from 0 to 1, got {wrong}"):
            metric.update((torch.zeros(1, 2, 1), torch.tensor([[wrong]])))
