"""Tasks on pixels: what their samples hold, what counts, and scores whose values are known."""

import builtins

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from cheblienet.experiments import dense_tasks
from cheblienet.experiments.dense_tasks import MISSING, NOISE, TASKS, Samples, photographs

SIDE = 24


@pytest.mark.parametrize("name", TASKS)
def test_samples_are_the_same_at_every_pass(name):
    task, samples = TASKS[name], Samples(name, SIDE, True, 5, 0)
    assert len(samples) == 5
    x, target = samples[3]
    assert x.shape == (task.channels, SIDE, SIDE)
    assert target.shape == (2, SIDE, SIDE)
    assert x.dtype == target.dtype == torch.float32
    assert torch.equal(x, samples[3][0])
    for other in (samples[2], Samples(name, SIDE, True, 5, 1)[3], Samples(name, SIDE, False, 5, 0)[3]):
        assert not torch.equal(x, other[0])


def test_few_samples_are_repeated():
    few, many = Samples("denoising", SIDE, True, 10, 0, distinct=4), Samples("denoising", SIDE, True, 10, 0)
    assert len(few) == 10
    assert all(torch.equal(few[k][0], many[k % 4][0]) for k in range(10))
    assert not torch.equal(many[5][0], many[1][0])


def test_photographs_are_split_by_their_sides(monkeypatch):
    ramp = np.linspace(0, 1, 100, dtype=np.float32)[None].repeat(50, 0)
    monkeypatch.setattr(dense_tasks, "photographs", lambda: dict.fromkeys(dense_tasks.PHOTOGRAPHS, ramp))
    rng = np.random.default_rng(0)
    train, test = (np.stack([dense_tasks.patch(rng, 10, part) for _ in range(300)]) for part in (True, False))
    assert train.max() == ramp[0, 59]
    assert test.min() == ramp[0, 60]
    assert train.min() == 0
    assert test.max() == 1


def test_photographs_are_gray_and_real():
    found = photographs()
    assert tuple(found) == dense_tasks.PHOTOGRAPHS
    for image in found.values():
        assert image.ndim == 2
        assert image.dtype == np.float32
        assert 0 <= image.min() < image.max() <= 1
        assert len(np.unique(image)) > 50


def test_photographs_need_scikit_image(monkeypatch):
    original = builtins.__import__

    def without(name, *rest):
        if name == "skimage":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="photographs: need scikit-image: pip install scikit-image"):
        photographs.__wrapped__()


def test_inpainting_asks_for_what_is_missing():
    samples = [Samples("inpainting", SIDE, False, 100, 0)[k] for k in range(100)]
    x, target = map(torch.stack, zip(*samples, strict=True))
    known, missing = x[:, 1], target[:, 1]
    assert torch.equal(known, 1 - missing)
    assert float(missing.mean()) == pytest.approx(MISSING, abs=0.01)
    assert torch.equal(x[:, 0], target[:, 0] * known)


def test_noise_is_of_the_strength_it_says():
    samples = [Samples("denoising", SIDE, False, 100, 0)[k] for k in range(100)]
    x, target = map(torch.stack, zip(*samples, strict=True))
    noise = x[:, 0] - target[:, 0]
    assert float(noise.std()) == pytest.approx(NOISE, rel=0.01)
    assert abs(float(noise.mean())) < 0.01 * NOISE
    assert bool((target[:, 1] == 1).all())


def test_marks_are_on_the_strokes_that_are_asked_for():
    for k in range(50):
        x, (marked, counts) = Samples("strokes", SIDE, True, 50, 0)[k]
        union, mark = x
        assert 4 <= int(mark.sum()) <= 9  # a square of 3 x 3, cut at the border
        assert bool(((mark * marked * counts) > 0).any())
        assert bool((union[counts > 0] > 0.5).all())
        assert set(np.unique(counts)) <= {0, 1}
        assert bool((counts * (1 - marked)).any()) or bool((counts * marked).any())


def test_strokes_of_digits_without_ink(monkeypatch):
    monkeypatch.setattr(dense_tasks, "_digits", lambda train: np.zeros((3, 20, 20), np.float32))
    with pytest.raises(RuntimeError, match="strokes: 20 pairs of digits without a pixel of one alone"):
        Samples("strokes", SIDE, True, 1, 0)[0]


def test_losses_are_means_over_the_pixels_that_count():
    target = torch.tensor([[[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]]])
    y = torch.tensor([[[0.5, 0.0, 9.0, 9.0]]])
    assert float(dense_tasks.weighted_square(y, target)) == pytest.approx((0.25 + 1) / 2)
    expected = -(logsigmoid(torch.tensor(-0.5)) + logsigmoid(torch.tensor(0.0))) / 2
    assert float(dense_tasks.weighted_cross_entropy(y, target)) == pytest.approx(float(expected))


@pytest.mark.parametrize("name", ["inpainting", "strokes"])
def test_metrics_are_over_the_pixels_of_all_batches(name):
    # Batches of different numbers of pixels that count.
    torch.manual_seed(0)
    task = TASKS[name]
    target = torch.stack(
        [(torch.rand(6, 30) > 0.5).float(), (torch.rand(6, 30) > torch.linspace(0, 1, 6)[:, None]).float()], 1
    )
    y = torch.randn(6, 1, 30)
    metrics = task.metrics()
    for part in (slice(0, 2), slice(2, 6)):
        for metric in metrics.values():
            metric.update(metric._output_transform((y[part], target[part])))
    found = {key: metric.compute() for key, metric in metrics.items()}
    assert found["loss"] == pytest.approx(float(task.loss(y, target)), rel=1e-5)
    if name == "strokes":
        counts = target[:, 1] > 0
        right = ((y[:, 0] > 0) == (target[:, 0] > 0))[counts].float().mean()
        assert found["accuracy"] == pytest.approx(float(right))
        assert task.score(found) == pytest.approx(100 * float(right))
    else:
        assert task.score({"loss": 0.001}) == pytest.approx(30)
