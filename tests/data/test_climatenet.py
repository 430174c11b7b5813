import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cheblienet.data import CHANNELS, ArtcDataset, split_by_date, statistics_file
from cheblienet.data.climatenet import convert
from cheblienet.data.resample import SphereSampling, unit_vectors
from cheblienet.data.synthetic import synthetic_state, write_synthetic_climatenet
from cheblienet.meshes.icosphere import icosphere

netCDF4 = pytest.importorskip("netCDF4", reason="netCDF4, of the extra `climate`, is not installed")


@pytest.fixture
def files(tmp_path):
    """Folders: of two synthetic files, two masks of one date, on 24 x 36; and for the result."""
    names = write_synthetic_climatenet(tmp_path / "in", num_dates=1, masks_per_date=2, seed=5)
    assert names == ["data-2000-01-01-01-1_0.nc", "data-2000-01-01-01-1_1.nc"]
    return tmp_path / "in", tmp_path / "out"


def rewrite(path, change):
    """The file with `change(contents)`, a dict of name -> (dimensions, values, attributes)."""
    with netCDF4.Dataset(path) as old:
        contents = {n: (v.dimensions, v[...].data, dict(v.__dict__)) for n, v in old.variables.items() if n != "time"}
    change(contents)
    with netCDF4.Dataset(path, "w") as new:
        for dimensions, values, _ in contents.values():
            for name, size in zip(dimensions, values.shape, strict=True):
                if name not in new.dimensions:
                    new.createDimension(name, size)
        for name, (dimensions, values, attributes) in contents.items():
            variable = new.createVariable(name, values.dtype, dimensions, fill_value=attributes.pop("_FillValue", None))
            variable.setncatts(attributes)
            variable.set_auto_maskandscale(False)
            variable[...] = values


def test_converts_fields_and_labels(files):
    source, target = files
    assert convert(source, target, level=3) == 2
    dataset = ArtcDataset(target)
    assert dataset.names == ("data-2000-01-01-01-1_0-mesh.npz", "data-2000-01-01-01-1_1-mesh.npz")
    assert dataset.num_vertices == 642
    lat, lon = np.linspace(-90, 90, 24), np.arange(36) * 10.0
    points, vertices = unit_vectors(*np.meshgrid(lat, lon, indexing="ij")), icosphere(3)[0].numpy()
    sampling = SphereSampling(lat, lon, vertices)
    for mask, (x, y) in enumerate(dataset):
        data, classes = synthetic_state(points, 0, 5, mask)
        for values, field in zip(x.numpy(), data, strict=True):
            np.testing.assert_allclose(values, sampling.bilinear(field), rtol=1e-6)
        np.testing.assert_array_equal(y, sampling.nearest(classes))
        # The state itself at the vertices, not only on the grid: surface temperature is smooth.
        temperature = CHANNELS.index("TS")
        truth = synthetic_state(vertices, 0, 5)[0][temperature]
        assert np.abs(x[temperature].numpy() - truth).max() < 0.2 * truth.std()
    assert split_by_date(dataset.names, (1.0,), seed=0) == [list(dataset.names)]


def test_other_ways_to_write_the_same(files):
    source, target = files
    convert(source, target, level=2)
    expected = [(x.numpy(), y.numpy()) for x, y in ArtcDataset(target)]

    def turn(contents):  # the latitudes down, the longitudes from -180, another spelling, labels without time
        for name, (dimensions, values, attributes) in contents.items():
            if name == "lat":
                values = values[::-1]
            elif name == "lon":
                values = np.roll(np.where(values >= 180, values - 360, values), 18)
            else:
                values = np.roll(values[:, ::-1], 18, 2)
            contents[name] = dimensions, values, attributes
        contents["U850"][2]["units"] = " m  s-1 "
        contents["V850"][2]["units"] = "m/sec"
        del contents["PS"][2]["units"]
        contents["LABELS"] = ("lat", "lon"), contents["LABELS"][1][0].astype("i1"), {}

    for path in source.iterdir():
        rewrite(path, turn)
    assert convert(source, target, level=2) == 2
    for (x, y), (expected_x, expected_y) in zip(ArtcDataset(target), expected, strict=True):
        np.testing.assert_allclose(x, expected_x, rtol=1e-5)
        np.testing.assert_array_equal(y, expected_y)


