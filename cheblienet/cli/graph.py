"""`python -m cheblienet graph`: builds graphs of sampled groups, saves and inspects them."""

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from .._checks import check_folder, check_integer
from ..graphs import GEGraph, Graph, R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph, load_graph
from ..graphs.edges import Edges
from ..graphs.store import content_key, read, save
from ..groups import GROUPS, SAMPLINGS, sample

_CLASSES = {"r2": R2GEGraph, "se2": SE2GEGraph, "s2": S2GEGraph, "so3": SO3GEGraph}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("graph", help="build, save and inspect graphs of group elements", description=__doc__)
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    build = actions.add_parser(
        "build",
        help="build the graph of a sampling, and save it",
        description="Builds the graph of a sampling of a group and says what it is like. Ctrl-C leaves at once.",
    )
    build.add_argument("group", choices=GROUPS)
    build.add_argument(
        "--sampling", choices=SAMPLINGS, default="regular", help="of the group (default regular: a grid, an icosphere)"
    )
    build.add_argument(
        "--size",
        type=int,
        nargs="+",
        required=True,
        help="what the sampling counts: nx ny [ntheta] of a grid; vertices of an icosphere, nside of healpix, nlat nlon of "
        "equiangular or points of fibonacci, each with [nalpha]; elements of random",
    )
    build.add_argument("--seed", type=int, default=0, help="of random elements (default 0)")
    build.add_argument("--sigmas", type=float, nargs=3, required=True, help="of the metric; a small one is a far reach")
    build.add_argument("--K", type=int, default=16, help="the largest number of neighbours (default 16)")
    build.add_argument("--kernel", default="gaussian", help="of the weights (default gaussian)")
    build.add_argument(
        "--save",
        metavar="FOLDER",
        type=Path,
        help="where to keep it: regular ones are found there by `path_to_graph=FOLDER`, all by `load_graph(file)`",
    )
    build.set_defaults(run=_build)

    inspect = actions.add_parser("inspect", help="say what a saved graph is like")
    inspect.add_argument("file", metavar="FILE", type=Path, help="a file that was saved, in FOLDER")
    inspect.set_defaults(run=_inspect)


def _build(arguments: argparse.Namespace) -> None:
    check_integer("--seed", arguments.seed, 0, 2**63 - 1)
    if arguments.save:
        check_folder("--save", arguments.save)
    begin = time.perf_counter()
    graph, sampling = (_regular if arguments.sampling == "regular" else _sampled)(arguments)
    seconds = time.perf_counter() - begin
    content = (graph.manifold, graph.size, graph.sigmas, graph.K, graph.kernel)
    if arguments.sampling == "equiangular" and not graph.is_connected:
        raise ValueError(
            f"--K: expected at least nlon = {arguments.size[1]} for the equiangular sampling, whose points crowd at the "
            f"poles, got {graph.K}: the graph has {graph.num_components} components; healpix and fibonacci are even"
        )
    _print_rows(_description(*content, **sampling))
    _print_rows(_statistics(graph))
    print(f"{'time':16}{seconds:.3g} s")
    if arguments.save:
        edges = Edges(graph.edge_index, graph.edge_sqdist, graph.edge_weight)
        print(f"{'saved':16}{save(arguments.save, content_key(*content, **sampling), edges)}")


def _regular(arguments: argparse.Namespace) -> tuple[GEGraph, dict[str, Any]]:
    build = _CLASSES[arguments.group]
    graph = build(arguments.size, arguments.sigmas, arguments.K, kernel=arguments.kernel, progress=True)
    return graph, {"frames": graph.frames} if isinstance(graph, SO3GEGraph) else {}


def _sampled(arguments: argparse.Namespace) -> tuple[GEGraph, dict[str, Any]]:
    group, size = GROUPS[arguments.group], arguments.size
    sampling = {"sampling": arguments.sampling, "of": size}
    if arguments.sampling == "random":
        sampling["seed"] = arguments.seed
    elements = sample(group, arguments.sampling, *size, generator=torch.Generator().manual_seed(arguments.seed))
    orientations = size[-1] if group.has_orientation and arguments.sampling != "random" else 1
    graph = GEGraph.from_elements(
        group,
        elements,
        arguments.sigmas,
        arguments.K,
        arguments.kernel,
        size=(len(elements) // orientations, orientations),
        progress=True,
    )
    return graph, sampling


def _inspect(arguments: argparse.Namespace) -> None:
    content, _ = read(arguments.file)
    content["sigmas"] = tuple(float.fromhex(sigma) for sigma in content["sigmas"])
    del content["format"]
    _print_rows(_description(**content))
    _print_rows(_statistics(load_graph(arguments.file)))


def _description(
    manifold: str, size: tuple[int, ...], sigmas: tuple[float, ...], K: int, kernel: str, **sampling: Any
) -> dict[str, str]:
    def words(values: Any) -> str:
        return " x ".join(map(str, values)) if isinstance(values, list | tuple) else str(values)

    return {
        "group": manifold,
        "size": words(size),
        **{name: words(values) for name, values in sampling.items()},
        "sigmas": " ".join(f"{sigma:.6g}" for sigma in sigmas),
        "K": str(K),
        "kernel": kernel,
    }


def _statistics(graph: Graph) -> dict[str, str]:
    degree = graph.edge_index[0].bincount(minlength=graph.num_vertices)
    sqdist, weight = graph.edge_sqdist, graph.edge_weight
    rows = {
        "vertices": f"{graph.num_vertices:,}",
        "edges": f"{graph.num_edges // 2:,}",
        "neighbours": f"{int(degree.min())} to {int(degree.max())}, {degree.double().mean():.2f} on average",
        "isolated": f"{int((degree == 0).sum()):,}",
        "components": f"{graph.num_components:,}",
    }
    if graph.num_edges:
        rows["distances"] = f"{sqdist.min().sqrt():.4g} to {sqdist.max().sqrt():.4g}"
        rows["weights"] = f"{weight.min():.4g} to {weight.max():.4g}"
    return rows


def _print_rows(rows: dict[str, str]) -> None:
    for name, value in rows.items():
        print(f"{name:16}{value}")
