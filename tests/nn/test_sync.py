"""Two processes with half of the batch each are one process with the whole."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cheblienet import nn as gnn
from cheblienet.graphs import S2GEGraph

SPLIT = (3, 2)  # samples of each process: they need not be the same


def network():
    torch.manual_seed(0)
    graph = S2GEGraph((42,), (1.0, 1.0, 1.0), 6)
    layers = gnn.ResidualBlock(2, 3, gnn.ChebConv, 3, graph=graph), gnn.BasicBlock(3, 4, gnn.ChebConv, 2, graph=graph)
    pooled = gnn.GlobalPool("avg"), gnn.VertexBatchNorm(4, affine=False, momentum=None)
    return nn.Sequential(*layers, *pooled).double()


def signal():
    return torch.randn(sum(SPLIT), 42, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).transpose(
        1, 2
    )


def step(model, x):
    """Outputs after the second of two calls, and the gradients of the sum of their cubes."""
    x = x.clone().requires_grad_()
    model(2 * x + 1)
    y = model(x)
    y.pow(3).sum().backward()
    return y.detach(), x.grad


def worker(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=len(SPLIT))
    model = gnn.convert_sync_batchnorm(network())
    y, dx = step(DistributedDataParallel(model), signal().split(SPLIT)[rank])
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.save({"y": y, "dx": dx, "gradients": gradients, "state": model.state_dict()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch is built without gloo")
def test_two_processes_are_one_with_the_whole_batch(tmp_path, monkeypatch, pytestconfig):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.syspath_prepend(pytestconfig.rootpath)  # where the processes find this module
    torch.multiprocessing.spawn(worker, (str(tmp_path),), nprocs=len(SPLIT))
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(len(SPLIT))]
    model = network()
    y, dx = step(model, signal())

    def close(actual, expected):
        torch.testing.assert_close(actual, expected, atol=1e-10, rtol=1e-10)

    close(torch.cat([part["y"] for part in parts]), y)
    close(torch.cat([part["dx"] for part in parts]), dx)
    for part in parts:
        close(part["state"], model.state_dict())
        for name, parameter in model.named_parameters():
            close(part["gradients"][name] * len(SPLIT), parameter.grad)  # the wrapper takes the mean over processes


def test_conversion_changes_nothing_in_one_process():
    model, x = network(), signal()
    converted = gnn.convert_sync_batchnorm(copy.deepcopy(model))
    assert all(module.synchronised for module in converted.modules() if isinstance(module, gnn.VertexBatchNorm))
    assert not any(module.synchronised for module in model.modules() if isinstance(module, gnn.VertexBatchNorm))
    assert torch.equal(converted(x), model(x))
    assert converted.state_dict().keys() == model.state_dict().keys()
