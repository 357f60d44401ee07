import struct

import numpy as np
import pytest
import soundfile

from dcase_asd.audio import (
    AudioHeader,
    content_hash,
    inspect_recording,
    read_blocks,
    read_clip,
    read_header,
    read_span,
    read_waveform,
)
from dcase_asd.errors import AudioError


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [
        ("PCM_U8", 1e-2),
        ("PCM_16", 1e-4),
        ("PCM_24", 1e-6),
        ("PCM_32", 1e-6),
        ("FLOAT", 0),
        ("DOUBLE", 1e-7),
    ],
)
def test_every_sample_format_is_read_for_what_it_is(tmp_path, subtype, tolerance):
    sound = np.linspace(-0.9, 0.9, 1600, dtype=np.float32)
    path = tmp_path / "clip.wav"
    soundfile.write(path, sound, 16000, subtype=subtype)
    assert read_header(path) == AudioHeader(1600, 16000, 1)
    read = read_waveform(path)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, sound, atol=tolerance)


def test_flac_is_read_like_wav(tmp_path):
    sound = np.linspace(-30000, 30000, 1600).astype(np.int16)
    for name in ("clip.wav", "clip.flac"):
        soundfile.write(tmp_path / name, sound, 16000, subtype="PCM_16")
    wav, flac = tmp_path / "clip.wav", tmp_path / "clip.flac"
    assert read_header(flac) == read_header(wav)
    np.testing.assert_array_equal(read_waveform(flac), read_waveform(wav))
    assert inspect_recording(flac) == inspect_recording(wav)
    assert content_hash(flac) == content_hash(wav)


def test_the_chosen_channel_is_read(tmp_path):
    path = tmp_path / "stereo.wav"
    near, far = np.full(100, 0.25), np.full(100, -0.5)
    soundfile.write(path, np.stack([near, far], axis=1), 16000)
    assert read_waveform(path)[0] == 0.25
    assert read_waveform(path, channel=1)[0] == -0.5
    with pytest.raises(AudioError, match=r"stereo\.wav: there is no channel 2, the file has 2"):
        read_waveform(path, channel=2)


def test_resampling_keeps_a_tone_and_removes_what_the_new_rate_cannot_hold(tmp_path):
    time = np.arange(48000) / 48000
    path = tmp_path / "tone.wav"
    soundfile.write(
        path, 0.4 * np.sin(2 * np.pi * 1000 * time) + 0.4 * np.sin(2 * np.pi * 12000 * time), 48000
    )
    read = read_waveform(path, sample_rate=16000)
    assert len(read) == 16000
    expected = 0.4 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    np.testing.assert_allclose(read[1000:-1000], expected[1000:-1000], atol=2e-3)


def test_chunks_before_the_samples_are_passed_over(tmp_path):
    plain, commented = tmp_path / "plain.wav", tmp_path / "commented.wav"
    sound = np.linspace(-0.5, 0.5, 400)
    soundfile.write(plain, sound, 16000, subtype="PCM_16")
    content = plain.read_bytes()
    comment = b"LIST" + struct.pack("<I", 9001) + b"x" * 9001 + b"\0"
    body = content[12:36] + comment + content[36:]
    commented.write_bytes(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body)
    assert read_header(commented) == AudioHeader(400, 16000, 1)
    assert content_hash(commented) == content_hash(plain)
    np.testing.assert_array_equal(read_waveform(commented), read_waveform(plain))


def test_a_format_chunk_far_into_the_file_is_found(tmp_path):
    path = tmp_path / "late.wav"
    soundfile.write(path, np.linspace(-0.5, 0.5, 400), 16000, subtype="PCM_16")
    content = path.read_bytes()
    comment = b"LIST" + struct.pack("<I", 8000) + b"x" * 8000
    body = comment + content[12:]
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body)
    assert read_header(path) == AudioHeader(400, 16000, 1)


