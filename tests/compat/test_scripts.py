import copy
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cheblienet import compat
from cheblienet.graphs import RandomSubGraph, SE2GEGraph
from cheblienet.groups import SE2, SO3

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def run(*command):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, cwd=HERE)


def test_script_of_the_original_runs(tmp_path):
    for package in ("ignite", "torchvision"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    script = str(HERE / "original_script.py")
    done = run("-m", "cheblienet.compat", script, "--path_to_graph", str(tmp_path), "--batch_size", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["capacity", "28067", "graphs", "5"]
    assert "No module named 'cheblienet.datas'" in run(script).stderr


def test_command_line_says_what_is_wrong(tmp_path):
    done = run("-m", "cheblienet.compat", str(tmp_path / "none.py"))
    assert done.returncode == 2
    assert f"script: expected a file, got {tmp_path / 'none.py'}" in done.stderr


def test_scripts_get_the_originals_edges_where_asked(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from cheblienet.graphs.graphs import SE2GEGraph\n"
        "size, sigmas = [6, 6, 4], (1.0, 0.1, 0.05)\n"
        "for asked in ({}, {'original_edges': False}, {'original_edges': True}):\n"
        "    print(SE2GEGraph(size, sigmas, 8, **asked).num_edges)"
    )
    counts = []
    for flags in ([], ["--original_edges"]):
        done = run("-m", "cheblienet.compat", *flags, str(script))
        assert done.returncode == 0, done.stderr
        counts.append(done.stdout.split())
    (default, ours, original), asked = counts
    assert default == ours != original
    assert asked == [original, ours, original]


def test_graphs_come_from_the_originals_files(tmp_path):
    kind = compat.resolve("graphs.graphs", "SE2GEGraph")
    built = kind([4, 4, 2], (1.0, 0.1, 0.5), 4, str(tmp_path))
    assert torch.equal(built.edge_index, SE2GEGraph((4, 4, 2), (1.0, 0.1, 0.5), 4).edge_index)
    prefix = hashlib.sha256(b"se2-[4, 4, 2]-4-(1.0, 0.1, 0.5)-gaussian").hexdigest()
    pair = torch.tensor([[0, 31], [31, 0]])
    tensors = {"vertex_index": torch.arange(32), "edge_index": pair}
    for name, tensor in (tensors | {"edge_sqdist": torch.ones(2), "edge_weight": torch.full((2,), 0.5)}).items():
        torch.save(tensor, tmp_path / f"{prefix}_{name}.pt")
    graph = kind(size=[4, 4, 2], K=4, sigmas=(1.0, 0.1, 0.5), path_to_graph=str(tmp_path))
    assert torch.equal(graph.edge_index, pair)
    assert isinstance(graph, SE2GEGraph)
    (tmp_path / f"{prefix}_edge_weight.pt").unlink()
    with pytest.raises(FileNotFoundError, match=f"{prefix}_edge_weight.pt"):
        kind([4, 4, 2], (1.0, 0.1, 0.5), 4, str(tmp_path))


@pytest.mark.parametrize(("module", "group"), [("geometry.se", SE2), ("geometry.so", SO3)])
def test_functions_on_groups_are_the_groups(module, group):
    def function(name):
        return compat.resolve(module, f"{group.name}_{name}")

    size = (4, 3, 2) if group is SE2 else (12, 2)
    coordinates = function("uniform_sampling")(*size)
    frames = {"frames": "coordinate"} if group is SO3 else {}
    elements = group.uniform_sampling(*size, **frames).float()
    assert torch.equal(torch.stack(coordinates, -1), elements)
    G = function("matrix")(*coordinates)
    torch.testing.assert_close(function("inverse")(G) @ G, torch.eye(3).expand(len(G), 3, 3))
    torch.testing.assert_close(function("matrix")(*function("element")(G)), G)
    torch.testing.assert_close(function("log")(G)[..., 0], group.log(group.matrix(elements)))
    sigmas = torch.tensor([1.0, 0.5, 0.1])
    actual = function("riemannian_sqdist")(G[3], G, torch.diag(sigmas))
    torch.testing.assert_close(actual, group.squared_distance(elements[3], elements, sigmas), atol=1e-4, rtol=1e-4)


def test_rotations_and_points_of_the_sphere():
    rotation, to_xyz, to_angles = (
        compat.resolve("geometry.utils", name) for name in ("rotation_matrix", "betagamma2xyz", "xyz2betagamma")
    )
    quarter, axes = torch.tensor([torch.pi / 2]), torch.eye(3)
    for axis, start, end in (("x", 1, 2), ("y", 2, 0), ("z", 0, 1)):
        torch.testing.assert_close(rotation(quarter, axis)[0] @ axes[start], axes[end])
    beta, gamma = torch.tensor([0.3, 2.0]), torch.tensor([-1.0, 3.0])
    x, y, z = to_xyz(beta, gamma)
    torch.testing.assert_close(torch.stack([x, y, z]).norm(dim=0), torch.ones(2))
    torch.testing.assert_close(to_angles(x, y, z), (beta, gamma))
    assert torch.equal(to_xyz(beta, gamma, "y"), y)


def test_functions_on_graphs():
    def gsp(name):
        return compat.resolve("graphs.gsp", name)

    graph = compat.resolve("graphs.graphs", "SE2GEGraph")([4, 4, 2], (1.0, 0.1, 0.5), 4, None)
    edges = graph.edge_index, graph.edge_weight, 32
    laplacian = gsp("get_laplacian")(*edges).to_dense()
    degree = torch.zeros(32).index_add(0, graph.edge_index[0], graph.edge_weight)
    assert (degree > 0).all()
    weights = torch.sparse_coo_tensor(graph.edge_index, graph.edge_weight, (32, 32), check_invariants=True).to_dense()
    torch.testing.assert_close(laplacian, torch.eye(32) - weights / (degree[:, None] * degree).sqrt())
    rescaled = gsp("get_rescaled_laplacian")(*edges, lmax=1.7)
    torch.testing.assert_close(rescaled.to_dense(), (laplacian - torch.eye(32)) * (2 / 1.7))
    eigenvalues, vectors = gsp("get_fourier_basis")(gsp("get_laplacian")(*edges))
    torch.testing.assert_close(vectors @ torch.diag(eigenvalues) @ vectors.T, laplacian, atol=1e-5, rtol=1e-5)
    cheb_conv, x, theta = compat.resolve("nn.layers.convs", "cheb_conv"), torch.randn(2, 3, 32), torch.randn(1, 3, 4)
    torch.testing.assert_close(cheb_conv(x, theta), cheb_conv(x, theta, rescaled))
    with pytest.raises(ValueError, match="laplacian: expected a sparse tensor for R = 2, got None"):
        cheb_conv(x, torch.randn(2, 3, 4))


def test_helpers_on_tensors():
    def helper(name):
        return compat.resolve("utils.utils", name)

    x = torch.tensor([-4.0, 0.0, 0.126, 5.0])
    torch.testing.assert_close(helper("mod")(x, 3, -1), torch.tensor([-1.0, 0.0, 0.126, -1.0]))
    torch.testing.assert_close(helper("sinc")(x), torch.where(x == 0, 1, x.sin() / x))
    torch.testing.assert_close(helper("round")(x, 2), torch.tensor([-4.0, 0.0, 0.13, 5.0]))
    c, metric = torch.randn(5, 3, 1), torch.randn(3, 3)
    torch.testing.assert_close(helper("weighted_norm")(c, metric), (c.mT @ metric @ c)[:, 0, 0])
    assert torch.equal(helper("shuffle_tensor")(x).sort().values, x)
    matrix = torch.eye(4).to_sparse()
    assert helper("sparsity_measure")(matrix) == 0.25
    assert (helper("sparse_tensor_to_sparse_array")(matrix).toarray() == torch.eye(4).numpy()).all()
    assert helper("delta_kronecker")((2, 3), (1, 2)).nonzero().tolist() == [[1, 2]]
    with pytest.raises(ValueError, match="offset: expected an index into size"):
        helper("delta_kronecker")((2, 3), 1)


def test_engines_train_and_evaluate():
    pytest.importorskip("ignite", reason="pytorch-ignite is not installed")
    create_trainer, create_evaluator, per_class = (
        compat.resolve(module, name)
        for module, name in (
            ("engines.engines", "create_supervised_trainer"),
            ("engines.engines", "create_supervised_evaluator"),
            ("engines.utils", "PerClassAccuracy"),
        )
    )
    graph = RandomSubGraph(SE2GEGraph((4, 4, 2), (1.0, 0.1, 0.5), 4))
    graph.vertices_sampling(0.5)
    x, y = torch.randn(6, 2, 32), torch.tensor([0, 1, 1, 1, 0, 1])
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 2))
    expected = copy.deepcopy(model)
    loss = torch.nn.functional.cross_entropy(expected(x[..., graph.sub_vertex_index]), y)
    loss.backward()
    torch.optim.SGD(expected.parameters(), 0.1).step()
    trainer = create_trainer(graph, model, torch.optim.SGD(model.parameters(), 0.1), torch.nn.functional.cross_entropy)
    assert trainer.run([(x, y)]).output == pytest.approx(loss.item())
    torch.testing.assert_close(model.state_dict(), expected.state_dict())
    metrics = create_evaluator(graph, model, {"second": per_class(1)}).run([(x, y)]).metrics
    predicted = model(x[..., graph.sub_vertex_index]).argmax(1)
    assert metrics["second"] == pytest.approx((predicted[y == 1] == 1).float().mean().item())


