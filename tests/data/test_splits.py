"""Which states train, validate and test: by published lists, by folders, by dates. Their files may be empty here."""

from itertools import chain, combinations

import pytest

from cheblienet.data import artc_parts, artc_splits, climatenet_parts, split_by_date
from cheblienet.data.synthetic import write_synthetic_artc


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """A folder of ten synthetic states with their lists, and their names."""
    folder = tmp_path_factory.mktemp("artc")
    return folder, write_synthetic_artc(folder, 10, level=0, seed=0)


def test_splits_by_lists(states, tmp_path):
    folder, names = states
    splits = artc_splits(folder)
    assert {split: len(part) for split, part in splits.items()} == {"train": 7, "val": 1, "test": 2}
    assert sorted(chain(*splits.values())) == sorted(names)
    with pytest.raises(FileNotFoundError, match=r"train_split\.txt: expected a list of file names here"):
        artc_splits(tmp_path)
    for split, listed in {"train": "a.npz\nb.npz", "val": "c.npz", "test": "b.npz"}.items():
        (tmp_path / f"{split}_split.txt").write_text(listed)
    with pytest.raises(ValueError, match=r"b\.npz is both in train_split\.txt and in test_split\.txt"):
        artc_splits(tmp_path)
    for wrong in ("", "a.npz\na.npz", "../a.npz", "a.csv"):
        (tmp_path / "val_split.txt").write_text(wrong)
        with pytest.raises(ValueError, match=r"val_split\.txt: expected names of npz files"):
            artc_splits(tmp_path)


def test_parts_of_artc(states, tmp_path):
    folder, _ = states
    lists = {part: (folder, names) for part, names in artc_splits(folder).items()}
    assert artc_parts(folder, 0, 0.1) == lists
    assert artc_parts(folder) == {part: lists[part] for part in ("train", "test")}
    with pytest.raises(
        FileNotFoundError, match=rf"{tmp_path}: ARTC's states are not here. Put .*/data_train and .*ugscnn"
    ):
        artc_parts(tmp_path)
    (tmp_path / "data_train").mkdir()
    (tmp_path / "data_train" / "data-2106-01-01-00-1-mesh.npz").touch()
    with pytest.raises(FileNotFoundError, match="data_test: expected states on the icosphere here"):
        artc_parts(tmp_path)  # half of a download
    (tmp_path / "data_test").mkdir()
    (tmp_path / "data_test" / "data-2106-01-01-01-1-mesh.npz").touch()
    assert artc_parts(tmp_path) == {
        "train": (tmp_path / "data_train", ["data-2106-01-01-00-1-mesh.npz"]),
        "test": (tmp_path / "data_test", ["data-2106-01-01-01-1-mesh.npz"]),
    }
    with pytest.raises(ValueError, match="data_train: expected training states of two dates or more, .* got one date"):
        artc_parts(tmp_path, 0, 0.1)
    (tmp_path / "data_test" / "data-2106-01-01-00-1-mesh.npz").touch()
    with pytest.raises(ValueError, match=r"data-2106-01-01-00-1-mesh\.npz in data_train and in data_test"):
        artc_parts(tmp_path)


