"""Studies do every run once, and go on where they were stopped."""

from dataclasses import dataclass

import pytest

from cheblienet.experiments.study import RESULTS, Outcome, complete, grouped, mean_and_spread, read, seeds, table

SETTINGS = {"epochs": 1, "tests": None}


@dataclass(frozen=True)
class Run:
    network: str
    seed: int


RUNS = [Run(network, seed) for network in ("flat", "round") for seed in (0, 1)]


def test_a_study_goes_on_where_it_was(tmp_path):
    trained = []

    def train(run, folder, stop=None):
        if run == stop:
            raise SystemExit(143)
        trained.append((run, folder.name))
        return Outcome(run, 7, 1.5, {"accuracy": 0.1 + 0.2 * run.seed})

    with pytest.raises(SystemExit):
        complete(RUNS, SETTINGS, tmp_path / "out", lambda run, folder: train(run, folder, RUNS[2]))
    assert len(trained) == 2
    outcomes = complete(RUNS, SETTINGS, tmp_path / "out", train)
    assert trained == [(run, f"{run.network}-{run.seed}") for run in RUNS]
    assert [outcome.run for outcome in outcomes] == RUNS
    assert list(read(tmp_path / "out" / RESULTS, SETTINGS, Run)) == outcomes
    # Another study in the same place keeps what it did not ask for.
    assert complete(RUNS[:1], SETTINGS, tmp_path / "out", train) == outcomes[:1]
    complete([*RUNS[:1], Run("new", 0)], SETTINGS, tmp_path / "out", train)
    assert len(trained) == 5
    assert len(list(read(tmp_path / "out" / RESULTS, SETTINGS, Run))) == 5


def test_files_of_other_studies_and_damaged_ones_are_refused(tmp_path):
    outcomes = complete(RUNS, SETTINGS, tmp_path, lambda run, folder: Outcome(run, 7, 1.5, {}))
    assert len(outcomes) == 4
    path = tmp_path / RESULTS
    with pytest.raises(ValueError, match=r"results.jsonl: expected outcomes with .'epochs': 2., got .'epochs': 1"):
        list(read(path, {"epochs": 2}, Run))
    text = path.read_text()
    for damaged in (text[:-20], text.replace('"seed"', '"seeds"'), "[]\n", "{}\n"):
        path.write_text(damaged)
        with pytest.raises(ValueError, match=r"results.jsonl: expected an outcome in each line, got '"):
            list(read(path, SETTINGS, Run))
    assert list(read(tmp_path / "none.jsonl", SETTINGS, Run)) == []


def test_tables_tell_means_and_spreads():
    outcomes = [Outcome(run, 7, 1.0, {"accuracy": float(k)}) for k, run in enumerate(RUNS)]
    groups = grouped(outcomes, lambda run: run.network)
    assert {name: [o.run for o in same] for name, same in groups.items()} == {"flat": RUNS[:2], "round": RUNS[2:]}
    assert mean_and_spread([1.0, 2.0]) == "1.5 ± 0.5"
    assert mean_and_spread([1.25], 2) == "1.25"
    assert seeds(outcomes) == "; mean ± standard deviation of 2 seeds"
    assert seeds(outcomes[:1]) == ""
    assert table(["a", "b", "c"], [["x", "1", "2"]]) == "| a | b | c |\n| --- | ---: | ---: |\n| x | 1 | 2 |"
