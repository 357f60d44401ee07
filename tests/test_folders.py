"""Folders are whole or as they were, whatever happens in between."""

from __future__ import annotations

import pytest

from dcase_asd.errors import ArtifactError, DataError
from dcase_asd.files import folder_content, mend_folders, replace_folder
from dcase_asd.folders import check_data


def test_a_folder_is_written_and_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "deep" / "system"
    assert folder_content(folder) is None
    replace_folder(folder, {"a": b"1", "b": b"2"})
    assert folder_content(folder) == {"a": b"1", "b": b"2"}
    replace_folder(folder, {"c": b"3"})
    assert folder_content(folder) == {"c": b"3"}
    assert [path.name for path in folder.parent.iterdir()] == ["system"]


def test_a_folder_within_counts_as_an_entry(tmp_path):
    (tmp_path / "system" / "notes").mkdir(parents=True)
    (tmp_path / "system" / ".DS_Store").write_bytes(b"litter, which counts as nothing")
    assert folder_content(tmp_path / "system") == {"notes": b""}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactError, match="cannot be written"):
        replace_folder(tmp_path / "file" / "system", {"a": b"1"})


def test_mending_brings_back_what_was_moved_away(tmp_path):
    (tmp_path / ".replaced-system").mkdir()
    (tmp_path / ".writing-system").mkdir()
    mend_folders(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["system"]


def test_mending_drops_what_was_replaced(tmp_path):
    for name in (".replaced-system", "system"):
        (tmp_path / name).mkdir()
    (tmp_path / "system" / "new").write_text("")
    mend_folders(tmp_path)
    assert folder_content(tmp_path / "system") == {"new": b""}
    assert [path.name for path in tmp_path.iterdir()] == ["system"]


def test_a_run_folder_given_as_data_folder_is_told_to_be_one(tmp_path):
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(DataError, match="a run folder, not a data folder; say which with --data"):
        check_data(tmp_path)
