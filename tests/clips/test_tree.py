import os

import pytest

from dcase_asd.clips.tree import walk_tree
from dcase_asd.errors import DataError, EditionError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_every_edition_stage_machine_and_split_is_walked_in_sorted_order(tmp_path):
    paths = [
        "dcase2021t2/dev_data/raw/fan/source_test/b.wav",
        "dcase2021t2/dev_data/raw/fan/train/a.wav",
        "dcase2025t2/eval_data/raw/ToyPet/supplemental/c.wav",
        "pumps/dev_data/raw/waterpump/test/d.flac",
    ]
    for path in reversed(paths):
        touch(tmp_path / path)
    touch(tmp_path / "dcase2021t2/dev_data/raw/fan/attributes_00.csv")
    touch(tmp_path / "dcase2021t2/dev_data/raw/fan/train/.hidden.wav")
    touch(tmp_path / "ground_truth/dcase2025/x.csv")
    found = list(walk_tree(tmp_path))
    assert [file.path for file in found] == paths
    assert [(file.edition.name, file.stage, file.machine, file.folder) for file in found] == [
        ("dcase2021", "dev", "fan", "source_test"),
        ("dcase2021", "dev", "fan", "train"),
        ("dcase2025", "eval", "ToyPet", "supplemental"),
        ("pumps", "dev", "waterpump", "test"),
    ]


def test_what_systems_and_editors_leave_is_no_machine_split_or_clip(tmp_path):
    raw = "dcase2025t2/dev_data/raw"
    touch(tmp_path / raw / "fan/train/a.wav")
    for litter in (
        "__MACOSX/dev_data/raw/fan/train/a.wav",
        ".ipynb_checkpoints/dev_data/raw/fan/train/a.wav",
        f"{raw}/__MACOSX/fan/train/a.wav",
        f"{raw}/.ipynb_checkpoints/train/a.wav",
        f"{raw}/@eaDir/train/a.wav",
        f"{raw}/$RECYCLE.BIN/train/a.wav",
        f"{raw}/fan/__MACOSX/a.wav",
        f"{raw}/fan/.ipynb_checkpoints/a.wav",
        f"{raw}/fan/train/.ipynb_checkpoints/a-checkpoint.wav",
        f"{raw}/fan/train/._a.wav",
        f"{raw}/fan/train/.DS_Store",
        f"{raw}/fan/train/THUMBS.DB",
        f"{raw}/fan/train/Desktop.ini",
    ):
        touch(tmp_path / litter)
    assert [(file.path, file.problem) for file in walk_tree(tmp_path)] == [
        (f"{raw}/fan/train/a.wav", "")
    ]


def test_names_that_are_not_utf_8_are_problems(tmp_path):
    raw = tmp_path / "pumps/dev_data/raw"
    for name in (b"fan/train/a.wav", b"fan/train/\xfcber.wav", b"\xc3\xbc\xff/train/b.wav"):
        touch(raw / os.fsdecode(name))
    touch(tmp_path / os.fsdecode(b"M\xfchle") / "dev_data/raw/fan/train/c.wav")
    found = {file.path: (file.machine, file.name, file.problem) for file in walk_tree(tmp_path)}
    problem = "its name, or that of its folder, is not UTF-8; rename it"
    assert found == {
        r"M\xfchle/dev_data/raw/fan/train/c.wav": ("fan", "c.wav", problem),
        "pumps/dev_data/raw/fan/train/a.wav": ("fan", "a.wav", ""),
        r"pumps/dev_data/raw/fan/train/\xfcber.wav": ("fan", r"\xfcber.wav", problem),
        r"pumps/dev_data/raw/ü\xff/train/b.wav": (r"ü\xff", "b.wav", problem),
    }


def test_linked_folders_are_followed(tmp_path):
    touch(tmp_path / "disk" / "train" / "a.wav")
    raw = tmp_path / "data" / "dcase2025t2" / "dev_data" / "raw"
    raw.mkdir(parents=True)
    (raw / "fan").symlink_to(tmp_path / "disk")
    assert [file.name for file in walk_tree(tmp_path / "data")] == ["a.wav"]


def test_what_cannot_be_a_clip_is_found_with_its_problem(tmp_path):
    machine = tmp_path / "dcase2025t2/dev_data/raw/fan"
    (machine / "train" / "folder.wav").mkdir(parents=True)
    (machine / "train" / "gone.wav").symlink_to(tmp_path / "nowhere")
    (machine / "validation").mkdir()
    problems = {file.name: file.problem for file in walk_tree(tmp_path)}
    assert problems["folder.wav"] == "a folder stands where a recording should"
    assert problems["gone.wav"].startswith("cannot be read")
    assert "not one of the folders train" in problems["validation"]


def test_a_missing_or_empty_folder_is_told(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such data folder"):
        list(walk_tree(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"is not a folder"):
        list(walk_tree(touch(tmp_path / "file")))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(
        DataError, match="no recordings here; they are expected as <data>/dcase2025t2"
    ):
        list(walk_tree(empty))


def test_the_folder_of_one_edition_points_to_the_one_above(tmp_path):
    touch(tmp_path / "dcase2025t2/dev_data/raw/fan/train/a.wav")
    with pytest.raises(DataError, match=f"give the one above it, --data {tmp_path}"):
        list(walk_tree(tmp_path / "dcase2025t2"))


def test_misnamed_edition_folders_are_told(tmp_path):
    touch(tmp_path / "a" / "dcase2025/dev_data/raw/fan/train/a.wav")
    with pytest.raises(DataError, match="called dcase2025t2; rename it"):
        list(walk_tree(tmp_path / "a"))
    touch(tmp_path / "b" / "dcase2019t2/dev_data/raw/fan/train/a.wav")
    with pytest.raises(EditionError, match="there is no edition 'dcase2019'"):
        list(walk_tree(tmp_path / "b"))
