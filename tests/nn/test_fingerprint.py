"""A state dict says on which graph it was trained, and loading it on another one warns."""

import copy
import json
import subprocess
import sys
import warnings

import pytest
import torch
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel

from cheblienet import compat
from cheblienet.graphs import GEGraph, Graph, RandomSubGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.groups import SE2, sample
from cheblienet.nn import ChebConv, NetworkBlock, ResidualBlock, WideResSE2GEChebNet

SIZE, SIGMAS, K = (4, 4, 2), (1.0, 0.1, 0.05), 6
PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


def se2(size=SIZE, sigmas=SIGMAS, K=K, kernel="gaussian", lambda_max=2.0):
    graph = SE2GEGraph(size, sigmas, K, kernel=kernel)
    graph.lambda_max = lambda_max
    return graph


def random_elements(seed):
    elements = sample(SE2, "random", 50, generator=torch.Generator().manual_seed(seed))
    return GEGraph.from_elements(SE2, elements, SIGMAS, K)


def layer(graph):
    return ChebConv(2, 3, 3, graph)


def loads_in_silence(target, state):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert str(target.load_state_dict(state, strict=True)) == "<All keys matched successfully>"


def warning_of(saved, here):
    """What loading the state of a layer on `saved` into one on `here` says."""
    state, target = layer(saved).state_dict(), layer(here)
    with pytest.warns(UserWarning, match="ChebConv: graph: the state was saved on another graph: ") as caught:
        target.load_state_dict(state)
    assert torch.equal(target.weight, state["weight"])
    assert len(caught) == 1
    return str(caught[0].message)


def test_is_a_hash_and_json_of_512_bytes():
    fingerprint = se2().fingerprint
    assert fingerprint.dtype == torch.uint8
    assert len(fingerprint) == 512
    content = json.loads(bytes(fingerprint[32:].tolist()))
    assert content.pop("weights")[0] == pytest.approx(float(se2().edge_weight.mean()))
    assert content == {
        "format": 1,
        "vertices": 32,
        "edges": se2().num_edges,
        "manifold": "se2",
        "sampling": "regular",
        "size": [4, 4, 2],
        "sigmas": [1.0, 0.1, 0.05],
        "K": 6,
        "kernel": "gaussian",
        "lambda_max": 2.0,
    }


MAKE = """
import torch
from cheblienet.graphs import SE2GEGraph
torch.set_num_threads(1)
print(bytes(SE2GEGraph((4, 4, 2), (1.0, 0.1, 0.05), 6).fingerprint.tolist())[:32].hex())
"""


def test_is_the_same_in_every_process():
    said = subprocess.run([sys.executable, "-c", MAKE], capture_output=True, text=True, check=True).stdout
    assert said.strip() == bytes(se2().fingerprint.tolist())[:32].hex()
    # If another version has another hash here, all states saved so far seem to belong to other graphs.
    assert said.startswith("840e7b90b92739f3")


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (dict(K=5), "K = 5, here 6"),
        (dict(sigmas=(1.0, 0.1, 0.06)), "sigmas = [1.0, 0.1, 0.06], here [1.0, 0.1, 0.05]"),
        (dict(kernel="cauchy"), "kernel = cauchy, here gaussian"),
        (dict(lambda_max=1.9), "lambda_max = 1.9, here 2.0"),
        (dict(size=(2, 4, 4)), "size = [2, 4, 4], here [4, 4, 2]"),
        (dict(size=(4, 4, 3)), "vertices = 48, here 32"),
    ],
)
def test_loading_on_another_graph_says_in_what_they_differ(saved, said):
    assert said in warning_of(se2(**saved), se2())


def test_other_groups_elements_and_edges_are_told_apart():
    assert "manifold = s2, here se2" in warning_of(S2GEGraph((12,), (1.0, 1.0, 1.0), 4), se2())
    assert "coordinates = " in warning_of(random_elements(0), random_elements(1))
    assert "sampling = elements, here regular" in warning_of(random_elements(0), se2())
    assert "K = None, here 6" in warning_of(Graph(PATH), se2())
    star = torch.tensor([[0, 0, 1, 2], [1, 2, 0, 0]])
    assert warning_of(Graph(PATH), Graph(star)).partition("pattern = ")[1]
    weights = torch.tensor([1.0, 1.0, 2.0, 2.0])
    assert "weights = " in warning_of(Graph(PATH, weights), Graph(PATH))
    assert "weights = " in warning_of(Graph(PATH, weights), Graph(PATH, weights.flip(0)))


def test_frames_are_told_apart():
    icosahedral, coordinate = (SO3GEGraph((12, 5), SIGMAS, K, frames=name) for name in ("icosahedral", "coordinate"))
    assert "frames = coordinate, here icosahedral" in warning_of(coordinate, icosahedral)
    state, content = layer(coordinate).state_dict(), json.loads(bytes(coordinate.fingerprint[32:].tolist()))
    del content["frames"]  # as before there was a choice
    text = json.dumps(content).encode()
    head = coordinate.fingerprint[:32]
    state["_extra_state"] = torch.cat([head, torch.frombuffer(bytearray(text), dtype=torch.uint8)])
    loads_in_silence(layer(coordinate), state)
    with pytest.warns(UserWarning, match="frames = coordinate, here icosahedral"):
        layer(icosahedral).load_state_dict(state)


