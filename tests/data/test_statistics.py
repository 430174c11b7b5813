"""What training computes over its states is kept beside them, for these states, and computed anew when it is damaged."""

import errno
import json
import sys

import numpy as np
import pytest

from cheblienet import __main__
from cheblienet.data import (
    Statistics,
    class_counts,
    climatenet_parts,
    kept_class_counts,
    kept_statistics,
    load_statistics,
    statistics,
    statistics_file,
)
from cheblienet.experiments import artc, segmentation

module = sys.modules["cheblienet.data.statistics"]
KINDS = {"statistics": kept_statistics, "class_counts": kept_class_counts}


@pytest.fixture
def states(tmp_path):
    """Five synthetic states of different days, on the icosphere of level 1."""
    draw = np.random.default_rng(0)
    names = [f"data-1996-06-{day:02}-01-1_0-mesh.npz" for day in range(1, 6)]
    for name in names:
        classes = draw.integers(0, 3, 42)
        data = draw.normal(size=(16, 42)).astype(np.float32)
        np.savez(tmp_path / name, data=data, labels=classes == np.arange(3)[:, None])
    return tmp_path, names


@pytest.fixture
def computed(monkeypatch):
    """How often something is computed."""
    calls = []
    for name in KINDS:
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, f=function, **k: calls.append(f) or f(*a, **k))
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_computed_once_for_the_same_states(states, computed, kind):
    folder, names = states
    kept = KINDS[kind]
    first = kept(folder, names[:3])
    assert kept(folder, names[2::-1]) == kept(folder, names[:3]) == first
    assert len(computed) == 1
    others = kept(folder, names[1:])
    assert others != first
    assert kept(folder, names[:3]) == first  # neither takes the other's place
    assert len(computed) == 2
    size = (folder / names[0]).stat().st_size
    with np.load(folder / names[0]) as state:
        np.savez(folder / names[0], data=2 * state["data"], labels=state["labels"][::-1])  # converted anew
    assert (folder / names[0]).stat().st_size == size
    assert kept(folder, names[:3]) != first
    assert len(computed) == 3


def test_what_is_kept_is_what_is_computed(states):
    folder, names = states
    kept_statistics(folder, names)
    assert (
        kept_statistics(folder, names) == statistics(folder, names) == load_statistics(statistics_file(folder, names))
    )
    counts = kept_class_counts(folder, names)
    assert counts == kept_class_counts(folder, names) == class_counts(folder, names, workers=1)
    assert sum(counts) == 5 * 42
    labels = np.concatenate([np.load(folder / name)["labels"].argmax(0) for name in names])
    assert counts == tuple(np.bincount(labels))


def digit(text):
    k = next(k for k in range(text.index("["), len(text)) if text[k].isdigit())
    return text[:k] + str((int(text[k]) + 1) % 10) + text[k + 1 :]


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: "", digit, lambda text: "[1]"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named_and_computed_anew(states, computed, kind, damage):
    folder, names = states
    first = KINDS[kind](folder, names)
    (path,) = folder.glob(f"{kind}-*.json")
    intact = path.read_text()
    path.write_text(damage(intact))
    with pytest.warns(UserWarning, match=rf"{path}: not a file of .*; computed anew"):
        assert KINDS[kind](folder, names) == first
    assert path.read_text() == intact
    assert KINDS[kind](folder, names) == first
    assert len(computed) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_cannot_be_written_costs_a_warning(states, monkeypatch, kind):
    folder, names = states

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(module, "replacing", refuse)
    with pytest.warns(UserWarning, match=rf"{folder}/{kind}-.*json: cannot be kept, .*Permission denied"):
        assert KINDS[kind](folder, names) == getattr(module, kind)(folder, names)


def test_files_without_a_checksum_are_read(tmp_path):
    content = {"channels": module.CHANNELS, "mean": [0.0] * 16, "std": [1.0] * 16}
    (tmp_path / "statistics.json").write_text(json.dumps(content))
    assert load_statistics(tmp_path / "statistics.json") == Statistics((0.0,) * 16, (1.0,) * 16)


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["cheblienet", "climatenet", "statistics", *map(str, words)])
    __main__.main()


@pytest.mark.parametrize("flags", [[], ["--seed", "3", "--validation_share", "0.5"], ["--original_protocol"]])
def test_the_command_writes_what_training_reads(states, monkeypatch, capsys, computed, flags):
    folder, _ = states
    call(monkeypatch, folder, *flags)
    (path,) = folder.glob("*.json")
    assert f"written to {path}" in capsys.readouterr().out
    before = path.read_bytes()
    command = ["--dataset", "climatenet", "--path_to_data", str(folder), "--reduction", "max", "--expansion", "avg"]
    monkeypatch.setattr(module, "statistics", lambda *_: pytest.fail("computed again"))
    train = segmentation.datasets(artc.parse([*command, *flags]))["train"]
    assert train._mean[:, 0].tolist() == pytest.approx(load_statistics(path).mean)
    assert (list(folder.glob("*.json")), path.read_bytes()) == ([path], before)


def test_the_command_takes_a_list_and_another_file(states, monkeypatch, tmp_path):
    folder, names = states
    (folder / "train_split.txt").write_text("\n".join(names[:2]))
    call(monkeypatch, folder, "--names", folder / "train_split.txt")
    assert load_statistics(statistics_file(folder, names[:2])) == statistics(folder, names[:2])
    call(monkeypatch, folder, "--out", folder / "my.json")
    assert load_statistics(folder / "my.json") == statistics(*climatenet_parts(folder, 0, 0.1)["train"])
    with pytest.raises(SystemExit, match="--validation_share: expected a number above 0 and below 1, got 1.5"):
        call(monkeypatch, folder, "--validation_share", "1.5")
