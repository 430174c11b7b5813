"""Recorded steps are the steps without recording, to the bit, and what cannot be recorded is run as usual, once."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import nll_loss

from cheblienet.graphs import R2GEGraph, RandomSubGraph
from cheblienet.nn import ChebConv, GlobalPool
from cheblienet.train import TrainingStep
from cheblienet.train.capture import MOST_CHANGES, WARM_UP, _PythonState
from cheblienet.train.optimizer import adam
from cheblienet.train.recorder import RECORDERS


def sampled(device):
    torch.manual_seed(1)
    graph = RandomSubGraph(R2GEGraph((4, 4), (1.0, 1.0, 1.0), 4))
    return nn.Sequential(ChebConv(1, 3, 3, graph), GlobalPool("avg"), nn.LogSoftmax(1)).to(device)


def test_two_sizes_and_a_rate_that_changes_at_every_step(graphs, compare):
    sizes = [2 if k % 3 == 0 else 4 for k in range(14)]

    def after(run):
        run.optimizer.param_groups[0]["lr"] *= 0.9

    run = compare(*sizes, after=after)
    assert (graphs.begun, graphs.replays) == (2, len(sizes) - 2 * WARM_UP)
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 * 0.9 ** len(sizes), rel=1e-12)
    assert int(run.optimizer.state_dict()["state"][0]["step"]) == len(sizes)
    assert int(run.network[1].bn1.num_batches_tracked) == len(sizes)


def test_recordings_hold_numbers_fast(graphs):
    """Without which the tests here would say nothing."""
    first, weight = (nn.Parameter(torch.ones(3, device=graphs.device)) for _ in range(2))
    gradient = first.grad = weight.grad = torch.ones(3, device=graphs.device)
    torch.optim.SGD([first], lr=0.5).step()  # what a first launch does beside is not to be recorded
    optimizer = torch.optim.SGD([weight], lr=0.5)
    with RECORDERS[graphs.device.type](graphs.device).record() as graph:
        optimizer.step()
    assert weight.tolist() == [1, 1, 1]
    optimizer.param_groups[0]["lr"] = 0.25
    graph.replay()
    assert weight.tolist() == [0.5, 0.5, 0.5]
    weight.grad = 0 * gradient  # a tensor in another's place
    graph.replay()
    assert weight.tolist() == [0, 0, 0]


def test_schedulers_see_numbers_and_decide(graphs, make_run):
    """A step is that of torch with a tensor for the rate, to which the scheduler's numbers come."""
    run = make_run(graphs.device, True)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(run.optimizer, 0.5)
    run.go(*[4] * 6, after=lambda run: scheduler.step())
    assert scheduler.get_last_lr() == [1e-2 / 64]
    assert graphs.replays == 6 - WARM_UP

    rate = torch.tensor(1e-2, device=graphs.device)
    other = make_run(graphs.device, False, lambda p: torch.optim.Adam(p, lr=rate, fused=True, capturable=True))
    other.step = by_hand(other)
    run.assert_same(other.go(*[4] * 6, after=lambda run: rate.mul_(0.5)))


def by_hand(run):
    def step(x, y):
        run.optimizer.zero_grad()
        loss = nll_loss(run.network(x), y)
        loss.backward()
        run.optimizer.step()
        return loss.detach()

    return step


def test_optimizers_become_capturable(graphs, make_run):
    run = make_run(graphs.device, False, lambda p: torch.optim.Adam(p, 1e-2, fused=True)).go(4)
    run.optimizer.param_groups[0]["capturable"] = False
    for state in run.optimizer.state.values():  # as torch counts where it may not be captured
        state["step"] = state["step"].double().cpu()
    TrainingStep(run.network, run.optimizer, nll_loss, capture=False)
    assert run.optimizer.param_groups[0]["capturable"]
    for state in run.optimizer.state.values():
        assert (state["step"].device, state["step"].dtype) == (graphs.device, torch.float32)


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.AdamW(p, lr=0.1, fused=True, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1), fused=True, amsgrad=True),
    ],
)
def test_other_optimizers(graphs, compare, make_optimizer):
    compare(*[4] * 6, make_optimizer=make_optimizer)
    assert graphs.replays == 6 - WARM_UP


def test_more_shapes_than_graphs(graphs, compare):
    compare(*[4, 2, 3, 3] * 5, expected_warning="batches of more than 2 shapes")
    assert (graphs.begun, graphs.replays) == (2, 2 * (5 - WARM_UP))


def test_autocast_within_the_loss(graphs, compare):
    def make_loss(network):
        def loss(x, y):
            with torch.autocast(graphs.device.type, torch.bfloat16):
                scores = network(x)
            return nll_loss(scores.float(), y)

        return loss

    compare(*[4] * 8, make_loss=make_loss)
    assert graphs.replays == 8 - WARM_UP


def test_zero_grad_of_a_loop_changes_nothing(graphs, compare):
    steps = iter(range(100))
    compare(*[4] * 8, after=lambda run: run.optimizer.zero_grad(set_to_none=next(steps) % 2 == 0))
    assert graphs.replays == 8 - WARM_UP


def test_modes_and_frozen_parameters_are_shapes_of_their_own(graphs, compare):
    def after(run):
        if len(run.losses) == 5:
            run.network[1].eval()
        elif len(run.losses) == 10:
            run.network.train()
            run.network[0].requires_grad_(False)

    compare(*[4] * 14, after=after, expected_warning="batches of more than 2 shapes")
    assert (graphs.begun, graphs.replays) == (2, 2 * (5 - WARM_UP))


