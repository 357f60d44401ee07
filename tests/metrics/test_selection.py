"""What choosing the best of several systems is worth on machine types that did not choose it."""

import numpy as np
import pandas as pd
import pytest

from dcase_asd.metrics.official import evaluate
from dcase_asd.metrics.selection import choose_best

MACHINES = ("bearing", "fan", "gearbox")


def clips(machines=MACHINES):
    rows = [
        (machine, "00", f"{machine}_{domain}_{condition}_{index}", domain, condition)
        for machine in machines
        for domain in ("source", "target")
        for condition in ("normal", "anomaly")
        for index in range(8)
    ]
    return pd.DataFrame(rows, columns=["machine", "section", "file", "domain", "condition"])


def systems(count, machines=MACHINES, seed=0):
    """Systems that are chance but for a little: which is best on a machine is mostly luck."""
    random, table = np.random.default_rng(seed), clips(machines)
    anomalous = (table["condition"] == "anomaly").to_numpy()
    return [table.assign(score=random.random(len(table)) + 0.2 * anomalous) for _ in range(count)]


@pytest.mark.parametrize("metric", ["2020", "2021", "2022"])
@pytest.mark.parametrize("seed", range(4))
def test_each_machine_takes_the_system_that_is_best_on_the_clips_of_the_others(metric, seed):
    tables = systems(5, seed=seed)
    if metric == "2020":
        tables = [table.assign(domain="") for table in tables]
    found = choose_best([evaluate(table, metric) for table in tables])
    scores = [evaluate(table, metric).score for table in tables]
    assert (found.best, found.score) == (int(np.argmax(scores)), max(scores))
    parts = []
    for machine in MACHINES:
        others = [evaluate(each[each["machine"] != machine], metric).score for each in tables]
        assert found.chosen[machine] == int(np.argmax(others))
        chosen = tables[int(np.argmax(others))]
        parts.append(chosen[chosen["machine"] == machine])
    assert found.left_out == pytest.approx(evaluate(pd.concat(parts), metric).score, abs=1e-12)
    assert found.left_out <= found.score


def test_of_systems_that_are_equal_the_first_is_chosen_and_loses_nothing():
    (table,) = systems(1)
    found = choose_best([evaluate(table, "2022")] * 3)
    assert (found.best, set(found.chosen.values())) == (0, {0})
    assert found.left_out == pytest.approx(found.score, abs=1e-12)


def test_there_is_no_estimate_of_a_single_machine_or_of_different_ones():
    one = [evaluate(table, "2022") for table in systems(2, ("fan",))]
    assert choose_best(one).left_out is None
    two = [evaluate(systems(1, machines)[0], "2022") for machines in (MACHINES, MACHINES[:2])]
    assert choose_best(two).left_out is None
