import errno
import os
import re
import shlex

import pytest

from dcase_asd.clips import manifest
from dcase_asd.clips.manifest import clips_of_edition, link_recordings, read_manifest
from dcase_asd.clips.prepare import prepare
from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import ArtifactError, BusyError, DataError
from dcase_asd.metrics.labels import read_ground_truth


def test_a_manifest_elsewhere_makes_a_data_folder_of_the_same_recordings(small_tree, tmp_path):
    labels = small_tree / "ground_truth/dcase2025"
    for folder in ("ground_truth_data", "ground_truth_domain"):
        path = labels / folder / "ground_truth_fan_section_00_test.csv"
        path.parent.mkdir(parents=True)
        path.write_text("a.wav,0\n")
    before = sorted(small_tree.rglob("*"))
    elsewhere = tmp_path / "new" / "recordings"
    found = prepare(small_tree, manifest=elsewhere)
    assert sorted(small_tree.rglob("*")) == before
    clips = read_manifest(elsewhere)
    assert len(clips) == len(found.clips) == 15
    assert all((elsewhere / path).is_file() for path in clips["path"])
    assert len(read_ground_truth(elsewhere / "ground_truth/dcase2025", load_edition("2025"))) == 1
    # Neither a second time nor as the data folder that it is now does anything change.
    again = [prepare(small_tree, manifest=elsewhere), prepare(elsewhere)]
    assert [(each.read, each.changed) for each in again] == [(0, False)] * 2
    assert prepare(small_tree, manifest=small_tree).changed
    assert read_manifest(small_tree).equals(clips)


def test_links_follow_a_disk_that_moved_and_replace_nothing_else(small_tree, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    link_recordings(small_tree, elsewhere)
    moved = small_tree.rename(tmp_path / "moved")
    link_recordings(moved, elsewhere)
    assert (elsewhere / "dcase2025t2").resolve() == moved / "dcase2025t2"
    (tmp_path / "other/dcase2025t2/dev_data").mkdir(parents=True)
    with pytest.raises(DataError, match=r"elsewhere/dcase2025t2: is not that of .*other; give ano"):
        link_recordings(tmp_path / "other", elsewhere)
    with pytest.raises(DataError, match="no such data folder"):
        link_recordings(tmp_path / "nowhere", elsewhere)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match=r"cannot be made a link .*; give a folder that can be"):
        link_recordings(moved, tmp_path / "file")


def test_a_read_only_data_folder_names_the_command_that_works(small_tree, tmp_path, monkeypatch):
    data = small_tree.rename(tmp_path / "shared data")
    lock, opened = data / ".lock", type(data).open

    def refuse(path, *arguments, **options):
        if path == lock:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(type(data), "open", refuse)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError) as caught:
        prepare(data)
    message = str(caught.value)
    assert f"{data}: cannot be written (Read-only file system)" in message
    command, given = re.findall("`(.*?)`", message)
    program, step, *flags = shlex.split(command)
    assert (program, step, flags[::2]) == ("dcase-asd", "prepare", ["--data", "--manifest"])
    prepare(type(data)(flags[1]), manifest=type(data)(flags[3]))
    assert shlex.split(given) == ["--data", flags[3]]
    assert len(read_manifest(type(data)(flags[3]))) == 15


def test_somebody_elses_lock_is_not_taken_for_a_read_only_disk(tmp_path, monkeypatch):
    def busy(folder):
        raise BusyError(f"{folder}: another")

    monkeypatch.setattr(manifest, "only_writer", busy)
    with pytest.raises(BusyError, match=": another"), manifest.writing_manifest(tmp_path):
        pass


def test_an_edition_without_a_clip_is_told_with_those_that_are_there(small_tree):
    clips = prepare(small_tree).clips
    assert len(clips_of_edition(clips, "dcase2025", small_tree)) == 15
    with pytest.raises(DataError, match=r"clips.csv: no clip of edition dcase2026; did you mean "):
        clips_of_edition(clips, "dcase2026", small_tree)