def test_rounding_does_not_make_another_graph():
    """Elements and weights of one's own may come from another machine, or in another precision."""
    graph, weights = random_elements(0), torch.tensor([0.1, 0.1, 0.3, 0.3])
    rounded = GEGraph.from_elements(SE2, graph.elements.float(), SIGMAS, K)
    assert not torch.equal(rounded.elements, graph.elements)
    loads_in_silence(layer(graph), layer(rounded).state_dict())
    loads_in_silence(layer(Graph(PATH, weights)), layer(Graph(PATH, weights * (1 + 1e-6))).state_dict())


def test_a_sub_graph_has_the_fingerprint_of_the_whole():
    whole = se2()
    sub_graph = RandomSubGraph(whole)
    sub_graph.vertices_sampling(0.5)
    sub_graph.edges_sampling(0.5)
    loads_in_silence(layer(whole), layer(sub_graph).state_dict())
    loads_in_silence(layer(RandomSubGraph(sub_graph)), layer(whole).state_dict())
    sub_graph = RandomSubGraph(whole)
    sub_graph.lambda_max = 1.9
    assert "lambda_max = 1.9, here 2.0" in warning_of(sub_graph, whole)


def network(graph=None):
    return WideResSE2GEChebNet(1, 3, 2, graph or se2(), res_depth=1)


def test_states_without_it_load_and_learned_values_are_no_part_of_it():
    model, other = network(), network()
    state = model.state_dict()
    fingerprints = {name: tensor for name, tensor in state.items() if name.endswith("_extra_state")}
    assert len({tuple(tensor.tolist()) for tensor in fingerprints.values()}) == 1
    loads_in_silence(other, {name: tensor for name, tensor in state.items() if name not in fingerprints})
    loads_in_silence(other, state)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, state[name])
    loads_in_silence(layer(se2()), {name: tensor.half() for name, tensor in layer(se2()).state_dict().items()})


def test_graphs_of_compat_leave_it_out_and_compare_it():
    kind = compat.resolve("graphs.graphs", "SE2GEGraph")
    original, ours = network(kind(SIZE, SIGMAS, K)), network()
    assert not [name for name in original.state_dict() if name.endswith("_extra_state")]
    loads_in_silence(ours, original.state_dict())
    loads_in_silence(original, ours.state_dict())
    sub_graph = compat.resolve("graphs.graphs", "RandomSubGraph")(kind(SIZE, SIGMAS, K))
    assert set(layer(sub_graph).state_dict()) == {"weight", "bias"}
    with pytest.warns(UserWarning, match="K = 5, here 6"):
        layer(kind(SIZE, SIGMAS, K)).load_state_dict(layer(se2(K=5)).state_dict())


def test_copies_and_wrappers_keep_it():
    model, averaged = network(), AveragedModel(network())
    loads_in_silence(averaged, AveragedModel(model).state_dict())
    loads_in_silence(copy.deepcopy(model), model.state_dict())
    loads_in_silence(torch.compile(model), torch.compile(network()).state_dict())
    loads_in_silence(
        model, {k.removeprefix("module."): v for k, v in torch.nn.DataParallel(model).state_dict().items()}
    )
    state = get_model_state_dict(model)
    assert set_model_state_dict(network(), state).missing_keys == []
    x = torch.randn(2, 1, 32)
    model.eval()
    assert torch.equal(functional_call(model, model.state_dict(), (x,)), model(x))


def test_safetensors_takes_it(tmp_path):
    files = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    files.save_file(network().state_dict(), tmp_path / "model.safetensors")
    loads_in_silence(network(), files.load_file(tmp_path / "model.safetensors"))
    with pytest.warns(UserWarning, match="K = 6, here 5"):
        network(se2(K=5)).load_state_dict(files.load_file(tmp_path / "model.safetensors"))


def _bytes(text):
    return torch.tensor(list(b"\0" * 32 + text), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "expected a tensor, got NoneType"),
        (torch.zeros(0, dtype=torch.uint8), "expected a hash and JSON"),
        (torch.full((600,), 300), r"bytes must be in range\(0, 256\)"),
        (torch.full((600,), torch.nan), "cannot convert float NaN"),
        (torch.full((600,), torch.inf), "cannot convert float infinity"),
        (torch.zeros(512, device="meta"), r"expected bytes, got torch.float32 of shape \(512,\)"),
        (torch.zeros(3, 3), r"expected bytes, got torch.float32 of shape \(3, 3\)"),
        (torch.zeros(10**6), r"expected bytes, got torch.float32 of shape \(1000000,\)"),
        (_bytes(b"[" * 50000), "maximum recursion depth exceeded"),
        (_bytes(b"[1]"), r"expected format 1, got \[1\]"),
        (_bytes(b'{"format":2}'), r"expected format 1, got \{'format': 2\}"),
    ],
)
def test_one_that_cannot_be_read_is_a_warning(state, said):
    target = layer(se2())
    with pytest.warns(UserWarning, match=f"ChebConv: graph: the saved fingerprint cannot be read: .*{said}"):
        target.load_state_dict({**target.state_dict(), "_extra_state": state})


def test_is_made_once_and_at_the_first_request(monkeypatch):
    graph, made = se2(), []
    module = sys.modules["cheblienet.graphs.graph"]
    compute = module.fingerprint
    monkeypatch.setattr(module, "fingerprint", lambda *arguments: made.append(arguments) or compute(*arguments))
    blocks = NetworkBlock(2, 3, 2, ResidualBlock, ChebConv, 2, graph)
    blocks(torch.randn(1, 2, 32))
    assert not made
    blocks.load_state_dict(blocks.state_dict())
    assert len(made) == 1
    graph.fingerprint.zero_()  # a copy
    assert graph.fingerprint.any()
    graph.lambda_max = 1.9
    assert b'"lambda_max":1.9' in bytes(graph.fingerprint.tolist())
