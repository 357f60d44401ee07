import os
import shutil

import numpy as np
import pytest
import soundfile

from dcase_asd.clips.manifest import read_manifest
from dcase_asd.clips.prepare import (
    is_as_prepared,
    prepare,
    prepare_when_free,
    up_to_date_manifest,
)
from dcase_asd.errors import BusyError, DataError
from dcase_asd.progress import Silent

FAN = "dcase2025t2/dev_data/raw/fan"


def test_the_manifest_says_what_names_and_headers_say(small_tree):
    found = prepare(small_tree)
    clips = read_manifest(small_tree)
    assert len(clips) == 15
    assert found.clips.equals(clips.astype(found.clips.dtypes))
    noise = clips[clips["role"] == "noise"].iloc[0]
    assert (noise["split"], noise["label"]) == ("supplemental", "")
    train = clips[clips["path"].str.endswith("target_train_normal_0001_m-n_X.wav")].iloc[0]
    assert train.to_dict() == {
        "edition": "dcase2025", "stage": "dev", "machine": "fan", "section": "00",
        "domain": "target", "split": "train", "condition": "normal", "attributes": "m-n_X",
        "role": "machine", "path": f"{FAN}/train/section_00_target_train_normal_0001_m-n_X.wav",
        "frames": 8000, "sample_rate": 16000, "channels": 1, "label": "fan/00/m-n_X/dcase2025",
    }  # fmt: skip
    assert set(clips.loc[clips["split"] == "test", "label"]) == {""}


def test_rates_channels_and_formats_are_read_for_what_they_are(small_tree):
    path = small_tree / FAN / "train" / "section_00_source_train_normal_0009_m-n_W.flac"
    soundfile.write(path, np.zeros((4410, 2)), 44100, subtype="PCM_24")
    prepare(small_tree)
    clip = read_manifest(small_tree).set_index("path").loc[path.relative_to(small_tree).as_posix()]
    assert (clip["frames"], clip["sample_rate"], clip["channels"]) == (4410, 44100, 2)


def test_broken_files_are_left_out_each_with_its_reason(small_tree, write_clip):
    train = small_tree / FAN / "train"
    name = "section_00_source_train_normal_{:04d}_m-n_W.wav"
    (train / name.format(100)).write_bytes(b"")
    (train / name.format(101)).write_bytes(b"RIFF, but no audio follows here")
    whole = (train / name.format(0)).read_bytes()
    (train / name.format(102)).write_bytes(whole[:5000])
    write_clip(train / "my recording.wav")
    (train / "notes.txt").write_text("hello")
    (train / name.format(103)).write_bytes(b"<!DOCTYPE html><html>429 Too Many Requests</html>")
    broken = np.full(100, np.nan, dtype=np.float32)
    soundfile.write(train / name.format(104), broken, 16000, subtype="FLOAT")
    found = prepare(small_tree)
    assert len(found.clips) == 15
    reasons = dict(found.problems.itertuples(index=False))
    assert len(reasons) == 7
    assert "the file is empty" in reasons[f"{FAN}/train/{name.format(100)}"]
    assert "not readable as audio" in reasons[f"{FAN}/train/{name.format(101)}"]
    assert "truncated, 4956 of 16000 bytes" in reasons[f"{FAN}/train/{name.format(102)}"]
    assert "no audio but a web page" in reasons[f"{FAN}/train/{name.format(103)}"]
    assert "not finite numbers" in reasons[f"{FAN}/train/{name.format(104)}"]
    assert "no file-name grammar" in reasons[f"{FAN}/train/my recording.wav"]
    assert "not a .wav or .flac file" in reasons[f"{FAN}/train/notes.txt"]
    assert (small_tree / "clips.problems.csv").read_text().count("\n") == 8


def test_two_clips_of_one_name_are_both_left_out(small_tree, write_clip):
    stem = "section_00_source_train_normal_0000_m-n_W"
    write_clip(small_tree / FAN / "train" / f"{stem}.flac", seed=99)
    found = prepare(small_tree)
    assert len(found.clips) == 14
    assert len(found.problems) == 2
    assert found.problems["reason"].str.contains("has the same name").all()


def test_a_second_run_reads_nothing_and_changes_nothing(small_tree):
    prepare(small_tree)
    before = {path: path.stat().st_mtime_ns for path in small_tree.glob("*.csv")}
    again = prepare(small_tree)
    assert (again.read, again.changed) == (0, False)
    assert {path: path.stat().st_mtime_ns for path in small_tree.glob("*.csv")} == before


def test_only_what_changed_is_read_again(small_tree, write_clip):
    prepare(small_tree)
    changed = small_tree / FAN / "train" / "section_00_source_train_normal_0000_m-n_W.wav"
    write_clip(changed, seed=50, seconds=0.7)
    (small_tree / FAN / "train" / "section_00_source_train_normal_0001_m-n_W.wav").unlink()
    found = prepare(small_tree)
    assert (found.read, found.changed, len(found.clips)) == (1, True, 14)
    frames = found.clips.set_index("path")["frames"]
    assert frames[changed.relative_to(small_tree).as_posix()] == 11200


