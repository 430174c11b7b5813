"""`python -m cheblienet graph`: builds graphs of a group's regular sampling, saves and inspects them."""

import argparse
import math
import time
from pathlib import Path

from ..groups import GROUPS


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("graph", help="build, save and inspect graphs of group elements", description=__doc__)
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    build = actions.add_parser(
        "build",
        help="build the graph of a regular sampling, and save it",
        description="Builds the graph of a regular sampling and says what it is like. Ctrl-C leaves at once.",
    )
    build.add_argument("group", choices=GROUPS)
    build.add_argument(
        "--size", type=int, nargs="+", required=True, help="nx ny [ntheta] of a grid; vertices [nalpha] of an icosphere"
    )
    build.add_argument("--sigmas", type=float, nargs=3, required=True, help="the coefficients of the metric")
    build.add_argument("--K", type=int, default=16, help="the largest number of neighbours (default 16)")
    build.add_argument("--kernel", default="gaussian", help="of the weights (default gaussian)")
    build.add_argument("--save", metavar="FOLDER", type=Path, help="where `path_to_graph=FOLDER` will find it")
    build.set_defaults(run=_build)

    inspect = actions.add_parser("inspect", help="say what a saved graph is like")
    inspect.add_argument("file", metavar="FILE", type=Path, help="a file that was saved, in FOLDER")
    inspect.set_defaults(run=_inspect)


def _build(arguments: argparse.Namespace) -> None:
    from ..graphs import R2GEGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
    from ..graphs.store import cache_file, content_key

    classes = {"r2": R2GEGraph, "se2": SE2GEGraph, "s2": S2GEGraph, "so3": SO3GEGraph}
    begin = time.perf_counter()
    graph = classes[arguments.group](
        arguments.size, arguments.sigmas, arguments.K, arguments.save, arguments.kernel, progress=True
    )
    seconds = time.perf_counter() - begin
    _print_rows(_description(graph.manifold, graph.size, graph.sigmas, graph.K, graph.kernel))
    _print_rows(_statistics(graph))
    print(f"{'time':16}{seconds:.3g} s")
    if arguments.save:
        key = content_key(graph.manifold, graph.size, graph.sigmas, graph.K, graph.kernel)
        print(f"{'saved':16}{cache_file(arguments.save, key)}")


def _inspect(arguments: argparse.Namespace) -> None:
    from ..graphs import Graph
    from ..graphs.store import read

    content, edges = read(arguments.file)
    sigmas = tuple(float.fromhex(sigma) for sigma in content["sigmas"])
    size = tuple(content["size"])
    _print_rows(_description(content["manifold"], size, sigmas, content["K"], content["kernel"]))
    graph = Graph(edges.edge_index, edges.edge_weight, math.prod(size), edge_sqdist=edges.edge_sqdist)
    _print_rows(_statistics(graph))


def _description(group: str, size: tuple[int, ...], sigmas: tuple[float, ...], K: int, kernel: str) -> dict[str, str]:
    return {
        "group": group,
        "size": " x ".join(map(str, size)),
        "sigmas": " ".join(f"{sigma:.6g}" for sigma in sigmas),
        "K": str(K),
        "kernel": kernel,
    }


def _statistics(graph: "Graph") -> dict[str, str]:  # noqa: F821  (imported where a command needs it)
    degree = graph.edge_index[0].bincount(minlength=graph.num_vertices)
    rows = {
        "vertices": f"{graph.num_vertices:,}",
        "edges": f"{graph.num_edges // 2:,}",
        "neighbours": f"{int(degree.min())} to {int(degree.max())}, {degree.double().mean():.2f} on average",
        "isolated": f"{int((degree == 0).sum()):,}",
        "connected": "yes" if graph.is_connected else "no",
    }
    if graph.num_edges:
        distance, weight = graph.edge_sqdist.sqrt(), graph.edge_weight
        rows["distances"] = f"{distance.min():.4g} to {distance.max():.4g}"
        rows["weights"] = f"{weight.min():.4g} to {weight.max():.4g}"
    return rows


def _print_rows(rows: dict[str, str]) -> None:
    for name, value in rows.items():
        print(f"{name:16}{value}")
