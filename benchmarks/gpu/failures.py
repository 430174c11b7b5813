"""A pytest plugin that writes what fails as it fails, so that a run that is ended has the names of all failures so far."""

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, help="JSON lines: an object per failure, and the counts so far at last")


class Outcomes:
    def __init__(self, path: Path) -> None:
        self.path, self.counts = path, {"passed": 0, "failed": 0, "skipped": 0}
        path.write_text("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and not (report.failed or report.skipped):
            return
        self.counts[report.outcome] += 1
        record: dict[str, object] = dict(self.counts)
        if report.failed:
            record |= {"test": report.nodeid, "when": report.when, "text": report.longreprtext[-6000:]}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--outcomes"):
        config.pluginmanager.register(Outcomes(path))