def test_new_other_and_gone_clips_are_counted(small_tree, write_clip):
    assert str(prepare(small_tree).changes) == ""
    train = small_tree / FAN / "train"
    name = "section_00_source_train_normal_{:04d}_m-n_W.wav"
    write_clip(train / name.format(0), seed=50)
    (train / name.format(1)).unlink()
    write_clip(train / name.format(7), seed=51)
    (train / name.format(2)).write_bytes(b"")
    (train / name.format(3)).touch()
    changes = prepare(small_tree).changes
    assert (changes.new, changes.changed) == (
        [f"{FAN}/train/{name.format(7)}"], [f"{FAN}/train/{name.format(0)}"]
    )  # fmt: skip
    assert sorted(changes.gone) == [f"{FAN}/train/{name.format(index)}" for index in (1, 2)]
    assert str(prepare(small_tree).changes) == ""


def test_a_file_put_in_the_place_of_another_of_its_size_and_time_is_read_again(
    small_tree, write_clip
):
    path = small_tree / FAN / "train" / "section_00_source_train_normal_0000_m-n_W.wav"
    prepare(small_tree)
    before = path.stat()
    write_clip(path.with_suffix(".new"), seed=60, format="WAV").replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    found = prepare(small_tree)
    assert (found.read, found.changes.changed) == (1, [path.relative_to(small_tree).as_posix()])


def test_whether_anything_changed_is_seen_without_reading(small_tree, write_clip, monkeypatch):
    other = write_clip(small_tree / "own/dev_data/raw/pump/train/a.wav")
    (small_tree / FAN / "train" / "notes.txt").write_text("hello")
    assert not is_as_prepared(small_tree)
    prepare(small_tree)
    monkeypatch.setattr("dcase_asd.clips.prepare.inspect_recording", pytest.fail)
    assert is_as_prepared(small_tree)
    assert is_as_prepared(small_tree, "dcase2025")
    other.touch()
    assert not is_as_prepared(small_tree)
    assert is_as_prepared(small_tree, "dcase2025")
    (small_tree / FAN / "test" / "new.txt").write_text("hello")
    assert not is_as_prepared(small_tree, "dcase2025")


def test_what_was_assumed_of_a_file_is_noted(small_tree):
    train = small_tree / FAN / "train"
    path = train / "section_00_source_train_normal_0000_m-n_W.wav"
    content = bytearray(path.read_bytes())
    content[40:44] = bytes(4)
    path.write_bytes(content)
    assert len(prepare(small_tree).notes) == 1
    again = prepare(small_tree)  # from the cache
    note = "its length is not given, as in a stream: read to the end of the file"
    assert again.notes.to_dict("records") == [
        {"path": path.relative_to(small_tree).as_posix(), "note": note}
    ]
    assert again.clips["frames"].unique().tolist() == [8000]
    assert (small_tree / "clips.notes.csv").read_text().count("\n") == 2


def test_a_data_folder_that_another_process_writes_is_waited_for(small_tree, monkeypatch):
    attempts = []

    def busy(*_):
        attempts.append(1)
        if len(attempts) < 3:
            raise BusyError("another dcase-asd is writing this folder")
        return "done"

    monkeypatch.setattr("dcase_asd.clips.prepare.prepare", busy)
    monkeypatch.setattr("dcase_asd.clips.prepare.SECONDS_BETWEEN_ATTEMPTS", 0)
    progress = Silent()
    assert prepare_when_free(small_tree, progress) == "done"
    assert progress.notes == ["another dcase-asd is writing this folder: waiting for it"]


def test_a_damaged_cache_is_read_anew(small_tree):
    prepare(small_tree)
    cache = small_tree / ".clips-cache.csv"
    cache.write_text(cache.read_text()[:-40])
    assert prepare(small_tree).read == 15
    cache.write_text("nonsense\n")
    assert prepare(small_tree).read == 15


def test_the_same_audio_in_two_places_is_reported(small_tree):
    train = small_tree / FAN / "train"
    copy = small_tree / "dcase2024t2/dev_data/raw/fan/train"
    copy.mkdir(parents=True)
    name = "section_00_source_train_normal_0000_m-n_W.wav"
    shutil.copy(train / name, copy / name)
    found = prepare(small_tree)
    assert found.duplicates["group"].nunique() == 1
    assert sorted(found.duplicates["path"]) == [
        f"dcase2024t2/dev_data/raw/fan/train/{name}",
        f"{FAN}/train/{name}",
    ]
    assert len(found.clips) == 16


def test_clips_that_only_look_alike_in_the_middle_are_no_duplicates(small_tree):
    train = small_tree / FAN / "train"
    for index in (20, 21):
        sound = np.zeros(8000)
        sound[0] = index / 100
        soundfile.write(
            train / f"section_00_source_train_normal_{index:04d}_m-n_W.wav", sound, 16000
        )
    assert prepare(small_tree).duplicates.empty


