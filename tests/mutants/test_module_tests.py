"""Every module that mutants are drawn from has tests that are to notice them."""

from pathlib import Path

import pytest
from module_tests import DRAWN, TESTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", DRAWN)
def test_every_module_has_tests(folder):
    empty = ("__init__.py",)  # those have imports alone, but for nn/models
    there = {f"{folder}/{path.name}" for path in (ROOT / folder).glob("*.py") if path.name not in empty}
    named = {module for module in TESTS if str(Path(module).parent) == folder and Path(module).name not in empty}
    assert named == there


def test_the_tests_are_there():
    for module, words in TESTS.items():
        assert (ROOT / module).exists()
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))
