"""WAV files as recorders, pipes and damaged headers leave them."""

import struct

import numpy as np
import pytest
import soundfile
from wav_files import (
    CONTENT,
    DATA,
    FILES,
    PACKED,
    SAMPLES,
    SOUND,
    WIDE,
    chunk,
    extensible,
    fmt,
    riff,
    stream,
)

from dcase_asd.audio import (
    AudioHeader,
    content_hash,
    inspect_recording,
    read_header,
    read_span,
    read_waveform,
)
from dcase_asd.errors import AudioError


@pytest.mark.parametrize(("content", "note"), FILES.values(), ids=FILES)
def test_all_16_bit_samples_of_a_file_are_read_however_it_was_written(tmp_path, content, note):
    path, plain = tmp_path / "clip.wav", tmp_path / "plain.wav"
    path.write_bytes(content)
    soundfile.write(plain, SAMPLES, 16000, subtype="PCM_16")
    found = inspect_recording(path)
    assert found.header == read_header(path) == AudioHeader(401, 16000, 1)
    assert (found.note.startswith(note), bool(found.note)) == (True, bool(note))
    np.testing.assert_array_equal(read_waveform(path), SOUND)
    np.testing.assert_array_equal(read_span(path, 100, 200), SOUND[100:300])
    np.testing.assert_array_equal(read_span(path, 390, 200), SOUND[390:])
    assert found.key == inspect_recording(plain).key
    assert content_hash(path) == content_hash(plain)


@pytest.mark.parametrize(
    "content",
    [
        riff(extensible(24), chunk(b"data", PACKED)),
        riff(fmt(bits=24), chunk(b"data", PACKED)),
        riff(fmt(bits=24, align=2), chunk(b"data", PACKED)),
        riff(fmt(bits=20, align=3), chunk(b"data", PACKED)),
        riff(extensible(32), chunk(b"data", WIDE)),
        riff(fmt(bits=32), chunk(b"data", WIDE)),
        riff(fmt(3, bits=32), chunk(b"data", SOUND.tobytes())),
        riff(fmt(3, bits=64), chunk(b"data", SOUND.astype("<f8").tobytes())),
        riff(extensible(32, tag=3), chunk(b"data", SOUND.tobytes())),
        riff(fmt(bits=0, align=2), DATA),
        riff(fmt(bits=12, align=2), DATA),
    ],
)
def test_samples_of_other_widths_hold_the_same_sound(tmp_path, content):
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    assert read_header(path) == AudioHeader(401, 16000, 1)
    np.testing.assert_array_equal(read_waveform(path), SOUND)
    np.testing.assert_array_equal(read_span(path, 5, 7), SOUND[5:12])


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channel", [0, 2])
def test_samples_are_decoded_as_libsndfile_does(tmp_path, subtype, channel):
    sound = np.random.default_rng(1).uniform(-1, 1, (500, 3))
    path = tmp_path / "clip.wav"
    soundfile.write(path, sound, 44100, subtype=subtype)
    expected = soundfile.read(path, dtype="float32")[0][:, channel]
    np.testing.assert_array_equal(read_waveform(path, channel), expected)
    np.testing.assert_array_equal(read_span(path, 123, 45, channel), expected[123:168])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (riff(fmt(), b"data" + struct.pack("<I", 5000) + CONTENT), "truncated, 802 of 5000 bytes"),
        # 3 GB that were announced and did not come are no stream.
        (stream(0xB2D05E00), "truncated, 802 of 3000000000 bytes"),
        (riff(fmt()), "the WAV header ends before any sample"),
        (riff(fmt(), chunk(b"data", b"")), "holds no sample"),
        (riff(fmt(), chunk(b"data", b""), chunk(b"LIST", b"INFO")), "holds no sample"),
        (riff(DATA), "says no sample format"),
        (riff(fmt(channels=0), DATA), "its header says 0 channels at 16000 Hz"),
        (riff(fmt(rate=0), DATA), "its header says 1 channels at 0 Hz"),
        (riff(fmt(bits=40), DATA), "integer samples of 40 bits"),
        (riff(fmt(3, bits=16), DATA), "float samples of 16 bits"),
        (riff(fmt(bits=24, align=4, byte_rate=64000), DATA), "24 bits in blocks of 4 bytes for 1"),
    ],
)
def test_a_file_that_does_not_say_what_it_holds_is_refused_with_the_reason(
    tmp_path, content, reason
):
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    for read in (inspect_recording, read_header, read_waveform, content_hash):
        with pytest.raises(AudioError, match=rf"clip\.wav: .*{reason}"):
            read(path)


def test_a_list_of_waves_that_ends_too_early_is_refused(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(riff(fmt(), chunk(b"LIST", b"wavl")))
    with pytest.raises(AudioError, match="ends before any sample"):
        read_waveform(path)
