"""Files of ClimateNet's kind, synthetic, in other formats, with other types and attributes, damaged, or not readable."""

import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from cheblienet.data import climatenet
from cheblienet.data.artc import CHANNEL_UNITS, CHANNELS, read_state
from cheblienet.data.climatenet import convert, convert_file
from cheblienet.data.netcdf import open_netcdf
from cheblienet.data.resample import unit_vectors
from cheblienet.data.synthetic import synthetic_state

netCDF4 = pytest.importorskip("netCDF4", reason="netCDF4, of the extra `climate`, is not installed")

LAT, LON = np.linspace(-90, 90, 13), np.arange(25) * 14.4
GRID = ("time", "lat", "lon")
STATE, LABELS = synthetic_state(unit_vectors(*np.meshgrid(LAT, LON, indexing="ij")), 0, 5)
T200 = STATE[CHANNELS.index("T200")]


def write(path, make=None, lat=LAT, lon=LON, times=1, labels="i1", file_format="NETCDF4"):
    """A whole file; `make` takes the open dataset and makes T200, or another variable, before the others are made."""
    with netCDF4.Dataset(path, "w", format=file_format) as file:
        for name, size in (("time", None if times else 0), ("lat", len(lat)), ("lon", len(lon))):
            file.createDimension(name, size)
        if make:
            make(file)
        contents = {"lat": lat, "lon": lon, **dict(zip(CHANNELS, STATE, strict=True)), "LABELS": LABELS}
        for name, values in contents.items():
            if name not in file.variables:
                dimensions = (name,) if name in ("lat", "lon") else GRID
                kind = "f8" if name in ("lat", "lon") else labels if name == "LABELS" else "f4"
                variable = file.createVariable(name, kind, dimensions)
                if name in CHANNELS:
                    variable.units = CHANNEL_UNITS[name]
                if len(dimensions) == 1:
                    variable[:] = values
                elif values.shape == (len(lat), len(lon)):
                    variable[:times] = values[None]
    return path


def converted(path):
    convert_file(path, path.with_suffix(".npz"), 1)
    return read_state(path.with_suffix(".npz"))


def stored(name, kind, values, fill_value=None, **attributes):
    """Makes the variable with these stored values."""

    def make(file):
        variable = file.createVariable(name, kind, GRID, fill_value=fill_value)
        variable.setncatts(attributes)
        variable.set_auto_maskandscale(False)
        variable[0] = values

    return make


@pytest.mark.parametrize("file_format", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF4_CLASSIC", "NETCDF4"])
@pytest.mark.parametrize("labels", ["i1", "i2", "f4"])
def test_formats_and_their_ends(tmp_path, file_format, labels):
    """All formats give the same; a file without its end is refused, though netCDF4 reads zeros from one of netCDF-3."""
    expected = converted(write(tmp_path / "expected.nc"))
    path = write(tmp_path / "x.nc", labels=labels, file_format=file_format)
    for values, others in zip(converted(path), expected, strict=True):
        np.testing.assert_array_equal(values, others)
    whole = path.read_bytes()
    for left in (len(whole) - 8, len(whole) - 400, len(whole) // 2, len(whole) // 20, 40, 4):
        path.write_bytes(whole[:left])
        with pytest.raises(ValueError, match=r"x\.nc: "):
            converted(path)


def test_other_format_of_netcdf_3_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"x\.nc: expected netCDF-4, or netCDF-3 of version 1 or 2, got version 05"):
        converted(write(tmp_path / "x.nc", file_format="NETCDF3_64BIT_DATA"))


def same_to_the_bit(file):
    file.createVariable("T200", ">f4", GRID, endian="big")[0] = T200


packed = np.round((T200 - 250) / 0.01).astype("i2")


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        pytest.param(same_to_the_bit, 0, id="big endian"),
        pytest.param(stored("T200", "f8", T200), 0, id="double"),
        pytest.param(stored("T200", "i2", packed, scale_factor=0.01, add_offset=250.0), 0.006, id="packed"),
        pytest.param(
            stored("T200", "i2", packed, scale_factor=0.01, add_offset=250.0, valid_range=np.array([150.0, 350.0])),
            0.006,
            id="bounds of unpacked values",
        ),
        pytest.param(
            stored(
                "T200",
                "i2",
                packed,
                scale_factor=0.01,
                add_offset=250.0,
                valid_range=np.array([-9999, 9999], dtype="i2"),
            ),
            0.006,
            id="bounds of packed values",
        ),
        pytest.param(stored("T200", "f4", T200, missing_value=np.array([-999.0, 1e20])), 0, id="two missing values"),
        pytest.param(stored("T200", "f4", T200, valid_min=150.0), 0, id="lower bound"),
        pytest.param(stored("T200", "f4", T200, valid_max=350.0), 0, id="upper bound"),
        pytest.param(
            stored("T200", "i1", np.round(T200).astype("u1").view("i1"), _Unsigned="true"), 0.51, id="unsigned bytes"
        ),
    ],
)
def test_what_means_the_same_is_read_as_the_same(tmp_path, make, tolerance):
    expected = converted(write(tmp_path / "expected.nc"))
    data, classes = converted(write(tmp_path / "x.nc", make))
    np.testing.assert_allclose(data, expected[0], rtol=1e-6, atol=tolerance)
    np.testing.assert_array_equal(classes, expected[1])


