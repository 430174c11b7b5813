"""Graphs and what they compute, against dense matrices in float64."""

import math

import scipy.sparse
import strategies as some
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from judge import cases, judge

from cheblienet import graphs, groups

METHODS = (
    "neighborhood",
    "get_laplacian",
    "laplacian_csr",
    "get_eigen_space",
    "apply_kernel",
    "diff_kernel",
    "diffuse",
)
KERNELS = st.sampled_from(["gaussian", "laplace", "cauchy", "rectangular"])


def of_some_size(value):
    """Whether a size is one that memory holds, or nonsense at sight."""
    return isinstance(value, bool) or not isinstance(value, int) or abs(value) < 300 or abs(value) >= 2**62


@st.composite
def edges(draw):
    """Symmetric edges in any order, and weights that are alike both ways."""
    vertices, g = draw(st.integers(1, 12)), some.generator(draw(st.integers(0, 9999)))
    present = (torch.rand(vertices, vertices, generator=g) < draw(st.sampled_from([0.0, 0.2, 0.6, 1.0]))).triu(1)
    i, j = present.nonzero().unbind(1)
    dtype = draw(st.sampled_from([*some.FLOATS, torch.int64, torch.uint8]))
    weight = torch.rand(len(i), generator=g) * draw(st.sampled_from([1.0, 100.0]))
    order = torch.randperm(2 * len(i), generator=g)
    index = torch.stack([torch.cat([i, j]), torch.cat([j, i])])[:, order]
    index = index.to(draw(st.sampled_from([torch.int64, torch.int32])))
    weight = weight.to(dtype).repeat(2)[order]
    return some.Arguments(
        edge_index=some.placed(index, draw(st.sampled_from(some.MEMORIES[:4]))),
        edge_weight=draw(st.sampled_from([None, weight])),
        num_vertices=vertices,
        edge_sqdist=draw(st.sampled_from([None, weight])),
    )


def dense(arguments):
    """The normalised Laplacian, and the degrees."""
    vertices = arguments["num_vertices"]
    weight = torch.zeros(vertices, vertices, dtype=torch.float64)
    given_ = arguments["edge_weight"]
    source, target = arguments["edge_index"].long()
    weight[source, target] = 1.0 if given_ is None else given_.float().double()
    degree = weight.sum(1)
    norm = torch.where(degree > 0, degree.rsqrt(), 0.0)
    return torch.diag((degree > 0).double()) - norm[:, None] * weight * norm, degree


def right_graph(arguments):
    def right(graph):
        vertices, index = arguments["num_vertices"], arguments["edge_index"].long()
        vertices = int(index.max()) + 1 if vertices is None else int(vertices)
        assert graph.num_vertices == vertices
        key = (graph.edge_index[0] * vertices + graph.edge_index[1]).tolist()
        assert key == sorted((index[0] * vertices + index[1]).tolist())
        if vertices < 1000:
            wanted, _ = dense({**arguments, "num_vertices": vertices})
            found = graph.get_laplacian(False, dtype=torch.float64).to_dense()
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)

    return right


@cases(2)
@given(edges(), st.data())
def test_a_graph_of_edges_is_right_or_refused(arguments, data):
    spoilt = data.draw(st.sampled_from([None, *arguments]))
    if spoilt:
        arguments[spoilt] = data.draw(some.spoilt(arguments[spoilt]))
    valid = spoilt is None
    judge(graphs.Graph, arguments, right_graph(arguments), valid=valid)


