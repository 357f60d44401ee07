"""From recordings to verdicts, and what is said of recordings that are not as the normal ones."""

import re

import numpy as np
import pytest
import soundfile
import soxr
from located_faults import RATE, Machine, overlaps

from dcase_asd.errors import AudioError, DataError, RecipeError, TooFewClipsError
from dcase_asd.monitor.hearing import hear, sound_of
from dcase_asd.monitor.monitor import Monitor
from dcase_asd.progress import Silent


def words(verdict):
    return " ".join(verdict.notes)


def test_normal_recordings_are_normal_and_faults_are_not(monitor, machine):
    found = [monitor.check(machine.normal()) for _ in range(20)]
    assert sum(each.verdict == "anomalous" for each in found) <= 3
    assert not any("recorded" in words(each) for each in found)
    found = [monitor.check(machine.faulty("leak", 15).samples) for _ in range(5)]
    assert {each.verdict for each in found} == {"anomalous"}
    assert all(each.score > each.threshold for each in found)
    assert all(each.p_value == pytest.approx(1 / 31) for each in found)


def test_a_usual_normal_recording_scores_one(monitor):
    scores = monitor.judge.scorer.calibration.scores
    assert np.median(scores) == pytest.approx(1.0)
    assert len(scores) == 30


@pytest.mark.parametrize("kind", ["knock", "tone", "missing", "leak", "dropout"])
def test_the_span_of_a_fault_is_where_the_fault_is(kind):
    machine = Machine(1, 5.0, "noisy")
    model = Monitor.fit([machine.normal() for _ in range(30)], sample_rate=RATE)
    faults = [machine.faulty(kind, 15) for _ in range(10)]
    found = [model.check(each.samples) for each in faults]
    hits = [
        bool(each.spans) and overlaps(fault, each.spans[0])
        for fault, each in zip(faults, found, strict=True)
    ]
    assert sum(hits) >= 9
    ends = [
        abs(span.start - fault.start) + abs(span.end - fault.end)
        for fault, each in zip(faults, found, strict=True)
        for span in each.spans[:1]
    ]
    assert np.median(ends) / 2 <= 0.3
    signs = {each.spans[0].decibels > 0 for each in found if each.spans}
    assert signs == {kind not in ("missing", "dropout")}


def test_faint_short_events_are_told_at_the_false_alarm_rate():
    machine = Machine(1, 5.0, "noisy")
    model = Monitor.fit([machine.normal() for _ in range(99)], sample_rate=RATE)
    usual = [model.check(machine.normal()) for _ in range(40)]
    assert sum(each.verdict == "anomalous" for each in usual) <= 2
    faults = [machine.faulty("knock", 6) for _ in range(10)]
    found = [model.check(each.samples) for each in faults]
    assert sum(each.verdict == "anomalous" for each in found) >= 7
    assert sum(bool(each.spans) and overlaps(fault, each.spans[0])
               for fault, each in zip(faults, found, strict=True)) >= 8  # fmt: skip


def test_an_event_in_another_window_than_the_one_that_scores_most_is_marked(monitor, machine):
    calm, loud = [machine.normal() for _ in range(2)], machine.faulty("knock", 30)
    found = monitor.check(np.concatenate([*calm, loud.samples]), rule="2/3")
    assert found.verdict == "suspicious"
    assert "what is marked" in words(found)
    assert 6 + loud.start - 0.3 <= found.spans[0].start <= 6 + loud.end
    quiet = monitor.check(np.concatenate([*calm, machine.normal()]), rule="2/3")
    assert quiet.verdict == "normal"


def test_a_single_knock_makes_a_recording_suspicious(monitor, machine):
    found = [monitor.check(machine.faulty("knock", 25).samples) for _ in range(5)]
    assert sum(each.verdict != "normal" for each in found) >= 4
    noted = [each for each in found if "normal, but for what is marked" in words(each)]
    assert all(each.verdict == "suspicious" and each.spans for each in noted)


def test_the_heat_map_has_axes_in_seconds_and_hertz(monitor, machine):
    fault = machine.faulty("leak", 20)
    heat = monitor.check(fault.samples).heat
    assert heat.values.shape == (len(heat.times) - 1, len(heat.bands) - 1)
    assert heat.times[0] == 0
    assert heat.times[-1] == pytest.approx(3.0)
    time, band = np.unravel_index(heat.values.argmax(), heat.values.shape)
    assert fault.start - 1.0 <= heat.times[time] <= fault.end
    assert fault.low * 0.9 <= heat.bands[band] <= fault.high


