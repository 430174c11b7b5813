"""Synthetic climate states, to try code without the data: vortices and bands that move over an idealised climate.

Nothing about the weather or about a model's skill follows from them.
"""

import datetime
import os
from pathlib import Path

import numpy as np

from .._checks import check_integer
from .._files import replacing
from ..meshes.icosphere import icosphere
from .artc import ARTC_MEAN, ARTC_STD, CHANNEL_UNITS, CHANNELS, CLASSES
from .netcdf import import_netcdf4
from .resample import unit_vectors
from .splits import SPLITS

_CYCLONES, _RIVERS = 6, 4
_CYCLONE_RADIUS, _RIVER_WIDTH = 0.12, 0.08  # radians; larger than in nature, so that coarse grids see them

# What a cyclone's centre, a river's axis and the equator against the poles add, in standard deviations; winds are apart.
_EFFECTS = {
    "TMQ": (2.0, 2.0, 1.0),
    "QREFHT": (1.0, 1.0, 1.2),
    "PS": (-1.0, 0.0, 0.0),
    "PSL": (-2.0, -0.2, 0.0),
    "T200": (0.8, 0.0, 1.0),
    "T500": (1.0, 0.2, 1.2),
    "PRECT": (4.0, 2.0, 0.2),
    "TS": (0.0, 0.2, 1.2),
    "TREFHT": (0.2, 0.3, 1.2),
    "Z1000": (-2.0, -0.2, 0.0),
    "Z200": (0.4, 0.0, 1.2),
    "ZBOT": (0.2, 0.2, 1.0),
}
_NONNEGATIVE = ("TMQ", "QREFHT", "PRECT")


