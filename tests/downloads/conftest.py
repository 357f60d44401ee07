"""Downloads from a server of one's own."""

import pytest
from published import machines_of

from dcase_asd.downloads.http import Connection, Patience
from dcase_asd.downloads.request import Request
from dcase_asd.editions.edition import load_edition

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
def connection():
    patience = Patience(attempts=4, first_pause=0.01, longest_pause=0.02, silence=0.5)
    with Connection(patience=patience) as connection:
        yield connection
