"""Packs: what is read from them is what stands in the files, and never another recording."""

import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dcase_asd.audio import read_clip, read_samples, read_span
from dcase_asd.clips import pack as module
from dcase_asd.clips.cache import content_hashes
from dcase_asd.clips.manifest import read_manifest
from dcase_asd.clips.pack import Packing, pack_recordings, packed_recordings
from dcase_asd.clips.prepare import prepare
from dcase_asd.errors import ArtifactError, AudioError
from dcase_asd.progress import Silent

RAW = "dcase2025t2/dev_data/raw"
PACKS = "packed/dcase2025t2/dev_data"
NAME = "section_00_source_train_normal_{:04d}_m-n_W.{}"
KINDS = {
    "fan": ("PCM_16", "wav", 1, 16000), "two": ("PCM_16", "wav", 2, 16000),
    "free": ("PCM_16", "flac", 2, 44100), "wide": ("PCM_24", "wav", 1, 16000),
    "float": ("FLOAT", "wav", 1, 16000),
}  # fmt: skip
"""Machine -> sample format, ending, channels and rate of its recordings."""
CLIPS = 3


@pytest.fixture
def data(tmp_path):
    """A machine of each of `KINDS`, prepared."""
    random = np.random.default_rng(0)
    for machine, (subtype, ending, channels, rate) in KINDS.items():
        folder = tmp_path / "data" / RAW / machine / "train"
        folder.mkdir(parents=True)
        for index in range(CLIPS):
            sound = random.uniform(-1, 1, (4000 + 7 * index, channels))
            soundfile.write(folder / NAME.format(index, ending), sound, rate, subtype=subtype)
    prepare(tmp_path / "data")
    return tmp_path / "data"


def packed(data, progress=None):
    """What `finetune` and `embed` read from packs."""
    paths = list(prepare(data).clips["path"])
    progress = progress or Silent()
    return packed_recordings(data, content_hashes(data, paths, progress), progress)


def same_as_files(data, found):
    """Compare recordings of packs with their files as libsndfile reads them."""
    for path, recording in found.items():
        expected, rate = soundfile.read(data / path, dtype="int16", always_2d=True)
        assert recording.sample_rate == rate
        np.testing.assert_array_equal(recording.samples.T, expected)
    return True


def times(data):
    return {path.name: path.stat().st_mtime_ns for path in (data / PACKS).iterdir()}


def test_packs_hold_all_16_bit_samples_and_leave_out_others(data):
    progress = Silent()
    done = pack_recordings(data, progress)
    assert done == Packing(5, 0, 3 * CLIPS, 2 * CLIPS, 2 * (4000 * 3 + 21) * (1 + 2 + 2))
    told = f"packing {5 * CLIPS} recordings of 5 machine(s) takes up to 168 kB, and "
    assert progress.notes[0].startswith(f"{data}: {told}")
    found = packed(data, progress)
    assert {path.split("/")[3] for path in found} == {"fan", "two", "free"}
    assert len(found) == 3 * CLIPS
    assert same_as_files(data, found)
    assert len(progress.notes) == 1  # none about recordings that are left out


@pytest.mark.parametrize("rate", [None, 16000, 8000])
def test_a_recording_of_a_pack_is_read_as_its_file_is_to_the_last_bit(data, rate):
    pack_recordings(data)
    for path, recording in packed(data).items():
        for channel in range(len(recording.samples)):
            whole, sounding = read_clip(recording, channel, rate)
            expected, _ = read_clip(data / path, channel, rate)
            assert whole.tobytes() == expected.tobytes()
            assert sounding is None
            room = np.empty(500, np.int16)
            for start in (0, 123, 3900, 5000):
                part = read_samples(recording, start, room, channel)
                expected = read_span(data / path, start, 500, channel)
                np.testing.assert_array_equal(part, expected * 2**15)
        if len(recording.samples) == 2:
            both, _ = read_clip(recording, 1, rate, both=True)
            assert both.tobytes() == read_clip(data / path, 1, rate, both=True)[0].tobytes()
        with pytest.raises(AudioError, match=r"_W\.\w+: there is no channel 2"):
            read_samples(recording, 0, np.empty(5, np.int16), 2)


def test_only_machines_that_changed_are_packed_again(data):
    pack_recordings(data)
    before = times(data)
    progress = Silent()
    done = pack_recordings(data, progress)
    assert (done.written, done.kept, progress.notes) == (0, 5, [])
    soundfile.write(data / RAW / "two/train" / NAME.format(9, "wav"), np.ones((50, 2)) / 2, 16000)
    done = prepare(data, progress, pack=True).packing
    assert (done.written, done.kept, done.recordings) == (1, 4, 3 * CLIPS + 1)
    changed = {name for name, when in times(data).items() if when != before[name]}
    assert changed == {"two.csv", "two.int16"}
    assert len(packed(data, progress)) == 3 * CLIPS + 1
    assert len(progress.notes) == 1


