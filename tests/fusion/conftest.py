"""Runs that can be fused."""

import shutil

import pytest
from reference_fusion import Systems

from dcase_asd.editions.edition import load_edition


@pytest.fixture
def make_systems(make_entry):
    def make(gains, edition="dcase2025", seed=0):
        entry = make_entry(edition)
        shutil.rmtree(entry.run)
        return Systems(entry.run.parent, edition, entry.scores, gains, seed)

    return make


@pytest.fixture
def systems(make_systems):
    """Each of two systems is good at another machine, a third one nowhere."""
    machines = list(load_edition("dcase2025").machines["dev"])[:2]
    gains = [{machines[0]: 2.0, machines[1]: 0.7}, {machines[0]: 0.3, machines[1]: 1.5}, 0.0]
    return make_systems(dict(zip("abc", gains, strict=True)))
