"""ClimateNet's netCDF files, resampled to states on the icosphere in the file format of ARTC.

A file data-YYYY-MM-DD-01-1_N.nc holds one state, the variables `CHANNELS` of shape (time 1, lat 768, lon 1152), and the
N-th expert's `LABELS` (0 background, 1 tropical cyclone, 2 atmospheric river). Several files share a state: split them by
date (`split_by_date`). Kashinath et al. 2021, doi:10.5194/gmd-14-107-2021. Reading needs netCDF4, in the extra `climate`.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from .._checks import MAX_WORKERS, check_integer
from .._files import remove_abandoned, replacing
from ..groups.icosphere import icosphere
from .artc import CHANNEL_UNITS, CHANNELS, CLASSES, read_state
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

# By unit, far outside all that the atmosphere shows: what lies beyond is a fill value or another unit.
_RANGES = {
    "kg/m^2": (-10.0, 500.0),
    "m/s": (-300.0, 300.0),
    "kg/kg": (-0.1, 1.0),
    "Pa": (1e4, 2e5),
    "K": (50.0, 500.0),
    "m": (-5e3, 5e4),
}


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str], level: int = 5, workers: int = 1) -> int:
    """Converts every .nc file under `source` to NAME-mesh.npz in the same place under `target`: the number converted.

    Fields are interpolated bilinearly and labels taken from the nearest grid point (see `SphereSampling`) at the vertices
    of the icosphere of `level`, 0 to 10; `workers` processes share the files, each with one field in memory at a time.
    Files that are there already, whole, of this level and newer than their sources, are kept, so that a run that was
    interrupted or killed is continued by the same call. Damaged ones are converted anew, with a warning that names them.
    Two runs with one target do their work twice, and no harm.

    Files that cannot be converted do not stop the others; at the end a ValueError names each with its variable.
    FileNotFoundError where there is nothing to convert; OSError naming a file that cannot be written, as on a full disk.
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
    with _open(source) as dataset:
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
    for folder, below, names in os.walk(source, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below.sort()
        found += [Path(folder, name) for name in names if name.endswith(".nc")]
    return sorted(found)


def import_netcdf4() -> None:
    try:
        import netCDF4  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "reading ClimateNet needs netCDF4: install cheblienet with its extra `climate`, or netCDF4 itself"
        ) from error


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
    """The reason why it failed, if it did."""
    try:
        convert_file(*pair, level)
    except ValueError as error:
        return str(error)
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
    return (future.result() for future in as_completed(futures))


def _start_worker() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot shut its pool down, and the pool would wait for it for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def _open(path: Path) -> "Iterator[netCDF4.Dataset]":
    """The opened file; whatever goes wrong with it becomes a ValueError that names it."""
    import netCDF4

    try:
        with netCDF4.Dataset(path) as dataset:
            yield dataset
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


@functools.lru_cache(maxsize=4)
def _sampling_of(lat: bytes, lon: bytes, level: int) -> SphereSampling:
    return SphereSampling(np.frombuffer(lat), np.frombuffer(lon), icosphere(level)[0].numpy())


def _sampling(lat: np.ndarray, lon: np.ndarray, level: int) -> SphereSampling:
    return _sampling_of(lat.tobytes(), lon.tobytes(), level)


def _axis(dataset: "netCDF4.Dataset", name: str) -> np.ndarray:
    variable = _variable(dataset, name, [(name,)])
    units = str(getattr(variable, "units", "degrees"))
    if not units.startswith("degree"):
        raise ValueError(f"{name}: expected degrees, got {units!r}")
    return _values(variable).astype(np.float64)


def _field(dataset: "netCDF4.Dataset", name: str) -> np.ndarray:
    """(H, W), unpacked, in the unit of `CHANNEL_UNITS`; a variable without `units` is taken to be in it."""
    variable = _variable(dataset, name, _GRIDS)
    unit = CHANNEL_UNITS[name]
    units = " ".join(str(getattr(variable, "units", unit)).split())
    if units != unit and units not in _SPELLINGS[unit]:
        raise ValueError(f"{name}: expected the unit {unit}, got {units!r}")
    values, (low, high) = _on_grid(variable), _RANGES[unit]
    outside = (values < low) | (values > high)
    if outside.any():
        raise ValueError(f"{name}: expected values from {low:g} to {high:g} {unit}, got {values[outside][0]:g}")
    return values


def _labels(dataset: "netCDF4.Dataset") -> np.ndarray:
    labels = _on_grid(_variable(dataset, "LABELS", _GRIDS))
    known = np.isin(labels, range(len(CLASSES)))
    if not known.all():
        raise ValueError(f"LABELS: expected the classes 0 to {len(CLASSES) - 1}, got {labels[~known][0]}")
    return labels