def test_parts_of_climatenet(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected states on the icosphere here"):
        climatenet_parts(tmp_path, 0)
    names = {"train": ["data-1996-06-03-01-1_0-mesh.npz", "data-1996-06-03-01-1_1-mesh.npz"]}
    names["test"] = ["data-2011-06-06-01-1_2-mesh.npz"]
    for part, listed in names.items():
        (tmp_path / part).mkdir()
        for name in listed:
            (tmp_path / part / name).touch()
    assert climatenet_parts(tmp_path, 0) == {part: (tmp_path / part, listed) for part, listed in names.items()}
    (tmp_path / "test" / "data-1996-06-03-01-1_2-mesh.npz").touch()
    with pytest.raises(ValueError, match="expected train and test of different dates, got 1996-06-03 in both"):
        climatenet_parts(tmp_path, 0)


def test_parts_of_climatenet_in_one_folder(tmp_path):
    names = [f"data-1996-06-{day:02}-01-1_{mask}-mesh.npz" for day in range(1, 6) for mask in (0, 1)]
    for name in names:
        (tmp_path / name).touch()
    train, test = (listed for _, listed in climatenet_parts(tmp_path, 0).values())
    assert [train, test] == split_by_date(names, (0.8, 0.2), 0)
    assert (len(train), len(test)) == (8, 2)
    parts = climatenet_parts(tmp_path, 0, 0.1)
    assert list(parts) == ["train", "val", "test"]
    assert parts["test"] == (tmp_path, test)
    assert sorted(parts["train"][1] + parts["val"][1]) == train
    assert len(parts["val"][1]) == 2  # one date, both masks
    assert climatenet_parts(tmp_path, 1, 0.1) != parts


@pytest.mark.parametrize(("share", "dates"), [(0.1, 1), (0.3, 3), (0.99, 9)])
def test_a_share_of_the_training_dates_is_held_back(tmp_path, share, dates):
    days = [f"data-2106-01-{day:02}" for day in range(1, 11)]
    for folder, listed in (("data_train", days), ("data_test", ["data-2106-02-01"])):
        (tmp_path / folder).mkdir()
        for day in listed:
            for hour in (0, 1):
                (tmp_path / folder / f"{day}-{hour:02}-1-mesh.npz").touch()
    whole, parts = artc_parts(tmp_path), artc_parts(tmp_path, 3, share)
    assert parts["test"] == whole["test"]
    (folder, train), (val_folder, val) = parts["train"], parts["val"]
    assert folder == val_folder == whole["train"][0]
    assert sorted(train + val) == whole["train"][1]
    assert len({name[:15] for name in val}) == dates
    assert not {name[:15] for name in val} & {name[:15] for name in train}
    # A folder of validation states is taken as it is.
    (tmp_path / "data_val").mkdir()
    (tmp_path / "data_val" / "data-2106-03-01-00-1-mesh.npz").touch()
    parts = artc_parts(tmp_path, 3, share)
    assert parts == {**whole, "val": (tmp_path / "data_val", ["data-2106-03-01-00-1-mesh.npz"])}
    (tmp_path / "data_val" / "data-2106-02-01-00-1-mesh.npz").touch()
    with pytest.raises(ValueError, match="data-2106-02-01-00-1-mesh.npz in data_val and in data_test"):
        artc_parts(tmp_path, 3, share)


def test_dates_are_never_divided():
    names = [
        f"data-20{day // 28:02}-03-{day % 28 + 1:02}-01-1_{mask}-mesh.npz" for day in range(200) for mask in range(3)
    ]
    parts = split_by_date(names, (0.7, 0.1, 0.2), seed=3)
    assert [len(part) for part in parts] == [420, 60, 120]
    assert sorted(chain(*parts)) == sorted(names)
    days = [{name[5:15] for name in part} for part in parts]
    assert not any(one & other for one, other in combinations(days, 2))
    # Neither the order of the names nor another process changes the parts; the seed does.
    assert [set(part) for part in split_by_date(names[::-1], (0.7, 0.1, 0.2), seed=3)] == [set(part) for part in parts]
    assert sorted(days[1])[:2] == ["2000-03-07", "2001-03-01"]
    assert split_by_date(names, (0.7, 0.1, 0.2), seed=4) != parts
    for fractions in ((0.5, 0.4), (1.2, -0.2), ()):
        with pytest.raises(ValueError, match="fractions: expected positive numbers with sum 1"):
            split_by_date(names, fractions, seed=0)
    with pytest.raises(ValueError, match="names: expected dates for 2 parts"):
        split_by_date(names[:3], (0.5, 0.5), seed=0)
    with pytest.raises(ValueError, match="expected names with a date YYYY-MM-DD, got 'mesh.npz'"):
        split_by_date(["mesh.npz"], (1.0,), seed=0)
