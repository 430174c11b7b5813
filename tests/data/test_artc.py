import json
import os
import zipfile

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cheblienet.data import (
    ARTC_MEAN,
    ARTC_STD,
    CHANNELS,
    CLASSES,
    ArtcDataset,
    Statistics,
    load_statistics,
    save_statistics,
    statistics,
)
from cheblienet.data.resample import unit_vectors
from cheblienet.data.synthetic import synthetic_state, write_synthetic_artc


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """A folder of ten synthetic states on the icosphere of level 2, and their names."""
    folder = tmp_path_factory.mktemp("artc")
    return folder, write_synthetic_artc(folder, 10, level=2, seed=0)


def write(folder, name="data-2106-01-01-00-1-mesh.npz", **changes):
    labels = np.zeros((3, 42), dtype=bool)
    labels[1] = True
    np.savez(folder / name, **{"data": np.ones((16, 42)), "labels": labels, **changes})


def test_items(states):
    folder, names = states
    dataset = ArtcDataset(folder)
    assert len(dataset) == 10
    assert dataset.names == tuple(names)
    assert dataset.num_vertices == 162
    x, y = dataset[3]
    with np.load(folder / names[3]) as archive:
        np.testing.assert_array_equal(x, archive["data"])
        np.testing.assert_array_equal(y, archive["labels"].argmax(0))
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert set(torch.cat([y for _, y in dataset]).tolist()) == {0, 1, 2}


def test_normalised_items_of_some_names(states):
    folder, names = states
    dataset = ArtcDataset(folder, names[4:6], ARTC_MEAN, ARTC_STD)
    expected = (ArtcDataset(folder)[5][0] - torch.tensor(ARTC_MEAN)[:, None]) / torch.tensor(ARTC_STD)[:, None]
    torch.testing.assert_close(dataset[1][0], expected)
    x, y = next(iter(DataLoader(dataset, batch_size=2)))
    assert (x.shape, y.shape) == ((2, 16, 162), (2, 162))


def test_statistics_are_those_of_all_values(states, tmp_path):
    folder, names = states
    values = statistics(folder, names[:7])
    everything = torch.cat([x for x, _ in ArtcDataset(folder, names[:7])], 1).double()
    torch.testing.assert_close(torch.tensor(values.mean), everything.mean(1).float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.tensor(values.std), everything.std(1, correction=0).float(), rtol=1e-6, atol=0)
    normalised = torch.cat([x for x, _ in ArtcDataset(folder, names[:7], *values)], 1)
    assert normalised.mean(1).abs().max() < 1e-3
    assert (normalised.std(1) - 1).abs().max() < 1e-3
    save_statistics(tmp_path / "statistics.json", values)
    assert load_statistics(tmp_path / "statistics.json") == values
    assert [path.name for path in tmp_path.iterdir()] == ["statistics.json"]


def test_statistics_do_not_cancel(tmp_path):
    for number in range(2):
        write(tmp_path, f"data-{number}-mesh.npz", data=np.full((16, 42), 1e5 + 0.125 * number, dtype=np.float32))
    values = statistics(tmp_path)
    assert values == Statistics((1e5 + 0.0625,) * 16, (0.0625,) * 16)


ZEROS, ONES = [0.0] * 16, [1.0] * 16


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[1]",
        *(
            json.dumps({"channels": channels, "mean": mean, "std": std})
            for channels, mean, std in (
                (CHANNELS, [0], [1]),
                (CHANNELS[::-1], ZEROS, ONES),
                (CHANNELS, ZEROS, ZEROS),
                (CHANNELS, ZEROS, [-1.0, *ONES[1:]]),
                (CHANNELS, [float("nan"), *ZEROS[1:]], ONES),
                (CHANNELS, "0123456789012345", ONES),
                (CHANNELS, [None, *ZEROS[1:]], ONES),
            )
        ),
    ],
)
def test_damaged_statistics_name_the_file(tmp_path, content):
    (tmp_path / "statistics.json").write_text(content)
    with pytest.raises(ValueError, match=r"statistics\.json: not a file of channel statistics"):
        load_statistics(tmp_path / "statistics.json")