def test_pictures_show_every_vertex(monkeypatch):
    go = pytest.importorskip("plotly.graph_objects", reason="plotly is not installed")
    graph = SE2GEGraph((4, 4, 2), (1.0, 0.1, 0.5), 4)
    shown = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: shown.append(figure.data[0]))
    compat.resolve("graphs.viz", "visualize_graph")(graph)
    compat.resolve("graphs.viz", "visualize_graph_signal")(graph, torch.arange(32.0))
    compat.resolve("graphs.viz", "visualize_graph_neighborhood")(graph, 9)
    for points in shown:
        assert torch.equal(torch.tensor(points.z), graph.vertex_theta)
        assert torch.equal(torch.tensor(points.customdata)[:, 1].float(), graph.vertex_x)
    assert torch.equal(torch.tensor(shown[1].marker.color), torch.arange(32.0))
    neighbors, weights, _ = graph.neighborhood(9)
    assert torch.equal(torch.tensor(shown[2].marker.color).nonzero()[:, 0], neighbors)
    assert torch.equal(torch.tensor(shown[2].marker.color)[neighbors], weights)


def write_mnist(folder, count):
    """Files as MNIST has them, of synthetic images: one bright pixel per image, at the place that its class numbers."""
    folder.mkdir(parents=True)
    labels = torch.arange(count, dtype=torch.uint8) % 10
    images = torch.zeros(count, 28 * 28, dtype=torch.uint8).scatter(1, labels[:, None].long(), 255)
    for part in ("train", "t10k"):
        for name, magic, values in (("images-idx3", [8, 3], images.view(-1, 28, 28)), ("labels-idx1", [8, 1], labels)):
            header = b"".join(size.to_bytes(4, "big") for size in values.shape)
            content = bytes([0, 0, *magic]) + header + values.numpy().tobytes()
            (folder / f"{part}-{name}-ubyte").write_bytes(content)


