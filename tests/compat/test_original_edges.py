import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from cheblienet import compat
from cheblienet.compat import graphs as compat_graphs
from cheblienet.compat.original_edges import _undirected
from cheblienet.graphs import load_graph

DATA = Path(__file__).resolve().parent / "data"
# name: class, size, sigmas, K, kernel, the share of edges that every processor finds
CASES = {
    "se2": ("SE2GEGraph", (10, 10, 6), (1.0, 0.1, 2.048 / 100), 16, "gaussian", 1.0),
    "se2_small": ("SE2GEGraph", (8, 5, 3), (1.0, 0.3, 0.02), 7, "laplace", 0.98),
    "se2_rectangular": ("SE2GEGraph", (12, 12, 5), (2.0, 0.5, 0.3), 12, "rectangular", 1.0),
    "r2": ("R2GEGraph", (10, 7, 1), (1.0, 0.2, 1.0), 6, "gaussian", 1.0),
    "s2_12": ("S2GEGraph", (12, 1), (1.0, 1.0, 1.0), 5, "gaussian", 1.0),
    "s2_42": ("S2GEGraph", (42, 1), (1.0, 1.0, 1.0), 8, "gaussian", 1.0),
    "s2_162": ("S2GEGraph", (162, 1), (1.0, 0.5, 1.0), 8, "gaussian", 1.0),
    "so3_2": ("SO3GEGraph", (42, 2), (1.0, 0.1, 10 / 42), 4, "gaussian", 1.0),
    "so3_6": ("SO3GEGraph", (42, 6), (1.0, 0.1, 10 / 42), 16, "gaussian", 0.98),
}


def kind(name):
    return compat.resolve("graphs.graphs", name)


@pytest.fixture(scope="module")
def built():
    """Graphs of `CASES`, each made once."""
    graphs = {}

    def build(name):
        if name not in graphs:
            owner, size, sigmas, K, kernel, _ = CASES[name]
            graphs[name] = kind(owner)(list(size), sigmas, K, None, kernel, original_edges=True)
        return graphs[name]

    return build


@pytest.mark.parametrize("name", CASES)
def test_edges_are_those_that_the_original_found(built, name):
    """Bit for bit on processors like the one that it ran on; elsewhere a last bit of a distance may change a few."""
    share = CASES[name][-1]
    with np.load(DATA / "original_edges.npz") as file:
        pairs, micro, weight = (torch.from_numpy(file[f"{name}_{part}"]) for part in ("pairs", "micro", "weight"))
    graph, vertices = built(name), built(name).num_vertices
    index, sqdist, weights = graph.edge_index, graph.edge_sqdist, graph.edge_weight
    here = (index[0] * vertices + index[1])[index[0] < index[1]]
    there = pairs[0].long() * vertices + pairs[1]
    common = torch.isin(there, here)
    assert common.sum() >= share * max(len(here), len(there))
    if share == 1:
        assert torch.equal(here, there)
    place = torch.searchsorted(index[0] * vertices + index[1], there[common])
    torch.testing.assert_close(sqdist[place], micro[common].float() / 10**6, rtol=0, atol=0 if share == 1 else 2e-6)
    expected = weight.expand(len(micro))[common]
    torch.testing.assert_close(weights[place], expected, rtol=0, atol=1e-6 if share == 1 else 1e-2)
    assert graph.is_undirected


def test_a_pair_is_an_edge_if_both_take_it_at_one_distance():
    """Vertices 0 and 1 do; 0 and 2 are too far apart, 1 and 3 have different distances, 3 takes 0 alone, 2 and 3 coincide."""
    index = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 2, 3], [0, 1, 2]])
    sqdist = torch.tensor([[0.0, 0.2, 0.9], [0.0, 0.2, 0.3], [0.9, 0.0, 0.0], [0.4, 0.4, 0.0]])
    edges, lengths = _undirected(index, sqdist, torch.tensor(0.8))
    assert edges.tolist() == [[0, 1], [1, 0]]
    assert torch.equal(lengths, torch.tensor([0.2, 0.2]))


def test_a_checkpoint_of_the_original_gives_its_output(built):
    with np.load(DATA / "original_checkpoint.npz") as file:
        state = {
            name.removeprefix("state/"): torch.from_numpy(file[name])
            for name in file.files
            if name.startswith("state/")
        }
        x, output, features = (torch.from_numpy(file[name]) for name in ("x", "output", "block2"))
    state = {
        name: value.long() if name.endswith("num_batches_tracked") else value / 64 for name, value in state.items()
    }
    outputs = {}
    for edges in (True, False):
        graph = built("se2") if edges else kind("SE2GEGraph")(*CASES["se2"][1:4])
        model = compat.resolve("nn.models.chebnets", "WideResSE2GEChebNet")(1, 3, 3, graph, res_depth=1).eval()
        model.load_state_dict(state)
        with torch.no_grad():
            outputs[edges] = model(x / 64), model.block2(model.conv(x / 64))[:, ::4, ::7]
    torch.testing.assert_close(outputs[True][0], output, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs[True][1], features, rtol=1e-5, atol=1e-5)
    assert (outputs[False][0] - output).abs().max() > 1e-3  # other edges give another


