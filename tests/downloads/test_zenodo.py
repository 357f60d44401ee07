import pytest
from loopback import Fault, md5

from dcase_asd.downloads.http import Connection
from dcase_asd.downloads.partial import RemoteFile
from dcase_asd.downloads.zenodo import read_record
from dcase_asd.errors import DownloadError


@pytest.fixture
def zenodo(server, connection):
    with Connection(server.url, connection.patience) as mirrored:
        yield mirrored


def test_a_record_says_sizes_checksums_and_licence(server, zenodo):
    server.publish(7, {"a.zip": b"abc", "b.zip": b""})
    record = read_record(zenodo, 7)
    assert record.licence == "cc-by-nc-sa-4.0"
    address = "https://zenodo.org/records/7/files/a.zip"
    assert record.files["a.zip"] == RemoteFile(address, 3, f"md5:{md5(b'abc')}")
    assert list(record.files) == ["a.zip", "b.zip"]


def test_a_record_without_a_licence_has_none(server, zenodo):
    server.serve("/api/records/7", b'{"metadata": {"license": null}, "files": []}')
    assert read_record(zenodo, 7).licence == ""


def test_faults_of_the_api_are_borne(server, zenodo):
    server.publish(7, {"a.zip": b"abc"})
    server.faults["/api/records/7"] = [Fault(status=429, retry_after="0"), Fault(drop=5)]
    assert set(read_record(zenodo, 7).files) == {"a.zip"}


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b"{}", b'{"files": [{"key": "a"}]}', b'{"files": 3}',
     b'{"files": [{"key": "a", "size": "x", "checksum": ""}]}', b'{"metadata": 1, "files": []}'],
)  # fmt: skip
def test_an_answer_that_is_no_record_is_told(server, zenodo, answer):
    server.serve("/api/records/7", answer)
    with pytest.raises(DownloadError, match=r"records/7: no description of a Zenodo record"):
        read_record(zenodo, 7)


def test_an_endless_answer_is_cut_off(server, zenodo, monkeypatch):
    monkeypatch.setattr("dcase_asd.downloads.zenodo._LARGEST_ANSWER", 10)
    server.serve("/api/records/7", b" " * 100_000)
    with pytest.raises(DownloadError, match="no description"):
        read_record(zenodo, 7)


def test_a_record_that_does_not_exist_is_told(zenodo):
    with pytest.raises(DownloadError, match="answers 404"):
        read_record(zenodo, 8)
