"""Pooling and unpooling between resolutions of a group's sampling (arXiv:2111.12139, section 3.3)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import ops
from .._checks import MAX_VERTICES, check_choice, check_floating, check_integer, check_size, check_tensor
from ..graphs.held import full_device
from ..groups.so3 import FRAMES
from ..meshes import icosphere
from ..meshes.frames import matching
from ..ops.gather_reduce import REDUCTIONS

_CPU = torch.device("cpu")  # where tables are made, whatever the default device is
_MOST = 255  # members of an output vertex


class _Reduction(nn.Module):
    """Knows what reduces: `reduction` in training; in evaluation, which should give one answer, `eval_reduction`.

    Attributes:
        reduction: "max", "avg" or "rand".
        eval_reduction: the one in evaluation mode: where `reduction` is not "rand", the same.
    """

    def __init__(self, reduction: str, eval_reduction: str, argument: str = "reduction") -> None:
        super().__init__()
        owner = type(self).__name__
        self.reduction = check_choice(f"{owner}: {argument}", reduction, REDUCTIONS)
        eval_reduction = check_choice(f"{owner}: eval_reduction", eval_reduction, REDUCTIONS)
        self.eval_reduction = eval_reduction if reduction == "rand" else reduction

    @property
    def _present(self) -> str:
        return self.reduction if self.training else self.eval_reduction

    def extra_repr(self) -> str:
        random = f", eval_reduction={self.eval_reduction!r}" if self.reduction == "rand" else ""
        return f"reduction={self.reduction!r}{random}"


class _VertexPool(_Reduction):
    """Reduces, for every output vertex, the vertices that a table (Vout, m) names; -1 stands for none.

    The table is made from the layer's arguments and follows the signal's device. It is no buffer: those are emptied by
    `to_empty`, and sent around by distributed training.

    Attributes:
        num_vertices, num_outputs: Vin and Vout.
    """

    def __init__(
        self,
        table: Tensor | None,
        num_vertices: int,
        reduction: str,
        eval_reduction: str,
        argument: str = "reduction",
    ) -> None:
        super().__init__(reduction, eval_reduction, argument)
        self.num_vertices = num_vertices
        self.identity = table is None
        self.num_outputs = num_vertices if table is None else len(table)
        self._tables = {} if table is None else {_CPU: ops.gather_index(table, num_vertices)}

    def table(self, device: torch.device | str | None = None) -> ops.GatherIndex:
        """The table as `cheblienet.ops.gather_reduce` takes it, on a device; one copy per device is kept.

        Raises ValueError for a kernel of size 1, which has none.
        """
        if self.identity:
            raise ValueError(f"{type(self).__name__}: table: expected a kernel_size of at least 2, got 1")
        if device not in self._tables:  # a signal's device has its full name already
            device = full_device(device)
        if device not in self._tables:
            self._tables[device] = ops.GatherIndex(*(tensor.to(device) for tensor in self._tables[_CPU]))
        return self._tables[device]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        moved = super()._apply(fn, recurse)
        if not self.identity:  # ready before anything is compiled, exported or captured
            self.table(fn(torch.empty(0, device=_CPU)).device)
        return moved

    def __getstate__(self) -> dict[str, Any]:
        # A pickle may open without the device.
        return {**self.__dict__, "_tables": {k: table for k, table in self._tables.items() if k == _CPU}}

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, Vin) -> (B, C, Vout), in vertex-major memory.

        TypeError for a dtype that is not floating-point, ValueError for another number of vertices.
        """
        name = f"{type(self).__name__}: x"
        check_floating(name, check_tensor(name, x, "(B, C, V)", 3))
        if x.shape[2] != self.num_vertices:
            raise ValueError(f"{name}: expected shape (B, C, V = {self.num_vertices}), got {tuple(x.shape)}")
        if self.identity:
            return x
        return ops.gather_reduce(x.transpose(1, 2), self.table(x.device), self._present).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"num_vertices={self.num_vertices}, {super().extra_repr()}"


def _over_orientations(table: Tensor, num_spatial: int, num_orientations: int) -> Tensor:
    """The table of one orientation layer, repeated for all: spatial vertices run fastest."""
    shift = num_spatial * torch.arange(num_orientations, device=_CPU)[:, None, None]
    return torch.where(table >= 0, table + shift, -1).flatten(0, 1)