def test_distances_of_the_original_are_not_those_of_the_group(built):
    graph, plain = built("se2_small"), kind("SE2GEGraph")(*CASES["se2_small"][1:4])
    G, Re = graph.general_linear_group_element, torch.diag(torch.tensor(graph.sigmas))
    neighbors, _, sqdist = graph.neighborhood(7)
    original = graph.riemannian_sqdist(G[7], G, Re)
    torch.testing.assert_close(original[neighbors], sqdist, rtol=0, atol=2e-6)
    expected = compat.resolve("geometry.se", "se2_riemannian_sqdist")(G[7], G, Re)
    assert torch.equal(plain.riemannian_sqdist(G[7], G, Re), expected)
    assert (original - expected).abs().max() > 1e-3
    # Written out for one pair: g^-1 h = (x, y, theta).
    x, y, theta = 0.25, 0.4, -0.6
    relative = compat.resolve("geometry.se", "se2_matrix")(*(torch.tensor([value]) for value in (x, y, theta)))
    cot = 1 / np.tan(theta / 2)
    c = theta / 2 * (y + x * cot), -theta / 2 * (x + y * cot), theta
    expected = sum(sigma * component**2 for sigma, component in zip(graph.sigmas, c, strict=True))
    assert graph.riemannian_sqdist(torch.eye(3), relative, Re).item() == pytest.approx(expected, rel=1e-5)


def test_edges_of_the_original_are_kept_apart(tmp_path, monkeypatch):
    SE2GEGraph, arguments = kind("SE2GEGraph"), ([4, 4, 2], (1.0, 0.1, 0.5), 4, tmp_path)
    first = SE2GEGraph(*arguments, original_edges=True)
    own = SE2GEGraph(*arguments)
    assert not torch.equal(first.edge_index, own.edge_index)
    monkeypatch.setattr(compat_graphs, "find_original_edges", pytest.fail)  # from here on they come from the folder
    again = SE2GEGraph(*arguments, original_edges=True)
    assert torch.equal(again.edge_index, first.edge_index)
    assert torch.equal(again.edge_weight, first.edge_weight)
    assert {load_graph(file).num_edges for file in tmp_path.iterdir()} == {first.num_edges, own.num_edges}


def test_what_the_original_cannot_make_is_refused():
    R2GEGraph = kind("R2GEGraph")
    with pytest.raises(ValueError, match="size: expected numbers of points that the original makes, got 49.* 50"):
        R2GEGraph([49, 2, 1], (1.0, 1.0, 1.0), 4, original_edges=True)
    with pytest.raises(ValueError, match="kernel: expected one of which .* at least 0, got 'cauchy'"):
        R2GEGraph([6, 6, 1], (1.0, 1.0, 1.0), 8, None, "cauchy", original_edges=True)
    with pytest.raises(ValueError, match="R2GEGraph: K: expected an integer between 1 and 35, got 36"):
        R2GEGraph([6, 6, 1], (1.0, 1.0, 1.0), 36, original_edges=True)
    with pytest.raises(TypeError, match="R2GEGraph: original_edges: expected True or False, got 'yes'"):
        R2GEGraph([6, 6, 1], (1.0, 1.0, 1.0), 8, original_edges="yes")


def test_warns_once_that_edges_differ(monkeypatch):
    R2GEGraph = kind("R2GEGraph")
    monkeypatch.setattr(compat_graphs, "_warned", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        R2GEGraph([6, 6, 1], (1.0, 1.0, 1.0), 8, original_edges=True)
    with pytest.warns(
        UserWarning, match=r"R2GEGraph: size \(6, 6, 1\) has \d+ .* 63,088 here and 50,544 .*original_edges"
    ) as seen:
        graph = R2GEGraph([6, 6, 1], (1.0, 1.0, 1.0), 8)
    assert f"has {graph.num_edges} directed edges" in str(seen[0].message)
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        R2GEGraph([8, 8, 1], (1.0, 1.0, 1.0), 8)


def test_reading_files_needs_no_extras():
    code = (
        "import sys; sys.modules |= dict.fromkeys(('ignite', 'plotly', 'torchvision'));"
        "from cheblienet.compat import load_original"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=DATA.parents[2])
