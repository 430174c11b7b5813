"""Files that are whole or not there, through kills, full disks and power cuts, and errors that name them."""

import contextlib
import errno
import fcntl
import glob
import os
import uuid
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# Descriptors of the folders that this process occupies.
_occupied: set[int] = set()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` at the end and vanishes on an error.

    It is written beside `path` under a hidden name, .NAME-*.tmp, and renamed, so that no process ever sees half of it. At
    the end, content and name are on the disk: a power cut leaves the old file or the new one. A process that is killed
    leaves its temporary file, and the next one that writes `path` removes it.

    Raises OSError that names the file, for a full disk and the like.
    """
    remove_abandoned(path.parent, glob.escape(path.name))
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}.tmp")
    try:
        with naming(path), _create_locked(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)  # before the lock goes with the file
            _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def remove_abandoned(folder: Path, name: str) -> None:
    """Removes what killed processes left of files whose names match the pattern `name`; living ones keep theirs."""
    for temporary in folder.glob(f".{name}-*.tmp"):
        # Whoever writes the file holds its lock, and the system frees it when the process is gone.
        with contextlib.suppress(OSError), temporary.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives an OSError within that names no file the name of `path`, also where a library made another error of it."""
    try:
        yield
    except Exception as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError) or cause.errno is None or cause.filename is not None:
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error


@contextlib.contextmanager
def occupying(folder: Path) -> Iterator[None]:
    """Makes `folder` and keeps it to this process: FileExistsError where another one occupies it.

    The lock ends with the process, however it ends. A file system without locks gives a warning.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    _occupied.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(
                f"{folder}: another process is writing there; wait for it, or choose another"
            ) from None
        except OSError as error:
            warnings.warn(f"{folder}: cannot be locked, nothing else may write there: {error}", stacklevel=4)
        yield
    finally:
        if descriptor in _occupied:
            _occupied.remove(descriptor)
            os.close(descriptor)


def read_arrays(path: Path, *names: str) -> list[np.ndarray[Any, Any]]:
    """Arrays of an npz file, each compared with its checksum.

    A damaged file can raise almost anything. `np.load` compares the checksum only where the array fills its member, so that
    a header that was damaged to a smaller shape would go unnoticed.
    """
    arrays = []
    with naming(path), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        for name in names:
            with archive.open(f"{name}.npy") as member:
                arrays.append(np.lib.format.read_array(member, allow_pickle=False))
                if member.read(1):
                    raise ValueError(f"{name}: more bytes than an array of {arrays[-1].dtype} {arrays[-1].shape} has")
    return arrays


def _create_locked(path: Path) -> BinaryIO:
    while True:
        file = path.open("xb")
        with contextlib.suppress(OSError):  # without locks, nobody takes the file for abandoned
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # someone removed it before it was locked


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that write names at once
            raise
    finally:
        os.close(descriptor)


def _release_in_child() -> None:
    """A forked process, such as one that loads data, would keep the lock when its parent is killed."""
    while _occupied:
        os.close(_occupied.pop())


os.register_at_fork(after_in_child=_release_in_child)
