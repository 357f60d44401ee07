import errno
import json
import random
import threading
import time

import pytest
from loopback import Fault, Loopback, md5

import dcase_asd.downloads.fetch
from dcase_asd.downloads.fetch import fetch
from dcase_asd.downloads.http import Connection, Patience, UnreachableError
from dcase_asd.downloads.partial import PartialFile, RemoteFile, memo_path, part_path
from dcase_asd.errors import DownloadError

CONTENT = random.Random(1).randbytes(100_000)
PATH = "/records/1/files/fan.zip"


def remote(server, content=CONTENT, **options):
    return RemoteFile(server.url + PATH, len(content), f"md5:{md5(content)}", **options)


class Meter:
    def __init__(self):
        self.bytes = 0

    def __call__(self, count):
        self.bytes += count


def fetched(server, connection, tmp_path, *faults, content=CONTENT):
    server.serve(PATH, content, *faults)
    meter = Meter()
    checksum = fetch(connection, remote(server), tmp_path / "fan.zip", meter)
    assert (tmp_path / "fan.zip").read_bytes() == CONTENT
    assert checksum == md5(CONTENT)
    assert meter.bytes == len(CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["fan.zip"]
    return server.asked(PATH)


def test_a_file_comes_in_one_request(server, connection, tmp_path):
    assert fetched(server, connection, tmp_path) == [""]


def test_a_dropped_connection_goes_on_with_a_range(server, connection, tmp_path):
    asked = fetched(server, connection, tmp_path, Fault(drop=40_000), Fault(drop=20_000))
    assert asked == ["", "bytes=40000-", "bytes=60000-"]


def test_a_silent_server_is_asked_again(server, connection, tmp_path):
    assert fetched(server, connection, tmp_path, Fault(stall=30_000)) == ["", "bytes=30000-"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_waited_for(server, connection, tmp_path, status):
    assert len(fetched(server, connection, tmp_path, Fault(status=status))) == 2


@pytest.mark.parametrize("value", ["1", "GMT", "-0000"])
def test_the_servers_retry_after_is_obeyed(server, tmp_path, value):
    if value != "1":
        value = time.strftime(f"%a, %d %b %Y %H:%M:%S {value}", time.gmtime(time.time() + 2))
    pauses = []
    with Connection(patience=Patience()) as connection:
        connection.pause = pauses.append
        fetched(server, connection, tmp_path, Fault(status=429, retry_after=value))
    assert len(pauses) == 1
    assert 0 <= pauses[0] <= 2


def test_a_pause_beyond_all_patience_is_told_to_the_user(server, connection, tmp_path):
    server.serve(PATH, CONTENT, Fault(status=503, retry_after="86400"))
    with pytest.raises(DownloadError, match="come back in 86400 s"):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())


def test_a_retry_after_that_is_no_time_is_passed_over(server, connection, tmp_path):
    fetched(server, connection, tmp_path, Fault(status=503, retry_after="soon"))


def test_a_server_that_keeps_failing_is_given_up(server, connection, tmp_path):
    server.serve(PATH, CONTENT, *[Fault(status=500)] * 9)
    with pytest.raises(DownloadError, match=r"answers 500 .*, 4 times; run the same command again"):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())
    assert len(server.asked(PATH)) == 4


def test_connections_that_always_drop_are_given_up_and_what_came_is_kept(
    server, connection, tmp_path
):
    server.serve(PATH, CONTENT, *[Fault(drop=1000)] * 9)
    with pytest.raises(DownloadError, match="4 times"):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())
    assert part_path(tmp_path / "fan.zip").read_bytes() == CONTENT[:4000]


def test_failures_are_counted_anew_after_real_progress(server, connection, tmp_path, monkeypatch):
    monkeypatch.setattr(dcase_asd.downloads.fetch, "REAL_PROGRESS", 1000)
    assert len(fetched(server, connection, tmp_path, *[Fault(drop=5000)] * 9)) == 10


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_not_repeated(server, connection, tmp_path, status):
    server.serve(PATH, CONTENT, Fault(status=status))
    with pytest.raises(DownloadError, match=f"answers {status}"):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())
    assert len(server.asked(PATH)) == 1


def test_a_server_that_ignores_ranges_starts_again(server, connection, tmp_path):
    asked = fetched(server, connection, tmp_path, Fault(drop=40_000), Fault(whole=True))
    assert asked == ["", "bytes=40000-"]


def test_a_range_that_begins_elsewhere_is_not_appended(server, connection, tmp_path):
    asked = fetched(server, connection, tmp_path, Fault(drop=40_000), Fault(shifted=True))
    assert asked == ["", "bytes=40000-", ""]


def test_too_few_bytes_for_the_announced_length_are_asked_for_again(server, connection, tmp_path):
    server.serve(PATH, CONTENT[:-1], Fault(announced=len(CONTENT)))
    with pytest.raises(DownloadError, match="announces 99999 bytes instead of 100000"):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())
    assert len(server.asked(PATH)) > 1


