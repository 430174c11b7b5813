"""What the library is compared with, each the way its users write it: channel-major (B, C, V) in and out."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cheblienet.graphs import GEGraph
from cheblienet.nn import ChebConv, VertexBatchNorm


class ReferenceChebConv(nn.Module):
    """The algorithm of the paper's code: sparse COO products on (V, B Cin), all orders concatenated, one tensordot."""

    def __init__(self, layer: ChebConv) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.laplacian = layer.graph.get_laplacian(device=layer.weight.device, dtype=layer.weight.dtype).to_sparse_coo()

    def forward(self, x: Tensor) -> Tensor:
        batch, cin, vertices = x.shape
        orders = x.permute(2, 0, 1).reshape(1, vertices, batch * cin)
        for k in range(1, len(self.weight)):
            new = torch.sparse.mm(self.laplacian, orders[-1])
            if k > 1:
                new = 2 * new - orders[-2]
            orders = torch.cat([orders, new[None]])
        y = torch.tensordot(orders.view(-1, vertices, batch, cin), self.weight, dims=([0, 3], [0, 1]))
        if self.bias is not None:
            y = y + self.bias
        return y.permute(1, 2, 0).contiguous()


def reference_edges(graph: GEGraph) -> tuple[Tensor, Tensor, Tensor]:
    """The construction of the paper's code: one row of distances at a time, then a dense matrix made symmetric.

    Takes elements, metric and K of `graph`, of SE(2); returns edges, squared distances and weights. The steps are that
    code's, in float32: a product of matrices, the least of the quadratic forms of three logarithms, rounded to six
    digits, the K + 1 smallest of every row, a dense matrix, in which edges stay whose two distances are equal and at
    most the largest of the centroid's row. The logarithm is the paper's, as in the library. It keeps K neighbours
    whatever their ties, and loses edges to rounding, so its edges are not those of the library.
    """
    group, vertices, K = graph.group, graph.num_vertices, graph.K
    matrices, metric = group.matrix(graph.elements.float()), torch.diag(torch.tensor(graph.sigmas))
    turns = [torch.tensor([0.0, 0.0, turn]) for turn in (0.0, -math.pi, math.pi)]
    sqdist, index = torch.empty(vertices, K + 1), torch.empty(2, vertices, K + 1, dtype=torch.int64)
    for v in range(vertices):
        relative = group.element(group.inverse(matrices[v]) @ matrices)
        logarithms = [group.log(group.matrix(relative + turn)) for turn in turns]
        squares = torch.stack([(c[:, None] @ metric @ c[:, :, None]).flatten() for c in logarithms])
        rounded = torch.round(squares.amin(0), decimals=6)
        sqdist[v], index[1, v] = torch.topk(rounded, K + 1, largest=False, sorted=False)
        index[0, v] = v
    dense = torch.sparse_coo_tensor(
        index.flatten(1), sqdist.flatten(), (vertices, vertices), check_invariants=False
    ).to_dense()
    kept = (dense == dense.T) & (dense <= sqdist[graph.centroid_vertex].max())
    symmetric = torch.zeros_like(dense)
    symmetric[kept] = dense[kept]
    edges = symmetric.to_sparse()
    edge_index, edge_sqdist = edges.indices(), edges.values()
    return edge_index, edge_sqdist, torch.exp(-edge_sqdist / (0.8 * edge_sqdist.mean()))