def test_settings_that_change_once_are_recorded_anew(graphs, compare):
    def after(run):
        if len(run.losses) == 5:
            run.optimizer.param_groups[0]["weight_decay"] = 0.1
        elif len(run.losses) == 10:
            run.network[0].weight.data = run.network[0].weight.data.clone()

    compare(*[4] * 15, after=after)
    assert (graphs.begun, graphs.replays) == (3, 3 * (5 - WARM_UP))


def test_settings_that_change_at_every_step_are_not_recorded(graphs, compare):
    def make_optimizer(parameters):
        optimizer = adam(parameters, 1e-2)
        optimizer.scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=20)  # and momentum
        return optimizer

    step = lambda run: run.optimizer.scheduler.step()  # noqa: E731
    reason = f"the optimizer's betas changed {MOST_CHANGES + 1} times"
    compare(*[4] * 10, make_optimizer=make_optimizer, after=step, expected_warning=reason)
    assert graphs.begun == 0


def test_loaded_states_and_new_groups(graphs, compare):
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

    compare(*[4] * 15, after=after)
    assert (graphs.begun, graphs.replays) == (3, 3 * (5 - WARM_UP))


def test_a_step_that_waits_for_the_device_runs_as_usual(graphs, compare):
    def make_loss(network):
        return lambda x, y: nll_loss(network(x), y) * (1 + float(x.max() > 100))

    compare(*[4] * 6, make_loss=make_loss, expected_warning="steps are not recorded from here on: ")
    assert (graphs.begun, graphs.replays) == (1, 0)


def test_a_failure_after_one_size_was_recorded(graphs, compare):
    """The error is the first one's; nothing that was recorded is used any more."""

    def make_loss(network):
        lacking = iter([True])

        def loss(x, y):
            if graphs.begun == 2 and next(lacking, False):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand advice")
            return nll_loss(network(x), y)

        return loss

    warning = "from here on: OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    compare(*[4] * 5, *[2] * 5, 4, make_loss=make_loss, expected_warning=warning)
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
            parameter.grad /= self.state[parameter]["calls"]
        return super().step(closure)


def with_replaced_statistics(device):
    return nn.Sequential(ReplacedStatistics(), sampled(device)).to(device)


def test_state_that_is_replaced_is_not_recorded(graphs, compare):
    compare(*[4] * 6, network=with_replaced_statistics, expected_warning="replaces the network's 0 'mean' instead of")
    assert (graphs.begun, graphs.replays) == (1, 0)


def test_state_that_python_counts_is_not_recorded(graphs, compare):
    warning = "the step replaces the optimizer's state 'calls' instead of changing it in place"
    compare(*[4] * 6, make_optimizer=lambda p: CountsInPython(p, lr=0.1, momentum=0.9), expected_warning=warning)
    assert (graphs.begun, graphs.replays) == (1, 0)


def test_a_graph_that_is_sampled_now_and_then(graphs, compare):
    def after(run):
        if len(run.losses) == 5:
            run.network[0].graph.edges_sampling(0.5)

    compare(*[4] * 10, network=sampled, after=after)
    assert (graphs.begun, graphs.replays) == (2, 2 * (5 - WARM_UP))


def test_a_graph_that_is_sampled_at_every_step(graphs, compare):
    def after(run):
        run.network[0].graph.reinit()
        run.network[0].graph.edges_sampling(0.5)

    compare(*[4] * 8, network=sampled, after=after, expected_warning="the Laplacian of a layer changed 4 times")
    assert graphs.begun == 0


def test_random_numbers_from_the_cpu_are_not_recorded():
    """On the stand-in's device they would be the device's own."""
    network = sampled("cpu")
    before, random = _PythonState(network, adam(network.parameters(), 0.1)), torch.get_rng_state()
    assert before.change() is None
    torch.rand(1)
    assert before.change() == "the step draws random numbers from the CPU's generator"
    before.restore()
    assert torch.equal(torch.get_rng_state(), random)


def test_errors_of_the_step_are_raised(graphs, make_run):
    def make_loss(network):
        return lambda x, y: nll_loss(network(x[:, :, :15]), y)

    with pytest.raises(ValueError, match="ChebConv: x: expected shape"):
        make_run(graphs.device, True, make_loss=make_loss).go(4)


def test_batches_that_are_no_tensors_of_the_device(graphs, make_run):
    step = make_run(graphs.device, True).step
    with pytest.raises(TypeError, match="TrainingStep: batch: expected tensors, got list at position 1"):
        step(torch.zeros(4, 1, 16, device=graphs.device), [0, 1, 2, 0])
    with pytest.raises(ValueError, match="TrainingStep: batch: position 1: expected a tensor on"):
        step(torch.zeros(4, 1, 16, device=graphs.device), torch.zeros(4, device="meta"))


def test_on_the_cpu_a_step_is_that_of_torch(make_run):
    run = make_run(torch.device("cpu"), True, lambda p: torch.optim.Adam(p, 1e-2)).go(*[4] * 5)
    other = make_run(torch.device("cpu"), True, lambda p: torch.optim.Adam(p, 1e-2))
    other.step = by_hand(other)
    run.assert_same(other.go(*[4] * 5))
    assert not run.optimizer.param_groups[0]["capturable"]
    assert adam(run.network.parameters(), 0.1).defaults["fused"] is None