@pytest.mark.parametrize("change", ["sound", "gain", "new", "gone", "swap"])
def test_what_changed_since_is_read_from_its_file_and_told(data, change):
    pack_recordings(data)
    folder, progress = data / RAW / "two/train", Silent()
    first, second, _ = sorted(folder.iterdir())
    sound, rate = soundfile.read(first)
    match change:
        case "sound":
            soundfile.write(first, sound[::-1], rate)
        case "gain":
            soundfile.write(first, sound / 2, rate)
        case "new":
            soundfile.write(folder / NAME.format(9, "wav"), sound[:900], rate)
        case "gone":
            first.unlink()
        case "swap":
            first.rename(folder / "x"), second.rename(first), (folder / "x").rename(second)
    found = packed(data, progress)
    assert same_as_files(data, found)
    stale = {"sound": 1, "gain": 1, "new": 1, "gone": 0, "swap": 2}[change]
    assert len(found) == 3 * CLIPS - {"new": 0, "gone": 1}.get(change, stale)
    told = [note for note in progress.notes if "since their machine was packed" in note]
    assert len(told) == bool(stale)
    again = f"read from their files until `dcase-asd prepare --data {data} --pack`"
    assert not stale or (told[0].startswith(f"{data}: {stale} of ") and told[0].endswith(again))
    prepare(data, pack=True)
    assert packed(data, progress)
    assert len(progress.notes) == len(told)


def test_a_copied_or_touched_recording_stays_current(data, tmp_path):
    pack_recordings(data)
    for path in (data / RAW / "fan/train").iterdir():
        os.utime(path, ns=(1, 1))
    assert len(packed(data)) == 3 * CLIPS
    copy = tmp_path / "copy"
    shutil.copytree(data, copy, copy_function=shutil.copyfile)
    assert len(packed(copy)) == 3 * CLIPS


@pytest.mark.parametrize("damage", ["truncated", "grown", "gone", "index"])
def test_a_damaged_pack_is_not_used_and_told(data, damage):
    pack_recordings(data)
    pack = data / PACKS / "fan.int16"
    match damage:
        case "truncated":
            os.truncate(pack, 100)
        case "grown":
            os.truncate(pack, 100_000)
        case "gone":
            pack.unlink()
        case "index":
            pack.with_suffix(".csv").write_text("path,hash\n")
    progress = Silent()
    found = packed(data, progress)
    assert {path.split("/")[3] for path in found} == {"two", "free"}
    assert f"{CLIPS} of {5 * CLIPS} recordings" in progress.notes[0]
    assert pack_recordings(data).written == 1
    assert len(packed(data)) == 3 * CLIPS


def test_a_killed_packing_leaves_nothing_that_is_taken_for_a_pack(data, monkeypatch):
    pack_recordings(data)
    for path in (data / RAW).glob("*/train/*_0000_*"):
        sound, rate = soundfile.read(path)
        soundfile.write(path, sound[::-1], rate, subtype=KINDS[path.parts[-3]][0])
    prepare(data)
    read, done = module.read_int16, []

    def killed(path):
        done.append(Path(path).parts[-3])
        if done.count("two") == 2:
            raise KeyboardInterrupt
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(module, "read_int16", killed)
        with pytest.raises(KeyboardInterrupt):
            pack_recordings(data)
    assert not (data / PACKS / "two.csv").exists()
    assert same_as_files(data, packed(data))
    finished = len(set(done)) - 1
    done = pack_recordings(data)
    assert (done.written, done.kept) == (5 - finished, finished)
    assert len(packed(data)) == 3 * CLIPS
    assert not list(data.rglob(".writing-*"))


def test_a_recording_that_changes_or_breaks_while_it_is_packed_is_left_out(data, monkeypatch):
    read = module.read_int16

    def other(path):
        if "fan" in Path(path).parts and "_0001_" in str(path):
            raise AudioError(f"{path}: broken")
        if "fan" in Path(path).parts and "_0002_" in str(path):
            path = str(path).replace("_0002_", "_0000_")
        return read(path)

    monkeypatch.setattr(module, "read_int16", other)
    pack_recordings(data)
    found = packed(data)
    assert sum("/fan/" in path for path in found) == 1
    assert same_as_files(data, found)


def test_too_little_room_is_told_before_anything_is_written(data, monkeypatch):
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil's
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 9, 9))
    with pytest.raises(ArtifactError, match=r"takes up to 168 kB, and 9 B of its disk are free; "):
        prepare(data, pack=True)
    assert not (data / "packed").exists()
    assert len(read_manifest(data)) == 5 * CLIPS


def test_packs_of_a_read_only_folder_stand_beside_its_manifest(data, tmp_path):
    before = sorted(data.rglob("*"))
    done = prepare(data, manifest=tmp_path / "tables", pack=True)
    assert done.packing.recordings == 3 * CLIPS
    assert len(packed(tmp_path / "tables")) == 3 * CLIPS
    assert sorted(data.rglob("*")) == before
