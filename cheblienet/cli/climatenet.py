"""`python -m cheblienet climatenet`: states on the icosphere, from ClimateNet's files to statistics of training."""

import argparse
from pathlib import Path

from ..data.splits import VALIDATION_SHARE


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "climatenet", help="convert ClimateNet's files, compute statistics", description=__doc__
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    convert = actions.add_parser(
        "convert",
        help="resample netCDF files to the icosphere",
        description="Resamples every .nc file under IN to NAME-mesh.npz in the same place under OUT. Interrupted, it goes "
        "on where it stopped when it is run again.",
    )
    convert.add_argument(
        "source", metavar="IN", type=Path, help="folder of data-YYYY-MM-DD-01-1_N.nc, or of such folders"
    )
    convert.add_argument("target", metavar="OUT", type=Path)
    convert.add_argument("--level", type=int, default=5, help="of the icosphere, 10 * 4^level + 2 vertices (default 5)")
    convert.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    convert.set_defaults(run=_convert)

    statistics = actions.add_parser(
        "statistics",
        help="mean and standard deviation of each channel",
        description="Mean and standard deviation of each channel over the training states of ClimateNet, kept where "
        "`cheblienet train artc --dataset climatenet` looks for them. The last three flags are its own.",
    )
    statistics.add_argument(
        "folder", metavar="FOLDER", type=Path, help="folder of data-*-mesh.npz, or of train and test with them"
    )
    statistics.add_argument(
        "--names", type=Path, help="list of files in FOLDER to use instead, such as train_split.txt of ARTC"
    )
    statistics.add_argument("--out", type=Path, help="file to write instead")
    statistics.add_argument("--seed", type=int, default=0, help="of the parts (default 0)")
    statistics.add_argument(
        "--validation_share", type=float, default=VALIDATION_SHARE, help="of the training dates (default %(default)s)"
    )
    statistics.add_argument("--original_protocol", action="store_true", help="no validation part")
    statistics.set_defaults(run=_statistics)


def _convert(arguments: argparse.Namespace) -> None:
    from ..data.climatenet import convert

    converted = convert(arguments.source, arguments.target, arguments.level, arguments.workers)
    print(f"{converted} files converted, to {arguments.target}")


def _statistics(arguments: argparse.Namespace) -> None:
    from ..data import climatenet_parts, save_statistics, statistics, statistics_file
    from ..data.artc import CHANNEL_UNITS
    from ..data.splits import read_names

    if not 0 < arguments.validation_share < 1:
        raise ValueError(f"--validation_share: expected a number above 0 and below 1, got {arguments.validation_share}")
    if arguments.names:
        folder, names = arguments.folder, read_names(arguments.names)
    else:
        share = None if arguments.original_protocol else arguments.validation_share
        folder, names = climatenet_parts(arguments.folder, arguments.seed, share)["train"]
    values = statistics(folder, names)
    print(f"{'channel':8}{'unit':>8}{'mean':>14}{'std':>14}")
    for (channel, unit), mean, std in zip(CHANNEL_UNITS.items(), *values, strict=True):
        print(f"{channel:8}{unit:>8}{mean:14.6g}{std:14.6g}")
    out = arguments.out or statistics_file(folder, names)
    save_statistics(out, values)
    print(f"written to {out}")
