"""Downloads from a server of one's own, and runs that can be fused."""

import shutil

import pytest
from published import machines_of
from reference_fusion import Systems

from dcase_asd.challenge.edition import load_edition
from dcase_asd.steps.download import Request
from dcase_asd.transfer.connection import Patience

PATIENT = Patience(attempts=3, first_pause=0.01, longest_pause=0.02, silence=0.5)


@pytest.fixture
def request_for(tmp_path, server):
    def make(*editions, **options):
        names = editions or ("2025",)
        options.setdefault("machines", machines_of(load_edition(names[0]).name))
        options.setdefault("mirror", server.url)
        return Request(tmp_path / "data", names, patience=PATIENT, **options)

    return make


@pytest.fixture
def one_machine(request_for):
    """A request for the development clips of one machine."""

    def make(**options):
        return request_for("2025", parts=("dev",), machines=("ToyCar",), **options)

    return make


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
