"""What docs/conventions.md says: its snippets print what stands there, and its sentences hold."""

import math
import re
from pathlib import Path

import pytest
import torch

from cheblienet.data import to_graph_signal
from cheblienet.equivariance import symmetries
from cheblienet.graphs import GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.groups import SE2, SO3, sample

PAGE = Path(__file__).resolve().parents[1] / "docs" / "conventions.md"
PROGRAMS = (1.0, 0.1, 2.048 / 28**2)


@pytest.mark.parametrize("which", [0, 1])
def test_the_examples_of_the_page(which, capsys):
    examples = re.findall(r"```python\n(.*?)```.*?```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 2
    code, printed = examples[which]
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == printed


def test_a_pixel_lies_where_the_page_says():
    """Row i and column j at x = j / W, y = i / H; the first orientation is the line along y."""
    height, width = 4, 6
    graph = SE2GEGraph((width, height, 2), (1.0, 1.0, 1.0), 8)
    image = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    signal = to_graph_signal(image, 2)[0, 0]
    i, j = signal // width, signal % width
    torch.testing.assert_close(graph.vertex_x, j / width)
    torch.testing.assert_close(graph.vertex_y, i / height)
    assert graph.vertex_theta[0] == pytest.approx(-math.pi / 2)


def test_alpha_turns_from_the_south_to_the_east():
    alpha, beta, gamma = 0.3, 1.1, -0.7
    g = SO3.matrix(torch.tensor([alpha, beta, gamma], dtype=torch.float64))
    south = [math.cos(beta) * math.cos(gamma), math.cos(beta) * math.sin(gamma), -math.sin(beta)]
    east = [-math.sin(gamma), math.cos(gamma), 0.0]
    line = [math.cos(alpha) * s + math.sin(alpha) * e for s, e in zip(south, east, strict=True)]
    assert g[:, 0].tolist() == pytest.approx(line)
    place = [math.sin(beta) * math.cos(gamma), math.sin(beta) * math.sin(gamma), math.cos(beta)]
    assert g[:, 2].tolist() == pytest.approx(place)
    assert torch.linalg.cross(torch.tensor(south), torch.tensor(east)).tolist() == pytest.approx(place)


def test_a_turn_about_the_first_column_is_a_step_across_the_orientation():
    g = SO3.matrix(torch.tensor([0.3, 1.1, -0.7], dtype=torch.float64))
    step = 1e-3
    for axis, along, across in ((0, 0.0, -step), (1, step, 0.0)):
        turn = torch.zeros(3, dtype=torch.float64).index_fill(0, torch.tensor(axis), step)
        generator = torch.stack([torch.linalg.cross(turn, e) for e in torch.eye(3, dtype=torch.float64)], 1)
        h = g @ torch.matrix_exp(generator)
        assert SO3.log(g.mT @ h).tolist() == pytest.approx(turn.tolist(), abs=1e-12)
        assert (g.mT @ h[:, 2])[:2].tolist() == pytest.approx([along, across], abs=1e-5)


def test_the_metric_of_the_paper_is_that_of_the_programs_by_another_name():
    """diag(1, 1 / eps, xi / eps) of elements turned by a right angle, from the right, is (1, eps, xi) / eps."""
    eps, xi = 0.1, 0.6 / 28**2
    g, h = (sample(SE2, "random", 1000) for _ in range(2))
    quarter = torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64)
    paper = SE2.squared_distance(g + quarter, h + quarter, (1.0, 1 / eps, xi / eps))
    torch.testing.assert_close(eps * paper, SE2.squared_distance(g, h, (1.0, eps, xi)))


def test_what_a_step_of_the_orientation_costs():
    """The table of 2.048 / n^2 and 10 / n: in pixels, and in the spacings of an icosphere."""
    g = torch.zeros(3, dtype=torch.float64)
    for n in (28, 96):
        steps = torch.tensor([1 / n, 1 / n, math.pi / 6], dtype=torch.float64).diag()
        along, across, turn = SE2.squared_distance(g, steps, (1.0, 0.1, 2.048 / n**2)).sqrt()
        assert turn / along == pytest.approx(0.75, abs=0.005)
        assert turn / across == pytest.approx(2.37, abs=0.005)
    n = 642
    place = SO3.matrix(SO3GEGraph((n, 5), (1.0, 0.1, 10 / n), 4).elements[:n])[..., 2]
    spacing = torch.cdist(place, place).fill_diagonal_(2).topk(6, largest=False).values[:, :5].mean()
    assert spacing * math.sqrt(n) == pytest.approx(3.81, rel=0.04)
    assert math.sqrt(10 / n) * math.pi / 6 / spacing == pytest.approx(0.43, abs=0.02)


def test_searches_draw_numbers_of_orientations_that_keep_the_square():
    optuna = pytest.importorskip("optuna")
    from cheblienet.experiments.sweep import search_space

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trial = optuna.create_study().ask()
    drawn = search_space(trial)["ntheta"]
    numbers = trial.distributions["ntheta"]
    possible = range(numbers.low, numbers.high + 1, numbers.step)
    assert drawn in possible
    assert len(possible) > 1
    for ntheta in possible:
        assert len(symmetries(SE2GEGraph((5, 5, ntheta), (1.0, 0.1, 0.05), 12))) == 8


@pytest.mark.parametrize("nalpha", [2, 3, 5])
def test_orientations_keep_the_symmetries_of_samplings_by_rings(nalpha):
    for sampling, size, number in (("equiangular", (5, 6), 24), ("fibonacci", (30,), 2), ("random", (30,), 1)):
        count = (*size, nalpha) if sampling != "random" else size
        graph = GEGraph.from_elements(SO3, sample(SO3, sampling, *count), (1.0, 0.1, 0.1), 12)
        assert len(symmetries(graph)) == number


def test_successive_edges_break_the_triangle_inequality_seldom():
    graph = SE2GEGraph((28, 28, 6), PROGRAMS, 16)
    source, target = graph.edge_index
    first = torch.randint(len(source), (50_000,), generator=torch.Generator().manual_seed(0))
    start = torch.searchsorted(source, target[first])
    degree = torch.bincount(source)[target[first]]
    second = start + torch.randint(2**31, (50_000,), generator=torch.Generator().manual_seed(1)) % degree

    def distance(a, b):
        return SE2.squared_distance(graph.elements[a], graph.elements[b], PROGRAMS).sqrt()

    f, g, h = source[first], target[first], target[second]
    factor = distance(f, h) / (distance(f, g) + distance(g, h))
    assert (factor > 1 + 1e-9).double().mean() == pytest.approx(0.03, abs=0.005)
    assert factor.max() < 1.02