class SE2SpatialPool(_VertexPool):
    """Pools squares of `kernel_size` x `kernel_size` vertices in every orientation layer of an SE(2) grid.

    All symmetries of the grid are exact if `kernel_size` divides nx and ny. Otherwise what is left out is at one side only,
    and quarter and half turns are lost.

    Args:
        kernel_size: side of the square, from 1 to 15. Rows and columns beyond the last whole square are left out.
        size: (nx, ny, ntheta) of the input.
        reduction: "max", "avg" or "rand".
        eval_reduction: what stands for "rand" in evaluation mode: "avg", "max" or "rand". The others stay as they are.
    """

    def __init__(self, kernel_size: int, size: Sequence[int], reduction: str, *, eval_reduction: str = "avg") -> None:
        nx, ny, ntheta = check_size("SE2SpatialPool: size", size, ("nx", "ny", "ntheta"))
        k = check_integer("SE2SpatialPool: kernel_size", kernel_size, 1, min(nx, ny, math.isqrt(_MOST)))
        grid = torch.arange(nx * ny, device=_CPU).view(ny, nx)
        squares = grid.unfold(0, k, k).unfold(1, k, k)  # (ny / k, nx / k, k, k)
        table = _over_orientations(squares.reshape(-1, k * k), nx * ny, ntheta)
        super().__init__(table if k > 1 else None, nx * ny * ntheta, reduction, eval_reduction)