def synthetic_state(points: np.ndarray, state: int, seed: int, mask: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """data (16, ...) float32 and classes (...) int64 at unit vectors (..., 3).

    The storms of a `seed` move from one `state` to the next; experts, numbered by `mask`, draw their outlines apart.
    """
    storms = np.random.default_rng(seed)
    rough = np.random.default_rng([seed, state])
    outline = 1 + 0.15 * np.random.default_rng([seed, state, mask]).uniform(-1, 1)
    x, y, z = np.moveaxis(points, -1, 0)
    radius = np.maximum(np.hypot(x, y), 1e-9)
    east = np.stack([-y / radius, x / radius, np.zeros_like(z)], -1)
    north = np.cross(points, east)

    cyclone, river = np.zeros_like(z), np.zeros_like(z)
    wind = 6 * np.cos(6 * np.arcsin(np.clip(z, -1, 1)))[..., None] * -east  # trades, westerlies, polar easterlies
    classes = np.zeros(z.shape, dtype=np.int64)
    for _ in range(_RIVERS):
        hemisphere = storms.choice([-1, 1])
        start = storms.uniform(0, 360) + 3 * state
        source, end = (
            unit_vectors(hemisphere * lat, lon)
            for lat, lon in ((storms.uniform(15, 25), start), (storms.uniform(40, 55), start + storms.uniform(35, 55)))
        )
        axis = np.cross(source, end)
        axis /= np.linalg.norm(axis)
        across = np.arcsin(np.clip(points @ axis, -1, 1))
        along = np.arctan2(points @ np.cross(axis, source), points @ source) / np.arccos(source @ end)
        strength = np.exp(-((across / _RIVER_WIDTH) ** 2)) * (np.abs(along - 0.5) < 0.5)
        river = np.maximum(river, strength)
        wind = wind + 20 * strength[..., None] * np.cross(axis, points)
        classes[(np.abs(across) < outline * _RIVER_WIDTH) & (np.abs(along - 0.5) < 0.5)] = 2
    for _ in range(_CYCLONES):
        hemisphere = storms.choice([-1, 1])
        centre = unit_vectors(
            hemisphere * (storms.uniform(8, 20) + 10 * (state % 10) / 10), storms.uniform(0, 360) - 4 * state
        )
        distance = np.arctan2(np.linalg.norm(np.cross(points, centre), axis=-1), points @ centre) / _CYCLONE_RADIUS
        cyclone = np.maximum(cyclone, np.exp(-(distance**2)))
        wind = (
            wind
            + hemisphere * 35 * np.exp(0.5 - 0.5 * distance**2)[..., None] * np.cross(centre, points) / _CYCLONE_RADIUS
        )
        classes[distance < outline] = 1

    data = np.empty((len(CHANNELS), *z.shape), dtype=np.float32)
    for channel, name in enumerate(CHANNELS):
        waves = sum(np.cos(points @ rough.normal(0, 4, 3) + rough.uniform(0, 2 * np.pi)) for _ in range(4))
        if name in _EFFECTS:
            effects = np.stack([cyclone, river, 1 - 3 * z**2], -1) @ _EFFECTS[name]
            values = ARTC_MEAN[channel] + ARTC_STD[channel] * (effects + 0.15 * waves)
            data[channel] = np.maximum(values, 0) if name in _NONNEGATIVE else values
        else:  # U850, V850, UBOT, VBOT
            data[channel] = (wind * (east if name[0] == "U" else north)).sum(-1) + waves
    return data, classes


def write_synthetic_artc(folder: str | os.PathLike[str], num_files: int, level: int, seed: int) -> list[str]:
    """Synthetic states, three hours apart, with ARTC's file names, format and name lists (70, 10, 20 %): the names."""
    check_integer("num_files", num_files, 3)
    vertices = icosphere(level)[0].numpy()
    Path(folder).mkdir(parents=True, exist_ok=True)
    names = []
    for state in range(num_files):
        data, classes = synthetic_state(vertices, state, seed)
        names.append(f"data-{_date(2106, state // 8)}-{state % 8:02}-1-mesh.npz")
        with replacing(Path(folder) / names[-1]) as file:
            np.savez(file, data=data, labels=classes == np.arange(len(CLASSES))[:, None])
    shuffled = np.random.default_rng(seed).permutation(names)
    val, test = max(num_files // 10, 1), max(num_files // 5, 1)
    for split, part in zip(SPLITS, np.split(shuffled, [num_files - val - test, num_files - test]), strict=True):
        with replacing(Path(folder) / f"{split}_split.txt") as file:
            file.write("".join(f"{name}\n" for name in part).encode())
    return names


def write_synthetic_climatenet(
    folder: str | os.PathLike[str], num_dates: int, masks_per_date: int, lat: int = 24, lon: int = 36, seed: int = 0
) -> list[str]:
    """Synthetic states, a day apart, in netCDF files with ClimateNet's names and variables on `lat` x `lon`: the names."""
    check_integer("num_dates", num_dates, 1)
    check_integer("masks_per_date", masks_per_date, 1)
    import_netcdf4()
    latitudes, longitudes = np.linspace(-90, 90, lat), np.arange(lon) * (360 / lon)
    points = unit_vectors(*np.meshgrid(latitudes, longitudes, indexing="ij"))
    Path(folder).mkdir(parents=True, exist_ok=True)
    names = []
    for state in range(num_dates):
        for mask in range(masks_per_date):
            data, classes = synthetic_state(points, state, seed, mask)
            names.append(f"data-{_date(2000, state)}-01-1_{mask}.nc")
            with replacing(Path(folder) / names[-1]) as file:
                file.write(_netcdf(names[-1], latitudes, longitudes, data, classes))
    return names


def _netcdf(name: str, lat: np.ndarray, lon: np.ndarray, data: np.ndarray, classes: np.ndarray) -> memoryview:
    import netCDF4

    dataset = netCDF4.Dataset(name, "w", memory=data.nbytes)
    dataset.title = "synthetic data of cheblienet.data.synthetic"
    for axis, values in {"lat": lat, "lon": lon}.items():
        dataset.createDimension(axis, len(values))
        dataset.createVariable(axis, "f8", (axis,))[:] = values
    dataset.createDimension("time", 1)
    dataset.createVariable("time", str, ("time",))[0] = name
    for channel, values in zip(CHANNELS, data, strict=True):
        variable = dataset.createVariable(channel, "f4", ("time", "lat", "lon"))
        variable.units = CHANNEL_UNITS[channel]
        variable[0] = values
    labels = dataset.createVariable("LABELS", "i8", ("time", "lat", "lon"))
    labels.description = "; ".join(f"{number}: {name}" for number, name in enumerate(CLASSES))
    labels[0] = classes
    return dataset.close()


def _date(year: int, day: int) -> datetime.date:
    return datetime.date(year, 1, 1) + datetime.timedelta(days=day)
