"""A training step of the paper's MNIST network, eager and captured, and its kernels by time."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from cheblienet.nn import WideResSE2GEChebNet

from ..chebyshev import ORDERS
from .convolution import BATCH, graph_of, steps_chosen
from .timing import PRECISIONS, Rows, Step, eager_and_captured, precision, synchronize


def training_step(name: str, device: str, side: int, batch: int) -> Step:
    """A step of Adam on static tensors, so that it can be captured."""
    graph = graph_of(side)
    torch.manual_seed(0)
    network = WideResSE2GEChebNet(1, 10, ORDERS, graph, res_depth=2, widen_factor=2).to(device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True, capturable=device == "cuda")
    x = torch.randn(batch, 1, graph.num_vertices, device=device)
    labels = torch.randint(10, (batch,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        # The cache of casts would outlive a captured step.
        with torch.autocast(device, torch.bfloat16, enabled=name == "bfloat16", cache_enabled=False):
            scores = network(x)
        nn.functional.nll_loss(scores.float(), labels).backward()
        optimizer.step()

    return step


def kernels(step: Step, device: str) -> dict[str, Any]:
    """The launches of one call, and the 25 kernels that take the most time."""
    step()
    synchronize(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as found:
        step()
        synchronize(device)
    events = list(found.events())
    # What an operator spans on the device stands there under its own name, beside its kernels.
    operators = {event.name for event in events if event.device_type == DeviceType.CPU}
    on_device = [e for e in events if e.device_type == DeviceType.CUDA and e.name not in operators]
    total: dict[str, tuple[int, float]] = {}
    for event in on_device:
        count, time = total.get(event.name, (0, 0.0))
        total[event.name] = count + 1, time + event.time_range.elapsed_us()
    longest = sorted(total.items(), key=lambda item: -item[1][1])[:25]
    listed = [{"kernel": kernel[:120], "launches": count, "us": round(us, 1)} for kernel, (count, us) in longest]
    return {
        "launches": len(on_device),
        "device_ms": sum(us for _, us in total.values()) / 1e3,
        "kernels": listed,
    }


def measure(rows: Rows, device: str, side: int = 28, batch: int = BATCH, budget: float = 1.0) -> None:
    for name in PRECISIONS:

        def times(name: str = name) -> dict[str, Any]:
            with precision(name):
                step = training_step(name, device, side, batch)
                return {**kernels(step, device), **eager_and_captured(step, device, budget)}

        rows.add({"precision": name, "contender": " ".join(["cheblienet", *steps_chosen()])}, times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.training", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the file of rows, JSON")
    rows = Rows(parser.parse_args().out)
    measure(rows, "cuda")
    rows.close()


if __name__ == "__main__":
    main()
