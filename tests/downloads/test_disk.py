import pytest

from dcase_asd.downloads.archive import free_space, require_space
from dcase_asd.errors import DownloadError
from dcase_asd.progress import size_text


def test_free_space_is_asked_for_folders_that_do_not_exist_yet(tmp_path):
    assert free_space(tmp_path / "a" / "b") > 0


def test_too_little_room_is_refused_with_what_is_lacking(tmp_path, monkeypatch):
    monkeypatch.setattr("dcase_asd.downloads.archive.free_space", lambda folder: 10**9)
    require_space(tmp_path, 10**9, "unpacking")
    with pytest.raises(DownloadError, match=r"unpacking needs 3.5 GB and 1.0 GB are free.*2.5 GB"):
        require_space(tmp_path, 35 * 10**8, "unpacking")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "2 kB"), (1_250_000, "1.2 MB"), (1_354_774_772, "1.4 GB")],
)
def test_sizes_are_written_for_people(size, text):
    assert size_text(size) == text