def test_the_nearest_normal_recording_of_one_is_itself(monitor, normal_folder):
    path = normal_folder / "mon day/rec 07 ä.wav"
    assert monitor.check(path).nearest == "mon day/rec 07 ä.wav"
    assert monitor.check(path).file == str(path)
    assert monitor.check(path, name="x").file == "x"


def test_another_rate_of_the_same_sound_changes_little(monitor, machine):
    sound = machine.normal()
    own = monitor.check(sound)
    fast = monitor.check(soxr.resample(sound, RATE, 44100), 44100)
    assert fast.score == pytest.approx(own.score, rel=0.2)
    assert "recorded at 44100 Hz, the normal recordings at 16000 Hz" in words(fast)


@pytest.mark.parametrize("as_is", [True, False], ids=["8000 Hz", "upsampled"])
def test_a_narrow_recording_is_compared_where_it_has_sound(monitor, machine, as_is):
    for _ in range(3):
        slow = soxr.resample(machine.normal(), RATE, 8000)
        found = (
            monitor.check(slow, 8000) if as_is else monitor.check(soxr.resample(slow, 8000, RATE))
        )
        assert "nothing above" in words(found)
        assert "compared below it" in words(found)
        assert all(span.high <= 4000 for span in found.spans)
        assert found.verdict != "anomalous"


def test_gain_alone_is_no_anomaly_and_is_told(monitor, machine):
    found = monitor.check(machine.normal() * 8)
    assert re.search("1[789] dB louder than the normal recordings", words(found))
    assert "it would be normal" in words(found)
    assert found.verdict == "suspicious"
    assert found.score > found.threshold
    assert found.spans == ()
    quiet = monitor.check(machine.normal() * 0.1)
    assert quiet.verdict == "suspicious"
    assert "nothing above" not in words(quiet)
    found = monitor.check(machine.faulty("leak", 20).samples * 8)
    assert found.verdict == "anomalous"


