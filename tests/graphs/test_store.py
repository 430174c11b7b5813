"""Cache files: found, verified, replaced, and never in the way."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from cheblienet.graphs import R2GEGraph, SE2GEGraph, SO3GEGraph, sampled, store

SIZE, SIGMAS, K = (4, 4, 4), (1.0, 0.1, 0.05), 8


def same_edges(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("edge_index", "edge_sqdist", "edge_weight"))


@pytest.fixture
def counted(monkeypatch):
    """Counts how often edges are built."""
    calls = []
    build = sampled.neighbor_edges
    monkeypatch.setattr(sampled, "neighbor_edges", lambda *arguments: calls.append(arguments) or build(*arguments))
    return calls


def test_a_second_graph_is_read(tmp_path, counted):
    folder = tmp_path / "new" / "folder"
    first = SE2GEGraph(SIZE, SIGMAS, K, folder)
    (file,) = folder.iterdir()
    assert file.name.startswith("se2-")
    assert len(file.stem) == len("se2-") + 16
    written = file.stat().st_mtime_ns
    second = SE2GEGraph(list(SIZE), SIGMAS, K, str(folder))
    assert len(counted) == 1
    assert file.stat().st_mtime_ns == written
    assert same_edges(first, second)
    assert same_edges(first, SE2GEGraph(SIZE, SIGMAS, K))
    assert torch.equal(first.get_laplacian().to_dense(), second.get_laplacian().to_dense())


def test_every_parameter_has_its_own_file(tmp_path, counted):
    SE2GEGraph(SIZE, SIGMAS, K, tmp_path)
    SE2GEGraph((4, 4, 5), SIGMAS, K, tmp_path)
    SE2GEGraph(SIZE, (1.0, np.nextafter(0.1, 1), 0.05), K, tmp_path)
    SE2GEGraph(SIZE, SIGMAS, K + 1, tmp_path)
    SE2GEGraph(SIZE, SIGMAS, K, tmp_path, "cauchy")
    R2GEGraph(SIZE, SIGMAS, K, tmp_path)
    assert len(list(tmp_path.iterdir())) == len(counted) == 6
    for frames in ("icosahedral", "coordinate"):
        SO3GEGraph((12, 2), SIGMAS, K, tmp_path, frames=frames)
    assert len(list(tmp_path.iterdir())) == len(counted) == 8


def damage(file, how):
    content = file.read_bytes()
    if how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "pickle":
        np.savez(file, key=np.array([{}], dtype=object))
    else:
        with np.load(file) as archive:
            arrays = dict(archive)
        if how == "incomplete":
            del arrays["edge_weight"]
        elif how == "range":
            arrays["edge_index"][0, -1] = 64
        elif how == "order":
            arrays["edge_index"] = arrays["edge_index"][:, ::-1].copy()
        elif how == "dtype":
            arrays["edge_weight"] = arrays["edge_weight"].astype(np.float64)
        elif how == "shape":
            arrays["edge_sqdist"] = arrays["edge_sqdist"][1:]
        elif how == "nan":
            arrays["edge_weight"][0] = np.nan
        np.savez(file, **arrays)


@pytest.mark.parametrize(
    "how",
    ["truncated", "flipped", "empty", "pickle", "incomplete", "range", "order", "dtype", "shape", "nan"],
)
def test_a_damaged_file_is_replaced(tmp_path, counted, how):
    graph = SE2GEGraph(SIZE, SIGMAS, K, tmp_path)
    (file,) = tmp_path.iterdir()
    intact = file.read_bytes()
    damage(file, how)
    with pytest.warns(UserWarning, match="not a usable cache file") as caught:
        again = SE2GEGraph(SIZE, SIGMAS, K, tmp_path)
    assert str(file) in str(caught[0].message)
    assert caught[0].filename == __file__
    assert same_edges(graph, again)
    assert len(counted) == 2
    assert file.read_bytes() == intact
    assert list(tmp_path.iterdir()) == [file]


def test_no_flipped_byte_changes_a_graph(tmp_path):
    graph = R2GEGraph((3, 3), (1.0, 1.0, 1.0), 4, tmp_path)
    (file,) = tmp_path.iterdir()
    intact = file.read_bytes()
    replaced = 0
    for position in range(0, len(intact), 5):
        file.write_bytes(intact[:position] + bytes([intact[position] ^ 0x55]) + intact[position + 1 :])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            again = R2GEGraph((3, 3), (1.0, 1.0, 1.0), 4, tmp_path)
        replaced += len(caught)
        assert same_edges(graph, again), position
    assert replaced > len(intact) // 5 / 2  # the rest are dates and the like


def test_a_foreign_file_is_replaced(tmp_path):
    graph = SE2GEGraph(SIZE, SIGMAS, K, tmp_path / "a")
    SE2GEGraph(SIZE, SIGMAS, K + 1, tmp_path / "b")
    (mine,), (foreign,) = (tmp_path / "a").iterdir(), (tmp_path / "b").iterdir()
    shutil.copy(foreign, mine)
    with pytest.warns(UserWarning, match="it belongs to .*not to "):
        assert same_edges(graph, SE2GEGraph(SIZE, SIGMAS, K, tmp_path / "a"))
    assert same_edges(graph, SE2GEGraph(SIZE, SIGMAS, K, tmp_path / "a"))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="the graph could not be saved") as caught:
        graph = SE2GEGraph(SIZE, SIGMAS, K, tmp_path / "file" / "folder")
    assert len(caught) == 1
    assert graph.is_connected


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(UserWarning, match="could not be saved: disk full"):
        SE2GEGraph(SIZE, SIGMAS, K, tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_folder_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SE2GEGraph(SIZE, SIGMAS, K)
    assert not list(tmp_path.iterdir())


def test_keys_are_exact():
    key = store.content_key("se2", (4, 4, 4), (1.0, 0.1, 0.05), 8, "gaussian")
    assert (0.1).hex() in key
    assert store.cache_file("folder", key).parent.name == "folder"


def test_a_cut_file_is_replaced_wherever_it_was_cut(tmp_path):
    graph = R2GEGraph((3, 3), (1.0, 1.0, 1.0), 4, tmp_path)
    (file,) = tmp_path.iterdir()
    intact = file.read_bytes()
    for length in (*range(0, len(intact), len(intact) // 40), len(intact) - 1):
        file.write_bytes(intact[:length])
        with pytest.warns(UserWarning, match=rf"{file}: not a usable cache file, the graph is built anew"):
            assert same_edges(graph, R2GEGraph((3, 3), (1.0, 1.0, 1.0), 4, tmp_path))
        assert file.read_bytes() == intact


def test_another_version_has_a_file_of_its_own(tmp_path, counted, monkeypatch):
    SE2GEGraph(SIZE, SIGMAS, K, tmp_path)
    monkeypatch.setattr(store, "_FORMAT", 2)
    SE2GEGraph(SIZE, SIGMAS, K, tmp_path)
    assert len(list(tmp_path.iterdir())) == len(counted) == 2


def test_a_directory_in_place_of_a_file_is_named(tmp_path):
    graph = SE2GEGraph(SIZE, SIGMAS, K, tmp_path)
    (file,) = tmp_path.iterdir()
    file.unlink()
    file.mkdir()
    with pytest.warns(UserWarning, match=str(file)) as caught:
        assert same_edges(graph, SE2GEGraph(SIZE, SIGMAS, K, tmp_path))
    assert ["built anew" in str(caught[0].message), "could not be saved" in str(caught[1].message)] == [True, True]
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(IsADirectoryError, match=str(file)):
        store.load_graph(file)


def test_a_file_that_cannot_be_read_is_replaced(tmp_path, monkeypatch):
    """As root reads everything, the refusal is made here."""
    graph = SE2GEGraph(SIZE, SIGMAS, K, tmp_path)
    (file,) = tmp_path.iterdir()

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(store, "read_arrays", refuse)
        with pytest.warns(UserWarning, match=rf"{file}: not a usable cache file, .*Permission denied"):
            assert same_edges(graph, SE2GEGraph(SIZE, SIGMAS, K, tmp_path))
        with pytest.raises(PermissionError, match=str(file)):
            store.load_graph(file)
    assert same_edges(graph, SE2GEGraph(SIZE, SIGMAS, K, tmp_path))


def test_a_full_disk_warns_and_keeps_the_former_file(tmp_path):
    SE2GEGraph(SIZE, SIGMAS, K, tmp_path)
    (file,) = tmp_path.iterdir()
    damaged = file.read_bytes()[:-1]
    file.write_bytes(damaged)
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, former[1]))
    try:
        with pytest.warns(UserWarning, match=str(file)) as caught:
            graph = SE2GEGraph(SIZE, SIGMAS, K, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert "the graph is built anew" in str(caught[0].message)
    assert f"the graph could not be saved: [Errno 27] File too large: '{file}'" in str(caught[1].message)
    assert same_edges(graph, SE2GEGraph(SIZE, SIGMAS, K))
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == damaged


# Builds one graph over and over, each time without a file, and tells in how many edges they ever differed.
WRITER = """
import sys
from pathlib import Path
import torch
from cheblienet.graphs import SE2GEGraph
folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
size, sigmas, K = (8, 8, 6), (1.0, 0.1, 0.05), 8
expected = SE2GEGraph(size, sigmas, K)
print("there", flush=True)
input()
differences = 0
for _ in range(rounds):
    for file in folder.glob("*.npz"):
        file.unlink(missing_ok=True)
    graph = SE2GEGraph(size, sigmas, K, folder)
    for name in ("edge_index", "edge_sqdist", "edge_weight"):
        differences += not torch.equal(getattr(graph, name), getattr(expected, name))
print(differences)
"""


def test_two_processes_that_build_the_same_graph_get_it_right(tmp_path):
    command = [sys.executable, "-W", "error", "-c", WRITER, tmp_path, "60"]
    writers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for writer in writers:
        assert writer.stdout.readline() == "there\n"
    for writer in writers:  # at once, and not when the other is still starting
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.communicate(timeout=120)[0] for writer in writers] == ["0\n", "0\n"]
    assert [writer.returncode for writer in writers] == [0, 0]
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("se2-")