def test_a_stream_of_unknown_length_is_read_to_its_end(tmp_path):
    path = tmp_path / "stream.wav"
    soundfile.write(path, np.linspace(-0.5, 0.5, 400), 16000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert read_header(path).frames == 400


def test_equal_audio_has_equal_keys_and_other_audio_another_hash(tmp_path, write_clip):
    one = write_clip(tmp_path / "a.wav", seed=1)
    same = write_clip(tmp_path / "b.wav", seed=1)
    other = write_clip(tmp_path / "c.wav", seed=2)
    assert inspect_recording(one) == inspect_recording(same)
    assert content_hash(one) == content_hash(same) != content_hash(other)


def _truncated(content):
    return content[: len(content) // 2]


def _without_samples(content):
    return content[:40] + struct.pack("<I", 0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "the file is empty"),
        (_truncated, r"truncated, 7978 of 16000 bytes of audio"),
        (_without_samples, "holds no sample"),
        (lambda content: content[:20], "the WAV header ends before any sample"),
        (lambda content: content[:12] + content[36:], "says no sample format"),
        (lambda content: b"not audio at all" * 100, "not readable as audio"),
    ],
)
def test_a_damaged_file_is_refused_with_its_reason(tmp_path, write_clip, damage, message):
    path = write_clip(tmp_path / "clip.wav")
    path.write_bytes(damage(path.read_bytes()))
    for read in (read_header, read_waveform, content_hash):
        with pytest.raises(AudioError, match=r"clip\.wav: ") as error:
            read(path)
        if read is not content_hash or "not readable" not in message:
            assert message.replace("\\", "") in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav: cannot be read"):
        read_header(tmp_path / "gone.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, value):
    sound = np.zeros(100, dtype=np.float32)
    sound[7] = value
    path = tmp_path / "bad.wav"
    soundfile.write(path, sound, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=rf"bad\.wav: sample 7 is {value}"):
        read_waveform(path)


def test_an_empty_flac_is_refused(tmp_path):
    path = tmp_path / "empty.flac"
    soundfile.write(path, np.zeros(0), 16000)
    with pytest.raises(AudioError, match=r"empty\.flac: "):
        read_header(path)


@pytest.mark.parametrize(
    ("container", "subtype", "tolerance"),
    [
        ("RF64", "PCM_16", 1e-4), ("W64", "PCM_24", 1e-6), ("AIFF", "PCM_16", 1e-4),
        ("FLAC", "PCM_16", 1e-4), ("WAV", "ULAW", 0.02), ("WAV", "ALAW", 0.02),
        ("WAV", "IMA_ADPCM", 0.02), ("WAV", "MS_ADPCM", 0.02), ("WAV", "GSM610", 0.2),
        ("MP3", "MPEG_LAYER_III", 0.1),
    ],
)  # fmt: skip
def test_other_formats_that_are_called_wav_are_read_as_they_are_inspected(
    tmp_path, container, subtype, tolerance
):
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    path = tmp_path / "clip.WAV"
    soundfile.write(path, sound, 16000, format=container, subtype=subtype)
    found = inspect_recording(path)
    assert (found.header.sample_rate, found.header.channels, found.note) == (16000, 1, "")
    read = read_waveform(path)
    assert len(read) == found.header.frames >= 16000
    np.testing.assert_allclose(read[4000:12000], sound[4000:12000], atol=tolerance)
    np.testing.assert_array_equal(read_span(path, 5000, 300), read[5000:5300])
    assert content_hash(path) == content_hash(path)


@pytest.mark.parametrize("container", ["WAV", "W64", "AIFF"])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("loudest", [12000, 32767, 20])
def test_floats_in_the_unit_of_16_bit_integers_are_scaled_and_that_is_said(
    tmp_path, container, subtype, loudest
):
    whole = np.random.default_rng(0).integers(-loudest, loudest, (900, 2)).astype(float)
    whole[17] = loudest
    path = tmp_path / "clip.wav"
    soundfile.write(path, whole, 16000, format=container, subtype=subtype)
    assert inspect_recording(path).note == (
        f"float samples up to {loudest:,} are taken for 16-bit integers: divided by 32,768"
    )
    for channel in (0, 1):
        expected = (whole[:, channel] / 32768).astype(np.float32)
        np.testing.assert_array_equal(read_waveform(path, channel), expected)
        # As it is one factor for the file, a quiet part is not taken for another unit.
        np.testing.assert_array_equal(read_span(path, 800, 20, channel), expected[800:820])


@pytest.mark.parametrize("peak", [0.5, 1.0, 1.3, 7.9])
def test_floats_above_full_scale_are_left_as_they_are(tmp_path, peak):
    sound = np.linspace(-peak, peak / 3, 800, dtype=np.float32)
    path = tmp_path / "clip.wav"
    soundfile.write(path, sound, 16000, subtype="FLOAT")
    assert inspect_recording(path).note == ""
    np.testing.assert_array_equal(read_waveform(path), sound)
    np.testing.assert_array_equal(read_span(path, 10, 20), sound[10:30])


def test_floats_of_whole_numbers_within_full_scale_are_left_as_they_are(tmp_path):
    square = np.tile(np.array([1, 1, -1, -1], dtype=np.float32), 200)
    path = tmp_path / "clip.wav"
    soundfile.write(path, square, 16000, subtype="FLOAT")
    np.testing.assert_array_equal(read_waveform(path), square)


def test_floats_in_an_unknown_unit_are_refused(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.linspace(-8e6, 8e6, 800), 16000, subtype="FLOAT")
    message = r"clip\.wav: float samples up to 8,000,000, neither between -1 and 1 nor in the unit"
    for read in (inspect_recording, read_waveform, lambda path: read_span(path, 0, 10)):
        with pytest.raises(AudioError, match=message):
            read(path)


def test_a_channel_that_is_not_finite_spoils_no_other(tmp_path):
    path = tmp_path / "clip.wav"
    sound = np.full((100, 2), 0.25, dtype=np.float32)
    sound[40, 0] = np.nan
    soundfile.write(path, sound, 16000, subtype="FLOAT")
    assert inspect_recording(path).header.channels == 2
    np.testing.assert_array_equal(read_waveform(path, 1), sound[:, 1])
    with pytest.raises(AudioError, match="sample 40 is nan, not a finite number"):
        read_waveform(path, 0)
    sound[:, 1] = np.inf
    soundfile.write(path, sound, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="holds samples that are not finite numbers"):
        inspect_recording(path)


def test_a_channel_without_sound_is_told_with_the_channels_that_have_some(tmp_path):
    path = tmp_path / "clip.wav"
    sound = np.zeros((900, 4))
    sound[:, 1] = 0.1  # constant, which is no sound
    sound[:, 3] = np.sin(np.arange(900))
    soundfile.write(path, sound, 44100)
    assert [read_clip(path, channel, 16000)[1] for channel in range(4)] == [[3], [3], [3], None]
    soundfile.write(path, sound[:, 1], 44100)
    assert read_clip(path, 0, 16000)[1] == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html><body>429 Too Many Requests</body></html>", "a web page"),
        (b"\xef\xbb\xbf\r\n <HTML>Sign in</HTML>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 320044\n",
            r"a Git LFS pointer to it; fetch the recording with `git lfs pull`",
        ),
    ],
)
@pytest.mark.parametrize("name", ["clip.wav", "clip.flac"])
def test_what_was_saved_in_place_of_a_recording_is_named(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (inspect_recording, read_waveform):
        with pytest.raises(AudioError, match=rf"{name}: no audio but {reason}"):
            read(path)


def test_a_flac_that_was_cut_or_does_not_say_its_length_is_refused(tmp_path, write_clip):
    path = write_clip(tmp_path / "clip.flac", seconds=3)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    for read in (inspect_recording, read_waveform):
        with pytest.raises(AudioError, match=r"clip\.flac: .*(cut|truncated)"):
            read(path)
    # The last 36 bits before the checksum of the stream's description are its length.
    path.write_bytes(whole[:21] + bytes([whole[21] & 0xF0]) + bytes(4) + whole[26:])
    with pytest.raises(AudioError, match="does not say its length, as FLAC that was written into"):
        inspect_recording(path)


def test_other_formats_that_were_cut_or_hold_nothing_are_refused(tmp_path):
    path, sound = tmp_path / "clip.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 48_000)
    soundfile.write(path, sound, 16_000, format="MP3")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(AudioError, match=r"clip\.wav: truncated before its last sample; copy"):
        inspect_recording(path)
    with pytest.raises(AudioError, match=r"clip\.wav: truncated, \d+ of 48000 samples; copy"):
        read_waveform(path)
    soundfile.write(path, sound[:0], 16_000, format="OGG")
    for read in (inspect_recording, read_waveform):
        with pytest.raises(AudioError, match=r"clip\.wav: holds no sample; copy"):
            read(path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_blocks_are_the_recording(tmp_path, monkeypatch, name):
    monkeypatch.setattr("dcase_asd.audio.BLOCK_FRAMES", 777)
    sound = np.sin(np.arange(4000) / 20)[:, None] * [0.5, 0.2]
    soundfile.write(tmp_path / name, sound, 16000)
    blocks = list(read_blocks(tmp_path / name, channel=1))
    assert [len(block) for block in blocks[:2]] == [777, 777]
    np.testing.assert_array_equal(np.concatenate(blocks), read_waveform(tmp_path / name, 1))


def test_blocks_in_the_unit_of_integers_are_scaled_and_broken_ones_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dcase_asd.audio.BLOCK_FRAMES", 100)
    path = tmp_path / "a.wav"
    sound = np.arange(-500, 500, dtype=np.float32)
    soundfile.write(path, sound, 16000, subtype="FLOAT")
    np.testing.assert_allclose(np.concatenate(list(read_blocks(path))), sound / 32768)
    two = np.stack([sound, sound], axis=1)
    two[450, 0] = np.inf
    soundfile.write(path, two, 16000, subtype="FLOAT")
    assert len(list(read_blocks(path, 1))) == 10
    with pytest.raises(AudioError, match="sample 450 is no finite number"):
        list(read_blocks(path))
    soundfile.write(path, sound * np.nan, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="not finite numbers"):
        list(read_blocks(path))
    with pytest.raises(AudioError, match="no channel 1"):
        list(read_blocks(path, 1))