def test_published_constants():
    assert CLASSES == ("background", "tropical cyclone", "atmospheric river")
    assert len(CHANNELS) == len(ARTC_MEAN) == len(ARTC_STD) == 16
    # Surface pressure and 200 hPa temperature in their places.
    assert ARTC_MEAN[CHANNELS.index("PS")] == 9.83474609e04
    assert ARTC_STD[CHANNELS.index("T200")] == 9.7163849
    assert ARTC_STD[CHANNELS.index("ZBOT")] == 4.2128639


def test_missing_files_say_what_belongs_where(states, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected states on the icosphere here, files data-\*-mesh\.npz"):
        ArtcDataset(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere: expected states"):
        ArtcDataset(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"absent\.npz and 1 more is not there"):
        ArtcDataset(states[0], [states[1][0], "absent.npz", "lost.npz"])
    with pytest.raises(ValueError, match="names: expected file names, got none"):
        ArtcDataset(states[0], [])
    with pytest.raises(TypeError, match="names: expected a sequence"):
        ArtcDataset(states[0], states[1][0])


def test_normalisation_is_checked(states):
    for mean, std, message in (
        (ARTC_MEAN, None, "mean, std: expected both"),
        (ARTC_MEAN[:3], ARTC_STD, "mean: expected 16 finite numbers"),
        (ARTC_MEAN, (float("nan"),) * 16, "std: expected 16 finite numbers"),
        (ARTC_MEAN, (0.0, *ARTC_STD[1:]), "std: expected positive numbers, .* got others for TMQ"),
        (ARTC_MEAN, (*ARTC_STD[:15], 1e-60), "std: expected positive numbers, .* got others for ZBOT"),
    ):
        with pytest.raises(ValueError, match=message):
            ArtcDataset(states[0], None, mean, std)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.ones((15, 42))}, r"data: expected floats of shape \(16, V\), got float64 \(15, 42\)"),
        ({"data": np.ones((16, 42), dtype=int)}, "data: expected floats"),
        ({"data": np.ones((16, 41))}, "vertices of an icosphere, such as 12 or 42, got 41"),
        ({"data": np.full((16, 42), np.nan)}, "expected finite numbers in single precision, got TMQ"),
        ({"data": np.full((16, 42), 1e300)}, "expected finite numbers in single precision, got TMQ"),
        ({"data": np.ones((16, 42), dtype=complex)}, "data: expected floats"),
        ({"data": np.ones((16, 0)), "labels": np.ones((3, 0))}, "expected an integer at least 1, got 0"),
        ({"data": np.float64(1)}, r"data: expected floats of shape \(16, V\), got float64 \(\)"),
        ({"labels": np.full((3, 42), -1)}, "exactly one class"),
        ({"labels": np.full((3, 42), np.nan)}, "exactly one class"),
        ({"labels": np.ones((3, 41))}, r"labels: expected numbers or booleans of shape \(3, 42\)"),
        ({"labels": np.ones(42, dtype=int) * 3}, r"labels: expected numbers or booleans of shape \(3, 42\)"),
        ({"labels": np.full((3, 42), "1")}, "labels: expected numbers or booleans"),
        ({"data": np.array([[{}]])}, "not a readable npz file"),
        ({"labels": np.ones((3, 42))}, "exactly one class"),
        ({"labels": np.full((3, 42), 1 / 3)}, "exactly one class"),
        ({"labels": np.zeros(42)}, r"labels: expected numbers or booleans of shape \(3, 42\), got float64 \(42,\)"),
    ],
)
def test_other_contents_name_the_file(tmp_path, changes, message):
    write(tmp_path, **changes)
    with pytest.raises(ValueError, match=rf"data-2106-01-01-00-1-mesh\.npz: .*{message}"):
        ArtcDataset(tmp_path)