def test_an_early_end_without_length_is_noticed(server, connection, tmp_path):
    server.serve(PATH, CONTENT[:-1], *[Fault(chunked=True)] * 9)
    with pytest.raises(DownloadError, match=r"(ended after 99999 of 100000|go on after 99999)"):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())


def test_more_bytes_than_published_are_refused(server, connection, tmp_path):
    server.serve(PATH, CONTENT, *[Fault(chunked=True, extra=b"more")] * 9)
    with pytest.raises(DownloadError, match="sends 100004 bytes instead of 100000, 4 times"):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())
    assert not (tmp_path / "fan.zip").exists()


def test_more_bytes_once_are_forgiven(server, connection, tmp_path):
    fetched(server, connection, tmp_path, Fault(chunked=True, extra=b"more"))


def test_a_wrong_announced_length_once_is_forgiven(server, connection, tmp_path):
    fetched(server, connection, tmp_path, Fault(announced=10))


def test_more_bytes_than_announced_on_the_wire_do_no_harm(server, connection, tmp_path):
    fetched(server, connection, tmp_path, Fault(announced=len(CONTENT), extra=b"more"))


def test_a_damaged_file_is_fetched_once_more(server, connection, tmp_path):
    assert fetched(server, connection, tmp_path, Fault(damaged=True)) == ["", ""]


def test_a_file_that_stays_wrong_is_refused_and_thrown_away(server, connection, tmp_path):
    server.serve(PATH, CONTENT, *[Fault(damaged=True)] * 9)
    with pytest.raises(DownloadError, match=r"not the published file .*, twice"):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())
    assert len(server.asked(PATH)) == 2
    assert part_path(tmp_path / "fan.zip").stat().st_size == 0


def test_a_file_that_changed_between_two_parts_is_taken_from_its_beginning(
    server, connection, tmp_path
):
    server.serve(PATH, CONTENT[::-1], Fault(drop=50_000))
    old = RemoteFile(server.url + PATH)
    server.faults[PATH] += [Fault(status=404)]
    with pytest.raises(DownloadError, match="404"):
        fetch(connection, old, tmp_path / "fan.zip", Meter())
    server.serve(PATH, CONTENT)
    fetch(connection, old, tmp_path / "fan.zip", Meter())
    assert (tmp_path / "fan.zip").read_bytes() == CONTENT


def test_a_change_is_noticed_when_the_server_does_not_know_if_range(server, connection, tmp_path):
    server.serve(PATH, CONTENT)
    server.etags[PATH] = 'W/"2"'
    with PartialFile(tmp_path / "fan.zip", RemoteFile(server.url + PATH)) as part:
        part.remember('W/"1"')
        part.append(CONTENT[::-1][:100])
    fetch(connection, RemoteFile(server.url + PATH), tmp_path / "fan.zip", Meter())
    assert (tmp_path / "fan.zip").read_bytes() == CONTENT
    assert server.asked(PATH) == ["bytes=100-", ""]


def test_a_restarted_server_is_waited_for(connection, tmp_path):
    pauses = []
    with Loopback() as first:
        first.serve(PATH, CONTENT, Fault(drop=10_000))
        file = remote(first)
        second = []

        def wait_for_the_restart(seconds):
            pauses.append(seconds)
            if len(pauses) == 1:
                first.close()
            if len(pauses) == 3:
                second.append(Loopback(first.port).__enter__())
                second[0].serve(PATH, CONTENT)

        connection.pause = wait_for_the_restart
        fetch(connection, file, tmp_path / "fan.zip", Meter())
    second[0].close()
    assert (tmp_path / "fan.zip").read_bytes() == CONTENT
    assert second[0].asked(PATH) == ["bytes=10000-"]


def test_without_a_network_the_first_file_is_not_waited_for(connection, tmp_path):
    file = RemoteFile("http://127.0.0.1:9/fan.zip", 3, "md5:0")
    with pytest.raises(UnreachableError, match="cannot be reached"):
        fetch(connection, file, tmp_path / "fan.zip", Meter())


def test_another_process_goes_on_where_this_one_stopped(server, connection, tmp_path):
    server.serve(PATH, CONTENT, Fault(drop=30_000), Fault(status=404))
    with pytest.raises(DownloadError):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())
    assert fetched(server, connection, tmp_path) == ["", "bytes=30000-", "bytes=30000-"]


def test_a_mirror_goes_on_with_what_the_original_began(server, connection, tmp_path):
    server.serve(PATH, CONTENT, Fault(drop=30_000), Fault(status=404))
    with pytest.raises(DownloadError):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())
    with Loopback() as mirror:
        mirror.serve("/zenodo" + PATH, CONTENT)
        mirror.etags["/zenodo" + PATH] = '"other"'
        patience = connection.patience
        elsewhere = RemoteFile(f"https://zenodo.org{PATH}", len(CONTENT), f"md5:{md5(CONTENT)}")
        with Connection(f"{mirror.url}/zenodo/", patience) as via_mirror:
            fetch(via_mirror, elsewhere, tmp_path / "fan.zip", Meter())
        assert mirror.asked("/zenodo" + PATH) == ["bytes=30000-"]
    assert (tmp_path / "fan.zip").read_bytes() == CONTENT