def with_fill(at, fill):
    values = T200.astype("f8")
    values[at] = fill
    return values


def compound(file):
    kind = file.createCompoundType(np.dtype([("r", "f4"), ("i", "f4")]), "pair")
    file.createVariable("T200", kind, GRID)


def ragged(file):
    file.createVariable("T200", file.createVLType("f4", "ragged"), GRID)


def text(file):
    file.createVariable("T200", str, GRID)


def characters(file):
    file.createVariable("T200", "S1", GRID)


def enumeration(file):
    kind = file.createEnumType("u1", "kind", {"background": 0, "river": 1, "cyclone": 2})
    file.createVariable("LABELS", kind, GRID)[0] = LABELS.astype("u1")


def in_metres(file):
    file.createVariable("lat", "f8", ("lat",)).units = "m"


def degrees_west(file):
    file.createVariable("lon", "f8", ("lon",)).units = "degrees_west"


def degrees_east(file):
    file.createVariable("lat", "f8", ("lat",)).units = "degrees_east"


def other_dimensions(file):
    """As netCDF4 shows HDF5 that is no netCDF."""
    for number, size in enumerate((1, len(LAT), len(LON))):
        file.createDimension(f"phony_dim_{number}", size)
    file.createVariable("TMQ", "f4", ("phony_dim_0", "phony_dim_1", "phony_dim_2"))[:] = 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (compound, "T200: expected numbers, got CompoundType"),
        (ragged, "T200: expected numbers, got VLType"),
        (text, "T200: expected numbers, got VLType"),
        (characters, "T200: expected numbers"),
        (enumeration, "LABELS: expected numbers, got EnumType"),
        (in_metres, "lat: units: expected degrees north, got 'm'"),
        (degrees_west, "lon: units: expected degrees east, got 'degrees_west'"),
        (degrees_east, "lat: units: expected degrees north, got 'degrees_east'"),
        (other_dimensions, r"TMQ: expected the dimensions \('time', 'lat', 'lon'\), got \('phony_dim_0'"),
        (
            stored("T200", "f4", with_fill((2, 3), -999), missing_value=np.array([1e20, -999.0])),
            r"T200: expected no missing values, got 1 of 325 \(missing_value\)",
        ),
        (
            stored("Z1000", "f8", with_fill((2, 3), -999.9), missing_value=np.float32(-999.9)),
            r"Z1000: expected no missing values, got 1 of 325 \(missing_value\)",
        ),
        (
            stored("T200", "f4", with_fill((2, 3), -5), fill_value=-5),
            r"T200: expected no missing values, got 1 of 325 \(_FillValue\)",
        ),
        (stored("T200", "f4", with_fill(0, np.inf)), r"got 25 of 325 \(not finite\)"),
        (stored("T200", "f4", with_fill(0, netCDF4.default_fillvals["f4"])), r"got 25 of 325 \(default fill value\)"),
        (stored("T200", "f4", T200, valid_min=500.0), r"got 325 of 325 \(valid_min\)"),
        (stored("T200", "f4", T200, valid_max=50.0), r"got 325 of 325 \(valid_max\)"),
        (stored("T200", "f4", T200, valid_range=[np.nan, 500.0]), r"T200: valid_range: expected numbers, got \[nan"),
        (stored("T200", "f4", T200, valid_range=[50.0]), "T200: valid_range: expected 2 numbers"),
        (stored("T200", "f4", T200, valid_min="50"), "T200: valid_min: expected a number, got '50'"),
        (stored("T200", "i2", packed, missing_value=1e20), "T200: missing_value: expected values of int16"),
        (
            stored("T200", "u1", T200.astype("u1"), _Unsigned="false"),
            "T200: _Unsigned: expected true for values of uint8",
        ),
        (stored("T200", "f4", with_fill((2, 3), 1e19)), "T200: expected values from 150 to 350 K, got 1e\\+19"),
        (stored("T200", "f4", T200 - 273.15), "T200: expected values from 150 to 350 K, got -"),
        (stored("T200", "f4", T200, scale_factor=1e38), "T200: expected values from 150 to 350 K, got inf"),
        (stored("LABELS", "i1", LABELS - 1), "LABELS: expected the classes 0 to 2, got -1"),
        (stored("LABELS", "f4", np.where(LABELS == 0, 0.5, LABELS)), r"LABELS: expected the classes 0 to 2, got 0\.5"),
        (stored("LABELS", "i1", np.where(LABELS == 0, 9, LABELS), fill_value=9), r"LABELS: .* missing .*_FillValue"),
        (stored("LABELS", "i2", np.where(LABELS == 0, -32767, LABELS)), r"LABELS: .* missing .*default fill value"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path, make, message):
    with pytest.raises(ValueError, match=r"x\.nc: .*" + message):
        converted(write(tmp_path / "x.nc", make))