def test_damaged_files_are_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "data-2106-01-01-00-1-mesh.npz"
    whole = path.read_bytes()
    flipped = whole.replace(np.float64(1).tobytes(), np.float64(2).tobytes(), 1)
    for damaged in (whole[: len(whole) // 2], flipped, b"", b"not an archive"):
        assert damaged != whole
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"mesh\.npz: not a readable npz file with data and labels"):
            ArtcDataset(tmp_path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [">f4", "<f8", "f2"])
def test_other_ways_to_store_the_same(tmp_path, kind, order):
    values = np.random.default_rng(0).integers(-100, 100, (16, 42)).astype("f4")
    labels = np.asarray(np.eye(3)[:, np.arange(42) % 3], order=order)
    write(tmp_path, data=np.asarray(values, dtype=kind, order=order), labels=labels)
    x, y = ArtcDataset(tmp_path)[0]
    assert torch.equal(x, torch.from_numpy(values))
    assert torch.equal(y, torch.arange(42) % 3)


def test_nothing_leads_outside_the_folder(tmp_path):
    """Names of files are names within the folder; members of archives are read where they are, never unpacked."""
    folder = tmp_path / "states"
    folder.mkdir()
    write(tmp_path, "outside-mesh.npz")
    write(folder)
    for name in ("../outside-mesh.npz", str(tmp_path / "outside-mesh.npz"), "data-2106-01-01-00-1-mesh.npz/"):
        with pytest.raises(FileNotFoundError, match="expected the states named"):
            ArtcDataset(folder, [name])
    path = folder / "data-2106-01-01-00-1-mesh.npz"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.npy", b"")
        archive.writestr("/evil.npy", b"")
    before = sorted(tmp_path.rglob("*"))
    assert len(ArtcDataset(folder)) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_not_a_file_is_named(tmp_path):
    (tmp_path / "data-folder-mesh.npz").mkdir()
    with pytest.raises(ValueError, match=r"data-folder-mesh\.npz: not a readable npz file"):
        ArtcDataset(tmp_path)
    (tmp_path / "data-folder-mesh.npz").rmdir()
    (tmp_path / "data-link-mesh.npz").symlink_to(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"data-link-mesh\.npz"):
        ArtcDataset(tmp_path)
    (tmp_path / "data-link-mesh.npz").unlink()
    np.save(tmp_path / "data-array-mesh.npy", np.ones(3))
    (tmp_path / "data-array-mesh.npy").rename(tmp_path / "data-array-mesh.npz")
    with pytest.raises(ValueError, match=r"data-array-mesh\.npz: not a readable npz file"):
        ArtcDataset(tmp_path)


def test_a_file_that_shrinks_or_vanishes_is_named_when_its_turn_comes(tmp_path):
    write(tmp_path, "a-mesh.npz")
    write(tmp_path, "b-mesh.npz")
    dataset = ArtcDataset(tmp_path)
    os.truncate(tmp_path / "b-mesh.npz", 3000)
    with pytest.raises(ValueError, match=r"b-mesh\.npz: not a readable npz file"):
        dataset[1]
    (tmp_path / "b-mesh.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"b-mesh\.npz"):
        dataset[1]


def test_statistics_of_other_data_are_refused(states):
    folder, names = states
    kelvin = CHANNELS.index("TS")
    mean = [*ARTC_MEAN[:kelvin], ARTC_MEAN[kelvin] - 273.15, *ARTC_MEAN[kelvin + 1 :]]
    with pytest.raises(ValueError, match=rf"{names[0]}: TS: expected values that `mean` and `std` describe, got 1[34]"):
        ArtcDataset(folder, None, mean, ARTC_STD)


def test_statistics_of_a_channel_without_differences_are_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(
        ValueError, match=rf"{tmp_path}: expected values that differ, got one value everywhere of TMQ, U850"
    ):
        statistics(tmp_path)


def test_levels_are_not_mixed(tmp_path):
    write(tmp_path, "a-mesh.npz")
    write(tmp_path, "b-mesh.npz", data=np.ones((16, 12)), labels=np.eye(3)[:, [0] * 12])
    with pytest.raises(ValueError, match=r"b-mesh\.npz: expected 42 vertices, as in a-mesh\.npz, got 12"):
        ArtcDataset(tmp_path)[1]


def test_synthetic_winds_blow_along_the_parallels_but_for_storms():
    """From the east at the equator, from the west at 30 degrees, at every longitude; storms and waves leave the median."""
    east, north = CHANNELS.index("U850"), CHANNELS.index("V850")
    for longitude in range(0, 360, 45):
        points = unit_vectors(np.array([0.0, 30.0]), np.array([longitude, longitude]))
        winds = np.stack([synthetic_state(points, state, state)[0][[east, north]] for state in range(40)])
        np.testing.assert_allclose(np.median(winds, 0), [[-6, 6], [0, 0]], atol=2)