def test_the_beginning_of_another_file_is_not_gone_on_with(server, connection, tmp_path):
    with PartialFile(tmp_path / "fan.zip", RemoteFile("http://other/", None, "md5:0")) as part:
        part.remember("")
        part.append(b"other")
    assert fetched(server, connection, tmp_path) == [""]


@pytest.mark.parametrize("memo", ["", "{", "[]", "{}"])
def test_a_beginning_of_unknown_origin_is_not_gone_on_with(server, connection, tmp_path, memo):
    part_path(tmp_path / "fan.zip").write_bytes(b"unknown")
    (tmp_path / "fan.zip.part.json").write_text(memo, encoding="utf-8")
    assert fetched(server, connection, tmp_path) == [""]


def test_a_complete_beginning_needs_no_request(server, connection, tmp_path):
    with PartialFile(tmp_path / "fan.zip", remote(server)) as part:
        part.remember("")
        part.append(CONTENT)
    assert fetched(server, connection, tmp_path) == []


def test_a_complete_beginning_of_unknown_size_is_recognised(server, connection, tmp_path):
    server.serve(PATH, CONTENT)
    unknown = RemoteFile(server.url + PATH)
    with PartialFile(tmp_path / "fan.zip", unknown) as part:
        part.remember("")
        part.append(CONTENT)
    assert fetch(connection, unknown, tmp_path / "fan.zip", Meter()) == md5(CONTENT)
    assert server.asked(PATH) == ["bytes=100000-"]


def test_a_beginning_longer_than_the_file_is_thrown_away(server, connection, tmp_path):
    with PartialFile(tmp_path / "fan.zip", remote(server)) as part:
        part.remember("")
        part.append(CONTENT + b"more")
    assert fetched(server, connection, tmp_path) == ["bytes=100004-", ""]


def test_an_empty_file_is_a_file(server, connection, tmp_path):
    server.serve(PATH, b"")
    empty = RemoteFile(server.url + PATH, 0, f"md5:{md5(b'')}")
    fetch(connection, empty, tmp_path / "empty", Meter())
    assert (tmp_path / "empty").read_bytes() == b""


def test_files_longer_than_a_block_come_whole(server, connection, tmp_path):
    content = random.Random(2).randbytes(5_000_001)
    server.serve(PATH, content, Fault(drop=2_500_000))
    fetch(connection, remote(server, content), tmp_path / "fan.zip", Meter())
    assert (tmp_path / "fan.zip").read_bytes() == content


def test_what_was_received_is_on_disk_whatever_happens_next(tmp_path):
    with PartialFile(tmp_path / "slow", RemoteFile("http://x/")) as part:
        for expected in (b"1", b"12"):
            part.append(expected[-1:])
            assert part_path(tmp_path / "slow").read_bytes() == expected


def test_a_note_that_cannot_be_written_is_told(server, connection, tmp_path):
    server.serve(PATH, CONTENT)
    memo_path(tmp_path / "fan.zip").mkdir()
    with pytest.raises(DownloadError, match=r"cannot be written \(Is a directory\); mend that"):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())


def test_a_checksum_of_another_kind_is_computed_where_it_is_known(server, connection, tmp_path):
    import hashlib

    server.serve(PATH, CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    file = RemoteFile(server.url + PATH, None, f"sha256:{digest}")
    assert fetch(connection, file, tmp_path / "weights", Meter()) == digest


class FullDisk:
    """A raw file on a disk that is full after some bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = min(self.room, len(data))
        self.room -= count
        return self.file.write(data[:count])

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_says_so_and_what_came_is_gone_on_with(
    server, connection, tmp_path, monkeypatch
):
    server.serve(PATH, CONTENT)
    make = PartialFile.__init__

    def on_a_full_disk(part, path, remote):
        make(part, path, remote)
        part._file = FullDisk(part._file, 12_345)

    monkeypatch.setattr(PartialFile, "__init__", on_a_full_disk)
    with pytest.raises(DownloadError, match=r"No space left on device.*make room and run the same"):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())
    monkeypatch.setattr(PartialFile, "__init__", make)
    assert fetched(server, connection, tmp_path) == ["", "bytes=12345-"]


def test_a_folder_that_cannot_be_written_is_named(server, connection, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DownloadError, match=r"cannot be written .*mend that"):
        fetch(connection, remote(server), tmp_path / "file" / "fan.zip", Meter())


def test_a_stopped_command_ends_soon_and_keeps_what_came(server, connection, tmp_path):
    server.pause = 0.01
    server.serve(PATH, CONTENT)
    threading.Timer(0.1, connection.stop.set).start()
    with pytest.raises(DownloadError, match="stopped; run the same command again"):
        fetch(connection, remote(server), tmp_path / "fan.zip", Meter())
    kept = part_path(tmp_path / "fan.zip").read_bytes()
    assert 0 < len(kept) < len(CONTENT)
    assert CONTENT.startswith(kept)
    assert json.loads((tmp_path / "fan.zip.part.json").read_text())["url"] == server.url + PATH