def test_loaders_give_signals_on_the_graph(tmp_path):
    pytest.importorskip("torchvision", reason="torchvision is not installed")

    def loader(name):
        return compat.resolve("datas.dataloaders", name)

    write_mnist(tmp_path / "MNIST" / "raw", 20)
    options = {"batch_size": 4, "num_layers": 3, "path_to_data": str(tmp_path)}
    train, validation = loader("get_train_val_loaders")("mnist", val_ratio=0.2, **options)
    seen = torch.cat([classes for batches in (train, validation) for _, classes in batches])
    assert len(train.dataset) == 16
    assert torch.equal(seen.sort().values, (torch.arange(20) % 10).sort().values)
    for part in (loader("get_test_loader")("mnist", **options), *loader("get_equiv_test_loaders")("mnist", **options)):
        signal, _ = next(iter(part))
        assert signal.shape == (4, 1, 3 * 28 * 28)
        assert torch.equal(signal[..., :784], signal[..., 784 : 2 * 784])
    plain, _ = next(iter(loader("get_test_loader")("mnist", **options)))
    assert torch.equal(plain[:, 0, :784].argmax(-1), torch.arange(4))
    assert plain.max() == pytest.approx((1 - 0.1307) / 0.3081)
    with pytest.raises(ValueError, match="dataset: expected one of 'mnist', .*, got 'svhn'"):
        loader("get_test_loader")("svhn", **options)
    with pytest.raises(FileNotFoundError, match="not downloaded"):
        compat.resolve("datas.datasets", "ARTCDataset")(tmp_path / "none", download=True)
