"""Files that are whole or not there: what is written, what is left, and what errors say."""

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from cheblienet import _files
from cheblienet._files import occupying, read_arrays, remove_abandoned, replacing


@contextmanager
def small_disk(size):
    """No file of this process can grow beyond `size` bytes; the system's error differs from a full disk's in its number."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


WRITERS = {
    "bytes": lambda file: file.write(bytes(100_000)),
    "arrays": lambda file: np.savez(file, a=np.zeros(100_000)),
    "torch": lambda file: torch.save({"a": torch.zeros(100_000)}, file),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("size", [0, 1000, 65536, 90_000])
def test_full_disk_names_the_file_and_leaves_the_former_one(tmp_path, write, size):
    path = tmp_path / "file"
    path.write_bytes(b"good")
    with (
        small_disk(size),
        pytest.raises(OSError, match=rf"File too large: '{path}'") as caught,
        replacing(path) as file,
    ):
        write(file)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_errors_of_the_disk_name_the_file(tmp_path, monkeypatch, call, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "file"
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=rf"{os.strerror(number)}: '{path}'"), replacing(path) as file:
        file.write(b"new") if call == "fsync" else fail()
    assert list(tmp_path.iterdir()) == []


def test_content_is_on_the_disk_before_the_name_and_the_name_at_the_end(tmp_path, monkeypatch):
    path, calls = tmp_path / "file", []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *names: calls.append("replace") or replace(*names))
    with replacing(path) as file:
        file.write(b"new")
    assert calls[0].startswith(str(tmp_path / ".file-"))
    assert calls[1:] == ["replace", str(tmp_path)]


def test_a_directory_in_the_way_is_named(tmp_path):
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=str(path)), replacing(path) as file:
        file.write(b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(ValueError, match=r"^wrong$"), replacing(tmp_path / "file"):
        raise ValueError("wrong")
    with pytest.raises(FileNotFoundError, match="elsewhere"), replacing(tmp_path / "file"):
        (tmp_path / "elsewhere").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_what_killed_writers_left_goes_and_what_others_write_stays(tmp_path):
    path = tmp_path / "file"
    abandoned, written = tmp_path / ".file-0.tmp", tmp_path / ".file-1.tmp"
    abandoned.write_bytes(b"half")
    other_name = tmp_path / ".other-0.tmp"
    other_name.write_bytes(b"half")
    with written.open("xb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        with replacing(path) as file:
            file.write(b"new")
        assert set(tmp_path.iterdir()) == {path, written, other_name}
    remove_abandoned(tmp_path, "*")
    assert list(tmp_path.iterdir()) == [path]


def test_a_temporary_file_removed_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    flock, calls = fcntl.flock, []

    def late(file, operation):
        if not calls:
            (found,) = tmp_path.iterdir()
            found.unlink()
        calls.append(operation)
        flock(file, operation)

    monkeypatch.setattr(_files.fcntl, "flock", late)
    with replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert len(calls) == 2


def test_a_folder_is_kept_to_one_process(tmp_path):
    command = "import sys; from pathlib import Path; from cheblienet._files import occupying\n"
    command += "with occupying(Path(sys.argv[1])): print('in', flush=True); input()"
    folder = tmp_path / "new" / "folder"
    with subprocess.Popen(
        [sys.executable, "-c", command, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(FileExistsError, match=rf"{folder}: another process is writing there"), occupying(folder):
            pass
        other.kill()
        other.wait()
    with (
        occupying(folder),
        pytest.raises(FileExistsError, match="another process is writing there"),
        occupying(folder),
    ):
        pass
    with occupying(folder):
        assert list(folder.iterdir()) == []


def test_children_do_not_keep_the_folder(tmp_path):
    """As when a process is killed whose children still load data."""
    began_reader, began = os.pipe()
    with occupying(tmp_path):
        if not (child := os.fork()):
            os.write(began, b"x")
            signal.pause()
        os.read(began_reader, 1)
    try:
        with occupying(tmp_path):
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_file_system_without_locks_warns(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(_files.fcntl, "flock", fail)
    (tmp_path / ".file-0.tmp").write_bytes(b"perhaps another's")
    warned = pytest.warns(UserWarning, match=rf"{tmp_path}: cannot be locked")
    with warned, occupying(tmp_path), replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"file", ".file-0.tmp"}


def test_a_shape_that_lost_elements_is_noticed(tmp_path):
    path = tmp_path / "file.npz"
    np.savez(path, a=np.arange(7200.0))
    data = path.read_bytes()
    assert data.count(b"(7200,)") == 1
    path.write_bytes(data.replace(b"(7200,)", b"(3200,)"))  # one bit
    with pytest.raises(ValueError, match=r"a: more bytes than an array of float64 \(3200,\) has"):
        read_arrays(path, "a")
    path.write_bytes(data)
    assert np.array_equal(read_arrays(path, "a")[0], np.arange(7200.0))
