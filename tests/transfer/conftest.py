import pytest
from loopback import Loopback

from dcase_asd.transfer.connection import Connection, Patience


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def connection():
    patience = Patience(attempts=4, first_pause=0.01, longest_pause=0.02, silence=0.5)
    with Connection(patience=patience) as connection:
        yield connection
