"""What layers compute from their arguments survives whatever is done to parameters and buffers."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cheblienet import nn as gnn
from cheblienet.compat import layers as original
from cheblienet.graphs import S2GEGraph, SE2GEGraph, SO3GEGraph

COARSE, MIDDLE, FINE = (SE2GEGraph((n, n, 2), (1.0, 0.1, 2 / n**2), 6) for n in (2, 4, 8))
LEVELS = [SO3GEGraph((n, 2), (1.0, 0.1, 10 / n), 6) for n in (12, 42)]
SPHERE = S2GEGraph((42,), (1.0, 1.0, 1.0), 6)

POOLS: dict[str, tuple[Callable[..., nn.Module], int]] = {
    "SE2SpatialPool": (lambda r, **k: gnn.SE2SpatialPool(2, (8, 8, 2), r, **k), 128),
    "SE2SpatialUnpool": (lambda r, **k: gnn.SE2SpatialUnpool(2, (4, 4, 2), r, **k), 32),
    "SO3SpatialPool": (lambda r, **k: gnn.SO3SpatialPool(2, (42, 2), r, **k), 84),
    "SO3SpatialUnpool": (lambda r, **k: gnn.SO3SpatialUnpool(2, (12, 2), r, **k), 24),
    "SO3OrientationPool": (lambda r, **k: gnn.SO3OrientationPool(2, (42, 2), r, **k), 84),
    "GlobalPool": (lambda r, **k: gnn.GlobalPool(r, **k), 24),
}


def image_network(reduction="max", **options):
    return gnn.WideResSE2GEChebNet(2, 3, 3, COARSE, MIDDLE, FINE, res_depth=1, reduction=reduction, **options)


def sphere_network(reduction="max", **options):
    options = {"expansion": reduction, **options}
    return gnn.SO3GEUChebNet(2, 3, 2, output_graph=SPHERE, graphs=LEVELS, reduction=reduction, **options)


# What makes a module with state, and the vertices of its signal of two channels.
MODULES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "ChebConv": (lambda: gnn.ChebConv(2, 3, 3, MIDDLE), 32),
    "VertexBatchNorm": (lambda: gnn.VertexBatchNorm(2), 32),
    "BasicBlock": (lambda: gnn.BasicBlock(2, 3, gnn.ChebConv, 3, graph=MIDDLE), 32),
    "NetworkBlock": (lambda: gnn.NetworkBlock(2, 3, 2, gnn.ResidualBlock, gnn.ChebConv, 3, graph=MIDDLE), 32),
    "WideResSE2GEChebNet": (image_network, 128),
    "SO3GEUChebNet": (sphere_network, 84),
    **{name: (lambda make=make: make("max"), vertices) for name, (make, vertices) in POOLS.items()},
}


def emptied(module):
    """With other numbers in all memory that a module gives away."""
    module = module.to_empty(device="cpu")
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.detach().fill_(-77)
    return module


def with_state(name, way):
    make, _ = MODULES[name]
    module = make()
    x = torch.randn(3, 2, MODULES[name][1])
    module(x)  # statistics that are not those at the beginning
    state = copy.deepcopy(module.state_dict())
    return module, x, way(make, module, state)


def on_meta(make, module, state):
    with torch.device("meta"):
        made = make()
    assert all(tensor.is_meta for tensor in (*made.parameters(), *made.buffers()))
    return made


def meta_then_empty(make, module, state):
    made = emptied(on_meta(make, module, state))
    made.load_state_dict(state)
    return made


def meta_then_assigned(make, module, state):
    made = on_meta(make, module, state)
    made.load_state_dict(state, assign=True)
    return made


def moved_to_meta(make, module, state):
    made = emptied(copy.deepcopy(module).to("meta"))
    made.load_state_dict(state)
    return made


WAYS = {
    "meta, to_empty, load_state_dict": meta_then_empty,
    "meta, load_state_dict by assignment": meta_then_assigned,
    "to meta and back": moved_to_meta,
    "deepcopy": lambda make, module, state: copy.deepcopy(module),
    "pickle": lambda make, module, state: pickle.loads(pickle.dumps(module)),
    "pickle after meta": lambda make, module, state: pickle.loads(pickle.dumps(meta_then_empty(make, module, state))),
    "share_memory": lambda make, module, state: copy.deepcopy(module).share_memory(),
    "double and back": lambda make, module, state: copy.deepcopy(module).double().float(),
    "to": lambda make, module, state: copy.deepcopy(module).to("cpu", torch.float32),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODULES)
def test_gives_the_same_numbers(name, way):
    module, x, other = with_state(name, WAYS[way])
    for training in (False, True):
        assert torch.equal(other.train(training)(x), module.train(training)(x))


@pytest.mark.parametrize("name", MODULES)
def test_halves_compute(name):
    make, vertices = MODULES[name]
    module, x = make().eval(), torch.randn(2, 2, vertices)
    for dtype in (torch.bfloat16, torch.float16):
        y = copy.deepcopy(module).to(dtype)(x.to(dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), module(x), atol=0.2, rtol=0.1)


@pytest.mark.parametrize("name", ["ChebConv", "WideResSE2GEChebNet", "SO3GEUChebNet"])
def test_parameters_are_reset_after_to_empty(name):
    """As wrappers that shard a model made on the meta device do: layer by layer."""
    make, vertices = MODULES[name]
    with torch.device("meta"):
        module = make()
    emptied(module)
    for layer in module.modules():
        own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        assert hasattr(layer, "reset_parameters") or not own
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    torch.manual_seed(5)
    made = make()
    for (key, tensor), expected in zip(module.state_dict().items(), made.state_dict().values(), strict=True):
        if key.endswith("weight") and tensor.ndim == 3:
            assert float(tensor.std()) == pytest.approx(float(expected.std()), rel=0.5)
        elif not key.startswith("fc"):
            assert torch.equal(tensor, expected), key
    assert module(torch.randn(2, 2, vertices)).isfinite().all()


def test_an_export_after_assignment_finds_its_laplacians():
    module, x, other = with_state("WideResSE2GEChebNet", meta_then_assigned)
    program = torch.export.export(other.eval(), (x,)).module()
    assert torch.equal(program(x), module.eval()(x))


def test_tables_are_no_buffers():
    """They are not averaged, broadcast, emptied or counted."""
    pool = gnn.SE2SpatialPool(2, (8, 8, 2), "max")
    assert [*pool.buffers()] == [*pool.state_dict()] == []
    assert pool.num_outputs == len(pool.table().members) == 32
    assert pool.table("meta").members.is_meta
    with pytest.raises(ValueError, match="SE2SpatialPool: table: expected a kernel_size of at least 2, got 1"):
        gnn.SE2SpatialPool(1, (8, 8, 2), "max").table()


@pytest.mark.parametrize("name", POOLS)
def test_random_pooling_is_the_mean_in_evaluation(name):
    make, vertices = POOLS[name]
    pool, x = make("rand"), torch.randn(2, 3, vertices)
    assert torch.equal(pool.eval()(x), make("avg")(x))
    assert torch.equal(make("rand", eval_reduction="max").eval()(x), make("max")(x))
    assert pool.train().reduction == "rand"
    assert "reduction='rand', eval_reduction='avg'" in repr(pool)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("mode", ["training", "evaluation on request", "the original's layer"])
def test_random_pooling_draws_from_the_generator(name, mode):
    make, vertices = POOLS[name]
    if mode == "the original's layer":
        made = make("rand")
        arguments = {"SO3OrientationPool": (2, (42, 2)), "GlobalPool": ()}.get(name)
        sizes = {"SE2SpatialPool": (8, 8, 2), "SE2SpatialUnpool": (4, 4, 2), "SO3SpatialPool": (42, 2)}
        arguments = (2, sizes.get(name, (12, 2))) if arguments is None else arguments
        pool = getattr(original, name)(*arguments, "rand").eval()
        assert isinstance(pool, type(made))
    else:
        pool = make("rand") if mode == "training" else make("rand", eval_reduction="rand").eval()
    x, results = torch.randn(1, 2, vertices), []
    for seed in (1, 1, *range(2, 12)):
        torch.manual_seed(seed)
        results.append(pool(x))
    assert torch.equal(results[0], results[1])
    if name != "SE2SpatialUnpool":  # which has one source for each output
        assert not all(torch.equal(results[0], other) for other in results[2:])


@pytest.mark.parametrize("reduction", ["max", "avg"])
@pytest.mark.parametrize("name", POOLS)
def test_other_reductions_are_the_same_in_evaluation(name, reduction):
    make, vertices = POOLS[name]
    x = torch.randn(2, 3, vertices)
    pool = make(reduction, eval_reduction="rand")
    assert pool.eval_reduction == reduction
    assert torch.equal(pool.train()(x), pool.eval()(x))


@pytest.mark.parametrize("make", [image_network, sphere_network])
def test_networks_hand_eval_reduction_on(make):
    vertices = 128 if make is image_network else 84
    x, model = torch.randn(2, 2, vertices), make("rand").eval()
    plain = make("avg").eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(x), model(x))
    assert torch.equal(model(x), plain(x))
    program = torch.export.export(model, (x,)).module()
    assert torch.equal(program(x), plain(x))
    assert torch.equal(torch.compile(model, backend="aot_eager", fullgraph=True)(x), plain(x))
    drawn = make("rand", eval_reduction="rand").eval()
    assert not torch.equal(drawn(x), drawn(x))
    name = type(model).__name__
    kept = getattr(original, name)(
        2, 3, 2, *((COARSE, MIDDLE, FINE) if make is image_network else ()), reduction="rand",
        **({} if make is image_network else {"output_graph": SPHERE, "graphs": LEVELS}),
    ).eval()  # fmt: skip
    assert not torch.equal(kept(x), kept(x))
    with pytest.raises(ValueError, match="eval_reduction: expected one of 'max', 'avg', 'rand', got 'min'"):
        make("rand", eval_reduction="min")


@pytest.mark.parametrize("name", [name for name in POOLS if name != "GlobalPool"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_random_pooling_computed_once_more_draws_the_same(name, reentrant):
    make, vertices = POOLS[name]
    pool, x = make("rand"), torch.randn(2, 3, vertices, requires_grad=True)
    gradients = []
    for call in (lambda: checkpoint(lambda s: pool(s).pow(2), x, use_reentrant=reentrant), lambda: pool(x).pow(2)):
        torch.manual_seed(3)
        gradients.append(torch.autograd.grad(call().sum(), x)[0] if not reentrant else backward(call, x))
    assert torch.equal(*gradients)


def backward(call, x):
    x.grad = None
    call().sum().backward()
    return x.grad
