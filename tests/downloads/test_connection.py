import pytest
from loopback import Fault, Loopback

from dcase_asd.downloads.http import (
    Connection,
    Patience,
    TransientError,
    UnreachableError,
)
from dcase_asd.errors import DownloadError

CLOSED = "http://127.0.0.1:9"


def test_a_mirror_takes_the_place_of_scheme_and_host():
    with Connection("http://127.0.0.1:8000") as connection:
        assert (
            connection.address("https://zenodo.org/records/1/files/a.zip?download=1")
            == "http://127.0.0.1:8000/records/1/files/a.zip?download=1"
        )


def test_a_mirror_may_have_a_path_of_its_own():
    with Connection("https://mirror.example/zenodo/") as connection:
        assert (
            connection.address("https://zenodo.org/a%20b") == "https://mirror.example/zenodo/a%20b"
        )


def test_without_a_mirror_addresses_stay():
    with Connection() as connection:
        assert connection.address("https://zenodo.org/a") == "https://zenodo.org/a"


@pytest.mark.parametrize("mirror", ["mirror.example", "ftp://mirror.example", "https://", "/a"])
def test_what_is_no_address_is_no_mirror(mirror):
    with pytest.raises(DownloadError, match="no address of a mirror; give --mirror https://HOST"):
        Connection(mirror)


def test_a_proxy_that_makes_no_sense_is_told(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "nonsense://proxy")
    with pytest.raises(DownloadError, match="the proxy that the environment names"):
        Connection()


def test_the_proxy_of_the_environment_is_used(monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Loopback() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        proxy.serve("http://zenodo.example/a", b"by proxy")
        with Connection() as connection, connection.get("http://zenodo.example/a") as response:
            assert response.read() == b"by proxy"


def test_redirections_are_followed(connection, server):
    server.serve("/b", b"there")
    server.faults["/a"] = [Fault(status=302, location="/b")]
    with connection.get(server.url + "/a") as response:
        assert response.read() == b"there"


def test_redirections_in_a_circle_are_told(connection, server):
    server.faults["/a"] = [Fault(status=302, location="/a")] * 50
    get = connection.get(server.url + "/a")
    with pytest.raises(DownloadError, match="check the address"), get:
        pass


def test_an_address_of_another_kind_is_refused(connection):
    get = connection.get("ftp://zenodo.org/a")
    with pytest.raises(DownloadError, match="check the address"), get:
        pass


def test_a_server_that_cannot_be_reached_is_not_waited_for(connection):
    connection.pause = None  # a pause would be an error
    with pytest.raises(UnreachableError, match=r"cannot be reached .*name a --mirror"):
        connection.read(CLOSED, 10)


def test_a_short_request_is_repeated_after_a_fault(connection, server):
    server.serve("/a", b"there", Fault(status=503), Fault(drop=2))
    assert connection.read(server.url + "/a", 10) == b"there"
    assert len(server.asked("/a")) == 3


def test_pauses_double_up_to_the_longest():
    pauses = []
    with Connection(patience=Patience(attempts=6, first_pause=1, longest_pause=5)) as connection:
        connection.pause = pauses.append

        def get(url):
            raise TransientError("never")

        connection.get = get
        with pytest.raises(DownloadError, match="never, 6 times"):
            connection.read("http://x/", 10)
    assert pauses == [1, 2, 4, 5, 5]


def test_a_pause_ends_when_the_command_is_stopped(connection):
    connection.stop.set()
    with pytest.raises(DownloadError, match="stopped"):
        connection.pause(60)