@cases()
@given(st.data())
def test_a_graph_of_a_matrix_is_right_or_refused(data):
    vertices = data.draw(st.integers(1, 9))
    matrix = data.draw(some.matrices(vertices, torch.float32)).to_dense().abs().fill_diagonal_(0)
    kind = data.draw(st.sampled_from(["csr", "coo", "csc", "scipy", "junk"]))
    if data.draw(st.booleans()):
        matrix = data.draw(some.spoilt(matrix))
        assume(isinstance(matrix, torch.Tensor) and matrix.layout == torch.strided and matrix.device.type == "cpu")
    made = matrix
    if kind == "scipy" and matrix.ndim == 2 and matrix.dtype not in (torch.bfloat16, torch.float16):
        made = scipy.sparse.csr_array(matrix.numpy())
    elif kind in ("csr", "csc") and matrix.ndim == 2:
        made = getattr(matrix, f"to_sparse_{kind}")()
    elif kind == "coo":
        made = matrix.to_sparse_coo()

    def right(graph):
        wanted = torch.zeros(graph.num_vertices, graph.num_vertices)
        wanted[graph.edge_index[0], graph.edge_index[1]] = graph.edge_weight
        torch.testing.assert_close(wanted, matrix.float(), rtol=0, atol=0)

    names = ("edge_weight", "edge_index", "num_vertices")
    judge(graphs.Graph.from_sparse, some.Arguments(matrix=made), right, names=names)


@st.composite
def requests(draw, vertices):
    method = draw(st.sampled_from(METHODS))
    time = draw(st.sampled_from([0.0, 0.5, 3, 1e3]))
    dtype = draw(st.sampled_from([torch.float64, torch.float32]))
    x = draw(some.tensors((*draw(st.sampled_from([(), (2,), (0,), (2, 3)])), vertices), dtype, ("ordinary", "whole")))
    arguments = {
        "neighborhood": {"vertex_index": draw(st.integers(0, vertices - 1))},
        "get_laplacian": {"rescale": draw(st.booleans()), "device": None, "dtype": draw(st.sampled_from(some.FLOATS))},
        "laplacian_csr": {"device": None, "dtype": dtype},
        "get_eigen_space": {"norm": draw(st.booleans()), "k": draw(st.none() | st.integers(1, vertices))},
        "apply_kernel": {"kernel": lambda values: torch.exp(-time * values), "x": x},
        "diff_kernel": {"kernel": lambda values: 1 / (1 + time * values)},
        "diffuse": {"x": x, "time": time},
    }
    return method, some.Arguments(arguments[method]), time


@cases(2)
@given(edges(), st.data())
def test_what_a_graph_computes_is_right_or_refused(made, data):
    graph = graphs.Graph(**made)
    wanted, degree = dense(made)
    method, arguments, time = data.draw(requests(graph.num_vertices))
    spoilt = data.draw(st.sampled_from([None, None, *arguments]))
    if spoilt:
        arguments[spoilt] = data.draw(some.spoilt(arguments[spoilt]))

    def right(found):
        values, vectors = torch.linalg.eigh(wanted)
        if method == "neighborhood":
            vertex = int(arguments["vertex_index"])
            source, target = made["edge_index"].long()
            assert found[0].tolist() == sorted(target[source == vertex].tolist())
        elif method == "get_laplacian":
            rescaled = wanted - torch.diag((degree > 0).double()) if arguments["rescale"] else wanted
            tolerance = 4 * torch.finfo(found.dtype).eps
            torch.testing.assert_close(found.to_dense().double(), rescaled, rtol=tolerance, atol=tolerance)
        elif method == "get_eigen_space" and not arguments["norm"]:
            k = len(values) if arguments["k"] is None else int(arguments["k"])
            torch.testing.assert_close(found[0], values[:k], rtol=0, atol=1e-9)
            torch.testing.assert_close(wanted @ found[1], found[1] * found[0], rtol=0, atol=1e-9)
        elif method in ("apply_kernel", "diffuse") and not spoilt:
            heat = (vectors * torch.exp(-time * values)) @ vectors.T
            x = arguments["x"].detach().double()
            tolerance = 1e-9 if found.dtype == torch.float64 else 1e-5
            torch.testing.assert_close(found.detach().double(), x @ heat, rtol=tolerance, atol=tolerance)
        elif method == "diff_kernel" and not spoilt:
            resolvent = (vectors * (1 / (1 + time * values))) @ vectors.T
            torch.testing.assert_close(found, resolvent, rtol=0, atol=1e-9)

    judge(getattr(graph, method), arguments, right, valid=not spoilt)


