"""A folder that recordings arrive in: each once, when it is whole, and in the log."""

import json
import os

import pytest
import soundfile
from located_faults import RATE

from dcase_asd.errors import ArtifactError, DataError
from dcase_asd.monitor.arrivals import PATIENCE, Arrivals, watch
from dcase_asd.monitor.verdict import Verdict


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def recording(machine):
    return lambda path: soundfile.write(path, machine.normal(), RATE)


def seen(arrivals):
    return [name for name, _ in arrivals.look()]


def test_a_recording_is_seen_once_it_no_longer_changes(inbox, recording):
    arrivals = Arrivals(inbox)
    recording(inbox / "a.wav")
    assert seen(arrivals) == []
    assert seen(arrivals) == ["a.wav"]


def test_a_recording_that_is_still_written_waits(inbox, recording):
    recording(inbox / "whole.wav")
    content = (inbox / "whole.wav").read_bytes()
    (inbox / "whole.wav").unlink()
    arrivals = Arrivals(inbox)
    for size in (10, 1000, 50000):  # grows between looks
        (inbox / "a.wav").write_bytes(content[:size])
        assert seen(arrivals) == []
    assert seen(arrivals) == []  # pauses, but is shorter than its header says
    (inbox / "a.wav").write_bytes(content)
    assert seen(arrivals) == []
    assert seen(arrivals) == ["a.wav"]


def test_one_that_never_gets_whole_is_told_of_at_last(inbox):
    now = [0.0]
    arrivals = Arrivals(inbox, clock=lambda: now[0])
    (inbox / "a.wav").write_bytes(b"RIFF")
    assert seen(arrivals) == seen(arrivals) == []
    now[0] = PATIENCE + 1
    assert seen(arrivals) == ["a.wav"]


def test_what_is_deleted_or_no_recording_is_passed_over(inbox, recording):
    arrivals = Arrivals(inbox)
    recording(inbox / "gone.wav")
    (inbox / "notes.txt").write_text("x")
    (inbox / ".partial.wav").write_bytes(b"x")
    assert seen(arrivals) == []
    (inbox / "gone.wav").unlink()
    assert seen(arrivals) == []
    inbox_gone = Arrivals(inbox / "none")
    with pytest.raises(DataError, match="no such folder"):
        inbox_gone.look()