def test_a_folder_of_ones_own_needs_no_grammar(tmp_path, write_clip):
    machine = tmp_path / "pumps/dev_data/raw/waterpump"
    for index in range(3):
        write_clip(machine / f"train/monday {index}.wav", index)
    write_clip(machine / "test/anomaly leak.wav", 10)
    write_clip(machine / "test/today.wav", 11)
    found = prepare(tmp_path)
    assert found.problems.empty
    assert sorted(found.clips["condition"]) == ["", "anomaly", "normal", "normal", "normal"]
    assert set(found.clips["edition"]) == {"pumps"}


def test_names_near_the_grammar_are_problems_also_of_ones_own_recordings(tmp_path, write_clip):
    for edition in ("pumps", "dcase2025t2"):
        train = f"{edition}/dev_data/raw/waterpump/train"
        for index, section in enumerate(("00", "0", "100")):
            name = f"section_{section}_source_train_normal_0000_v_1.wav"
            write_clip(tmp_path / train / name, index)
    found = prepare(tmp_path)
    assert found.clips["section"].tolist() == ["00", "00"]
    assert [path.rpartition("/")[2][:11] for path in found.problems["path"]] == [
        "section_0_s", "section_100", "section_0_s", "section_100",
    ]  # fmt: skip
    assert found.problems["reason"].str.contains("two digits of the section").all()


def test_a_folder_without_a_usable_clip_is_an_error(tmp_path, write_clip):
    (tmp_path / "dcase2025t2/dev_data/raw/fan/train").mkdir(parents=True)
    with pytest.raises(DataError, match="no clip found"):
        prepare(tmp_path)
    write_clip(tmp_path / "dcase2025t2/dev_data/raw/fan/train/x.wav")
    with pytest.raises(
        DataError, match=r"none of 1 file\(s\) is a usable clip; .*x\.wav: no file-name"
    ):
        prepare(tmp_path)


def test_an_unreadable_manifest_names_the_command_that_makes_it(small_tree):
    with pytest.raises(DataError, match="no such data folder"):
        read_manifest(small_tree / "nowhere")
    from dcase_asd.errors import ArtifactError

    with pytest.raises(
        ArtifactError, match=r"clips\.csv: not found; make it with `dcase-asd prepare"
    ):
        read_manifest(small_tree)
    prepare(small_tree)
    manifest = small_tree / "clips.csv"
    manifest.write_text(manifest.read_text().replace("machine", "motor", 1))
    with pytest.raises(ArtifactError, match="the header must be"):
        read_manifest(small_tree)
    prepare(small_tree)
    manifest.write_text(manifest.read_text().replace(",8000,", ",many,", 1))
    with pytest.raises(ArtifactError, match="the column frames holds a value that is no number"):
        read_manifest(small_tree)


@pytest.mark.shared
def test_real_recordings_are_understood(tmp_path, shared_audio):
    for year in (2020, 2024, 2025):
        (tmp_path / f"dcase{year}t2").symlink_to(shared_audio / f"dcase{year}t2")
    found = prepare(tmp_path)
    assert found.problems.empty
    counts = found.clips.groupby(["edition", "machine", "split"]).size().to_dict()
    assert counts == {
        ("dcase2020", "fan", "test"): 28, ("dcase2020", "fan", "train"): 12,
        ("dcase2024", "RoboticArm", "test"): 57, ("dcase2024", "RoboticArm", "train"): 39,
        ("dcase2025", "RoboticArm", "supplemental"): 12, ("dcase2025", "RoboticArm", "test"): 57,
        ("dcase2025", "RoboticArm", "train"): 39,
    }  # fmt: skip
    # The two RoboticArm folders hold the same audio.
    assert found.duplicates["group"].nunique() == 96


def test_a_manifest_that_is_not_up_to_date_is_made_anew_and_that_is_said(small_tree, write_clip):
    prepare(small_tree)
    progress = Silent()
    assert len(up_to_date_manifest(small_tree, progress)) == 15
    assert progress.notes == []
    write_clip(small_tree / FAN / "train" / "section_00_source_train_normal_0007_m-n_W.wav", 7)
    assert len(up_to_date_manifest(small_tree, progress, "dcase2025")) == 16
    (note,) = progress.notes
    assert note.startswith(f"{small_tree / 'clips.csv'}: brought up to date, 1 new (section_00_")
    # A file that is no clip changes no row, and is worth no note.
    (small_tree / FAN / "train" / "notes.txt").write_text("hello")
    assert len(up_to_date_manifest(small_tree, progress)) == 16
    assert len(progress.notes) == 1


def test_a_folder_that_is_none_of_the_challenge_s_is_a_problem_as_a_whole(small_tree, write_clip):
    write_clip(small_tree / FAN / "training" / "section_00_source_train_normal_0009_m-n_W.wav")
    found = prepare(small_tree)
    assert len(found.clips) == 15
    ((path, reason),) = found.problems.itertuples(index=False)
    assert path == f"{FAN}/training"
    assert reason.startswith("not one of the folders train, ")
