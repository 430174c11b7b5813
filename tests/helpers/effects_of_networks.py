"""The effects of the flags that say what network a program trains, and on which graphs."""

import pytest
import torch
from flag_programs import NEEDED, effect, first_batch, output
from torch.nn.functional import nll_loss

from cheblienet.nn import SE2SpatialPool
from cheblienet.nn.blocks import ResidualBlock


@effect("--res_depth")
def _(program):
    for depth in (1, 2):
        model = program.one("--res_depth", depth).task.model
        assert sum(isinstance(module, ResidualBlock) for module in model.modules()) == 3 * depth


@effect("--widen_factor")
def _(program):
    for factor in (1, 3):
        assert program.one("--widen_factor", factor).task.model.fc.in_features == 64 * factor


def graph_of(run):
    return run.task.prepare_batch.graph


@effect("--coupled_sym")
def _(program):
    def share_between_orientations(run):
        graph = graph_of(run)
        layers = graph.edge_index // (graph.num_vertices // graph.dim[0])
        return float((layers[0] != layers[1]).float().mean())

    assert share_between_orientations(program.one("--anisotropic")) == 0
    assert share_between_orientations(program.one("--anisotropic", "--coupled_sym")) > 0.1


def sampled(run):
    """Vertices and edges of the whole graph, while training, and in an evaluation."""
    graph = graph_of(run)
    found = [(graph.num_vertices, graph.num_edges)]
    for change in (run.task.before_step, run.task.before_step, run.task.before_evaluation):
        if change is not None:
            change()
        found.append((graph.num_vertices, graph.num_edges))
    return found


@effect("--sample_edges")
def _(program):
    whole, step, again, evaluation = sampled(program.one("--sample_edges", "--edges_rate", 0.5))
    assert step == again == (whole[0], 2 * -(-whole[1] // 4))  # half of the undirected ones, and anew from the whole
    assert evaluation == whole


@effect("--edges_rate")
def _(program):
    counts = [sampled(program.one("--sample_edges", "--edges_rate", rate))[1][1] for rate in (0.25, 0.75, 1)]
    assert counts[0] / counts[2] == pytest.approx(0.25, abs=0.02)
    assert counts[1] / counts[2] == pytest.approx(0.75, abs=0.02)
    assert len(set(sampled(program.one("--edges_rate", 0.25)))) == 1  # it is the share of what --sample_edges samples


@effect("--sample_vertices")
def _(program):
    run = program.one("--sample_vertices", "--vertices_rate", 0.5)
    whole, step, again, evaluation = sampled(run)
    assert step[0] == again[0] == whole[0] // 2
    assert step[1] < whole[1]
    assert evaluation == whole
    run.task.before_step()
    x, _ = first_batch(run)
    assert x.shape[2] == whole[0] // 2
    assert run.task.model(x).shape == (4, 10)


@effect("--vertices_rate")
def _(program):
    counts = [sampled(program.one("--sample_vertices", "--vertices_rate", rate))[1][0] for rate in (0.25, 0.75, 1)]
    assert counts == [16, 48, 64]
    assert len(set(sampled(program.one("--vertices_rate", 0.25)))) == 1


@effect("--save_models")
def _(program):
    run = program.one(train=True)
    assert not list(program.folder.rglob("model_*.pt"))
    run = program.one("--save_models", train=True)
    assert [path.name for path in (run.options.out / "models").iterdir()] == ["model_1.pt"]


@effect("--path_to_model")
def _(program):
    program("--save_models", "--path_to_model", "kept", train=True)
    assert [path.name for path in (program.folder / "kept").iterdir()] == ["model_1.pt"]
    assert program.one("--path_to_model", "kept").options.models is None  # where --save_models saves


@effect("--pool")
def _(program):
    def pools(run):
        return [module.num_outputs for module in run.task.model.modules() if isinstance(module, SE2SpatialPool)]

    assert pools(program.one()) == []
    assert pools(program.one("--pool", "--reduction", "max")) == [36, 9]


def reductions(program, flag, *more):
    """Outputs with one network's parameters and each reduction; "rand" as it trains and as it is evaluated."""

    def run(*flags):
        return program.one(*more, *flags)

    like = run(flag, "max")
    largest, mean, random = (run(flag, kind) for kind in ("max", "avg", "rand"))
    assert not torch.equal(output(largest, like), output(mean, like))
    assert not torch.equal(output(random, like, training=True), output(random, like, training=True))
    assert torch.equal(output(largest, like, training=True), output(largest, like, training=True))
    assert torch.equal(output(random, like), output(mean, like))  # --eval_reduction is avg


def pooling(program):
    return ["--pool"] * (program.name == "cifar10")


@effect("--reduction")
def _(program):
    reductions(program, "--reduction", *pooling(program))


@effect("--expansion")
def _(program):
    reductions(program, "--expansion")


@effect("--eval_reduction")
def _(program):
    """It stands for "rand" in evaluations, of pooling and of unpooling, and leaves the others alone."""
    flags = [word for word in ("--reduction", "--expansion") if word in NEEDED[program.name] or word == "--reduction"]
    both = lambda kind: [*pooling(program), *(word for flag in flags for word in (flag, kind))]  # noqa: E731
    like = program.one(*both("max"))
    for kind in ("max", "avg"):
        found = output(program.one(*both("rand"), "--eval_reduction", kind), like)
        assert torch.equal(found, output(program.one(*both(kind)), like))
        assert torch.equal(output(program.one(*both("max"), "--eval_reduction", kind), like), output(like))
    random = program.one(*both("rand"), "--eval_reduction", "rand")
    assert not torch.equal(output(random, like), output(random, like))


@effect("--weighted")
def _(program):
    plain, weighted = program.one(), program.one("--weighted")
    labels = torch.cat([torch.as_tensor(label) for _, label in plain.task.train_set])
    weights = len(labels) / (3 * labels.bincount(minlength=3))
    scores, truth = torch.randn(2, 3, 42).log_softmax(1), labels[: 2 * 42].view(2, 42)
    torch.testing.assert_close(plain.task.loss(scores, truth), nll_loss(scores, truth))
    torch.testing.assert_close(
        weighted.task.loss(scores, truth), nll_loss(scores, truth, weights.float(), reduction="none").mean()
    )
    assert weights.max() > 1.1  # the classes differ