@cases()
@given(edges(), some.junk() | st.floats(0.1, 2.5) | st.sampled_from(["estimate", "largest", 2, 1.9]))
def test_a_lambda_max_is_right_or_refused(made, lambda_max):
    graph = graphs.Graph(**made)

    def call(lambda_max):
        graph.lambda_max = lambda_max

    def right(_):
        values = torch.linalg.eigvalsh(graph.get_laplacian(True, dtype=torch.float64).to_dense())
        assert values.abs().max() < 1 + 1e-5

    judge(call, some.Arguments(lambda_max=lambda_max), right)


@cases()
@given(st.sampled_from(list(groups.GROUPS.values())), KERNELS, st.data())
def test_a_graph_of_elements_is_right_or_refused(group, kernel, data):
    vertices = data.draw(st.integers(0, 20))
    dtype = data.draw(st.sampled_from(some.FLOATS))
    contents = ("ordinary", "ordinary", "whole", "zero", "nonfinite", "huge", "mixed")
    elements = data.draw(some.tensors((vertices, len(group.coordinates)), dtype, contents))
    sigmas = (1.0, 1.0, data.draw(some.SIGMA))
    arguments = some.Arguments(
        group=group, elements=elements, sigmas=sigmas, K=data.draw(st.integers(1, 8)), kernel=kernel, centroid=None
    )
    spoilt = data.draw(st.sampled_from([None, *arguments]))
    if spoilt:
        arguments["elements"] = elements.detach()
        arguments[spoilt] = data.draw(some.spoilt(arguments[spoilt]))

    def right(graph):
        weight, sqdist = graph.edge_weight, graph.edge_sqdist
        assert graph.num_vertices == len(arguments["elements"])
        assert ((weight >= 0) & (weight <= 1) & weight.isfinite()).all()
        assert (sqdist >= 0).all()
        assert graph.is_undirected
        assert graph.get_laplacian().values().isfinite().all()

    judge(graphs.GEGraph.from_elements, arguments, right)


SAMPLED = st.sampled_from([graphs.R2GEGraph, graphs.SE2GEGraph, graphs.S2GEGraph, graphs.SO3GEGraph])


@cases()
@given(
    SAMPLED,
    st.lists(st.sampled_from([0, 1, 2, 3, 4, 12, 42, -1, True, 2.0, None, 2**40]), max_size=4),
    KERNELS,
    st.data(),
)
def test_a_sampled_graph_is_right_or_refused(kind, size, kernel, data):
    right_size = {"r2": (3, 4), "se2": (3, 2, 4), "s2": (12,), "so3": (12, 2)}[kind._group.name]
    size = data.draw(st.sampled_from([right_size, size, size]))
    arguments = some.Arguments(size=size, sigmas=(1.0, 1.0, 0.3), K=data.draw(st.integers(1, 9)), kernel=kernel)
    spoilt = data.draw(st.sampled_from([None, "sigmas", "K", "kernel"]))
    if spoilt:
        arguments[spoilt] = data.draw(some.junk())

    def right(graph):
        assert graph.num_vertices == math.prod(graph.size)
        assert graph.is_undirected
        assert ((graph.edge_weight >= 0) & (graph.edge_weight <= 1)).all()

    # A size is refused by the name of one of its numbers.
    names = ("nx", "ny", "ntheta", "nalpha", "num_vertices")
    judge(kind, arguments, right, valid=size is right_size and not spoilt, names=names)


@cases()
@given(edges(), st.sampled_from(["edges_sampling", "vertices_sampling"]), some.junk() | st.floats(-0.5, 1.5))
def test_a_random_part_is_right_or_refused(made, method, rate):
    part = graphs.RandomSubGraph(graphs.Graph(**made))
    before = part.num_edges, part.num_vertices

    def right(_):
        expected = math.floor(rate * before[1]) if method == "vertices_sampling" else before[1]
        assert part.num_vertices == expected
        if method == "edges_sampling":
            assert part.num_edges == 2 * math.ceil(rate * (before[0] // 2))
        assert part.is_undirected
        assert part.get_laplacian().values().isfinite().all()
        part.reinit()
        assert (part.num_edges, part.num_vertices) == before

    judge(getattr(part, method), some.Arguments(rate=rate), right)
