"""A run that one process or several do, started by test_distributed.py; torchrun starts it as a program."""

import argparse
import sys
from pathlib import Path

import ignite.distributed as idist
import torch
from torch import nn
from torch.nn.functional import nll_loss
from torch.utils.data import TensorDataset

from cheblienet.graphs import R2GEGraph
from cheblienet.nn import ChebConv, VertexBatchNorm
from cheblienet.train import Options, Task, fit, segmentation_metrics
from cheblienet.train.distributed import processes
from cheblienet.train.metrics import AveragePrecisions
from cheblienet.train.recorder import RECORDERS

GRAPH = R2GEGraph((4, 4), (1.0, 1.0, 1.0), 4)


def run(out, max_epochs=2, resume=False, validated=False):
    """Batch statistics over the processes; 5 test samples, which two processes cannot share evenly."""
    torch.manual_seed(0)
    model = nn.Sequential(
        ChebConv(2, 4, 2, GRAPH), VertexBatchNorm(4), nn.ReLU(), ChebConv(4, 3, 2, GRAPH), nn.LogSoftmax(1)
    )
    data = TensorDataset(torch.randn(14, 2, 16), torch.randint(3, (14, 16)))
    test = TensorDataset(torch.randn(5, 2, 16), torch.randint(3, (5, 16)))
    task = Task(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        loss=nll_loss,
        prepare_batch=lambda batch, device, non_blocking: tuple(batch),
        train_set=data,
        test_sets={"test": test},
        metrics=lambda: segmentation_metrics(("bg", "tc", "ar"), nll_loss),
    )
    if validated:
        task.validation_set, task.score = TensorDataset(torch.randn(7, 2, 16), torch.randint(3, (7, 16))), "mAP"
    return fit(task, Options(Path(out), max_epochs, 4, torch.device("cpu"), sync_bn=True, resume=resume))


def average_precisions():
    """(2, 3) of four batches, saturated and tied among them; the second of two processes has one, of another size."""
    generator = torch.Generator().manual_seed(0)
    metric = AveragePrecisions(3)
    for batch in range(4):
        labels = torch.randint(3, (2 + batch // 3, 500), generator=generator)
        logits = torch.randn(len(labels), 3, 500, generator=generator) * 10 ** (batch - 1.0)
        scores = logits.log_softmax(1).bfloat16().float() if batch == 1 else logits.log_softmax(1)
        if idist.get_world_size() == 1 or (batch == 3) == (idist.get_rank() == 1):
            metric.update((scores, labels))
    return metric.compute()


if __name__ == "__main__":
    RECORDERS["cpu"] = None  # as if steps could be recorded, which several processes may not try
    with processes(argparse.Namespace(device="cpu", cuda=False)):
        run(sys.argv[1], max_epochs=1)
        run(sys.argv[1], max_epochs=2, resume=True)
        report = run(f"{sys.argv[1]}/validated", max_epochs=4, validated=True)
        torch.save([report.epoch, report.score, report.metrics], f"{sys.argv[1]}/report_{idist.get_rank()}.pt")
        torch.save(average_precisions(), f"{sys.argv[1]}/average_precisions_{idist.get_rank()}.pt")
