"""What stands for each name of the original package.

A row of `TARGETS` is an original module, without the package's name, and for each of its names "module:attribute", which
is imported when the name is asked for: a target need not be there before. `REPLACEMENTS` says what to use for names that
have no stand-in. docs/compat.md shows both, and tests compare it with them.
"""

_GRAPHS, _LAYERS, _ENGINES = "cheblienet.compat.graphs", "cheblienet.compat.layers", "cheblienet.compat.engines"
_GEOMETRY, _UTILS, _DATAS = "cheblienet.compat.geometry", "cheblienet.compat.utils", "cheblienet.compat.datas"
_FUNCTIONS = ("uniform_sampling", "matrix", "inverse", "element", "log", "riemannian_sqdist")
_TRAINERS = ("create_supervised_evaluator", "create_supervised_trainer")


def _all(module: str, *names: str) -> dict[str, str]:
    return {name: f"{module}:{name}" for name in names}


TARGETS: dict[str, dict[str, str]] = {
    "graphs.graphs": {
        **_all("cheblienet.graphs", "Graph", "GEGraph"),
        **_all(_GRAPHS, "R2GEGraph", "SE2GEGraph", "S2GEGraph", "SO3GEGraph", "RandomSubGraph"),
    },
    "graphs.gsp": _all(_GRAPHS, "get_laplacian", "get_rescaled_laplacian", "get_fourier_basis"),
    "graphs.viz": _all(
        "cheblienet.compat.viz", "visualize_graph", "visualize_graph_signal", "visualize_graph_neighborhood"
    ),
    "nn.layers.convs": _all("cheblienet.nn", "ChebConv") | _all(_LAYERS, "cheb_conv"),
    "nn.layers.blocks": _all("cheblienet.nn", "BasicBlock", "ResidualBlock", "NetworkBlock"),
    "nn.layers.pools": _all(_LAYERS, "SE2SpatialPool", "SO3SpatialPool", "SO3OrientationPool", "GlobalPool"),
    "nn.layers.unpools": _all(_LAYERS, "SE2SpatialUnpool", "SO3SpatialUnpool"),
    "nn.models.chebnets": _all(_LAYERS, "WideResSE2GEChebNet", "SO3GEChebEncoder", "SO3GEChebDecoder", "SO3GEUChebNet"),
    "nn.models.utils": _all("cheblienet.nn", "capacity"),
    "geometry.se": _all(_GEOMETRY, *(f"{group}_{name}" for group in ("r2", "se2") for name in _FUNCTIONS)),
    "geometry.so": _all(_GEOMETRY, *(f"{group}_{name}" for group in ("s2", "so3") for name in _FUNCTIONS)),
    "geometry.utils": _all(_GEOMETRY, "rotation_matrix", "xyz2betagamma", "betagamma2xyz"),
    "utils.utils": _all(
        _UTILS,
        "mod",
        "sinc",
        "round",
        "weighted_norm",
        "shuffle_tensor",
        "sparsity_measure",
        "sparse_tensor_to_sparse_array",
        "delta_kronecker",
    ),
    "engines.engines": _all(_ENGINES, *_TRAINERS),
    "engine.engine": _all(_ENGINES, *_TRAINERS),  # as two of the original's scripts spell it
    "engines.utils": _all(_ENGINES, "prepare_batch", "output_transform_mAP", "PerClassAccuracy", "wandb_log"),
    "datas.datasets": _all(_DATAS, "ARTCDataset"),
    "datas.dataloaders": {
        **_all(_DATAS, "get_train_val_loaders", "get_test_loader", "get_equiv_test_loaders"),
        **_all(_DATAS, *(f"{name}_{value}" for name in ("MNIST", "CIFAR10", "STL10") for value in ("MEAN", "STD"))),
        **_all("cheblienet.data", "ARTC_MEAN", "ARTC_STD"),
    },
    "datas.functionals": {"pil_to_tensor": "torchvision.transforms.functional:to_tensor"},
    "datas.transforms": {
        "Compose": "torchvision.transforms:Compose",
        **_all(_DATAS, "Random90Rotation", "Normalize", "ToTensor", "ToGEGraphSignal", "BoolToInt"),
    },
}

_EDGES = "edges are made by cheblienet.graphs; Graph takes edges of one's own, each in both directions"
_GATHER = "cheblienet.ops.gather_reduce does this"

REPLACEMENTS: dict[str, dict[str, str]] = {
    "graphs.utils": dict.fromkeys(("to_undirected", "remove_self_loops", "add_self_loops"), _EDGES),
    "nn.layers.pools": dict.fromkeys(("avg_pool", "max_pool", "rand_pool"), _GATHER),
    "nn.layers.unpools": dict.fromkeys(("avg_unpool", "max_unpool", "rand_unpool"), _GATHER),
}
