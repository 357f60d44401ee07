"""Samples through a pipe: raw or as a WAV file, cut anywhere, with or without an end."""

import io
import struct

import numpy as np
import pytest
from located_faults import RATE
from wav_files import fmt, riff

from dcase_asd.errors import AudioError
from dcase_asd.monitor.streams import Windows, check_stream
from dcase_asd.monitor.verdict import Rule


class Pipe(io.RawIOBase):
    """Gives a few bytes at a time, as a pipe does, and counts those that were asked for."""

    def __init__(self, content, size=1013):
        self.content, self.size, self.at = content, size, 0

    def read(self, count=-1):
        part = self.content[self.at : self.at + min(count, self.size)]
        self.at += len(part)
        return part

    read1 = read


def raw(*parts):
    return np.round(np.concatenate(parts) * 32768).astype("<i2").tobytes()


def names(found):
    return [each.file for each in found]


def test_each_window_is_judged_as_the_recording_that_it_is(monitor, machine):
    parts = [machine.normal() for _ in range(3)]
    pipe = Pipe(raw(*parts) + b"\1")  # half a sample at the end
    found = list(check_stream(monitor, pipe, Windows(3.0, 3.0, RATE), 0.05))
    assert names(found) == ["- 0.0 to 3.0 s", "- 3.0 to 6.0 s", "- 6.0 to 9.0 s"]
    for verdict, part in zip(found, parts, strict=True):
        exact = np.round(part * 32768).astype(np.float32) / 32768
        assert verdict.score == pytest.approx(monitor.check(exact).score)


def test_an_answer_comes_before_more_than_a_hop_is_read(monitor, machine):
    pipe = Pipe(raw(*(machine.normal() for _ in range(4))))
    stream = check_stream(monitor, pipe, Windows(3.0, 1.5, RATE), 0.05)
    for number in range(3):
        next(stream)
        end = 3.0 + 1.5 * number
        assert end <= pipe.at / 2 / RATE < end + 0.1


def test_the_rest_is_judged_with_what_comes_before(monitor, machine):
    sound = [machine.normal(), machine.normal()[: RATE + 10]]
    found = list(check_stream(monitor, Pipe(raw(*sound)), Windows(3.0, 1.5, RATE), 0.05))
    assert names(found) == ["- 0.0 to 3.0 s", "- 1.5 to 4.0 s"]
    found = list(check_stream(monitor, Pipe(raw(sound[1])), Windows(3.0, 3.0, RATE), 0.05))
    assert names(found) == ["- 0.0 to 1.0 s"]


def test_spans_are_in_the_time_of_the_stream(monitor, machine):
    fault = machine.faulty("leak", 20)
    stream = Pipe(raw(machine.normal(), fault.samples))
    last = list(check_stream(monitor, stream, Windows(3.0, 3.0, RATE), 0.05))[-1]
    assert last.verdict == "anomalous"
    assert 3 <= last.spans[0].start < 3 + fault.end
    assert last.heat.times[[0, -1]] == pytest.approx([3, 6])


def test_a_sample_that_is_no_number_costs_its_window_alone(monitor, machine):
    parts = [machine.normal() for _ in range(3)]
    parts[1][100] = np.nan
    content = b"data\xff\xff\xff\xff" + np.concatenate(parts).astype("<f4").tobytes()
    form = b"fmt \x10\0\0\0" + struct.pack("<HHIIHH", 3, 1, RATE, 4 * RATE, 4, 32)
    found = list(check_stream(monitor, Pipe(riff(form, content)), Windows(3.0, 3.0), 0.05))
    assert [isinstance(each, str) for each in found] == [False, True, False]
    assert found[1].startswith("- 3.0 to 6.0 s: sample 100 is nan")


def test_a_rule_asks_for_several_of_the_last_windows(monitor, machine):
    faults = [machine.faulty("leak", 20).samples for _ in range(2)]
    stream = Pipe(raw(faults[0], machine.normal(), faults[1]))
    windows = Windows(3.0, 3.0, RATE)
    found = list(check_stream(monitor, stream, windows, 0.01, Rule(2, 3)))
    assert [each.verdict for each in found][::2] == ["suspicious", "anomalous"]


@pytest.mark.parametrize("length", [None, 0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_stream_says_its_rate_and_channels(monitor, machine, length):
    sound = machine.normal()
    two = np.stack([sound, -sound], axis=1).ravel()
    content = raw(two)
    data = b"data" + (len(content) if length is None else length).to_bytes(4, "little") + content
    tail = b"LIST\4\0\0\0abcd" if length is None else b""
    pipe = Pipe(riff(fmt(channels=2), b"junk\3\0\0\0abc\0", data) + tail)
    (found,) = check_stream(monitor, pipe, Windows(3.0, 3.0), 0.05)
    exact = np.round(sound * 32768).astype(np.float32) / 32768
    assert found.score == pytest.approx(monitor.check(exact).score)


@pytest.mark.parametrize(
    ("content", "rate", "words"),
    [
        (b"", RATE, "ended after 0.00 s"),
        (b"\0" * 10000, RATE, "ended after 0.31 s"),
        (b"\0" * 10000, None, "--rate 16000"),
        (riff(fmt(rate=8000), b"data\0\0\0\0"), RATE, "of 8000 Hz, not --rate 16000"),
        (riff(fmt(tag=85), b"data\0\0\0\0"), None, "without plain samples"),
        (riff(fmt()), None, "without plain samples"),
        (riff(fmt(), b"data\0\0\0\0")[:30], None, "without plain samples"),
        (riff(b"data\0\0\0\0"), None, "no sample format"),
    ],
)
def test_a_stream_that_cannot_be_judged_is_refused(monitor, content, rate, words):
    with pytest.raises(AudioError, match=words):
        list(check_stream(monitor, Pipe(content), Windows(3.0, 3.0, rate), 0.05))


def test_a_channel_that_is_not_there_is_refused(normal_folder, monitor):
    from dataclasses import replace

    far = replace(monitor, front=replace(monitor.front, channel=1))
    with pytest.raises(AudioError, match="no channel 1"):
        list(check_stream(far, Pipe(riff(fmt(), b"data\0\0\0\0")), Windows(3.0, 3.0), 0.05))


@pytest.mark.parametrize(("window", "hop"), [(0.1, 0.1), (3.0, 4.0), (3.0, 0.0), (1e6, 1.0)])
def test_windows_that_cannot_be_are_refused(window, hop):
    with pytest.raises(AudioError, match="a hop is at most as long"):
        Windows(window, hop)
