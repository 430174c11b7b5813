import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from cheblienet import compat
from cheblienet.compat.table import REPLACEMENTS, TARGETS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "compat.md"
OF_TWO_GROUPS = "{0}_uniform_sampling {0}_matrix {0}_inverse {0}_element {0}_log {0}_riemannian_sqdist "

# Every public name that the original package defines.
ORIGINAL = {
    "datas.dataloaders": "get_train_val_loaders get_equiv_test_loaders get_test_loader MNIST_MEAN MNIST_STD STL10_MEAN "
    "STL10_STD CIFAR10_MEAN CIFAR10_STD ARTC_MEAN ARTC_STD",
    "datas.datasets": "ARTCDataset",
    "datas.functionals": "pil_to_tensor",
    "datas.transforms": "Random90Rotation Normalize ToTensor Compose ToGEGraphSignal BoolToInt",
    "engines.engines": "create_supervised_trainer create_supervised_evaluator",
    "engines.utils": "prepare_batch output_transform_mAP PerClassAccuracy wandb_log",
    "geometry.se": OF_TWO_GROUPS.format("r2") + OF_TWO_GROUPS.format("se2"),
    "geometry.so": OF_TWO_GROUPS.format("s2") + OF_TWO_GROUPS.format("so3"),
    "geometry.utils": "rotation_matrix xyz2betagamma betagamma2xyz",
    "graphs.graphs": "Graph RandomSubGraph GEGraph SE2GEGraph R2GEGraph SO3GEGraph S2GEGraph",
    "graphs.gsp": "get_laplacian get_rescaled_laplacian get_fourier_basis",
    "graphs.utils": "to_undirected remove_self_loops add_self_loops",
    "graphs.viz": "visualize_graph visualize_graph_signal visualize_graph_neighborhood",
    "nn.layers.blocks": "NetworkBlock BasicBlock ResidualBlock",
    "nn.layers.convs": "cheb_conv ChebConv",
    "nn.layers.pools": "avg_pool max_pool rand_pool SE2SpatialPool SO3SpatialPool SO3OrientationPool GlobalPool",
    "nn.layers.unpools": "avg_unpool max_unpool rand_unpool SE2SpatialUnpool SO3SpatialUnpool",
    "nn.models.chebnets": "WideResSE2GEChebNet SO3GEChebEncoder SO3GEChebDecoder SO3GEUChebNet",
    "nn.models.utils": "capacity",
    "utils.utils": "mod sinc round weighted_norm shuffle_tensor sparsity_measure sparse_tensor_to_sparse_array "
    "delta_kronecker",
}


def mapped():
    return {
        (module, name)
        for table in (TARGETS, REPLACEMENTS)
        for module, names in table.items()
        for name in names
        if module != "engine.engine"  # a misspelt path of the original's scripts
    }


def test_every_name_of_the_original_is_mapped():
    assert mapped() == {(module, name) for module, names in ORIGINAL.items() for name in names.split()}
    assert TARGETS["engine.engine"] == TARGETS["engines.engines"]
    for module in TARGETS.keys() & REPLACEMENTS.keys():
        assert not TARGETS[module].keys() & REPLACEMENTS[module].keys()


@pytest.mark.parametrize("module", TARGETS)
def test_every_target_is_there(module):
    needs = {"engines": "ignite", "engine": "ignite", "datas": "torchvision", "graphs.viz": "plotly"}
    if package := needs.get(module, needs.get(module.partition(".")[0])):
        pytest.importorskip(package, reason=f"{package} is not installed")
    for name, target in TARGETS[module].items():
        if target.startswith("cheblienet.data:") and not hasattr(importlib.import_module("cheblienet.data"), name):
            continue  # named ahead of its arrival: asking for it says so
        resolved = compat.resolve(module, name)
        assert callable(resolved) or name.endswith(("_MEAN", "_STD"))


def test_the_document_has_the_same_table():
    said = {}
    for line in DOCUMENT.read_text().splitlines():
        if row := re.fullmatch(r"\| `([\w.]+)` \| (.*) \| (?:`([\w.]+)`|— (.*)) \|", line):
            module, names, target, replacement = row.groups()
            for name in re.findall(r"`(\w+)`", names):
                said[module, name] = target or replacement
    expected = {}
    for module, names in TARGETS.items():
        for name, target in names.items():
            owner, _, attribute = target.partition(":")
            expected[module, name] = owner if attribute == name else f"{owner}.{attribute}"
    for module, names in REPLACEMENTS.items():
        expected |= {(module, name): replacement for name, replacement in names.items()}
    assert said == expected


def test_the_paths_lead_nowhere_without_it():
    """None is a module of this package, which the finder, the last one asked, would never be asked for."""
    for module in {*TARGETS, *REPLACEMENTS}:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"cheblienet.{module}")


def test_says_what_to_use_instead(monkeypatch):
    with pytest.raises(
        ImportError, match=r"cheblienet.nn.layers.pools.max_pool is not .*: cheblienet.ops.gather_reduce"
    ):
        compat.resolve("nn.layers.pools", "max_pool")
    with pytest.raises(AttributeError, match="module cheblienet.graphs.graphs has no attribute 'Grph'"):
        compat.resolve("graphs.graphs", "Grph")
    monkeypatch.setitem(TARGETS, "graphs.viz", {"draw": "cheblienet.nowhere:draw"})
    with pytest.raises(ImportError, match=r"graphs.viz.draw is cheblienet.nowhere.draw here, which cannot be imported"):
        compat.resolve("graphs.viz", "draw")
