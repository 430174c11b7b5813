"""Recorded steps are the steps without recording, to the bit, and what cannot be recorded is run as usual, once."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import nll_loss

from cheblienet.graphs import R2GEGraph
from cheblienet.nn import ChebConv, GlobalPool, ResidualBlock, SE2SpatialPool
from cheblienet.train import TrainingStep
from cheblienet.train.capture import MOST_CHANGES, WARM_UP, _PythonState
from cheblienet.train.optimizer import adam
from cheblienet.train.recorder import RECORDERS

GRAPH, COARSE = R2GEGraph((4, 4), (1.0, 1.0, 1.0), 4), R2GEGraph((2, 2), (1.0, 1.0, 1.0), 2)


def make_network(device):
    """Random layers, running statistics, a signal that is computed twice."""
    torch.manual_seed(1)
    return nn.Sequential(
        ChebConv(1, 4, 2, GRAPH),
        ResidualBlock(4, 8, ChebConv, 2, graph=GRAPH),
        nn.Dropout(0.2),
        SE2SpatialPool(2, GRAPH.size, "rand"),
        ChebConv(8, 3, 2, COARSE),
        GlobalPool("max"),
        nn.LogSoftmax(1),
    ).to(device)


class Run:
    """Steps on batches of given sizes, and all that they leave."""

    def __init__(self, device, capture, make_optimizer=lambda p: adam(p, 1e-2), make_loss=None, network=None):
        self.network = make_network(device) if network is None else network(device)
        self.optimizer = make_optimizer(self.network.parameters())
        loss = (lambda network: lambda x, y: nll_loss(network(x), y)) if make_loss is None else make_loss
        self.step = TrainingStep(self.network, self.optimizer, loss(self.network), capture=capture)
        self.device, self.losses, self.gradients = device, [], []
        self.draw = torch.Generator().manual_seed(5)

    def go(self, *sizes, after=lambda run: None):
        torch.manual_seed(2)
        for size in sizes:
            x, y = torch.randn(size, 1, 16, generator=self.draw), torch.randint(3, (size,), generator=self.draw)
            self.losses.append(self.step(x.to(self.device), y.to(self.device)))
            self.gradients += [None if p.grad is None else p.grad.clone() for p in self.network.parameters()]
            after(self)
        self.random = torch.rand(3, device=self.device)
        return self

    def everything(self):
        state = self.optimizer.state_dict()["state"]
        return [
            *self.losses,
            *(gradient for gradient in self.gradients if gradient is not None),
            *self.network.state_dict().values(),
            *(value for k in sorted(state) for value in state[k].values() if isinstance(value, torch.Tensor)),
            self.random,
        ]


def assert_same(run, other):
    for a, b in zip(run.everything(), other.everything(), strict=True):
        assert torch.equal(a, b)


def compare(graphs, *sizes, after=lambda run: None, expected_warning=None, **kwargs):
    """Runs the same with and without recording; returns the former."""
    eager = Run(graphs.device, False, **kwargs).go(*sizes, after=after)
    assert graphs.begun == 0
    run = Run(graphs.device, True, **kwargs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.go(*sizes, after=after)
    messages = [str(w.message) for w in caught]
    assert len(messages) == (expected_warning is not None), messages
    if expected_warning is not None:
        assert expected_warning in messages[0]
        assert "\n" not in messages[0]
    assert_same(run, eager)
    return run


def test_two_sizes_and_a_rate_that_changes_at_every_step(graphs):
    sizes = [2 if k % 3 == 0 else 4 for k in range(14)]

    def after(run):
        run.optimizer.param_groups[0]["lr"] *= 0.9

    run = compare(graphs, *sizes, after=after)
    assert (graphs.begun, graphs.replays) == (2, len(sizes) - 2 * WARM_UP)
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 * 0.9 ** len(sizes), rel=1e-12)
    assert int(run.optimizer.state_dict()["state"][0]["step"]) == len(sizes)
    assert int(run.network[1].bn1.num_batches_tracked) == len(sizes)


def test_recordings_hold_numbers_fast(graphs):
    """Without which the tests here would say nothing."""
    weight = nn.Parameter(torch.ones(3, device=graphs.device))
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    torch.relu(weight)  # a first launch, outside of the recording
    with RECORDERS[graphs.device.type](graphs.device).record() as graph:
        optimizer.step()
    assert weight.tolist() == [1, 1, 1]
    optimizer.param_groups[0]["lr"] = 0.25
    graph.replay()
    assert weight.tolist() == [0.5, 0.5, 0.5]
    weight.grad = torch.zeros_like(weight)  # a tensor in another's place
    graph.replay()
    assert weight.tolist() == [0, 0, 0]


def test_schedulers_see_numbers(graphs):
    run = Run(graphs.device, True)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(run.optimizer, 0.5)
    run.go(*[4] * 6, after=lambda run: scheduler.step())
    assert scheduler.get_last_lr() == [1e-2 / 64]
    assert graphs.replays == 6 - WARM_UP


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.AdamW(p, lr=0.1, fused=True, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1), fused=True, amsgrad=True),
    ],
)
def test_other_optimizers(graphs, make_optimizer):
    compare(graphs, *[4] * 6, make_optimizer=make_optimizer)
    assert graphs.replays == 6 - WARM_UP


def test_more_shapes_than_graphs(graphs):
    compare(graphs, *[4, 2, 3, 3] * 5, expected_warning="batches of more than 2 shapes")
    assert (graphs.begun, graphs.replays) == (2, 2 * (5 - WARM_UP))


def test_autocast_within_the_loss(graphs):
    def make_loss(network):
        def loss(x, y):
            with torch.autocast(graphs.device.type, torch.bfloat16):
                scores = network(x)
            return nll_loss(scores.float(), y)

        return loss

    compare(graphs, *[4] * 8, make_loss=make_loss)
    assert graphs.replays == 8 - WARM_UP


def test_zero_grad_of_a_loop_changes_nothing(graphs):
    steps = iter(range(100))
    compare(graphs, *[4] * 8, after=lambda run: run.optimizer.zero_grad(set_to_none=next(steps) % 2 == 0))
    assert graphs.replays == 8 - WARM_UP


def test_modes_and_frozen_parameters_are_shapes_of_their_own(graphs):
    def after(run):
        if len(run.losses) == 5:
            run.network[1].eval()
        elif len(run.losses) == 10:
            run.network.train()
            run.network[0].requires_grad_(False)

    compare(graphs, *[4] * 14, after=after, expected_warning="batches of more than 2 shapes")
    assert (graphs.begun, graphs.replays) == (2, 2 * (5 - WARM_UP))


def test_settings_that_change_once_are_recorded_anew(graphs):
    def after(run):
        if len(run.losses) == 5:
            run.optimizer.param_groups[0]["weight_decay"] = 0.1
        elif len(run.losses) == 10:
            run.network[0].weight.data = run.network[0].weight.data.clone()

    compare(graphs, *[4] * 15, after=after)
    assert (graphs.begun, graphs.replays) == (3, 3 * (5 - WARM_UP))


def test_settings_that_change_at_every_step_are_not_recorded(graphs):
    def make_optimizer(parameters):
        optimizer = adam(parameters, 1e-2)
        optimizer.scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=20)  # and momentum
        return optimizer

    step = lambda run: run.optimizer.scheduler.step()  # noqa: E731
    reason = f"the optimizer's betas changed {MOST_CHANGES + 1} times"
    compare(graphs, *[4] * 10, make_optimizer=make_optimizer, after=step, expected_warning=reason)
    assert graphs.begun == 0


def test_loaded_states_and_new_groups(graphs):
    extra = nn.Parameter(torch.zeros(2))

    def after(run):
        if len(run.losses) == 1:
            run.saved = copy.deepcopy(run.optimizer.state_dict())
            run.saved["param_groups"][0].update(fused=None, capturable=False)  # as if written elsewhere
        elif len(run.losses) == 5:
            run.optimizer.load_state_dict(run.saved)
            assert run.optimizer.param_groups[0]["fused"]
            assert run.optimizer.param_groups[0]["capturable"]
        elif len(run.losses) == 10:
            run.optimizer.add_param_group({"params": [extra.to(run.device)]})

    compare(graphs, *[4] * 15, after=after)
    assert (graphs.begun, graphs.replays) == (3, 3 * (5 - WARM_UP))


def test_a_step_that_waits_for_the_device_runs_as_usual(graphs):
    def make_loss(network):
        return lambda x, y: nll_loss(network(x), y) * (1 + float(x.max() > 100))

    compare(graphs, *[4] * 6, make_loss=make_loss, expected_warning="steps are not recorded from here on: ")
    assert (graphs.begun, graphs.replays) == (1, 0)


def test_a_failure_after_one_size_was_recorded(graphs):
    """The error is the first one's; nothing that was recorded is used any more."""

    def make_loss(network):
        lacking = iter([True])

        def loss(x, y):
            if graphs.begun == 2 and next(lacking, False):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand advice")
            return nll_loss(network(x), y)

        return loss

    warning = "from here on: OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    compare(graphs, *[4] * 5, *[2] * 5, 4, make_loss=make_loss, expected_warning=warning)
    assert (graphs.begun, graphs.replays) == (2, 2)


