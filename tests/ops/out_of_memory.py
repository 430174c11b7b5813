"""Run by test_memory.py: calls that need more than the address space holds raise, and smaller ones after them are right."""

import resource
from pathlib import Path

import torch

from cheblienet import ops

MIB = 2**20
ROOM = 30 * MIB
VERTICES, CHANNELS = 8000, 32
FEW, MANY = 4, 25  # orders: a workspace of 3 or 24 times VERTICES * CHANNELS for every thread

torch.manual_seed(0)
torch.set_num_threads(2)
ring = torch.arange(VERTICES)
rowptr = torch.arange(0, 2 * VERTICES + 1, 2)
col = torch.stack([(ring - 1) % VERTICES, (ring + 1) % VERTICES], 1).sort(1).values.flatten()
values = torch.full((2 * VERTICES,), -0.5)
with torch.sparse.check_sparse_tensor_invariants(True):
    laplacian = ops.csr(torch.sparse_csr_tensor(rowptr, col, values, (VERTICES, VERTICES)))


def signal(batch: int, vertices: int = VERTICES) -> torch.Tensor:
    return torch.linspace(-1, 1, vertices * CHANNELS).view(1, vertices, CHANNELS).expand(batch, -1, -1).contiguous()


def convolution(x: torch.Tensor, weight: torch.Tensor, learned: bool = False):
    def run() -> list[torch.Tensor]:
        theta, graph = weight.clone().requires_grad_(), laplacian
        if learned:
            graph = laplacian._replace(values=laplacian.values.clone().requires_grad_())
        y = ops.chebyshev(x, theta, graph)
        return [y.detach(), *torch.autograd.grad(y.square().mean(), [theta] + ([graph.values] if learned else []))]

    return run


mean, var, batches = torch.zeros(CHANNELS), torch.ones(CHANNELS), torch.tensor(0)
one, zero = torch.ones(CHANNELS), torch.zeros(CHANNELS)


def normalisation(x: torch.Tensor, residual: torch.Tensor | None):
    def run() -> list[torch.Tensor]:
        before = mean.clone(), var.clone(), batches.clone()
        try:
            y = torch.ops.cheblienet.batch_norm.tracked(x, residual, one, zero, [mean, var, batches], 0.1, 1e-5, True)
        except (RuntimeError, MemoryError):
            assert all(map(torch.equal, before, (mean, var, batches))), "a call that failed moved the statistics"
            raise
        return [*y]

    return run


def pooling(x: torch.Tensor, reduction: str):
    index = torch.arange(x.shape[1]).view(-1, 2).repeat_interleave(2, 0)  # as many outputs as vertices
    table = ops.gather_index(index, x.shape[1])
    return lambda: [ops.gather_reduce(x, table, reduction)]


def neighbours(vertices: int, k: int):
    elements, sigmas = torch.rand(vertices, 3, dtype=torch.float64), torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    return lambda: [*torch.ops.cheblienet.nearest_neighbors(elements, sigmas, k, "se2")]


def mutual(vertices: int, k: int):
    index = (torch.arange(vertices)[:, None] + torch.arange(1, k + 1)) % vertices
    sqdist = torch.rand(vertices, k, dtype=torch.float64)
    return lambda: [*torch.ops.cheblienet.mutual_neighbors(index, sqdist, 1.0)]


def ordering(vertices: int, degree: int):
    rows, columns = torch.arange(vertices + 1) * degree, torch.arange(degree).repeat(vertices)
    order = torch.arange(vertices).flip(0)
    return lambda: [*torch.ops.cheblienet.order_rows(rows, columns, order)]


few, many = torch.randn(FEW, CHANNELS, CHANNELS), torch.randn(MANY, CHANNELS, CHANNELS)
small, wide = signal(2), signal(50)
# What needs too much, and what does not: the workspace, then the result.
CASES = {
    "convolution, orders": (convolution(small, many), convolution(small, few)),
    "convolution, batch": (convolution(wide, few), convolution(small, few)),
    "convolution, learned": (convolution(small, many, learned=True), convolution(small, few, learned=True)),
    "normalisation": (normalisation(wide, None), normalisation(small, None)),
    "residual": (normalisation(signal(17), signal(17)), normalisation(small, small)),
    "pooling, avg": (pooling(wide, "avg"), pooling(small, "avg")),
    "pooling, max": (pooling(signal(28), "max"), pooling(small, "max")),
    "nearest": (neighbours(20_000, 150), neighbours(1000, 8)),
    "mutual": (mutual(20_000, 150), mutual(1000, 8)),
    "order of rows": (ordering(5000, 600), ordering(500, 8)),
}

before = {}
for name, (_, fits) in CASES.items():
    mean.zero_(), var.fill_(1), batches.zero_()
    before[name] = [t.clone() for t in fits()]
ops.empty_cache()
used = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (int(used.split()[1]) * 1024 + ROOM, resource.RLIM_INFINITY))
for _ in range(2):
    for name, (too_much, fits) in CASES.items():
        mean.zero_(), var.fill_(1), batches.zero_()
        said = "nothing"
        try:
            too_much()
        except (RuntimeError, MemoryError) as error:
            said = "memory" if isinstance(error, MemoryError) else str(error)
        assert "memory" in said or "bad_alloc" in said, f"{name} said: {said}"
        assert all(map(torch.equal, fits(), before[name])), name
print("right")
