import numpy as np
import pytest

from cheblienet.data.resample import SphereSampling, latitudes_longitudes, unit_vectors
from cheblienet.meshes.icosphere import icosphere

VERTICES = icosphere(3)[0].numpy()  # the poles are among them


def grid(num_lat, num_lon, poles=True):
    """With rows at the poles and a column at longitude 0, or with the centres of the cells."""
    lat, lon = np.linspace(-90, 90, num_lat), np.arange(num_lon) * (360 / num_lon)
    return (lat, lon) if poles else ((np.arange(num_lat) + 0.5) * (180 / num_lat) - 90, lon + 180 / num_lon)


def on_grid(function, lat, lon):
    return function(unit_vectors(*np.meshgrid(lat, lon, indexing="ij")))


def harmonic(points):
    """Real spherical harmonics of degrees 0 to 3, smooth everywhere."""
    x, y, z = np.moveaxis(points, -1, 0)
    return 2 + x - 0.5 * y + z + x * y + x * (x**2 - 3 * y**2) + z * (5 * z**2 - 3) + y * (5 * z**2 - 1)


def test_directions_of_the_axes():
    lat, lon = latitudes_longitudes(np.array([[1.0, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [-1e-17, 1e-17, -1]]))
    np.testing.assert_allclose(lat, [0, 0, 0, 90, -90])
    np.testing.assert_allclose(lon, [0, 90, 270, 0, 0])


@pytest.mark.parametrize("poles", [True, False])
def test_smooth_fields_to_second_order(poles):
    errors = []
    for size in (32, 64, 128):
        lat, lon = grid(size, 2 * size, poles)
        values = SphereSampling(lat, lon, VERTICES).bilinear(on_grid(harmonic, lat, lon))
        errors.append(np.abs(values - harmonic(VERTICES)).max())
    assert errors[2] < 3e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.2)


def test_exact_where_the_field_is_linear():
    lat, lon = grid(19, 24)
    sampling = SphereSampling(lat, lon, VERTICES)
    at_lat, at_lon = latitudes_longitudes(VERTICES)
    values = sampling.bilinear(np.broadcast_to(3 * lat[:, None] - 1, (19, 24)))
    np.testing.assert_allclose(values, 3 * at_lat - 1, atol=1e-10)
    before_the_seam = at_lon <= lon[-1]
    values = sampling.bilinear(np.broadcast_to(2 * lon - 5, (19, 24)))
    np.testing.assert_allclose(values[before_the_seam], (2 * at_lon - 5)[before_the_seam], atol=1e-10)
    # Between the last longitude, 345, and the first, 360, the field falls from 685 to -5.
    across = 685 - 690 * (at_lon - 345) / 15
    np.testing.assert_allclose(values[~before_the_seam], across[~before_the_seam], atol=1e-10)
    assert (~before_the_seam).any()


def test_grid_points_and_constants_are_kept(rng):
    lat, lon = grid(8, 12, poles=False)
    points = unit_vectors(*np.meshgrid(lat, lon, indexing="ij")).reshape(-1, 3)
    field = rng.normal(size=(8, 12))
    np.testing.assert_allclose(SphereSampling(lat, lon, points).bilinear(field), field.ravel(), atol=1e-9)
    for poles in (True, False):
        values = SphereSampling(*grid(8, 12, poles), VERTICES).bilinear(np.full((8, 12), 7.25))
        np.testing.assert_allclose(values, 7.25, rtol=1e-14)


def test_poles(rng):
    poles = np.array([[0, 0, -1.0], [0, 0, 1.0]])
    field = rng.normal(size=(9, 16))
    # Without a row at the pole: the average of the nearest row.
    values = SphereSampling(*grid(9, 16, poles=False), poles).bilinear(field)
    np.testing.assert_allclose(values, [field[0].mean(), field[-1].mean()])
    # A row at the pole: what it says at longitude 0, which a scalar says at all of them.
    np.testing.assert_allclose(SphereSampling(*grid(9, 16), poles).bilinear(field), [field[0, 0], field[-1, 0]])


