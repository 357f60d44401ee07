"""A recording is heard the same in blocks as at once, and its properties are measured right."""

import numpy as np
import pytest
import soundfile
import soxr

from dcase_asd.errors import AudioError
from dcase_asd.monitor import hearing
from dcase_asd.monitor.hearing import FrontEnd, hear, hear_grids, open_sound, sound_of, waveforms
from dcase_asd.monitor.log_mel import LogMel

NOISE = (0.1 * np.random.default_rng(0).standard_normal(80000)).astype(np.float32)


@pytest.mark.parametrize("block", [977, 16000, 1 << 18])
def test_windows_are_those_of_the_whole_recording(monkeypatch, block):
    monkeypatch.setattr(hearing, "BLOCK_FRAMES", block)
    front = FrontEnd(window=2.0)
    windows = hear(sound_of(NOISE, 16000), front).windows
    assert [each.end for each in windows] == pytest.approx([2.5, 5.0])
    assert [each.start for each in windows] == pytest.approx([0.0, 2.5])
    frames = LogMel()(NOISE)[:, front.used]
    for window, part in zip(windows, (frames[:250], frames[250:]), strict=True):
        expected = np.concatenate([part.mean(0), part.std(0)])
        np.testing.assert_allclose(window.vector, expected, rtol=1e-4, atol=1e-4)
    cell, band = windows[0].grid[0, 3], frames[:25, 6:8].mean(axis=1) * 10 / np.log(10)
    np.testing.assert_allclose(cell, [band.mean(), band.max()], rtol=1e-4)
    assert windows[0].grid.shape == (10, len(front.band_starts), 2)


def test_a_recording_of_another_rate_is_resampled_as_a_whole(monkeypatch):
    monkeypatch.setattr(hearing, "BLOCK_FRAMES", 5000)
    fast = soxr.resample(NOISE, 16000, 44100)
    (window,) = hear(sound_of(fast, 44100), FrontEnd()).windows
    back = soxr.resample(fast, 44100, 16000, quality="HQ").astype(np.float32)
    frames = LogMel()(back)[:, FrontEnd().used]
    np.testing.assert_allclose(window.vector[: FrontEnd().bins], frames.mean(0), atol=0.01)


def test_times_do_not_drift_where_a_frame_is_no_whole_number_of_samples():
    sound = np.random.default_rng(0).standard_normal(11025 * 60) * 0.1
    sound[11025 * 50 : 11025 * 51] *= 10
    front = FrontEnd(11025, window=60.0)
    (window,) = hear(sound_of(sound, 11025), front).windows
    loud = window.grid[:, :, 0].mean(axis=1) > window.grid[:, :, 0].mean() + 10
    times = np.flatnonzero(loud) * 25 * front.shift
    assert times[0] == pytest.approx(50, abs=0.26)
    parts = hear(sound_of(sound, 11025), FrontEnd(11025, window=6.0)).windows
    assert {len(part.grid) for part in parts} <= {23, 24, 25}


def test_the_band_edges_cover_what_is_used_without_a_gap():
    front = FrontEnd()
    edges = front.band_edges
    assert (np.diff(edges) > 0).all()
    assert edges[0] == 20
    assert 7000 < front.tops[-1] == edges[-1] <= 7200
    assert (LogMel().filters[:, front.used].sum(axis=0) > 0).all()
    assert 0 < 128 - front.bins < 15
    (at,) = np.flatnonzero((edges[:-1] <= 1000) & (edges[1:] > 1000))
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(32000) / 16000)
    grid = hear(sound_of(tone, 16000), front).windows[0].grid
    assert grid[:, :, 0].mean(axis=0).argmax() == at


def test_windows_as_samples_are_those_of_the_recording(monkeypatch):
    monkeypatch.setattr(hearing, "BLOCK_FRAMES", 3000)
    parts = list(waveforms(sound_of(NOISE, 16000), FrontEnd(window=2.0), None))
    assert [len(part) for part in parts] == [40000, 40000]
    np.testing.assert_array_equal(np.concatenate(parts), NOISE)
    slow = list(waveforms(sound_of(NOISE, 16000), FrontEnd(window=2.0), 8000))
    assert sum(map(len, slow)) == pytest.approx(40000, abs=2)


def test_windows_as_samples_come_while_the_recording_is_read():
    begun = []

    def blocks():
        for number in range(10):
            begun.append(number)
            yield NOISE[:8000]

    next(waveforms(hearing.Sound("x", 16000, 80000, blocks), FrontEnd(window=1.0), None))
    assert begun == [0, 1]


def test_a_grid_that_was_not_kept_is_made_again(monkeypatch):
    monkeypatch.setattr(hearing, "MOST_GRIDS", 2)
    sound, front = sound_of(soxr.resample(NOISE, 16000, 44100), 44100), FrontEnd(window=1.0)
    kept = hear(sound, front).windows
    few = hear(sound, front, all_grids=False)
    assert [len(each.grid) for each in few.windows] == [0] * 5
    np.testing.assert_array_equal(few.windows[3].vector, kept[3].vector)
    again = list(hear_grids(sound, front, few))
    assert len(again) == 5
    for one, other in zip(again, kept, strict=True):  # frames begin up to half a frame apart
        assert np.median(np.abs(one[:3] - other.grid[:3])) < 0.3
    assert [len(each.grid) for each in hear(sound, FrontEnd(window=2.5), all_grids=False).windows]


@pytest.mark.parametrize("block", [700, 1 << 18])
def test_properties_are_measured_over_blocks(monkeypatch, block):
    monkeypatch.setattr(hearing, "BLOCK_FRAMES", block)
    sound = NOISE.copy()
    sound[30000:32000] = sound[30000]
    sound = np.clip(sound, -0.2, 0.2) + np.float32(0.05)
    found = hear(sound_of(sound, 16000), FrontEnd()).properties
    assert found.frozen == pytest.approx(1999 / 16000, abs=3 / 16000)
    assert found.level == pytest.approx(20 * np.log10(sound.std()), abs=0.01)
    assert found.offset == pytest.approx(sound.mean(), abs=1e-5)
    if block > len(sound):
        floor = np.quantile(sound.astype(np.float64).reshape(-1, 160).var(axis=1), 0.05)
        assert found.noise_floor == pytest.approx(10 * np.log10(floor), abs=0.1)
    extremes = [
        (sound[1:] == value) & (sound[:-1] == value) for value in (sound.min(), sound.max())
    ]
    assert found.clipped == pytest.approx(sum(map(np.sum, extremes)) / len(sound))
    assert found.seconds == 5.0


def test_the_key_is_that_of_the_samples(tmp_path):
    whole = (NOISE * 32768).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", whole, 16000)
    soundfile.write(tmp_path / "b.flac", whole, 16000)
    soundfile.write(tmp_path / "c.wav", whole, 8000)
    keys = [hear(open_sound(tmp_path / name), FrontEnd(8000)).key
            for name in ("a.wav", "b.flac", "c.wav")]  # fmt: skip
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (np.zeros((5, 2)), 16000, "one channel"),
        (np.zeros(0), 16000, "one channel"),
        (np.zeros(9), 0, "its rate"),
        (np.array([0.0, np.nan]), 16000, "sample 1 is nan"),
        (np.zeros(100), 16000, "0.5 s"),
    ],
)
def test_an_array_that_is_no_recording_is_refused(samples, rate, words):
    with pytest.raises(AudioError, match=words):
        hear(sound_of(samples, rate, "x"), FrontEnd())