class SE2SpatialUnpool(_VertexPool):
    """Repeats each vertex of an SE(2) grid on a square of `kernel_size` x `kernel_size` vertices: all symmetries are exact.

    Args:
        kernel_size: side of the square, at least 1; less than 2^31 vertices come out.
        size: (nx, ny, ntheta) of the input.
        expansion: "max", "avg" or "rand"; all the same here, since each output has one source.
        eval_reduction: what stands for "rand" in evaluation mode: "avg", "max" or "rand". The others stay as they are.
    """

    def __init__(self, kernel_size: int, size: Sequence[int], expansion: str, *, eval_reduction: str = "avg") -> None:
        nx, ny, ntheta = check_size("SE2SpatialUnpool: size", size, ("nx", "ny", "ntheta"))
        most = math.isqrt(MAX_VERTICES // (nx * ny * ntheta))  # a square that large on each vertex
        k = check_integer("SE2SpatialUnpool: kernel_size", kernel_size, 1, most)
        source = torch.arange(nx * ny, device=_CPU).view(ny, nx).repeat_interleave(k, 0).repeat_interleave(k, 1)
        table = _over_orientations(source.reshape(-1, 1), nx * ny, ntheta)
        super().__init__(table if k > 1 else None, nx * ny * ntheta, expansion, eval_reduction, "expansion")


def _icosphere_level(owner: str, kernel_size: int, num_sphere: int) -> int:
    if check_integer(f"{owner}: kernel_size", kernel_size, 1) > 2:
        raise ValueError(f"{owner}: kernel_size: expected 1 (none) or 2 (one subdivision level), got {kernel_size}")
    return icosphere.icosphere_level(num_sphere)


def _with_frames(frames: str, table: Tensor, to_level: int, from_level: int, nalpha: int) -> Tensor:
    """The table of one orientation over all, from one level's icosphere to another's."""
    others = icosphere.icosphere(from_level)[0]
    if frames == "coordinate":
        return _over_orientations(table, len(others), nalpha)
    return matching(icosphere.icosphere(to_level)[0], others, table, nalpha)


class SO3SpatialPool(_VertexPool):
    """Pools an icosphere's vertices, in every orientation layer, onto the next coarser level.

    A coarse vertex reduces itself and its neighbours on the fine mesh: seven, or six at the twelve pentagons. All symmetries
    of the graph with these `frames` are exact: the icosahedron's 120 for a multiple of 5 orientations and without any.

    Args:
        kernel_size: 2 for one subdivision level, 1 for none.
        size: (number of sphere vertices, nalpha) of the input.
        reduction: "max", "avg" or "rand".
        eval_reduction: what stands for "rand" in evaluation mode: "avg", "max" or "rand". The others stay as they are.
        frames: those of the graph, by which orientations of different vertices correspond: "icosahedral", the nearest
            after transport from vertex to vertex; "coordinate", those of one number.
    """

    def __init__(
        self,
        kernel_size: int,
        size: Sequence[int],
        reduction: str,
        *,
        eval_reduction: str = "avg",
        frames: str = "icosahedral",
    ) -> None:
        num_sphere, nalpha = check_size("SO3SpatialPool: size", size, ("num_sphere", "nalpha"))
        level = _icosphere_level("SO3SpatialPool", kernel_size, num_sphere)
        self.frames = check_choice("SO3SpatialPool: frames", frames, FRAMES)
        table = None
        if kernel_size == 2:
            if level == 0:
                raise ValueError(f"SO3SpatialPool: size: expected an icosphere of level 1 or finer, got {tuple(size)}")
            table = _with_frames(frames, icosphere.pooling_index(level), level - 1, level, nalpha)
        super().__init__(table, num_sphere * nalpha, reduction, eval_reduction)


class SO3SpatialUnpool(_VertexPool):
    """Expands an icosphere's vertices, in every orientation layer, onto the next finer level.

    A fine vertex reduces the two ends of the coarse edge it halves; a coarse vertex keeps its value. What symmetries are
    exact is said at `SO3SpatialPool`.

    Args:
        kernel_size: 2 for one subdivision level, 1 for none.
        size: (number of sphere vertices, nalpha) of the input.
        expansion: "max", "avg" or "rand".
        eval_reduction: what stands for "rand" in evaluation mode: "avg", "max" or "rand". The others stay as they are.
        frames: those of the graph, by which orientations of different vertices correspond: "icosahedral", the nearest
            after transport from vertex to vertex; "coordinate", those of one number.
    """

    def __init__(
        self,
        kernel_size: int,
        size: Sequence[int],
        expansion: str,
        *,
        eval_reduction: str = "avg",
        frames: str = "icosahedral",
    ) -> None:
        num_sphere, nalpha = check_size("SO3SpatialUnpool: size", size, ("num_sphere", "nalpha"))
        level = _icosphere_level("SO3SpatialUnpool", kernel_size, num_sphere)
        self.frames = check_choice("SO3SpatialUnpool: frames", frames, FRAMES)
        table = None
        if kernel_size == 2:
            table = _with_frames(frames, icosphere.unpooling_index(level + 1), level + 1, level, nalpha)
        super().__init__(table, num_sphere * nalpha, expansion, eval_reduction, "expansion")


class SO3OrientationPool(_VertexPool):
    """Pools `kernel_size` consecutive orientations at every vertex of the sphere; all of them give a signal on S2.

    All symmetries of the graph are exact if all orientations are pooled. Of some, reflections are not followed, as they put
    neighbouring orientations into other groups; the icosahedron's rotations are where nalpha / `kernel_size` is a multiple
    of 5.

    Args:
        kernel_size: number of orientations to reduce, a divisor of nalpha, at most 255.
        size: (number of sphere vertices, nalpha) of the input.
        reduction: "max", "avg" or "rand".
        eval_reduction: what stands for "rand" in evaluation mode: "avg", "max" or "rand". The others stay as they are.
    """

    def __init__(self, kernel_size: int, size: Sequence[int], reduction: str, *, eval_reduction: str = "avg") -> None:
        num_sphere, nalpha = check_size("SO3OrientationPool: size", size, ("num_sphere", "nalpha"))
        k = check_integer("SO3OrientationPool: kernel_size", kernel_size, 1, min(nalpha, _MOST))
        if nalpha % k:
            raise ValueError(f"SO3OrientationPool: kernel_size: expected a divisor of nalpha = {nalpha}, got {k}")
        layers = torch.arange(num_sphere * nalpha, device=_CPU).view(nalpha // k, k, num_sphere)
        super().__init__(
            layers.transpose(1, 2).reshape(-1, k) if k > 1 else None, num_sphere * nalpha, reduction, eval_reduction
        )


class GlobalPool(_Reduction):
    """Reduces all vertices, (B, C, V) -> (B, C).

    Args:
        reduction: "max", "avg" or "rand" (one vertex per call, from the framework's generator).
        eval_reduction: what stands for "rand" in evaluation mode: "avg", "max" or "rand". The others stay as they are.
    """

    def __init__(self, reduction: str, *, eval_reduction: str = "avg") -> None:
        super().__init__(reduction, eval_reduction)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, V) -> (B, C). TypeError for a dtype that is not floating-point, ValueError for no vertices."""
        check_floating("GlobalPool: x", check_tensor("GlobalPool: x", x, "(B, C, V)", 3))
        if x.shape[2] == 0:
            raise ValueError(f"GlobalPool: x: expected at least one vertex, got shape {tuple(x.shape)}")
        if self._present == "max":
            # The gradient of `gather` is one vertex-major tensor; that of `max` would be two, not vertex-major.
            signal = x.transpose(1, 2)
            return signal.gather(1, signal.detach().max(1, keepdim=True).indices).squeeze(1)
        if self._present == "avg":
            return x.mean(-1)
        return x.index_select(-1, torch.randint(x.shape[-1], (1,), device=x.device)).squeeze(-1)
