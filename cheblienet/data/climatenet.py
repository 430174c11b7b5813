"""ClimateNet's netCDF files, resampled to states on the icosphere in the file format of ARTC.

A file data-YYYY-MM-DD-01-1_N.nc holds one state, the variables `CHANNELS` of shape (time 1, lat 768, lon 1152), and the
N-th expert's `LABELS` (0 background, 1 tropical cyclone, 2 atmospheric river). Several files share a state: split them by
date (`split_by_date`). Kashinath et al. 2021, doi:10.5194/gmd-14-107-2021. Reading needs netCDF4, in the extra `climate`.
"""

import contextlib
import functools
import multiprocessing
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from .._checks import MAX_WORKERS, check_integer
from .._files import remove_abandoned, replacing
from ..meshes.icosphere import icosphere
from .artc import CHANNEL_UNITS, CHANNELS, CLASSES, read_state
from .netcdf import find_variable, import_netcdf4, open_netcdf, read_values
from .resample import SphereSampling

if TYPE_CHECKING:
    import netCDF4

_SPELLINGS = {
    "kg/m^2": {"kg/m2", "kg m-2", "kg m^-2", "kg m**-2"},
    "m/s": {"m s-1", "m s^-1", "m s**-1", "m/sec", "meters per second", "meters/second"},
    "kg/kg": {"kg kg-1", "kg kg^-1", "kg kg**-1", "1"},
    "Pa": {"Pascal", "pascal", "Pascals", "pascals"},
    "K": {"Kelvin", "kelvin", "degK", "degrees_K"},
    "m": {"meter", "meters", "metre", "metres"},
}
# As the CF conventions write them, 4.1 and 4.2; without a direction they are taken to be these.
_DEGREES = {"lat": r"degrees?(_?(north|N))?", "lon": r"degrees?(_?(east|E))?"}

# What lies beyond is a fill value, another unit or a damaged file. The ranges contain, with a margin, what was ever
# observed (records: World Meteorological Organization, World Weather and Climate Extremes Archive, unless stated). Amounts
# and rates may fall below 0 by what a model's advection undershoots.
_WIND = (-200.0, 200.0)  # the strongest gust at the surface was 113 m/s, on Barrow Island in 1996
_RANGES = {
    "TMQ": (-1.0, 200.0),  # 100 if air saturated at 35 degrees Celsius, 0.04 kg/m^3, thins out over 2.5 km
    "U850": _WIND,
    "V850": _WIND,
    "UBOT": _WIND,
    "VBOT": _WIND,
    "QREFHT": (-0.01, 0.1),  # 0.036 at the highest dew point, 35 degrees Celsius, in Dhahran in 2003
    "PS": (3e4, 1.2e5),  # 337 hPa on Mount Everest (West 1999), higher than a model's terrain; at sea level see PSL
    "PSL": (8e4, 1.2e5),  # 870 hPa in typhoon Tip in 1979, 1089 hPa in Tosontsengel in 2004
    "T200": (150.0, 350.0),  # colder and warmer than air has been at the ground, see TREFHT
    "T500": (150.0, 350.0),  # the same
    "PRECT": (-1e-5, 1e-3),  # 31 mm in a minute, 5.2e-4 m/s, in Unionville in 1956
    "TS": (150.0, 400.0),  # 162 to 354 K seen by satellites (Zhao et al. 2021, doi:10.1175/BAMS-D-20-0325.1)
    "TREFHT": (150.0, 350.0),  # 184 K at Vostok in 1983, 330 K in Death Valley in 1913
    "Z1000": (-3e3, 1e4),  # by PSL, -1,300 to 800 m; below ground, models go up to the height of the terrain
    "Z200": (5e3, 2e4),  # by the mean temperature below, 7 km at 150 K and 16.5 km at 350 K
    "ZBOT": (-10.0, 1e4),  # about 60 m above the ground; up to the height of the terrain if counted from the sea
}


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str], level: int = 5, workers: int = 1) -> int:
    """Converts every .nc file under `source` to NAME-mesh.npz in the same place under `target`: the number converted.

    Fields are interpolated bilinearly and labels taken from the nearest grid point (see `SphereSampling`) at the vertices
    of the icosphere of `level`, 0 to 10; `workers` processes share the files, each with one field in memory at a time.
    Files that are there already, whole, of this level and newer than their sources, are kept, so that a run that was
    interrupted or killed is continued by the same call. Damaged ones are converted anew, with a warning that names them.
    Two runs with one target do their work twice, and no harm.

    Files that cannot be converted do not stop the others; at the end a ValueError names each with its variable.
    FileNotFoundError where there is nothing to convert, PermissionError for a folder that cannot be read, OSError naming a
    file that cannot be written, as on a full disk, ChildProcessError if one of several processes is killed.
    """
    check_integer("level", level, 0, 10)
    check_integer("workers", workers, 1, MAX_WORKERS)
    import_netcdf4()
    source, target = Path(source), Path(target)
    pairs = [(path, target_path(path, source, target)) for path in _files(source)]
    if not pairs:
        raise FileNotFoundError(
            f"{source}: expected files data-YYYY-MM-DD-01-1_N.nc of ClimateNet here, or in folders here"
        )
    for folder in {path.parent for _, path in pairs}:
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder, "*-mesh.npz")
    pending = [pair for pair in pairs if not _is_converted(*pair, level)]
    attempt = functools.partial(_attempt, level=level)
    with contextlib.ExitStack() as stack:
        outcomes = map(attempt, pending) if workers == 1 else _in_processes(stack, attempt, pending, workers)
        bar = tqdm(outcomes, "converting", len(pairs), initial=len(pairs) - len(pending), unit="file", disable=None)
        failures = [failure for failure in bar if failure]
    if failures:
        raise ValueError(
            "\n".join([f"{len(failures)} of {len(pairs)} files could not be converted:", *sorted(failures)])
        )
    return len(pending)


