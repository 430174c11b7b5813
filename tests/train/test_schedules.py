"""Schedules, weight decay and clipping do what torch's own do, recorded or not."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import nll_loss

from cheblienet.train import SCHEDULES, TrainingStep, schedule
from cheblienet.train.optimizer import adam

STEPS, LR = 20, 0.02


def make_network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), nn.LogSoftmax(1))


def batches(device):
    draw = torch.Generator().manual_seed(4)
    for _ in range(STEPS):
        x, y = torch.randn(8, 6, generator=draw), torch.randint(3, (8,), generator=draw)
        yield x.to(device), y.to(device)


def train(device, optimizer_of, schedule_of=lambda optimizer: None, clip_norm=None, capture=True):
    """Learning rates before each step, gradients' norms and the parameters after each."""
    network = make_network().to(device)
    optimizer = optimizer_of(network.parameters())
    scheduler = schedule_of(optimizer)
    step = TrainingStep(network, optimizer, lambda x, y: nll_loss(network(x), y), clip_norm=clip_norm, capture=capture)
    rates, norms, parameters = [], [], []
    for batch in batches(device):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        step(*batch)
        norms.append(float(torch.cat([p.grad.flatten() for p in network.parameters()]).norm()))
        parameters.append(torch.cat([p.detach().flatten() for p in network.parameters()]).clone())
        if scheduler is not None:
            scheduler.step()
    return rates, norms, parameters


def plain_steps(optimizer_of):
    """The parameters after torch's own steps."""
    network = make_network()
    optimizer = optimizer_of(network.parameters())
    for x, y in batches("cpu"):
        optimizer.zero_grad()
        nll_loss(network(x), y).backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_constant_is_no_schedule():
    assert schedule("constant", adam(make_network().parameters(), LR), STEPS) is None


@pytest.mark.parametrize("name", ["cosine", "onecycle", "step"])
def test_the_rate_of_each_step_is_that_of_the_definition(graphs, name):
    rates, _, parameters = train(graphs.device, lambda p: adam(p, LR), lambda o: schedule(name, o, STEPS))
    assert graphs.begun == 1  # one recording, whatever the rate
    last = STEPS - 1
    if name == "cosine":
        expected = [LR * (1 + math.cos(math.pi * k / STEPS)) / 2 for k in range(STEPS)]
    elif name == "step":
        expected = [LR * (1 if k < STEPS // 2 else 0.1 if k < STEPS * 3 // 4 else 0.01) for k in range(STEPS)]
    else:
        top = 0.3 * STEPS - 1
        rise = [LR / 25 + (LR - LR / 25) * (1 - math.cos(math.pi * k / top)) / 2 for k in range(int(top))]
        fall = [(1 + math.cos(math.pi * (k - top) / (last - top))) / 2 for k in range(int(top), STEPS)]
        expected = rise + [LR / 25e4 + (LR - LR / 25e4) * part for part in fall]
    assert rates == pytest.approx(expected, rel=1e-6)
    eager = train(graphs.device, lambda p: adam(p, LR), lambda o: schedule(name, o, STEPS), capture=False)
    assert all(torch.equal(a, b) for a, b in zip(parameters, eager[2], strict=True))


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("name", SCHEDULES)
def test_short_runs_have_schedules(name, steps):
    optimizer = adam(make_network().parameters(), LR)
    scheduler = schedule(name, optimizer, steps)
    for _ in range(steps):
        assert 0 < optimizer.param_groups[0]["lr"] <= LR
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def test_schedules_out_of_range():
    optimizer = adam(make_network().parameters(), LR)
    with pytest.raises(ValueError, match="schedule: expected one of 'constant', .* got 'linear'"):
        schedule("linear", optimizer, 5)
    with pytest.raises(ValueError, match="total_steps: expected an integer at least 1, got 0"):
        schedule("cosine", optimizer, 0)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_weight_decay_is_that_of_adamw(graphs, weight_decay):
    found = train(graphs.device, lambda p: adam(p, LR, weight_decay))[2]
    expected = plain_steps(lambda p: torch.optim.AdamW(p, LR, weight_decay=weight_decay))
    torch.testing.assert_close(found[-1].cpu(), expected, rtol=1e-4, atol=1e-6)
    assert torch.allclose(plain_steps(lambda p: torch.optim.Adam(p, LR)), expected, rtol=1e-3) == (weight_decay == 0)


def test_clipping_bounds_the_gradient_and_changes_no_shorter_one(graphs):
    sgd = lambda p: torch.optim.SGD(p, LR)  # noqa: E731
    _, norms, _ = train(graphs.device, sgd)
    bound = sorted(norms)[STEPS // 2]
    graphs.begun = 0
    _, clipped, parameters = train(graphs.device, sgd, clip_norm=bound)
    assert graphs.begun == 1  # nothing in it waits for the device
    assert max(clipped) == pytest.approx(bound, rel=1e-4)
    assert min(clipped) < 0.99 * bound
    network = make_network()
    for (x, y), expected in zip(batches("cpu"), parameters, strict=True):
        nll_loss(network(x), y).backward()
        gradient = torch.cat([p.grad.flatten() for p in network.parameters()])
        factor = min(1.0, bound / float(gradient.norm()))
        with torch.no_grad():
            for p in network.parameters():
                p -= LR * factor * p.grad
                p.grad = None
        found = torch.cat([p.detach().flatten() for p in network.parameters()])
        torch.testing.assert_close(found, expected.cpu(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1.0, ValueError), (math.nan, ValueError), ("1", TypeError)]
)
def test_norms_that_clip_to_nothing_are_refused(value, error):
    network = make_network()
    with pytest.raises(error, match="TrainingStep: clip_norm: expected a"):
        TrainingStep(network, adam(network.parameters(), LR), lambda x: x, clip_norm=value)