def test_a_flac_that_is_still_copied_waits(inbox, recording):
    recording(inbox.parent / "a.flac")
    content = (inbox.parent / "a.flac").read_bytes()
    (inbox / "a.flac").write_bytes(content[: len(content) // 2])  # its header is whole
    arrivals = Arrivals(inbox)
    assert seen(arrivals) == seen(arrivals) == []
    (inbox / "a.flac").write_bytes(content)
    assert seen(arrivals) == []
    assert seen(arrivals) == ["a.flac"]


def test_a_recorder_that_pauses_has_not_ended(inbox, recording):
    """A WAV file that is streamed into says no length, and is as long as it is at any time."""
    now = [0.0]
    recording(inbox / "a.wav")
    content = bytearray((inbox / "a.wav").read_bytes())
    content[40:44] = b"\xff\xff\xff\x7f"
    (inbox / "a.wav").write_bytes(content)
    arrivals = Arrivals(inbox, clock=lambda: now[0])
    assert seen(arrivals) == seen(arrivals) == []
    now[0] = PATIENCE + 1
    assert seen(arrivals) == ["a.wav"]


def test_folders_and_pipes_with_a_recordings_name_are_passed_over(inbox):
    (inbox / "folder.wav").mkdir()
    os.mkfifo(inbox / "pipe.wav")
    now = [0.0]
    arrivals = Arrivals(inbox, clock=lambda: now[0])
    assert seen(arrivals) == []
    now[0] = PATIENCE + 1
    assert seen(arrivals) == []


def test_a_folder_deleted_while_it_is_listed_is_looked_at_again(inbox, recording, monkeypatch):
    recording(inbox / "a.wav")
    arrivals = Arrivals(inbox)
    assert seen(arrivals) == []

    def gone(*_):
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr("dcase_asd.monitor.arrivals.find_below", gone)
        assert seen(arrivals) == []
    assert seen(arrivals) == ["a.wav"]


def test_each_arrival_gets_a_verdict_and_a_line_in_the_log(monitor, inbox, machine, recording):
    log = inbox.parent / "logs/fan.jsonl"
    recording(inbox / "a.wav")
    (inbox / "b.wav").write_bytes(b"RIFF1234WAVEjunk")

    def later(_):
        if not (inbox / "sub").exists():
            (inbox / "sub").mkdir()
            soundfile.write(inbox / "sub/c.flac", machine.faulty("leak", 20).samples, RATE)
            arrivals_clock[0] = PATIENCE + 1

    arrivals_clock = [0.0]
    found = list(watch(monitor, inbox, log, every=1.0, idle=2.0, sleep=later,
                       clock=lambda: arrivals_clock[0]))  # fmt: skip
    verdicts = {each.file: each.verdict for each in found if isinstance(each, Verdict)}
    assert verdicts == {"a.wav": verdicts["a.wav"], "sub/c.flac": "anomalous"}
    assert next(each for each in found if isinstance(each, str)).startswith(f"{inbox}/b.wav: ")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["file"] for line in lines} == {"a.wav", "b.wav", "sub/c.flac"}
    entry = next(line for line in lines if line["file"] == "sub/c.flac")
    assert entry["verdict"] == "anomalous"
    assert entry["score"] > entry["threshold"]
    assert entry["size"] == (inbox / "sub/c.flac").stat().st_size
    assert all(line["time"].endswith("+00:00") for line in lines)


def test_what_the_log_holds_is_not_judged_again(monitor, inbox, recording):
    log = inbox.parent / "log.jsonl"

    def files():
        return [each.file for each in watch(monitor, inbox, log, idle=1.0, sleep=lambda _: None)]

    recording(inbox / "a.wav")
    assert files() == ["a.wav"]
    log.write_text(log.read_text() + '{"file": "cut off when the pro')
    recording(inbox / "b.wav")
    assert files() == ["b.wav"]
    recording(inbox / "a.wav")  # another recording of the same name
    assert files() == ["a.wav"]
    assert len(log.read_text().splitlines()) == 4


def test_a_name_that_is_not_utf8_is_judged_once_too(monitor, inbox, recording):
    log = inbox.parent / "log.jsonl"
    recording(inbox / "a.wav")
    (inbox / "a.wav").rename(inbox / os.fsdecode(b"fan\xff.wav"))
    found = [
        [each.file for each in watch(monitor, inbox, log, idle=1.0, sleep=lambda _: None)]
        for _ in range(2)
    ]
    assert found == [["fan\\xff.wav"], []]


def test_lines_of_a_log_that_are_none_are_passed_over(monitor, inbox, recording):
    log = inbox.parent / "log.jsonl"
    recording(inbox / "a.wav")
    log.write_bytes(
        b"\xff\x00\n[]\n5\n" + b"[" * 100_000 + b"\n"
        b'{"file": "a.wav", "size": 1e999, "changed": 1}\n{"file": "a.wav", "size": null}\n'
    )
    (found,) = watch(monitor, inbox, log, idle=1.0, sleep=lambda _: None)
    assert found.file == "a.wav"


def test_a_look_that_takes_long_is_followed_by_a_longer_rest(monitor, inbox, monkeypatch):
    now, waits = [0.0], []

    def look(_):
        now[0] += 3.0
        return []

    monkeypatch.setattr(Arrivals, "look", look)
    log = inbox.parent / "log.jsonl"
    assert not list(watch(monitor, inbox, log, idle=30.0, sleep=waits.append, clock=lambda: now[0]))
    assert waits == [12.0, 12.0]


def test_one_deleted_before_it_is_read_is_no_error(monitor, inbox, recording, monkeypatch):
    recording(inbox / "a.wav")
    arrived = Arrivals(inbox)
    seen(arrived)
    ((name, state),) = arrived.look()
    (inbox / "a.wav").unlink()
    looks = iter([[(name, state)], []])
    monkeypatch.setattr(Arrivals, "look", lambda self: next(looks))
    log = inbox.parent / "log.jsonl"
    assert list(watch(monitor, inbox, log, idle=1.0, sleep=lambda _: None)) == []
    assert not log.exists()


def test_a_log_that_cannot_be_written_is_an_error(monitor, inbox, recording):
    recording(inbox / "a.wav")
    with pytest.raises(ArtifactError, match="another --log"):
        list(watch(monitor, inbox, inbox, idle=1.0, sleep=lambda _: None))
    with pytest.raises(ArtifactError, match="cannot be"):
        list(watch(monitor, inbox, inbox / "a.wav/x", idle=1.0, sleep=lambda _: None))
