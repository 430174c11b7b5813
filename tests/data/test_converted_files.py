"""Converted states: damage is noticed, a full disk is named, and two conversions at once do no harm."""

import resource
import subprocess
import sys

import pytest
import torch

from cheblienet.data import ArtcDataset
from cheblienet.data.artc import read_state
from cheblienet.data.climatenet import convert
from cheblienet.data.synthetic import write_synthetic_climatenet

pytest.importorskip("netCDF4", reason="netCDF4, of the extra `climate`, is not installed")


@pytest.fixture
def converted(tmp_path):
    write_synthetic_climatenet(tmp_path / "in", 1, 2)
    assert convert(tmp_path / "in", tmp_path / "out", level=1) == 2
    return tmp_path


def test_no_flipped_bit_changes_a_state(converted):
    path = min((converted / "out").iterdir())
    intact, (data, labels) = path.read_bytes(), read_state(path)
    refused = 0
    for position in range(0, len(intact), 3):
        damaged = bytearray(intact)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            found, classes = read_state(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
        else:
            assert (found == data).all(), position
            assert (classes == labels).all(), position
    assert refused > len(intact) / 3 / 2


@pytest.mark.parametrize("how", ["cut", "empty", "directory"])
def test_damaged_states_are_named_and_converted_anew(converted, how):
    path = min((converted / "out").iterdir())
    intact = path.read_bytes()
    if how == "directory":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(intact[: len(intact) // 2] if how == "cut" else b"")
    with pytest.raises(ValueError, match=rf"{path}: not a readable npz file"):
        ArtcDataset(path.parent, [path.name])
    anew = pytest.warns(UserWarning, match=rf"{path}: not a readable npz file .*; the file is converted anew")
    if how == "directory":
        with anew, pytest.raises(IsADirectoryError, match=str(path)):
            convert(converted / "in", converted / "out", level=1)
        return
    with anew:
        assert convert(converted / "in", converted / "out", level=1) == 1
    assert path.read_bytes() == intact


def test_a_full_disk_is_named_and_the_conversion_goes_on_later(converted):
    target = converted / "new"
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, former[1]))
    try:
        with pytest.raises(OSError, match=rf"too large: '{target}/data-.*-mesh.npz'"):
            convert(converted / "in", target, level=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert list(target.iterdir()) == []
    assert convert(converted / "in", target, level=1) == 2


def test_two_conversions_at_once_do_no_harm(tmp_path):
    write_synthetic_climatenet(tmp_path / "in", 4, 2)
    command = [
        sys.executable,
        "-m",
        "cheblienet",
        "climatenet",
        "convert",
        tmp_path / "in",
        tmp_path / "out",
        "--level",
    ]
    programs = [subprocess.Popen([*command, "3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for program in programs:
        said = program.communicate(timeout=120)
        assert program.returncode == 0, said
    convert(tmp_path / "in", tmp_path / "alone", level=3)
    together, alone = (sorted((tmp_path / name).iterdir()) for name in ("out", "alone"))
    assert [path.name for path in together] == [path.name for path in alone]
    assert [path.read_bytes() for path in together] == [path.read_bytes() for path in alone]
    assert torch.equal(ArtcDataset(tmp_path / "out")[0][0], ArtcDataset(tmp_path / "alone")[0][0])