def test_faults_of_the_recorder_are_told(monitor, machine):
    sound = machine.normal()
    assert "DC offset" in words(monitor.check(sound + 0.1))
    assert "clipped" in words(monitor.check(np.clip(sound, -0.03, 0.03)))
    frozen = sound.copy()
    frozen[20000:22000] = 0
    assert "do not change for 0.12 s" in words(monitor.check(frozen))
    hiss = sound + 0.1 * np.random.default_rng(0).standard_normal(len(sound))
    assert "dB louder" in words(monitor.check(hiss))
    gated = sound.copy()
    gated[: len(gated) // 3] *= 0.01
    assert "a noise gate" in words(monitor.check(gated))


def test_silence_is_suspicious_and_told(monitor):
    found = monitor.check(np.zeros(48000))
    assert found.verdict == "suspicious"
    assert found.notes[0].startswith("silence")


def test_a_short_recording_is_judged_and_told(monitor, machine):
    assert "1.0 s long" in words(monitor.check(machine.normal()[:16000]))
    with pytest.raises(AudioError, match=r"0\.5 s"):
        monitor.check(machine.normal()[:4000])
    with pytest.raises(AudioError, match="not a finite number"):
        monitor.check(np.full(16000, np.nan))


def test_a_long_recording_is_cut_into_windows(monitor, machine):
    parts = [machine.normal() for _ in range(5)]
    parts[3] = machine.faulty("leak", 20).samples
    found = monitor.check(np.concatenate(parts), rule="1/1")
    assert found.verdict == "anomalous"
    assert 9 <= found.spans[0].start < found.spans[0].end <= 12
    assert monitor.check(np.concatenate(parts), rule="2/3").verdict != "anomalous"
    assert "5 windows, of which 2 have to be above" in words(monitor.check(np.concatenate(parts)))


def test_left_out_scores_leave_all_windows_of_a_recording_out():
    random = np.random.default_rng(0)

    # Each recording has a spectrum of its own, so that its windows are near each other alone.
    def sound():
        tones = random.uniform(300, 6000, 5)
        time = np.arange(4 * RATE) / RATE
        return sum(np.sin(2 * np.pi * tone * time) for tone in tones) * 0.05 + random.normal(
            0, 0.001, len(time)
        )  # fmt: skip

    whole = [sound() for _ in range(12)]
    model = Monitor.fit(whole, sample_rate=RATE, window=1.0)
    assert len(model.normals) == 48
    assert np.median([model.check(sound()).p_value for _ in range(10)]) > 0.1


def test_one_long_recording_is_enough():
    machine = Machine(5, 60.0, "noisy")
    model = Monitor.fit([machine.normal()], sample_rate=RATE, window=2.0)
    assert len(model.normals) == 30
    assert np.isfinite(model.judge.scorer.calibration.scores).all()


def test_what_says_nothing_of_the_machine_is_left_out(tmp_path, machine):
    for number in range(6):
        soundfile.write(tmp_path / f"{number}.flac", machine.normal(), RATE)
    soundfile.write(tmp_path / "copy.wav", soundfile.read(tmp_path / "0.flac")[0], RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "short.wav", machine.normal()[:100], RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    (tmp_path / "broken.wav").write_bytes(b"RIFF1234WAVE")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.wav").write_bytes(b"x")
    progress = Silent()
    model = Monitor.fit(tmp_path, progress=progress)
    assert len(model.normals.recordings) == 6
    reasons = {each.name: each.reason for each in model.skipped}
    assert set(reasons) == {"broken.wav", "copy.wav", "nan.wav", "short.wav", "silent.wav"} or (
        set(reasons) == {"broken.wav", "0.flac", "nan.wav", "short.wav", "silent.wav"}
    )
    assert reasons["silent.wav"] == "silence: all samples are equal"
    assert "0.5 s" in reasons["short.wav"]
    assert any("1 other file(s)" in note for note in progress.notes)
    assert any("the same samples as another" in note for note in progress.notes)


def test_wrong_places_name_the_way_out(tmp_path, machine):
    with pytest.raises(DataError, match="no such file or folder"):
        Monitor.fit(tmp_path / "none")
    with pytest.raises(DataError, match=r"no recording here.*\.wav"):
        Monitor.fit(tmp_path)
    with pytest.raises(DataError, match="no recording"):
        Monitor.fit([])
    soundfile.write(tmp_path / "one.wav", machine.normal(), RATE)
    with pytest.raises(TooFewClipsError, match=r"1 normal window\(s\) of 3 s.*--window 0.5"):
        Monitor.fit(tmp_path)
    assert len(Monitor.fit(tmp_path, window=0.5).normals) == 6
    (tmp_path / "one.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"one\.wav: the file is empty"):
        Monitor.fit(tmp_path)
    soundfile.write(tmp_path / "one.wav", np.zeros(RATE), RATE)
    with pytest.raises(AudioError, match=r"none of 1 recording.*silence"):
        Monitor.fit(tmp_path)
    with pytest.raises(AudioError, match="give sample_rate"):
        Monitor.fit([machine.normal()])
    with pytest.raises(RecipeError, match="between 0 and 1"):
        Monitor.fit(tmp_path, false_alarms=1.5)


def test_an_update_adds_what_is_new(monitor, machine, normal_folder):
    with pytest.raises(DataError, match=r"nothing new.*the same samples"):
        monitor.update(normal_folder)
    grown = monitor.update([*sorted(normal_folder.glob("*.wav")), machine.normal()])
    assert len(grown.normals.recordings) == 31
    assert len(grown.skipped) == 15
    assert grown.judge.scorer.calibration.supports == pytest.approx(1 / 32)
    assert grown.front == monitor.front


def test_what_the_normal_recordings_are_is_told(machine):
    plain = [machine.normal() for _ in range(12)]
    other = [each + _tone(2000) for each in [machine.normal() for _ in range(12)]]
    notes = " ".join(Monitor.fit([*plain, *other], sample_rate=RATE).notes())
    assert "two kinds (12 and 12 windows, such as array" in notes
    notes = " ".join(Monitor.fit(plain, sample_rate=RATE, false_alarms=0.2).notes())
    assert notes == ""
    notes = " ".join(Monitor.fit(plain, sample_rate=RATE).notes())
    assert "12 normal window(s) support a false-alarm rate of 0.077 at best, not 0.01" in notes
    assert "record 99 or more" in notes
    notes = " ".join(Monitor.fit([*plain, _tone(3000) + plain[0]], sample_rate=RATE).notes())
    assert "array 12 (score" in notes
    assert "is far from all other normal recordings" in notes
    assert "fit again with --exclude 'array 12'" in notes


def test_a_long_recording_is_explained_where_its_grids_were_not_kept(monitor, machine, monkeypatch):
    parts = [machine.normal() for _ in range(4)]
    parts[2] = machine.faulty("leak", 20).samples
    expected = monitor.check(np.concatenate(parts), rule="1/1")
    monkeypatch.setattr("dcase_asd.monitor.hearing.MOST_GRIDS", 3)
    found = monitor.check(np.concatenate(parts), rule="1/1")
    assert (found.score, found.verdict) == (expected.score, "anomalous")
    assert found.spans[0].start == pytest.approx(expected.spans[0].start, abs=0.3)
    assert found.spans[0].deviation == pytest.approx(expected.spans[0].deviation, rel=0.2)


def _tone(hertz):
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(3 * RATE) / RATE)).astype(np.float32)


def test_low_rates_and_narrow_recordings_among_the_normal_ones_are_told(tmp_path, machine):
    for number in range(8):
        soundfile.write(tmp_path / f"{number}.wav", machine.normal(), RATE)
    slow = soxr.resample(machine.normal(), RATE, 8000)
    soundfile.write(tmp_path / "narrow.wav", soxr.resample(slow, 8000, RATE), RATE)
    model = Monitor.fit(tmp_path)
    assert "1 recording(s), such as narrow.wav, hold nothing above" in " ".join(model.notes())
    soundfile.write(tmp_path / "slow.wav", slow, 8000)
    model = Monitor.fit(tmp_path)
    assert model.front.sample_rate == 8000
    assert "1 of 10 recordings are of less than 16000 Hz (slow.wav: 8000 Hz)" in " ".join(
        model.notes()
    )
    model = Monitor.fit(tmp_path, sample_rate=16000)
    assert [each.name for each in model.skipped] == ["slow.wav"]


@pytest.mark.shared
def test_real_fans_with_other_names_and_rates(shared_audio, tmp_path):
    """Twelve normal recordings; 8 normal and 20 anomalous ones are ranked right."""
    folder = shared_audio / "dcase2020t2/dev_data/raw/fan"
    rates = (16000, 22050, 44100, 48000, 8000)
    anomalous = {}
    for split in ("train", "test"):
        for number, path in enumerate(sorted((folder / split).glob("*.wav"))):
            samples, rate = soundfile.read(path)
            other = rates[number % 4] if split == "train" else rates[(number * 3) % 5]
            name = tmp_path / split / f"{number * 37 % 101:03d}.{'flac' if number % 2 else 'wav'}"
            name.parent.mkdir(exist_ok=True)
            soundfile.write(name, soxr.resample(samples, rate, other), other)
            anomalous[str(name)] = path.name.startswith("anomaly")
    model = Monitor.fit(tmp_path / "train")
    scores = {
        name: model.check(name).score for name in anomalous if name.startswith(f"{tmp_path}/test")
    }
    bad = np.array([score for name, score in scores.items() if anomalous[name]])
    good = np.array([score for name, score in scores.items() if not anomalous[name]])
    assert (len(good), len(bad)) == (8, 20)
    assert np.mean(bad[:, None] > good) >= 0.97


def test_a_model_keeps_so_many_windows_and_names_every_recording(monkeypatch, machine):
    monkeypatch.setattr("dcase_asd.monitor.normals.MOST_WINDOWS", 5)
    model = Monitor.fit([machine.normal() for _ in range(9)], sample_rate=RATE)
    assert len(model.normals) == len(model.normals.grids) == 5
    assert list(model.normals.owners) == [0, 2, 4, 6, 8]
    assert len(model.normals.recordings) == 9
    assert np.isfinite(model.check(machine.normal()).score)


def test_a_long_and_a_single_short_recording_are_scored_by_each_other(machine):
    long = np.concatenate([machine.normal() for _ in range(6)])
    model = Monitor.fit([long, machine.normal()], sample_rate=RATE, window=3.0)
    assert len(model.normals) == 7
    assert np.isfinite(model.judge.scorer.calibration.scores).all()


def test_the_channel_is_the_models(tmp_path, machine):
    for number in range(5):
        two = np.stack([np.zeros(3 * RATE), machine.normal()], axis=1)
        soundfile.write(tmp_path / f"{number}.wav", two, RATE)
    with pytest.raises(AudioError, match="silence"):
        Monitor.fit(tmp_path)
    model = Monitor.fit(tmp_path, channel=1)
    assert model.check(tmp_path / "0.wav").verdict == "normal"
    soundfile.write(tmp_path / "mono.wav", machine.normal(), RATE)
    with pytest.raises(AudioError, match="no channel 1"):
        model.check(tmp_path / "mono.wav")


def test_an_event_is_that_of_what_is_heard_at_the_usual_level(monitor, machine):
    (window,) = hear(sound_of(machine.faulty("tone", 20).samples, RATE), monitor.front).windows
    judge, bins = monitor.judge, monitor.front.bins
    (event,) = judge.events_in([window.grid], bins)
    assert event > 2 * judge.events.max()
    assert judge.events_in([window.grid + 20], bins, 20.0) == pytest.approx(event, rel=1e-4)
    assert judge.events_in([window.grid + 20], bins) > 1.5 * event
    assert judge.events_in([window.grid], 2) < judge.events.max()  # the tone is above two bins