def convert_file(source: Path, target: Path, level: int) -> None:
    """One file, as `convert` does; ValueError names the file and the variable."""
    with open_netcdf(source) as dataset:
        sampling = _sampling(_axis(dataset, "lat"), _axis(dataset, "lon"), level)
        data = np.stack([sampling.bilinear(_field(dataset, name)).astype(np.float32) for name in CHANNELS])
        classes = sampling.nearest(_labels(dataset))
    with replacing(target) as file:
        np.savez(file, data=data, labels=classes == np.arange(len(CLASSES))[:, None])


def target_path(path: Path, source: Path, target: Path) -> Path:
    """Where the file `path` under `source` goes under `target`: its date and mask stay in its name."""
    return (target / path.relative_to(source)).with_name(f"{path.stem}-mesh.npz")


def _files(source: Path) -> list[Path]:
    """All .nc files under `source`, through links to folders as well, each folder once: links can form a cycle."""
    found, seen = [], set()
    for folder, below, names in os.walk(source, onerror=_refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below.sort()
        found += [Path(folder, name) for name in names if name.endswith(".nc")]
    return sorted(found)


def _refuse(error: OSError) -> None:
    """A folder that cannot be read is not an empty one; one that is not there is."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_converted(source: Path, target: Path, level: int) -> bool:
    try:
        if target.stat().st_mtime < source.stat().st_mtime:
            return False
        return read_state(target)[0].shape[1] == 10 * 4**level + 2
    except FileNotFoundError:
        return False
    except ValueError as error:
        warnings.warn(f"{error}; the file is converted anew", stacklevel=4)
        return False


def _attempt(pair: tuple[Path, Path], level: int) -> str | None:
    """The reason why it failed, if it did: whatever one file raises, the others go on. A full disk would fail them all."""
    try:
        convert_file(*pair, level)
    except ValueError as error:
        return str(error)
    except Exception as error:
        if isinstance(error, OSError) and str(pair[1]) in (error.filename, error.filename2):
            raise
        return f"{pair[0]}: {type(error).__name__}: {error}"
    return None


def _in_processes(
    stack: contextlib.ExitStack,
    attempt: Callable[[tuple[Path, Path]], str | None],
    pairs: list[tuple[Path, Path]],
    workers: int,
) -> Iterator[str | None]:
    """Outcomes as they come. When the stack unwinds, files under way are finished and the others dropped."""
    # Forked processes would inherit torch's threads' locks, and HDF5's.
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    stack.callback(executor.shutdown, cancel_futures=True)
    # Ctrl-C reaches all processes of a terminal; the parent alone acts on it, its children start with it blocked.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        futures = [executor.submit(attempt, pair) for pair in pairs]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return map(_result, as_completed(futures))


def _result(future: "Future[str | None]") -> str | None:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a process was ended from outside, as happens when memory is short: the same call, with fewer workers, goes on"
        ) from error


def _start_worker() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot shut its pool down, and the pool would wait for it for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@functools.lru_cache(maxsize=4)
def _sampling_of(lat: bytes, lon: bytes, level: int) -> SphereSampling:
    return SphereSampling(np.frombuffer(lat), np.frombuffer(lon), icosphere(level)[0].numpy())


def _sampling(lat: np.ndarray, lon: np.ndarray, level: int) -> SphereSampling:
    return _sampling_of(lat.tobytes(), lon.tobytes(), level)


def _axis(dataset: "netCDF4.Dataset", name: str) -> np.ndarray:
    variable = find_variable(dataset, name, [(name,)])
    units = str(getattr(variable, "units", "degrees")).strip()
    if not re.fullmatch(_DEGREES[name], units):
        raise ValueError(f"{name}: units: expected degrees {'north' if name == 'lat' else 'east'}, got {units!r}")
    return read_values(variable).astype(np.float64)


def _field(dataset: "netCDF4.Dataset", name: str) -> np.ndarray:
    """(H, W), unpacked, in the unit of `CHANNEL_UNITS`; a variable without `units` is taken to be in it."""
    variable = find_variable(dataset, name, _GRIDS)
    unit = CHANNEL_UNITS[name]
    units = " ".join(str(getattr(variable, "units", unit)).split())
    if units != unit and units not in _SPELLINGS[unit]:
        raise ValueError(f"{name}: units: expected {unit}, got {units!r}")
    values, (low, high) = _on_grid(variable), _RANGES[name]
    inside = (values >= low) & (values <= high)
    if not inside.all():
        raise ValueError(f"{name}: expected values from {low:g} to {high:g} {unit}, got {values[~inside][0]:g}")
    return values


def _labels(dataset: "netCDF4.Dataset") -> np.ndarray:
    labels = _on_grid(find_variable(dataset, "LABELS", _GRIDS))
    known = np.isin(labels, range(len(CLASSES)))
    if not known.all():
        raise ValueError(f"LABELS: expected the classes 0 to {len(CLASSES) - 1}, got {labels[~known][0]}")
    return labels


_GRIDS = [("time", "lat", "lon"), ("lat", "lon")]


def _on_grid(variable: "netCDF4.Variable[Any]") -> np.ndarray:
    values = read_values(variable)
    if values.ndim == 3 and len(values) != 1:
        raise ValueError(f"{variable.name}: expected one time, got {len(values)}")
    return values.reshape(values.shape[-2:])
