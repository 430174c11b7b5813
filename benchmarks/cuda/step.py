"""What a training step launches.

The step is run on the CPU, where a dispatch mode sees every operator. Those of this package are run once more in the
simulator, which counts what their kernels move and execute; the framework's operators inside of them are seen by the same
mode. Kernels of the framework are not executed: of them, the operator says what they move.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cheblienet.nn import ChebConv, WideResSE2GEChebNet

from ..chebyshev import differentiated
from .executor import Simulator
from .model import Counts
from .traffic import Machine, executed, measure
from .works import BATCH, ORDERS, Work, gpu_laplacian, normalisation_units, on_h200, pattern_of, recurrence_units, se2

# Operators that launch nothing: views, memory, and questions.
FREE = {
    "transpose", "t", "view", "_unsafe_view", "squeeze", "unsqueeze", "detach", "alias", "select", "narrow", "slice",
    "permute", "expand", "reshape", "is_set_to", "_local_scalar_dense", "lift_fresh", "empty", "new_empty", "empty_like",
    "new_empty_strided", "empty_strided", "as_strided",
}  # fmt: skip
KINDS = {
    "products": {"mm", "addmm", "linear", "matmul", "bmm"},
    "sums": {"sum", "max", "amax"},
    "copies": {"copy_", "to", "_to_copy", "clone", "contiguous"},
    "fills": {"zeros", "new_zeros", "zeros_like", "ones_like", "fill_", "zero_"},
}
# Tensors of one launch of an operator on lists, by the number of lists (torch: MultiTensorApply.cuh).
TENSORS_OF_A_LAUNCH = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}


@dataclass(frozen=True)
class Node:
    """Launches of one kind in a step: `times` times the same.

    Attributes:
        kind: a kernel of ours by its name, or "products", "sums", "copies", "fills", "optimizer", "other".
        launches, size: of one time; what the size counts depends on the kind: operations of a product, elements of a sum,
            bytes otherwise.
        width: of a product, the geometric mean of the two smaller dimensions.
        counts: of a kernel of ours.
    """

    kind: str
    dtype: str
    times: int
    launches: float
    size: float = 0
    width: float = 0
    counts: Counts | None = None


def _shown(arguments: tuple[Any, ...]) -> str:
    return repr([(a.shape, a.dtype) if isinstance(a, Tensor) else a for a in arguments])


class Recorder(TorchDispatchMode):
    """What operators launch: nodes of the framework's, and calls of ours, one of each shape, and how often.

    With `inside`, only what the C++ code of one of our operators calls, as the simulator's stand-in for it does. On the CPU
    it casts 16-bit operands whose product is to be of float32, which a GPU multiplies as they are.
    """

    def __init__(self, inside: bool = False) -> None:
        super().__init__()
        self.inside, self.wanted = inside, not inside
        self.cast = ""  # the type of the operands of the next product
        self.framework: Counter[Node] = Counter()
        self.ours: Counter[str] = Counter()
        self.calls: dict[str, tuple[str, tuple[Any, ...]]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.name()
        if name.startswith("cheblienet_probe::"):
            self.wanted = True
            with self:  # the kernel itself, so that this mode sees what it calls
                result = function.redispatch(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), *args)
            self.wanted = False
            return result
        result = function(*args, **(kwargs or {}))
        if not self.wanted:
            return result
        if name.startswith("cheblienet::"):
            key = name + _shown(args)
            self.ours[key] += 1
            self.calls.setdefault(key, (name.removeprefix("cheblienet::"), args))
        elif self.inside and name.split(".")[0] in ("aten::to", "aten::_to_copy"):
            self.cast = str(args[0].dtype).removeprefix("torch.")
        elif node := framework_node(name, (*args, *(kwargs or {}).values()), result):
            if self.cast and node.kind == "products":
                node, self.cast = replace(node, dtype=self.cast), ""
            self.framework[node] += 1
        return result


def training_step(bf16: bool = False, fused: bool = False) -> Callable[[], None]:
    """A step of Adam on the paper's MNIST network of depth 2 and widening 2, B = 16, on the CPU."""
    graph = se2(28)
    network = WideResSE2GEChebNet(1, 10, ORDERS, graph, res_depth=2, widen_factor=2)
    optimizer = torch.optim.Adam(network.parameters(), foreach=not fused, fused=fused)
    x, labels = torch.randn(BATCH, 1, graph.num_vertices), torch.randint(10, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            scores = network(x)
        nn.functional.nll_loss(scores.float(), labels).backward()
        optimizer.step()

    return step


def convolution(cin: int, cout: int, dtype: torch.dtype) -> Callable[[], object]:
    """The convolution of R = 4, forward and backward, at the first stage's size."""
    layer = ChebConv(cin, cout, ORDERS, se2(28)).to(dtype)
    x, dy = (torch.randn(BATCH, se2(28).num_vertices, width, dtype=dtype).transpose(1, 2) for width in (cin, cout))
    return differentiated(layer, x, dy).step


def recorded(step: Callable[[], object]) -> Recorder:
    """The operators of a second call, when the optimizer has its state."""
    step()
    with Recorder() as recorder:
        step()
    return recorder


def framework_node(name: str, arguments: tuple[Any, ...], result: Any) -> Node | None:
    """What an operator of the framework launches, or None."""
    short = name.split("::")[1].split(".")[0]
    if not name.startswith("aten::") or short in FREE or (short == "to" and result.dtype == arguments[0].dtype):
        return None
    tensors = [t for t in tree_leaves((arguments, result)) if isinstance(t, Tensor)]
    moved = float(sum(t.numel() * t.element_size() for t in tensors))
    dtype = str(tensors[0].dtype).removeprefix("torch.")
    if short.startswith(("_foreach", "_fused")):
        lists = [a for a in arguments if isinstance(a, list | tuple) and a and isinstance(a[0], Tensor)]
        return Node("optimizer", dtype, 1, math.ceil(len(lists[0]) / TENSORS_OF_A_LAUNCH[min(5, len(lists))]), moved)
    kind = next((kind for kind, names in KINDS.items() if short in names), "other")
    if kind == "products":
        a, b = [t for t in arguments if isinstance(t, Tensor) and t.ndim == 2][:2]
        rows, inner = a.shape
        columns = b.numel() // inner
        smaller = sorted((rows, inner, columns))[:2]
        return Node(kind, dtype, 1, 1, 2.0 * rows * inner * columns, math.sqrt(math.prod(smaller)))
    if kind == "sums":
        return Node(kind, dtype, 1, 1, float(tensors[0].numel()))
    if kind == "fills":
        moved = float(result.numel() * result.element_size())
    if kind == "copies":
        moved = float(sum(t.numel() * t.element_size() for t in tensors[:2]))
    return Node(kind, dtype, 1, 2 if short == "scatter_add" else 1, moved) if moved else None


class Remembering(Simulator):
    """Executes a launch once: one with the same arguments but for the values of its arrays has the same counts. Signals
    then have no meaning."""

    def __init__(self, arch: str) -> None:
        super().__init__(arch)
        self.known: dict[Any, Any] = {}

    def launch(
        self, module: str, kernel: str, grid: tuple[int, ...], block: int, *arguments: Any, **options: Any
    ) -> None:
        shown = tuple((a.shape, str(a.dtype)) if getattr(a, "ndim", 0) else repr(a) for a in arguments)
        key = kernel, tuple(grid), block, shown
        if self.lists or key not in self.known:
            super().launch(module, kernel, grid, block, *arguments, **options)
            if not self.lists:
                self.known[key] = self.reports[-1]
        else:
            self.reports.append(self.known[key])


def operator_work(name: str, arguments: tuple[Any, ...]) -> Work:
    """A call of one of our operators, as work that the simulator can do, as a GPU would be asked: with tables of tiles."""
    detached = [a.detach() if isinstance(a, Tensor) else a for a in arguments]
    signal, graph, options = detached[0], se2(28), {}
    name, _, overload = name.partition(".")
    if name.startswith("chebyshev"):
        laplacian, place = gpu_laplacian(28), 3 if name == "chebyshev_backward" else 2
        detached[place : place + 2] = pattern_of(laplacian), laplacian.values
        options = {"device": on_h200("orders")}
        channels = signal.shape[2]
    else:
        channels = detached[2].numel()  # of the weight
        name = f"{name}_{overload}" if overload else name
    units = recurrence_units(graph, channels, signal.dtype)
    units |= normalisation_units(signal.numel(), channels, signal.dtype)
    return Work(name, lambda executor, _: getattr(executor, name)(*detached, **options), units)


def nodes(step: Recorder, simulator: Simulator, machine: Machine) -> list[Node]:
    """The launches of recorded operators."""
    found = Counter(step.framework)
    for key, (name, arguments) in step.calls.items():
        work, times = operator_work(name, arguments), step.ours[key]
        rows = measure(work, simulator, machine)
        with Recorder(inside=True) as inside:
            reports = executed(work, simulator, BATCH, lists=True)
        if missing := {kernel for kernel, _ in reports} - set(work.units):
            raise KeyError(f"{name}: expected units for all kernels, got none for {sorted(missing)}")
        dtype = str(arguments[0].dtype).removeprefix("torch.")
        found.update({Node(row.kernel, dtype, 1, row.counts.launches, counts=row.counts): times for row in rows})
        found.update({node: times * count for node, count in inside.framework.items()})
    return [replace(node, times=times) for node, times in found.items()]