class ReplacedStatistics(nn.Module):
    """A buffer that every call replaces by another tensor."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
        return x - self.mean


class CountsInPython(torch.optim.SGD):
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["calls"] = self.state[parameter].get("calls", 0) + 1
        self.param_groups[0]["lr"] = 0.1 / self.state[parameter]["calls"]
        return super().step(closure)


def test_state_that_is_replaced_is_not_recorded(graphs):
    network = lambda device: nn.Sequential(ReplacedStatistics(), make_network(device)).to(device)  # noqa: E731
    compare(graphs, *[4] * 6, network=network, expected_warning="replaces the network's 0 'mean' instead of")
    assert (graphs.begun, graphs.replays) == (1, 0)


def test_state_that_python_counts_is_not_recorded(graphs):
    warning = "the step replaces the optimizer's state 'calls' instead of changing it in place"
    eager = Run(graphs.device, False, lambda p: CountsInPython(p, lr=0.1)).go(*[4] * 6)
    run = Run(graphs.device, True, lambda p: CountsInPython(p, lr=0.1))
    run.step._follow_optimizer = lambda: None  # which would see the rate change
    with pytest.warns(UserWarning, match=warning):
        run.go(*[4] * 6)
    assert_same(run, eager)


def test_random_numbers_from_the_cpu_are_not_recorded():
    """On the stand-in's device they would be the device's own."""
    network = make_network("cpu")
    before, random = _PythonState(network, adam(network.parameters(), 0.1)), torch.get_rng_state()
    assert before.change() is None
    torch.rand(1)
    assert before.change() == "the step draws random numbers from the CPU's generator"
    before.restore()
    assert torch.equal(torch.get_rng_state(), random)


def test_errors_of_the_step_are_raised(graphs):
    def make_loss(network):
        return lambda x, y: nll_loss(network(x[:, :, :15]), y)

    with pytest.raises(ValueError, match="ChebConv: x: expected shape"):
        Run(graphs.device, True, make_loss=make_loss).go(4)


def test_batches_that_are_no_tensors_of_the_device(graphs):
    step = Run(graphs.device, True).step
    with pytest.raises(TypeError, match="TrainingStep: batch: expected tensors, got list at position 1"):
        step(torch.zeros(4, 1, 16, device=graphs.device), [0, 1, 2, 0])
    with pytest.raises(ValueError, match="TrainingStep: batch: position 1: expected a tensor on"):
        step(torch.zeros(4, 1, 16, device=graphs.device), torch.zeros(4, device="meta"))


def test_on_the_cpu_a_step_is_that_of_torch():
    run = Run(torch.device("cpu"), True, lambda p: torch.optim.Adam(p, 1e-2)).go(*[4] * 5)
    other = Run(torch.device("cpu"), True, lambda p: torch.optim.Adam(p, 1e-2))

    def step(x, y):
        other.optimizer.zero_grad()
        loss = nll_loss(other.network(x), y)
        loss.backward()
        other.optimizer.step()
        return loss.detach()

    other.step = step
    assert_same(run, other.go(*[4] * 5))
    assert not run.optimizer.param_groups[0]["capturable"]
    assert adam(run.network.parameters(), 0.1).defaults["fused"] is None
