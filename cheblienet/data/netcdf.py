"""Reading netCDF files strictly: numbers as the file's attributes mean them, or an error that names what is not understood.

Conventions: the NetCDF Users Guide, appendix A, "Attribute Conventions". Reading needs netCDF4, in the extra `climate`.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.io import netcdf_file

if TYPE_CHECKING:
    import netCDF4


def import_netcdf4() -> None:
    try:
        import netCDF4  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "reading ClimateNet needs netCDF4: install cheblienet with its extra `climate`, or netCDF4 itself"
        ) from error


@contextlib.contextmanager
def open_netcdf(path: Path) -> "Iterator[netCDF4.Dataset]":
    """The opened file; whatever goes wrong with it, or with what it holds, becomes a ValueError that names it."""
    import netCDF4

    try:
        before = _version(path)
        _check_classic(path)
        with netCDF4.Dataset(path) as dataset:
            yield dataset
        if _version(path) != before:
            raise ValueError("it changed while it was read; is it still being written?")
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def find_variable(dataset: "netCDF4.Dataset", name: str, dimensions: list[tuple[str, ...]]) -> "netCDF4.Variable[Any]":
    """The variable, of one of these `dimensions`; ValueError otherwise."""
    if name not in dataset.variables:
        raise ValueError(f"{name}: no such variable, there are {', '.join(dataset.variables)}")
    variable = dataset.variables[name]
    if variable.dimensions not in dimensions:
        raise ValueError(f"{name}: expected the dimensions {dimensions[0]}, got {variable.dimensions}")
    return variable


def read_values(variable: "netCDF4.Variable[Any]") -> np.ndarray:
    """All values, scaled and offset as the file says; ValueError if some are missing, NaN or infinite.

    Unpacked here: netCDF4 passes over attributes that it does not understand, and their values become data.
    """
    import netCDF4

    kind = variable.datatype  # of netCDF, where an enumeration is not the integers it is stored in
    if not isinstance(kind, np.dtype) or kind.kind not in "iuf":
        raise ValueError(f"{variable.name}: expected numbers, got {getattr(kind, '__name__', type(kind).__name__)}")
    variable.set_auto_maskandscale(False)
    stored = np.asarray(variable[...])
    attributes = variable.ncattrs()
    missing = {"not finite": ~np.isfinite(stored)}
    for name in {"_FillValue", "missing_value"}.intersection(attributes):
        missing[name] = _equals(variable, name, stored)
    # Bytes have no default: all their values are data.
    if "_FillValue" not in attributes and stored.dtype.itemsize > 1:
        missing["default fill value"] = stored == np.array(netCDF4.default_fillvals[stored.dtype.str[1:]], stored.dtype)
    compared = np.dtype(f"u{stored.dtype.itemsize}") if _is_unsigned(variable, stored.dtype) else stored.dtype
    values = packed = stored.astype(compared)
    if {"scale_factor", "add_offset"}.intersection(attributes):
        scale, offset = _factor(variable, "scale_factor", 1.0), _factor(variable, "add_offset", 0.0)
        if scale == 0:
            raise ValueError(f"{variable.name}: scale_factor: expected a number other than 0, got 0")
        with np.errstate(over="ignore", invalid="ignore"):
            values = packed * scale + offset
    for name, size, low, high in (("valid_range", 2, 0, 1), ("valid_min", 1, 0, None), ("valid_max", 1, None, 0)):
        if name not in attributes:
            continue
        bounds, bounded = _numbers(variable, name, size), packed
        if np.isnan(bounds).any():
            raise ValueError(f"{variable.name}: {name}: expected numbers, got {bounds.tolist()}")
        if packed.dtype.kind in "iu" and values.dtype.kind == "f" and bounds.dtype.kind == "f":
            bounded = values  # bounds in the type of the unpacked values are meant of them
        else:
            bounds = _as_stored(variable, name, stored.dtype, size).astype(compared)
        missing[name] = np.zeros(values.shape, dtype=bool)
        missing[name] |= (bounded < bounds[low]) if low is not None else False
        missing[name] |= (bounded > bounds[high]) if high is not None else False
    if causes := [name for name, mask in missing.items() if mask.any()]:
        count = np.count_nonzero(np.logical_or.reduce(list(missing.values())))
        raise ValueError(
            f"{variable.name}: expected no missing values, got {count} of {values.size} ({', '.join(sorted(causes))})"
        )
    return values


def _version(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _check_classic(path: Path) -> None:
    """ValueError for a netCDF-3 file without its end, which netCDF4 would read as zeros."""
    with path.open("rb") as file:
        start = file.read(4)
    if start[:3] != b"CDF":
        return
    if start[3:] not in (b"\1", b"\2"):
        raise ValueError(f"expected netCDF-4, or netCDF-3 of version 1 or 2, got version {start[3:].hex()}")
    try:
        with netcdf_file(path, mmap=True):
            pass
    except Exception as error:  # a damaged header can raise almost anything
        raise ValueError(f"a netCDF-3 file that is truncated or damaged: {error}") from error


def _numbers(variable: "netCDF4.Variable[Any]", name: str, size: int | None = None) -> np.ndarray:
    """(n,), the attribute `name`, which is to hold `size` numbers."""
    value = variable.getncattr(name)
    numbers = np.atleast_1d(value)
    if numbers.dtype.kind not in "iuf" or (size is not None and numbers.size != size):
        expected = "numbers" if size is None else "a number" if size == 1 else f"{size} numbers"
        raise ValueError(f"{variable.name}: {name}: expected {expected}, got {value!r}")
    return numbers


def _equals(variable: "netCDF4.Variable[Any]", name: str, stored: np.ndarray) -> np.ndarray:
    """Where `stored` holds one of the attribute's numbers, of two types of floats in the coarser one."""
    coarser = min(stored.dtype, _numbers(variable, name).dtype, key=lambda dtype: dtype.itemsize)
    numbers = _as_stored(variable, name, stored.dtype)
    if stored.dtype.kind != "f" or coarser.kind != "f":
        return np.isin(stored, numbers)
    with np.errstate(over="ignore"):
        return np.isin(stored.astype(coarser), numbers.astype(coarser))


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


def _is_unsigned(variable: "netCDF4.Variable[Any]", dtype: np.dtype[Any]) -> bool:
    """Whether signed integers hold the bits of unsigned ones, as in netCDF-3, which has no others."""
    if "_Unsigned" not in variable.ncattrs():
        return False
    value = variable.getncattr("_Unsigned")
    if str(value).lower() not in ("true", "false"):
        raise ValueError(f"{variable.name}: _Unsigned: expected true or false, got {value!r}")
    if dtype.kind == "u" and str(value).lower() == "false":
        raise ValueError(f"{variable.name}: _Unsigned: expected true for values of {dtype}, got {value!r}")
    return dtype.kind == "i" and str(value).lower() == "true"