def altered(axis, at, value):
    return np.where(np.isin(np.arange(len(axis)), at), value, axis)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"lat": altered(LAT, 3, LAT[2])}, "lat: expected latitudes that ascend or descend strictly"),
        ({"lat": altered(LAT, 3, np.nan)}, r"lat: expected no missing values, got 1 of 13 \(not finite\)"),
        ({"lat": LAT * 1.01}, "lat: expected degrees from -90 to 90"),
        ({"lat": LAT / 2}, "lat: expected latitudes from pole to pole"),
        ({"lat": LAT[:0]}, "lat: expected at least three finite degrees"),
        ({"lon": np.linspace(0, 360, 25)}, "lon: expected each longitude once, got 0 twice, modulo 360 degrees"),
        ({"lon": altered(LON, 3, LON[2])}, r"lon: expected each longitude once, got 28\.8 twice"),
        ({"lon": altered(LON, 3, np.inf)}, r"lon: expected no missing values, got 1 of 25 \(not finite\)"),
        ({"lon": LON[:0]}, "lon: expected at least three finite degrees"),
        ({"times": 0}, "TMQ: expected one time, got 0"),
        ({"times": 2}, "TMQ: expected one time, got 2"),
    ],
)
def test_grids_that_are_none(tmp_path, axes, message):
    with pytest.raises(ValueError, match=rf"x\.nc: {message}"):
        converted(write(tmp_path / "x.nc", **axes))


def test_what_is_no_file_of_netcdf(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "folder.nc").mkdir()
    write(source / "folder.nc" / "inside.nc")
    (source / "empty.nc").touch()
    (source / "text.nc").write_text("lat, lon, T200\n")
    (source / "nowhere.nc").symlink_to(tmp_path / "absent")
    with pytest.raises(ValueError, match="3 of 4 files could not be converted") as refused:
        convert(source, target, level=1)
    assert all(f"{source / name}.nc: " in str(refused.value) for name in ("empty", "text", "nowhere"))
    assert [path.name for path in (target / "folder.nc").iterdir()] == ["inside-mesh.npz"]


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = write(tmp_path / "x.nc")

    with pytest.raises(ValueError, match=r"x\.nc: it changed while it was read"), open_netcdf(path):
        os.utime(path, (0, 0))


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), RuntimeError("HDF error"), KeyError("f2"), MemoryError()]
)
def test_whatever_a_file_raises_is_named_and_the_others_go_on(tmp_path, monkeypatch, error):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write(source / "a.nc")
    write(source / "b.nc")

    def fail_at_a(path, *rest, original=climatenet.convert_file):
        if path.name == "a.nc":
            raise error
        original(path, *rest)

    monkeypatch.setattr(climatenet, "convert_file", fail_at_a)
    with pytest.raises(ValueError, match=rf"1 of 2 files .*\n{source}/a\.nc: {type(error).__name__}: "):
        convert(source, target, level=1)
    assert [path.name for path in target.iterdir()] == ["b-mesh.npz"]
    error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, level=1)


def test_a_worker_that_is_killed_is_told():
    with (
        contextlib.ExitStack() as stack,
        pytest.raises(ChildProcessError, match="a process was ended from outside, .* with fewer workers, goes on"),
    ):
        list(climatenet._in_processes(stack, os._exit, [9], 1))


@pytest.fixture
def folder_without_root():
    """A folder, and a process without the rights of root, which may read everything."""
    nobody = 65534
    with tempfile.TemporaryDirectory() as name:
        if root := os.geteuid() == 0:
            os.chown(name, nobody, nobody)
            os.seteuid(nobody)
        yield Path(name)
        if root:
            os.seteuid(0)


def test_what_may_not_be_read_is_named(folder_without_root):
    source, target = folder_without_root / "in", folder_without_root / "out"
    (source / "closed").mkdir(parents=True)
    write(source / "a.nc").chmod(0)
    write(source / "b.nc")
    with pytest.raises(ValueError, match=rf"1 of 2 files could not be converted:\n{source}/a\.nc: .*Permission denied"):
        convert(source, target, level=1)
    assert [path.name for path in target.iterdir()] == ["b-mesh.npz"]
    (source / "closed").chmod(0)
    with pytest.raises(PermissionError, match=f"{source}/closed"):
        convert(source, target, level=1)
    (source / "closed").chmod(0o700)
