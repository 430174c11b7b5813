"""Profiles: `quick`, the same few cases at every run; `long`, many random ones, by --hypothesis-profile=long."""

import faulthandler

import judge
from hypothesis import HealthCheck, settings

# What a property costs differs by a factor of a hundred, so each scales these by its own share: see `judge.cases`.
_COMMON = {
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": False,
}
settings.register_profile("quick", max_examples=judge.QUICK, derandomize=True, **_COMMON)
settings.register_profile("long", max_examples=judge.LONG, **_COMMON)


def pytest_configure(config):
    settings.load_profile(config.getoption("--hypothesis-profile") or "quick")


def pytest_sessionfinish(session):
    faulthandler.cancel_dump_traceback_later()
    judge.report()
