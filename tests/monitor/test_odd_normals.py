"""Normal recordings that are unlike the others, of another condition, or no longer there."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from located_faults import RATE

from dcase_asd.errors import DataError
from dcase_asd.monitor.monitor import Monitor


def tone(hertz):
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(3 * RATE) / RATE)).astype(np.float32)


def test_what_is_far_from_the_others_can_be_left_out_by_the_name_that_is_told(tmp_path, machine):
    for number in range(24):
        soundfile.write(tmp_path / f"{number:02}.wav", machine.normal(), RATE)
    for name, hertz in (("odd one.wav", 3000), ("odd two.wav", 900)):  # two windows of each
        soundfile.write(tmp_path / name, np.tile(machine.normal() + tone(hertz), 2), RATE)
    told = Monitor.fit(tmp_path, window=3.0, false_alarms=0.1)
    note = told.notes()[-1]
    assert re.search(r"odd (one|two)\.wav \(score .*, odd (one|two)\.wav .* are far from", note)
    names = re.findall("--exclude '(.*?)'", note)
    assert sorted(names) == ["odd one.wav", "odd two.wav"]
    limit, without = map(
        float, re.search(r"threshold is (\S+), without them (\S+);", note).groups()
    )
    without_them = Monitor.fit(tmp_path, window=3.0, false_alarms=0.1, exclude=names)
    found = [
        each.judge.scorer.calibration.threshold(each.false_alarms) for each in (told, without_them)
    ]
    assert found == pytest.approx([limit, without], rel=0.01)
    assert len(without_them.normals.recordings) == 24
    with pytest.raises(DataError, match=r"holds no odd ona\.wav to leave out; .*'odd one\.wav'"):
        Monitor.fit(tmp_path, exclude=["odd ona.wav"])
    with pytest.raises(DataError, match=r"holds no x to leave out; names are such as 00\.wav"):
        Monitor.fit(tmp_path, exclude=["x"])
    with pytest.raises(DataError, match="all is left out"):
        Monitor.fit(tmp_path / "00.wav", exclude=["00.wav"])


def test_an_update_with_another_operating_condition_is_told_and_judged(monitor, machine):
    other = [machine.normal() + tone(2000) for _ in range(12)]
    assert monitor.check(other[0]).verdict == "anomalous"
    grown = monitor.update(other[2:])
    assert "two kinds (10 and 30 windows, such as" in " ".join(grown.notes())
    assert grown.check(other[1]).verdict == "normal"
    assert grown.check(machine.normal()).verdict == "normal"
    assert grown.check(machine.faulty("leak", 25).samples).verdict == "anomalous"
    with pytest.raises(DataError, match="to leave out"):
        monitor.update(other[2:], exclude=["array 20"])
    assert len(monitor.update(other, exclude=["array 0"]).normals) == 41


def test_a_recording_is_there_only_as_a_file_with_the_same_samples(
    monitor, normal_folder, tmp_path
):
    first = monitor.normals.recordings[0]
    assert first.is_there(0)
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", tmp_path, tmp_path / "none.wav", "a\0b", ""):
        assert not replace(first, path=str(path)).is_there(0)
    soundfile.write(tmp_path / "other.wav", np.ones(RATE) * 0.1, RATE)
    assert not replace(first, path=str(tmp_path / "other.wav")).is_there(0)
