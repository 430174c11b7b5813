"""The Chebyshev convolution, forward and backward, at the widths of the paper's networks, and whole training steps."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cheblienet.graphs import Graph, SE2GEGraph, SO3GEGraph
from cheblienet.nn import ChebConv, WideResSE2GEChebNet

from .baselines import CsrChebConv, GeometricChebConv, ReferenceChebConv, on_reference_layers
from .measure import read_bandwidth, timed
from .registry import OURS, REFERENCE, Benchmark, Contender

ORDERS = 4
CSR = {"cpu": "MKL CSR", "cuda": "cuSPARSE"}  # the library behind the framework's products of CSR matrices
GRAPHS: dict[str, Callable[[], Graph]] = {
    "SE(2) 28x28x6": lambda: SE2GEGraph((28, 28, 6), (1.0, 0.1, 2.048 / 28**2), 16),
    "SE(2) 96x96x6": lambda: SE2GEGraph((96, 96, 6), (1.0, 0.1, 2.048 / 96**2), 16),
    "SO(3) level 5 x 6": lambda: SO3GEGraph((10242, 6), (1.0, 0.1, 0.001), 16, frames="coordinate"),
}
_built: dict[str, Graph] = {}


def graph_of(name: str) -> Graph:
    if name not in _built:
        _built[name] = GRAPHS[name]()
    return _built[name]


def differentiated(layer: nn.Module, x: Tensor, dy: Tensor) -> Contender:
    """A step is the forward and the gradients of the input and of all parameters."""
    x.requires_grad_()
    inputs = [x, *layer.parameters()]

    def forward() -> Tensor:
        with torch.no_grad():
            return layer(x)

    return Contender(lambda: torch.autograd.grad(layer(x), inputs, dy), forward)


def floor(graph: Graph, batch: int, cin: int, cout: int, device: str) -> float:
    """Seconds of the matrix products alone at the library's speed, and of the sparse products' reads from cache."""
    rows = batch * graph.num_vertices
    products = [((rows, ORDERS * cin), (ORDERS * cin, cout)), ((rows, ORDERS * cout), (ORDERS * cout, cin))]
    seconds = 0.0
    for a_shape, b_shape in products:
        a, b = torch.randn(a_shape, device=device), torch.randn(b_shape, device=device)
        out = torch.empty(a_shape[0], b_shape[1], device=device)
        seconds += min(timed(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device) for _ in range(5))
    x, u = torch.randn(rows, cin, device=device), torch.randn(rows, ORDERS * cout, device=device)
    out = torch.empty(cin, ORDERS * cout, device=device)
    seconds += min(timed(lambda: torch.mm(x.T, u, out=out), device) for _ in range(5))
    per_channel = 4 * (graph.num_edges + 2 * graph.num_vertices)  # gathered rows, the order before last, the result
    moved = batch * (ORDERS - 1) * (min(cin, cout) + min(cout, 2 * cin)) * per_channel
    return seconds + moved / read_bandwidth(device)


def convolution(
    graph_name: str, batch: int, cin: int, cout: int, goals: dict[str, float], device: str, geometric: bool
) -> Benchmark:
    """Every contender gets the signal in the layout that it works on, so none pays for a transpose.

    PyTorch Geometric is timed at the paper's size only: its steps on the large graphs would take most of a run.
    """

    def setup(kind: Callable[[ChebConv], nn.Module], layout: tuple[int, int, int]) -> Contender:
        graph = graph_of(graph_name)
        torch.manual_seed(0)
        layer = ChebConv(cin, cout, ORDERS, graph).to(device)
        x, dy = (torch.randn(batch, graph.num_vertices, width, device=device) for width in (cin, cout))
        x, dy = x.permute(layout), dy.permute(layout)
        if kind is not identity:  # ours takes (B, C, V) in vertex-major memory, which permuting leaves as it is
            x, dy = x.contiguous(), dy.contiguous()
        return differentiated(kind(layer), x, dy)

    def identity(layer: ChebConv) -> nn.Module:
        return layer

    def bound() -> float:
        return floor(graph_of(graph_name), batch, cin, cout, device)

    num_vertices = graph_of(graph_name).num_vertices
    contenders = {
        OURS: lambda: setup(identity, (0, 2, 1)),
        REFERENCE: lambda: setup(ReferenceChebConv, (0, 2, 1)),
        CSR[device]: lambda: setup(CsrChebConv, (1, 0, 2)),
    }
    if geometric:
        contenders["PyG"] = lambda: setup(GeometricChebConv, (0, 1, 2))
    return Benchmark(
        name=f"{graph_name}, B={batch}, {cin}->{cout}",
        contenders=contenders,
        # Three products (y, dx, dTheta) of all orders; the sparse products are under 5 % of it and not counted.
        flops=3 * 2.0 * batch * num_vertices * ORDERS * cin * cout,
        floor=bound,
        goals=goals,
        device=device,
    )


def training_step(batch: int, device: str) -> Benchmark:
    """One step of Adam on the paper's MNIST network: SE(2) 28x28x6, depth 2, widening 2; ours in bfloat16 autocast, too."""

    def setup(rebuild: Callable[[nn.Module], nn.Module], bf16: bool = False) -> Contender:
        torch.manual_seed(0)
        graph = graph_of("SE(2) 28x28x6")
        network = rebuild(WideResSE2GEChebNet(1, 10, ORDERS, graph, res_depth=2, widen_factor=2).to(device)).to(device)
        optimizer = torch.optim.Adam(network.parameters())
        x = torch.randn(batch, 1, graph.num_vertices, device=device)
        labels = torch.randint(10, (batch,), device=device)

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                scores = network(x)
            nn.functional.nll_loss(scores.float(), labels).backward()
            optimizer.step()

        return Contender(step)

    return Benchmark(
        name=f"training step, MNIST network, B={batch}",
        contenders={
            OURS: lambda: setup(lambda network: network),
            REFERENCE: lambda: setup(on_reference_layers),
            f"{OURS} bf16": lambda: setup(lambda network: network, bf16=True),
            f"{OURS} compile": lambda: setup(torch.compile),
        },
        goals={REFERENCE: 8.0, "memory": 4.0} if device == "cpu" else {},
        device=device,
    )


def benchmarks(device: str) -> list[Benchmark]:
    """The goals are those of a CPU."""
    result = []
    for (cin, cout), goal in zip(((16, 32), (32, 32), (64, 64), (128, 128)), (8.0, 8.0, 6.0, 5.0), strict=True):
        goals = {REFERENCE: goal, CSR["cpu"]: 2.5, "PyG": 20.0, "memory": 4.0, "floor": 0.7} if device == "cpu" else {}
        result.append(convolution("SE(2) 28x28x6", 16, cin, cout, goals, device, geometric=True))
    for graph_name in ("SE(2) 96x96x6", "SO(3) level 5 x 6"):
        result += [convolution(graph_name, 2, c, c, {}, device, geometric=False) for c in (32, 128)]
    return [*result, training_step(16, device)]
