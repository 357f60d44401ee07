import pytest

from dcase_asd.clips.tree import archive_layout, holds_clips, is_noise_clip
from dcase_asd.errors import ClipNameError, DataError


@pytest.mark.parametrize("root", ["", "fan/", "dev_fan/", "raw/fan/", "./fan/"])
def test_the_machines_folder_is_found_below_any_other(root):
    names = [f"{root}train/a.wav", f"{root}test/b.wav", f"{root}attributes_00.csv"]
    place = archive_layout(names, "fan.zip")
    assert [place(name) for name in names] == ["train/a.wav", "test/b.wav", "attributes_00.csv"]


def test_files_beside_the_machines_folder_and_hidden_ones_have_no_place():
    names = [
        "fan/train/a.wav", "README", "fan/.DS_Store", "__MACOSX/fan/train/._a.wav", "fan",
        "__MACOSX/train/a.wav", ".ipynb_checkpoints/train/a.wav", "fan/train/Thumbs.db",
        "fan/train/._a.wav", "fan/desktop.ini", "fan/train/.ipynb_checkpoints/a-checkpoint.wav",
    ]  # fmt: skip
    place = archive_layout(names, "fan.zip")
    assert [place(name) for name in names] == ["train/a.wav", *[None] * 10]


def test_a_split_folder_of_another_name_is_part_of_the_machine():
    place = archive_layout(["fan/source_test/a.wav"], "fan.zip")
    assert place("fan/more/b.txt") == "more/b.txt"


@pytest.mark.parametrize("names", [[], ["fan/a.wav"], ["fan/train/readme.txt"], ["train"]])
def test_an_archive_without_clips_is_refused(names):
    with pytest.raises(DataError, match=r"fan.zip: holds no clips; .*fetch the archive"):
        archive_layout(names, "fan.zip")


def test_an_archive_of_two_machines_is_refused():
    with pytest.raises(DataError, match=r"clips of several machines \(fan, pump\)"):
        archive_layout(["fan/train/a.wav", "pump/train/a.wav"], "both.zip")


def test_only_a_folder_with_recordings_holds_clips(tmp_path):
    assert not holds_clips(tmp_path / "none")
    (tmp_path / "readme.txt").write_text("", encoding="utf-8")
    assert not holds_clips(tmp_path)
    (tmp_path / "._A.WAV").write_bytes(b"")
    assert not holds_clips(tmp_path)
    (tmp_path / "A.WAV").write_bytes(b"")
    assert holds_clips(tmp_path)


@pytest.mark.parametrize(
    ("path", "noise"),
    [
        ("supplemental/section_00_noise_0000_noAttribute.wav", True),
        ("supplemental/section_00_noise_supplemental_normal_0000.wav", True),
        ("supplemental/section_00_machine_source_0000_.wav", False),
        ("train/section_00_source_train_normal_0000_noise.wav", False),
        ("supplemental/readme.txt", False),
        ("attributes_00.csv", False),
    ],
)
def test_noise_clips_are_told_by_folder_and_name(path, noise):
    assert is_noise_clip(path) == noise


def test_a_supplemental_clip_of_neither_kind_is_told():
    with pytest.raises(ClipNameError, match="must say 'noise' or 'machine'"):
        is_noise_clip("supplemental/section_00_what_0000.wav")