_GRIDS = [("time", "lat", "lon"), ("lat", "lon")]


def _variable(dataset: "netCDF4.Dataset", name: str, dimensions: list[tuple[str, ...]]) -> "netCDF4.Variable[Any]":
    if name not in dataset.variables:
        raise ValueError(f"{name}: no such variable, there are {', '.join(dataset.variables)}")
    variable = dataset.variables[name]
    if variable.dimensions not in dimensions:
        raise ValueError(f"{name}: expected the dimensions {dimensions[0]}, got {variable.dimensions}")
    return variable


def _on_grid(variable: "netCDF4.Variable[Any]") -> np.ndarray:
    values = _values(variable)
    if values.ndim == 3 and len(values) != 1:
        raise ValueError(f"{variable.name}: expected one time, got {len(values)}")
    return values.reshape(values.shape[-2:])


def _values(variable: "netCDF4.Variable[Any]") -> np.ndarray:
    """All values, scaled and offset as the file says; ValueError if some are missing, NaN or infinite.

    Unpacked here: netCDF4 passes over attributes that it does not understand, and their values become data.
    """
    import netCDF4

    variable.set_auto_maskandscale(False)
    stored = np.asarray(variable[...])
    if stored.dtype.kind not in "iuf":
        raise ValueError(f"{variable.name}: expected numbers, got {stored.dtype}")
    attributes = variable.ncattrs()
    missing = ~np.isfinite(stored)
    for name in {"_FillValue", "missing_value"}.intersection(attributes):
        missing |= np.isin(stored, _as_stored(variable, name, stored.dtype))
    # Bytes have no default: all their values are data.
    if "_FillValue" not in attributes and stored.dtype.itemsize > 1:
        missing |= stored == np.array(netCDF4.default_fillvals[stored.dtype.str[1:]], stored.dtype)
    unsigned = _is_unsigned(variable) and stored.dtype.kind == "i"
    compared = np.dtype(f"u{stored.dtype.itemsize}") if unsigned else stored.dtype
    values = stored.astype(compared)
    for name, size, low, high in (("valid_range", 2, 0, 1), ("valid_min", 1, 0, None), ("valid_max", 1, None, 0)):
        if name in attributes:
            bounds = _as_stored(variable, name, stored.dtype, size).astype(compared)
            missing |= (values < bounds[low]) if low is not None else False
            missing |= (values > bounds[high]) if high is not None else False
    if missing.any():
        raise ValueError(
            f"{variable.name}: expected no missing values, got {np.count_nonzero(missing)} of {missing.size}"
        )
    if not {"scale_factor", "add_offset"}.intersection(attributes):
        return values
    scale, offset = _factor(variable, "scale_factor", 1.0), _factor(variable, "add_offset", 0.0)
    if scale == 0:
        raise ValueError(f"{variable.name}: scale_factor: expected a number other than 0, got 0")
    return values * scale + offset


def _numbers(variable: "netCDF4.Variable[Any]", name: str, size: int | None = None) -> np.ndarray:
    """(n,), the attribute `name`, which is to hold `size` numbers."""
    value = variable.getncattr(name)
    numbers = np.atleast_1d(value)
    if numbers.dtype.kind not in "iuf" or (size is not None and numbers.size != size):
        expected = "numbers" if size is None else "a number" if size == 1 else f"{size} numbers"
        raise ValueError(f"{variable.name}: {name}: expected {expected}, got {value!r}")
    return numbers


def _as_stored(
    variable: "netCDF4.Variable[Any]", name: str, dtype: np.dtype[Any], size: int | None = None
) -> np.ndarray:
    """The attribute in the type of the stored values: 1e20 as a double means the float32 beside it."""
    numbers = _numbers(variable, name, size)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = numbers.astype(dtype)
    # _Unsigned may state 255 for the byte -1.
    same_bits = numbers.dtype.kind in "iu" and numbers.dtype.itemsize == dtype.itemsize
    if dtype.kind in "iu" and not same_bits and not np.array_equal(cast, numbers):
        raise ValueError(f"{variable.name}: {name}: expected values of {dtype}, got {variable.getncattr(name)!r}")
    return cast


def _factor(variable: "netCDF4.Variable[Any]", name: str, default: float) -> float:
    if name not in variable.ncattrs():
        return default
    number = float(_numbers(variable, name, 1)[0])
    if not np.isfinite(number):
        raise ValueError(f"{variable.name}: {name}: expected a finite number, got {number}")
    return number


def _is_unsigned(variable: "netCDF4.Variable[Any]") -> bool:
    value = variable.getncattr("_Unsigned") if "_Unsigned" in variable.ncattrs() else "false"
    if str(value).lower() not in ("true", "false"):
        raise ValueError(f"{variable.name}: _Unsigned: expected true or false, got {value!r}")
    return str(value).lower() == "true"