def test_packed_variables(files):
    source, target = files
    convert(source, target, level=2)
    expected = ArtcDataset(target)[0][0].numpy()

    def pack(contents):
        dimensions, values, attributes = contents["PSL"]
        packed = np.round((values - 1e5) / 0.5).astype("i2")
        contents["PSL"] = (
            dimensions,
            packed,
            {**attributes, "scale_factor": 0.5, "add_offset": 1e5, "_FillValue": -32768},
        )

    rewrite(source / "data-2000-01-01-01-1_0.nc", pack)
    assert convert(source, target, level=2) == 1
    np.testing.assert_allclose(ArtcDataset(target)[0][0], expected, atol=0.26, rtol=1e-7)


def drop(name):
    return lambda contents: contents.pop(name)


def put(name, index, value):
    return lambda contents: contents[name][1].__setitem__(index, value)


def attribute(name, key, value):
    return lambda contents: contents[name][2].__setitem__(key, value)


def missing_of_another_type(contents):
    """A double that the variable's own type holds only rounded."""
    contents["T200"][1][0, 3, 4] = 1e20
    contents["T200"][2]["missing_value"] = np.float64(1e20)


def replaced(name, dimensions, shape, dtype="f4"):
    return lambda contents: contents.__setitem__(name, (dimensions, np.ones(shape, dtype), {}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("VBOT"), "VBOT: no such variable"),
        (drop("LABELS"), "LABELS: no such variable"),
        (drop("lat"), "lat: no such variable"),
        (put("TMQ", (0, 3, 4), np.nan), "TMQ: expected no missing values, got 1 of 864"),
        (put("T500", (0, 3), netCDF4.default_fillvals["f4"]), "T500: expected no missing values, got 36 of 864"),
        (put("LABELS", (0, 0, 0), 3), "LABELS: expected the classes 0 to 2, got 3"),
        (attribute("PRECT", "units", "mm/day"), "PRECT: units: expected m/s, got 'mm/day'"),
        (attribute("lat", "units", "radian"), "lat: units: expected degrees north, got 'radian'"),
        (attribute("T200", "missing_value", "-99.9f"), "T200: missing_value: expected numbers, got '-99.9f'"),
        (attribute("T200", "scale_factor", "0.01"), "T200: scale_factor: expected a number, got '0.01'"),
        (attribute("T200", "add_offset", [1.0, 2.0]), "T200: add_offset: expected a number, got"),
        (attribute("T200", "scale_factor", 0.0), "T200: scale_factor: expected a number other than 0"),
        (attribute("T200", "add_offset", np.nan), "T200: add_offset: expected a finite number, got nan"),
        (attribute("T200", "_Unsigned", "perhaps"), "T200: _Unsigned: expected true or false, got 'perhaps'"),
        (
            attribute("T200", "valid_range", [0.0, 1.0]),
            r"T200: expected no missing values, got 864 of 864 \(valid_range\)",
        ),
        (attribute("T200", "scale_factor", 100.0), "T200: expected values from 150 to 350 K"),
        (attribute("PS", "units", "hPa"), "PS: units: expected Pa, got 'hPa'"),
        (missing_of_another_type, "T200: expected no missing values, got 1 of 864"),
        (put("lon", 0, 0.5), None),
        (put("lon", slice(None), np.arange(36) * 5.0), "lon: expected longitudes around the whole globe"),
        (
            replaced("Z200", ("time", "lon", "lat"), (1, 36, 24)),
            r"Z200: expected the dimensions \('time', 'lat', 'lon'\)",
        ),
        (replaced("Z200", ("time", "lat", "lon"), (1, 24, 36), "S1"), "Z200: expected numbers"),
    ],
)
def test_what_is_refused_is_named(files, change, message):
    """With its file and variable; the other file is converted."""
    source, target = files
    damaged = source / "data-2000-01-01-01-1_1.nc"
    rewrite(damaged, change)
    if message is None:  # an uneven grid is a grid
        assert convert(source, target, level=1) == 2
        return
    with pytest.raises(ValueError, match=rf"1 of 2 files could not be converted:\n.*{damaged.name}: {message}"):
        convert(source, target, level=1)
    assert [path.name for path in target.iterdir()] == ["data-2000-01-01-01-1_0-mesh.npz"]


def test_linked_folders_are_followed_once(files):
    source, target = files
    elsewhere = source.with_name("elsewhere")
    source.rename(elsewhere)
    source.mkdir()
    (source / "a").symlink_to(elsewhere)
    (source / "b").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(source)
    assert convert(source, target, level=2) == 2
    assert len(list((target / "a").glob("*.npz"))) == 2


