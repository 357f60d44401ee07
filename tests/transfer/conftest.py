import pytest

from dcase_asd.transfer.connection import Connection, Patience


@pytest.fixture
def connection():
    patience = Patience(attempts=4, first_pause=0.01, longest_pause=0.02, silence=0.5)
    with Connection(patience=patience) as connection:
        yield connection
