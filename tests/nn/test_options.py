"""Every option of a network changes its output; an option without such a test fails."""

import inspect

import pytest
import torch
from torch import Tensor

from cheblienet.graphs import R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.nn import SO3GEChebDecoder, SO3GEChebEncoder, SO3GEUChebNet, WideResSE2GEChebNet

NALPHA = 2
LEVELS = {f"graph_lvl{level}" for level in range(6)}


@pytest.fixture(scope="module")
def spheres():
    return [SO3GEGraph((n, NALPHA), (1.0, 0.1, 10 / n), 8, frames="coordinate") for n in (12, 42)]


@pytest.fixture(scope="module")
def outputs():
    return [S2GEGraph((42, 1), (1.0, 1.0, 1.0), K) for K in (6, 8)]


def output(kind, seed=0, training=False, **options) -> tuple[Tensor, ...]:
    """Of a network with the parameters of one seed, for a signal of one seed."""
    torch.manual_seed(seed)
    model = kind(**options).train(training)
    draw = torch.Generator().manual_seed(1)
    sizes = [
        (options["in_channels"], options.get("graphs", [options.get("graph_lvl2") or options.get("graph_lvl0")])[-1])
    ]
    if kind is SO3GEChebDecoder:
        sizes = [(channels, graph) for channels, graph in zip((64, 32), options["graphs"], strict=True)]
    signals = [torch.randn(2, channels, graph.num_vertices, generator=draw) for channels, graph in sizes]
    with torch.no_grad():
        y = model(*signals)
    return y if isinstance(y, tuple) else (y,)


def same(first, second):
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, second, strict=True))


def assert_random(kind, option, base):
    """With "rand" training draws, and evaluation does as `eval_reduction` says."""
    random = {**base, option: "rand"}
    assert same(output(kind, **random), output(kind, **{**base, option: "avg"}))
    assert same(output(kind, **random, eval_reduction="max"), output(kind, **{**base, option: "max"}))
    assert not same(output(kind, **random, eval_reduction="rand"), output(kind, **random))
    trained = {kind_of: output(kind, training=True, **{**base, option: kind_of}) for kind_of in ("rand", "avg", "max")}
    assert not same(trained["rand"], trained["avg"])
    assert not same(trained["rand"], trained["max"])


# The others are kept for their position. Of the output's graph the last convolution, of one order, takes no edge.
UNET = {
    SO3GEUChebNet: {"in_channels", "out_channels", "kernel_size", "reduction", "expansion", "graphs"},
    SO3GEChebEncoder: {"in_channels", "kernel_size", "reduction", "graphs"},
    SO3GEChebDecoder: {"out_channels", "kernel_size", "reduction", "expansion", "graphs"},
}


@pytest.mark.parametrize("kind", UNET)
def test_options_of_the_u_net_change_its_output(spheres, outputs, kind):
    known = set(inspect.signature(kind).parameters)
    base = {"in_channels": 3, "out_channels": 4, "kernel_size": 2, "output_graph": outputs[0], "graphs": spheres}
    base = {name: value for name, value in base.items() if name in known}
    plain = output(kind, **base)
    assert same(plain, output(kind, **base))
    others = [SO3GEGraph((n, NALPHA), (1.0, 0.4, 10 / n), 10, frames="coordinate") for n in (12, 42)]
    changes = {"in_channels": 5, "out_channels": 6, "kernel_size": 3, "output_graph": outputs[1], "graphs": others}
    changes |= {"reduction": "avg", "expansion": "max"}
    for name in known - LEVELS - {"eval_reduction"}:
        assert same(plain, output(kind, **{**base, name: changes[name]})) == (name not in UNET[kind]), name
    for name in known & {"reduction", "expansion"}:
        assert_random(kind, name, base)
    with pytest.raises(ValueError, match="graph_lvl5: expected a graph for each of six levels"):
        kind(**{**base, "graphs": None}, **{name: spheres[0] for name in sorted(LEVELS)[:5]})


@pytest.fixture(scope="module")
def grids():
    """Of 3, 6 and 12 pixels in a row."""
    return [SE2GEGraph((n, n, 2), (1.0, 0.1, 0.5), 8) for n in (3, 6, 12)]


def test_options_of_the_wide_network_change_its_output(grids):
    kind = WideResSE2GEChebNet
    pooled = {f"graph_lvl{level}": grid for level, grid in enumerate(grids)}
    base = {"in_channels": 2, "out_channels": 4, "kernel_size": 2, "res_depth": 1, "reduction": "max", **pooled}
    plain = output(kind, **base)
    assert same(plain, output(kind, **base))
    changes = {
        "in_channels": 3,
        "out_channels": 5,
        "kernel_size": 3,
        "res_depth": 2,
        "widen_factor": 2,
        "reduction": "avg",
    }
    for level, n in enumerate((3, 6, 12)):
        changes[f"graph_lvl{level}"] = SE2GEGraph((n, n, 2), (1.0, 0.4, 0.5), 6)
    assert changes.keys() | {"eval_reduction"} == set(inspect.signature(kind).parameters)
    for name, value in changes.items():
        assert not same(plain, output(kind, **{**base, name: value})), name
    assert_random(kind, "reduction", base)
    whole = {**base, "graph_lvl0": grids[2], "graph_lvl1": None, "graph_lvl2": None, "reduction": None}
    assert not same(plain, output(kind, **whole))


def test_outputs_have_the_classes_that_were_asked_for(grids):
    flat = R2GEGraph((4, 4), (1.0, 1.0, 1.0), 4)
    assert output(WideResSE2GEChebNet, in_channels=1, out_channels=7, kernel_size=2, graph_lvl0=flat)[0].shape == (2, 7)
