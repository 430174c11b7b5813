"""`python -m cheblienet graph` as it is called, in this process."""

import signal
import subprocess
import sys
import time

import pytest
import torch

from cheblienet import __main__
from cheblienet.graphs import GEGraph, SE2GEGraph, load_graph
from cheblienet.groups import SO3, sample


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["cheblienet", "graph", *map(str, words)])
        __main__.main()
        return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())

    return call


def test_a_regular_graph_is_built_saved_inspected_and_found(call, tmp_path, monkeypatch):
    said = call("build", "se2", "--size", 6, 5, 4, "--sigmas", 1, 0.1, 0.05, "--K", 8, "--save", tmp_path)
    graph = SE2GEGraph((6, 5, 4), (1.0, 0.1, 0.05), 8)
    assert (said["group"], said["size"], said["K"], said["kernel"]) == ("se2", "6 x 5 x 4", "8", "gaussian")
    assert said["sigmas"] == "1 0.1 0.05"
    assert (said["vertices"], said["edges"], said["components"]) == ("120", str(graph.num_edges // 2), "1")
    assert said["neighbours"] == f"4 to 8, {graph.num_edges / 120:.2f} on average"
    inspected = call("inspect", said["saved"])
    assert inspected == {name: value for name, value in said.items() if name not in ("time", "saved")}
    loaded = load_graph(said["saved"])
    for name in ("edge_index", "edge_weight", "edge_sqdist"):
        assert torch.equal(getattr(loaded, name), getattr(graph, name))
    monkeypatch.setattr("cheblienet.graphs.sampled.neighbor_edges", lambda *_: pytest.fail("built anew"))
    assert torch.equal(SE2GEGraph((6, 5, 4), (1.0, 0.1, 0.05), 8, tmp_path).edge_index, graph.edge_index)


def test_other_samplings_are_told_apart(call, tmp_path):
    words = ("--sigmas", 1, 0.3, 0.1, "--save", tmp_path)
    fibonacci = call("build", "so3", "--sampling", "fibonacci", "--size", 50, 3, *words)
    assert (fibonacci["size"], fibonacci["sampling"], fibonacci["of"]) == ("50 x 3", "fibonacci", "50 x 3")
    expected = GEGraph.from_elements(SO3, sample(SO3, "fibonacci", 50, 3), (1.0, 0.3, 0.1), 16)
    assert torch.equal(load_graph(fibonacci["saved"]).edge_weight, expected.edge_weight)
    one, other = (
        call("build", "so3", "--sampling", "random", "--size", 150, "--seed", seed, *words) for seed in (1, 2)
    )
    assert (one["size"], one["seed"], other["seed"]) == ("150 x 1", "1", "2")
    assert len({fibonacci["saved"], one["saved"], other["saved"]}) == 3
    assert call("inspect", one["saved"])["seed"] == "1"
    assert not torch.equal(load_graph(one["saved"]).edge_index, load_graph(other["saved"]).edge_index)


def test_an_equiangular_graph_in_parts_is_refused(call, tmp_path):
    words = (
        "build",
        "s2",
        "--sampling",
        "equiangular",
        "--size",
        9,
        18,
        "--sigmas",
        1,
        1,
        1,
        "--save",
        tmp_path,
        "--K",
    )
    with (
        pytest.raises(SystemExit, match=r"--K: expected at least nlon = 18 .* got 8: the graph has 3 components"),
        pytest.warns(UserWarning, match="3 components"),
    ):
        call(*words, 8)
    assert not list(tmp_path.iterdir())
    assert call(*words, 18)["components"] == "1"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("build", "se2", "--size", 6, 5, "--sigmas", 1, 1, 1), "SE2GEGraph: size: expected (nx, ny, ntheta)"),
        (("build", "r2", "--sampling", "healpix", "--size", 6, "--sigmas", 1, 1, 1), "'regular' or 'random' for r2"),
        (("build", "s2", "--sampling", "fibonacci", "--size", 6, 5, "--sigmas", 1, 1, 1), "expected num_points"),
        (("inspect", __file__), "test_graph.py: not a usable cache file"),
        (("inspect", "missing.npz"), "missing.npz"),
    ],
)
def test_says_what_is_wrong(call, words, message):
    with pytest.raises(SystemExit, match="error: ") as error:
        call(*words)
    assert message in str(error.value)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX systems")
def test_ctrl_c_leaves_a_long_build():
    words = ["build", "se2", "--sampling", "random", "--size", "100000", "--K", "1000", "--sigmas", "1", "1", "1"]
    process = subprocess.Popen([sys.executable, "-m", "cheblienet", "graph", *words], stderr=subprocess.PIPE, text=True)
    progress = process.stderr.read(40)  # the bar appears when the search has begun
    assert "neighbours" in progress
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.rstrip().endswith("interrupted")