def test_any_origin_order_and_direction(rng):
    points = rng.normal(size=(500, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[:4] = unit_vectors(np.array([10, -20, 0, 89]), np.array([359.99, 0.01, 180.01, -0.01]))
    for poles in (True, False):
        lat, lon = grid(17, 20, poles)
        field = rng.normal(size=(17, 20))
        if poles:
            field[0], field[-1] = 1.5, 2.5  # one point each, whatever the longitude
        sampling = SphereSampling(lat, lon, points)
        expected = sampling.bilinear(field), sampling.nearest(field)
        order = rng.permutation(20)
        for other_lat, other_lon, other in (
            (lat[::-1], lon, field[::-1]),
            (lat, np.where(lon >= 180, lon - 360, lon), field),
            (lat, np.roll(np.where(lon >= 180, lon - 360, lon), 10), np.roll(field, 10, 1)),
            (lat[::-1], lon[order], field[::-1, order]),
        ):
            sampling = SphereSampling(other_lat, other_lon, points)
            np.testing.assert_allclose(sampling.bilinear(other), expected[0], atol=1e-10)
            np.testing.assert_array_equal(sampling.nearest(other), expected[1])


def test_nearest_is_the_nearest_on_the_sphere(rng):
    points = rng.normal(size=(300, 3))
    points[:100, :2] *= 0.05  # near the poles
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    lat, lon = grid(13, 18, poles=False)
    vectors = unit_vectors(*np.meshgrid(lat, lon, indexing="ij")).reshape(-1, 3)
    found = SphereSampling(lat, lon, points).nearest(np.arange(13 * 18).reshape(13, 18))
    np.testing.assert_array_equal(found, (points @ vectors.T).argmax(1))


@pytest.mark.parametrize(
    ("lat", "lon", "message"),
    [
        (np.linspace(-90, 90, 9), np.linspace(100, 260, 32), "lon: .* got none between 260 and 460"),
        (np.linspace(-90, 90, 9), np.linspace(0, 360, 9), "lon: expected each longitude once, got 0 twice"),
        (np.linspace(-90, 90, 9), np.linspace(0, 2 * np.pi, 9)[:-1], "lon: expected longitudes around"),
        (np.linspace(-90, 90, 9), np.array([0, 120, np.nan]), "lon: expected at least three finite"),
        (np.linspace(-60, 90, 9), np.arange(0, 360, 45), "lat: .* from pole to pole"),
        (np.linspace(0, 90, 9), np.arange(0, 360, 45), "lat: .* from pole to pole"),
        (np.linspace(-np.pi / 2, np.pi / 2, 9), np.arange(0, 360, 45), "lat: .* from pole to pole"),
        (np.array([-90, 0, 0, 90]), np.arange(0, 360, 45), "lat: .* ascend or descend"),
        (np.linspace(-100, 100, 9), np.arange(0, 360, 45), "lat: .* from -90 to 90"),
        (np.zeros((3, 3)), np.arange(0, 360, 45), "lat: expected at least three"),
    ],
)
def test_other_grids_are_refused(lat, lon, message):
    with pytest.raises(ValueError, match=message):
        SphereSampling(lat, lon, VERTICES)


def test_gaussian_latitudes_and_wrong_fields():
    lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(32)[0]))
    lon = grid(3, 64)[1]
    sampling = SphereSampling(lat, lon, VERTICES)
    np.testing.assert_allclose(sampling.bilinear(on_grid(harmonic, lat, lon)), harmonic(VERTICES), atol=0.05)
    with pytest.raises(ValueError, match=r"field: expected shape \(32, 64\), got \(64, 32\)"):
        sampling.bilinear(np.zeros((64, 32)))


@pytest.fixture
def rng():
    return np.random.default_rng(0)
