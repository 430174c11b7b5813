"""Pictures show what they are given."""

import pytest
import torch

pytest.importorskip("matplotlib", reason="pictures need matplotlib")
from matplotlib.image import imread

from cheblienet.graphs import S2GEGraph
from cheblienet.train.pictures import draw_confusion, draw_curves, draw_globe


def colours(path):
    """Shares of the colours of a picture."""
    pixels = (torch.from_numpy(imread(path))[..., :3] * 255).round().int()
    found, counts = pixels.flatten(0, 1).unique(dim=0, return_counts=True)
    shares = counts / counts.sum()
    return {"#{:02x}{:02x}{:02x}".format(*c): float(s) for c, s in zip(found.tolist(), shares, strict=True)}


def test_globe_shows_classes_by_area(tmp_path):
    graph = S2GEGraph((642,), (1.0, 1.0, 1.0), 8)
    _, _, z = graph.cartesian_pos()
    labels = torch.zeros(642, dtype=torch.int64)
    labels[z > 0.5] = 1  # a quarter of the sphere's area
    labels[z < -0.5] = 2
    draw_globe(graph, {"truth": labels}, ("a", "b", "c"), tmp_path / "globe.png")
    share = colours(tmp_path / "globe.png")
    area = share["#dfe6ec"] + share["#d1495b"] + share["#00798c"]
    assert area > 0.4
    assert share["#d1495b"] / area == pytest.approx(0.25, abs=0.03)
    assert share["#00798c"] / area == pytest.approx(0.25, abs=0.03)


def test_curves_and_confusion_are_drawn(tmp_path):
    rows = [{"iteration": k, "epoch": 1, "train_loss": 1 / k, "samples_per_second": 3.0} for k in range(1, 9)]
    rows.append({"iteration": 8, "epoch": 1, "test_accuracy": 0.5, "test_loss": 0.4})
    draw_curves(rows, tmp_path / "curves.png")
    draw_confusion({"test": torch.tensor([[3, 1], [0, 0]])}, ("a", "b"), tmp_path / "confusion.png")
    assert len(colours(tmp_path / "curves.png")) > 10
    assert len(colours(tmp_path / "confusion.png")) > 10