class CsrChebConv(nn.Module):
    """The best of plain PyTorch: MKL's CSR product with its axpby, features as (V, B C), no concatenation.

    Keeps the signal in its own layout, (V, B, C), as a network written around it would.
    """

    def __init__(self, layer: ChebConv) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.laplacian = layer.graph.get_laplacian(device=layer.weight.device, dtype=layer.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(V, B, Cin) -> (V, B, Cout)"""
        vertices, batch, cin = x.shape
        previous, current = None, x.reshape(vertices, batch * cin)
        y = current.view(-1, cin) @ self.weight[0]
        if self.bias is not None:
            y = y + self.bias
        for k in range(1, len(self.weight)):
            if previous is None:
                previous, current = current, _SymmetricProduct.apply(self.laplacian, current, None)
            else:
                previous, current = current, _SymmetricProduct.apply(self.laplacian, current, previous)
            y = torch.addmm(y, current.view(-1, cin), self.weight[k])
        return y.view(vertices, batch, -1)


class _SymmetricProduct(torch.autograd.Function):
    """L x, or 2 L x - z; its gradient uses L^T = L, which PyTorch's own CSR product does not know."""

    @staticmethod
    def forward(ctx, laplacian, x, z):
        ctx.laplacian, ctx.subtracts = laplacian, z is not None
        return torch.mm(laplacian, x) if z is None else torch.addmm(z, laplacian, x, beta=-1, alpha=2)

    @staticmethod
    def backward(ctx, grad):
        dx = torch.mm(ctx.laplacian, grad)
        return None, (2 * dx if ctx.subtracts else dx), (-grad if ctx.subtracts else None)


class EllChebConv(nn.Module):
    """What a compiler makes of plain PyTorch: rows of the Laplacian filled up to the longest, gathered, multiplied and
    added in one kernel that `torch.compile` writes; features as (B, V, C), and one product for all orders."""

    def __init__(self, layer: ChebConv) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        laplacian = layer.graph.get_laplacian(device=layer.weight.device, dtype=layer.weight.dtype)
        rows, counts = laplacian.crow_indices(), laplacian.crow_indices().diff()
        slot = torch.arange(len(laplacian.values()), device=rows.device) - rows[:-1].repeat_interleave(counts)
        row = torch.arange(len(counts), device=rows.device).repeat_interleave(counts)
        shape = len(counts), int(counts.max())
        self.index = torch.zeros(shape, dtype=torch.int64, device=rows.device).index_put(
            (row, slot), laplacian.col_indices()
        )
        self.values = torch.zeros(shape, dtype=layer.weight.dtype, device=rows.device).index_put(
            (row, slot), laplacian.values()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, V, Cin) -> (B, V, Cout)"""
        orders = [x]
        for k in range(1, len(self.weight)):
            new = _EllProduct.apply(self.index, self.values, orders[-1])
            orders.append(new if k == 1 else 2 * new - orders[-2])
        y = torch.cat(orders, -1) @ self.weight.flatten(0, 1)
        return y if self.bias is None else y + self.bias


class _EllProduct(torch.autograd.Function):
    """L x with L^T = L, so that its gradient gathers as well."""

    @staticmethod
    def forward(ctx, index, values, x):
        ctx.save_for_backward(index, values)
        return _ell_product(index, values, x)

    @staticmethod
    def backward(ctx, grad):
        return None, None, _ell_product(*ctx.saved_tensors, grad)


@torch.compile(dynamic=False)
def _ell_product(index: Tensor, values: Tensor, x: Tensor) -> Tensor:
    return (values[:, :, None] * x[:, index]).sum(2)


class GeometricChebConv(nn.Module):
    """PyTorch Geometric's layer with the same weights, on (B, V, C)."""

    def __init__(self, layer: ChebConv) -> None:
        super().__init__()
        from torch_geometric.nn import ChebConv as Layer

        device = layer.weight.device
        self.edge_index, self.edge_weight = layer.graph.edge_index.to(device), layer.graph.edge_weight.to(device)
        self.layer = Layer(layer.in_channels, layer.out_channels, layer.kernel_size, bias=layer.bias is not None).to(
            device
        )
        with torch.no_grad():
            for linear, weight in zip(self.layer.lins, layer.weight, strict=True):
                linear.weight.copy_(weight.T)
            if layer.bias is not None:
                self.layer.bias.copy_(layer.bias)
        self.lambda_max = torch.tensor(2.0, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """(B, V, Cin) -> (B, V, Cout)"""
        return self.layer(x, self.edge_index, self.edge_weight, lambda_max=self.lambda_max)


def keops_neighbors(
    elements: Tensor, sigmas: tuple[float, float, float], K: int
) -> Callable[[], tuple[Tensor, Tensor]]:
    """The K + 1 nearest of every element of SE(2), itself included, by a lazy V x V matrix of pykeops in float64.

    Its formula is that of csrc/math/se2.h, with sine and cosine of the half angles computed once per element.
    """
    from pykeops.torch import LazyTensor

    half = elements[:, 2:] / 2
    features = torch.cat([elements[:, :2], half, half.sin(), half.cos()], 1)
    rows = [LazyTensor(feature[:, None, None].contiguous()) for feature in features.T]
    columns = [LazyTensor(feature[None, :, None].contiguous()) for feature in features.T]

    def squared_distances() -> LazyTensor:
        (gx, gy, gh, gs, gc), (hx, hy, hh, hs, hc) = rows, columns
        dx, dy, cos, sin = hx - gx, hy - gy, gc * gc - gs * gs, 2 * gs * gc
        x, y, half = cos * dx + sin * dy, cos * dy - sin * dx, hh - gh

        def squared_norm(half: LazyTensor, s: LazyTensor, c: LazyTensor) -> LazyTensor:
            f = 1 / half.sinxdivx()
            along, across = f * (x * c + y * s), f * (y * c - x * s)
            return sigmas[0] * along.square() + sigmas[1] * across.square() + 4 * sigmas[2] * half.square()

        straight = squared_norm(half, hs * gc - hc * gs, hc * gc + hs * gs)
        turned = half - half.sign() * (math.pi / 2)
        reverse = squared_norm(turned, turned.sin(), turned.cos())
        return (reverse - straight).ifelse(straight, reverse)

    return lambda: squared_distances().Kmin_argKmin(K + 1, dim=1)


class ReferenceBatchNorm(nn.BatchNorm1d):
    """The framework's normalisation, with the sum and the ReLU as operations of their own."""

    def forward(self, x: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        y = super().forward(x if residual is None else residual + x)
        return torch.relu(y) if relu else y


def on_reference_layers(network: nn.Module) -> nn.Module:
    """A copy of a network with the reference convolution and the framework's normalisation in place of ours."""
    graphs = {id(module.graph): module.graph for module in network.modules() if isinstance(module, ChebConv)}
    network = copy.deepcopy(network, dict(graphs))  # one graph for all copies
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ChebConv):
                setattr(parent, name, ReferenceChebConv(child))
            elif isinstance(child, VertexBatchNorm):
                plain = ReferenceBatchNorm(child.num_features)
                plain.load_state_dict(child.state_dict())
                setattr(parent, name, plain)
    return network