def test_several_times_are_refused(files):
    source, target = files

    def repeat(contents):
        for name, (dimensions, values, attributes) in contents.items():
            if "time" in dimensions:
                contents[name] = dimensions, np.concatenate([values, values]), attributes

    rewrite(source / "data-2000-01-01-01-1_0.nc", repeat)
    with pytest.raises(ValueError, match="_0.nc: TMQ: expected one time, got 2"):
        convert(source, target, level=1)


def test_damaged_files_are_named(files):
    source, target = files
    path = source / "data-2000-01-01-01-1_1.nc"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not netCDF"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"_1\.nc: .*(HDF|NetCDF|format)"):
            convert(source, target, level=1)


def test_continues_where_it_stopped(files):
    source, target = files
    shutil.copytree(source, source / "more")
    assert convert(source, target, level=2) == 4
    results = sorted(target.rglob("*.npz"))
    assert [str(path.relative_to(target)) for path in results[-2:]] == [
        "more/data-2000-01-01-01-1_0-mesh.npz",
        "more/data-2000-01-01-01-1_1-mesh.npz",
    ]
    contents = [path.read_bytes() for path in results]
    assert convert(source, target, level=2) == 0
    results[0].unlink()
    results[2].write_bytes(contents[2][:1000])
    kept = results[1].stat().st_mtime_ns
    with pytest.warns(UserWarning, match=rf"{results[2]}: not a readable npz file .*; the file is converted anew"):
        assert convert(source, target, level=2) == 2
    assert [path.read_bytes() for path in results] == contents
    assert results[1].stat().st_mtime_ns == kept
    later = time.time() + 10
    os.utime(source / "data-2000-01-01-01-1_0.nc", (later, later))
    assert convert(source, target, level=2) == 1
    assert convert(source, target, level=1) == 4


def test_interrupted_while_writing(files, monkeypatch):
    source, target = files

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            convert(source, target, level=1)
    assert list(target.iterdir()) == []
    assert convert(source, target, level=1) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_processes_leave_whole_files(tmp_path, number):
    (name,) = write_synthetic_climatenet(tmp_path / "in", 1, 1, seed=5)
    for copy in range(9):
        shutil.copy(tmp_path / "in" / name, tmp_path / "in" / f"data-2001-01-01-01-1_{copy}.nc")
    pipe = tmp_path / "in" / "data-1999-01-01-01-1_0.nc"
    os.mkfifo(pipe)  # the first file: whoever opens it waits, so that the conversion is under way until we stop it
    command = [sys.executable, "-m", "cheblienet", "climatenet", "convert", str(tmp_path / "in"), str(tmp_path / "out")]
    with subprocess.Popen(
        [*command, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not list((tmp_path / "out").glob("*.npz")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        if number == signal.SIGINT:  # what a terminal does
            os.killpg(process.pid, number)
        else:
            process.kill()
        writer = os.open(pipe, os.O_RDWR)  # ends the wait
        pipe.unlink()
        os.close(writer)
        # The pipes close when the last of its processes has ended.
        _, said = process.communicate(timeout=60)
    assert process.returncode == (1 if number == signal.SIGINT else -signal.SIGKILL)
    if number == signal.SIGINT:
        assert said.endswith("interrupted\n")
        assert "Traceback" not in said
    done = ArtcDataset(tmp_path / "out")
    assert 0 < len(done) <= 10
    assert all(x.shape == (16, 10242) for x, _ in done)
    shutil.copy(tmp_path / "in" / name, pipe)
    (tmp_path / "out" / f".{done.names[0]}-0.tmp").write_bytes(b"half")
    assert convert(tmp_path / "in", tmp_path / "out", level=5) == 11 - len(done)
    assert len(list((tmp_path / "out").iterdir())) == 11


def test_commands(files, capfd, monkeypatch):
    from cheblienet.__main__ import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cheblienet", "climatenet", *map(str, arguments)])
        main()
        return capfd.readouterr().out

    source, target = files
    assert run("convert", source, target, "--level", 1).startswith("2 files converted")
    (target / "some.txt").write_text("data-2000-01-01-01-1_0-mesh.npz\n")
    assert "TREFHT" in run("statistics", target, "--names", target / "some.txt")
    assert statistics_file(target, ["data-2000-01-01-01-1_0-mesh.npz"]).is_file()
    with pytest.raises(SystemExit, match=r"error: .*nowhere: expected files data-YYYY-MM-DD-01-1_N\.nc"):
        run("convert", target / "nowhere", target)


def test_without_netcdf4(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "netCDF4", None)
    with pytest.raises(ImportError, match="install cheblienet with its extra `climate`"):
        convert(*files)
