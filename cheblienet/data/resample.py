"""From fields on grids of latitudes and longitudes to points of the sphere.

The point (x, y, z) has the latitude asin(z) and the longitude atan2(y, x), which is 0 at the poles.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

# Coordinates in files may be rounded to single precision.
_DEGREES = 1e-4


class SphereSampling:
    """Values at `points` (P, 3), unit vectors, of fields on the grid `lat` (H,) times `lon` (W,) in degrees.

    The latitudes ascend or descend from near one pole to near the other; the longitudes go once around the globe, in any
    order and counted from anywhere. Neither needs to be equidistant. ValueError naming `lat` or `lon` for other grids.
    """

    def __init__(self, lat: np.ndarray, lon: np.ndarray, points: np.ndarray) -> None:
        lat, lon = _check_latitudes(lat), _check_longitudes(lon)
        self.shape = (len(lat), len(lon))
        grid = unit_vectors(np.repeat(lat, len(lon)), np.tile(lon, len(lat)))
        self._nearest = cKDTree(grid, balanced_tree=False, compact_nodes=False).query(points)[1]
        self._corners, self._weights = _bilinear(lat, lon, points)

    def bilinear(self, field: np.ndarray) -> np.ndarray:
        """(P,) float64: `field` (H, W) interpolated linearly in latitude and in longitude within the cells of the grid.

        Longitudes are periodic. A grid that leaves out a pole has, there, the average of its nearest row. A component of a
        vector field at a pole is that in the direction of longitude 0. Nothing is averaged: a field with details finer
        than the distance of the points is sampled, not smoothed.
        """
        values = self._check(field).ravel()
        values = np.append(values, [values[: self.shape[1]].mean(), values[-self.shape[1] :].mean()])
        return np.einsum("pc,pc->p", values[self._corners], self._weights)

    def nearest(self, field: np.ndarray) -> np.ndarray:
        """(P,): `field` (H, W) at the grid point nearest on the sphere."""
        return self._check(field).ravel()[self._nearest]

    def _check(self, field: np.ndarray) -> np.ndarray:
        if field.shape != self.shape:
            raise ValueError(f"field: expected shape {self.shape}, got {field.shape}")
        return field


def unit_vectors(lat: ArrayLike, lon: ArrayLike) -> np.ndarray:
    """(..., 3) float64 from degrees."""
    beta, gamma = np.deg2rad(lat), np.deg2rad(lon)
    return np.stack([np.cos(beta) * np.cos(gamma), np.cos(beta) * np.sin(gamma), np.sin(beta)], -1)


def latitudes_longitudes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees, longitudes in [0, 360], of unit vectors (..., 3)."""
    x, y, z = np.moveaxis(points, -1, 0)
    radius = np.hypot(x, y)
    lon = np.rad2deg(np.arctan2(y, x)) % 360
    return np.rad2deg(np.arctan2(z, radius)), np.where(radius < 1e-9, 0.0, lon)


def _bilinear(lat: np.ndarray, lon: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (P, 4), indices into a raveled field followed by the averages of its first and last row, and weights."""
    size = len(lat) * len(lon)
    index = np.arange(size).reshape(len(lat), len(lon))
    poles = {lat[0]: size, lat[-1]: size + 1}
    rows, columns = np.argsort(lat), np.argsort(lon % 360)
    lat, lon, index = lat[rows], lon[columns] % 360, index[rows][:, columns]
    index = np.concatenate([index, index[:, :1]], 1)
    lon = np.append(lon, lon[0] + 360)
    south, north = (np.full((1, len(lon)), poles[edge]) for edge in (lat[0], lat[-1]))
    if lat[0] > -90 + _DEGREES:
        lat, index = np.append(-90, lat), np.concatenate([south, index])
    if lat[-1] < 90 - _DEGREES:
        lat, index = np.append(lat, 90), np.concatenate([index, north])

    point_lat, point_lon = latitudes_longitudes(points)
    row, up = _cell(lat, point_lat)
    column, right = _cell(lon, np.where(point_lon < lon[0], point_lon + 360, point_lon))
    corners = index[row[:, None] + [0, 0, 1, 1], column[:, None] + [0, 1, 0, 1]]
    weights = np.stack([(1 - up) * (1 - right), (1 - up) * right, up * (1 - right), up * right], -1)
    return corners, weights


def _cell(axis: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The interval of the ascending `axis` that each value is in, and where in it, from 0 to 1."""
    cell = np.clip(np.searchsorted(axis, values, side="right") - 1, 0, len(axis) - 2)
    return cell, np.clip((values - axis[cell]) / (axis[cell + 1] - axis[cell]), 0, 1)


def _check_latitudes(lat: np.ndarray) -> np.ndarray:
    lat = _check_axis("lat", lat)
    if np.abs(lat).max() > 90 + _DEGREES:
        raise ValueError(f"lat: expected degrees from -90 to 90, got {lat.min():g} to {lat.max():g}")
    steps = np.diff(lat)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise ValueError("lat: expected latitudes that ascend or descend strictly")
    for edge, step in ((lat[0], steps[0]), (lat[-1], steps[-1])):
        if 90 - abs(edge) > 1.5 * abs(step) or lat.min() > 0 or lat.max() < 0:
            raise ValueError(f"lat: expected latitudes from pole to pole, got {lat.min():g} to {lat.max():g}")
    return lat


def _check_longitudes(lon: np.ndarray) -> np.ndarray:
    lon = _check_axis("lon", lon)
    around = np.sort(lon % 360)
    steps = np.diff(np.append(around, around[0] + 360))
    if steps.min() < _DEGREES:
        raise ValueError(f"lon: expected each longitude once, got {around[steps.argmin()]:g} twice, modulo 360 degrees")
    if steps.max() > 1.5 * np.median(steps):
        start = around[steps.argmax()]
        raise ValueError(
            f"lon: expected longitudes around the whole globe, got none between {start:g} and {start + steps.max():g}"
        )
    return lon


def _check_axis(name: str, axis: np.ndarray) -> np.ndarray:
    axis = np.asarray(axis, dtype=np.float64)
    if axis.ndim != 1 or len(axis) < 3 or not np.isfinite(axis).all():
        raise ValueError(f"{name}: expected at least three finite degrees, got shape {axis.shape}")
    return axis
