import contextlib
import io
import stat
import struct
import warnings
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import clip, zipped

from dcase_asd.downloads.archive import archive_comment, list_members, unpack
from dcase_asd.errors import DownloadError

CLIPS = {f"fan/train/{index}.wav": clip(index) for index in range(4)}


@pytest.fixture
def write_zip(tmp_path):
    def write(*members, name="fan.zip", compression=zipfile.ZIP_DEFLATED):
        path = tmp_path / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile warns of names that stand twice
            with zipfile.ZipFile(path, "w", compression) as archive:
                for member, content in members:
                    archive.writestr(member, content)
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "target" / "folder"
    folder.mkdir(parents=True)
    return folder


def unpack_all(path, folder):
    written = []
    unpack(path, folder, lambda name: name, written.append, lambda: None)
    return sum(written)


def files_below(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_an_archive_is_unpacked_as_it_was_packed(write_zip, folder):
    path = write_zip(*CLIPS.items())
    assert list_members(path) == {name: len(content) for name, content in CLIPS.items()}
    assert unpack_all(path, folder) == sum(map(len, CLIPS.values()))
    assert files_below(folder) == CLIPS


def test_files_without_a_place_are_left_out(write_zip, folder):
    path = write_zip(*CLIPS.items())
    unpack(path, folder, {"fan/train/1.wav": "one.wav"}.get, lambda count: None, lambda: None)
    assert files_below(folder) == {"one.wav": CLIPS["fan/train/1.wav"]}


@pytest.mark.parametrize(
    "name",
    [
        "../x.wav",
        "fan/../../x.wav",
        "/etc/x.wav",
        "C:/x.wav",
        "c:x.wav",
        "fan\\..\\x.wav",
        "..",
        "/",
    ],
)
def test_a_path_that_leads_out_is_refused_before_anything_is_written(write_zip, folder, name):
    path = write_zip(*CLIPS.items(), (name, b"harm"))
    for look in (list_members, lambda path: unpack_all(path, folder)):
        with pytest.raises(DownloadError, match="leads out of it; delete it and fetch it again"):
            look(path)
    assert files_below(folder.parent) == {}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(write_zip, folder, kind):
    member = zipfile.ZipInfo("fan/train")
    member.external_attr = (kind | 0o777) << 16
    path = write_zip((member, "/etc"), *CLIPS.items())
    with pytest.raises(DownloadError, match="holds a link or device, 'fan/train'"):
        unpack_all(path, folder)
    assert files_below(folder) == {}


def test_ordinary_files_with_unix_modes_are_taken(write_zip, folder):
    member = zipfile.ZipInfo("fan/train/1.wav")
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    below = zipfile.ZipInfo("fan/train/")
    below.external_attr = (stat.S_IFDIR | 0o755) << 16
    unpack_all(write_zip((below, b""), (member, b"x")), folder)
    assert files_below(folder) == {"fan/train/1.wav": b"x"}


def test_a_bomb_is_refused(write_zip, folder):
    path = write_zip(("fan/train/0.wav", bytes(64 << 20)))
    with pytest.raises(DownloadError, match=r"would grow from .* as a zip bomb does"):
        unpack_all(path, folder)
    assert files_below(folder) == {}


def test_silence_in_a_small_archive_is_no_bomb(write_zip, folder):
    assert unpack_all(write_zip(("fan/train/0.wav", bytes(1 << 20))), folder) == 1 << 20


def test_a_bomb_of_overlapping_files_is_refused(tmp_path, folder):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("fan/train/0.wav", bytes(1000))
        archive.writestr("fan/train/1.wav", bytes(1000))
    content = bytearray(stream.getvalue())
    second = content.rindex(b"PK\x01\x02")
    struct.pack_into("<L", content, second + 42, 0)  # the second begins where the first does
    path = tmp_path / "overlap.zip"
    path.write_bytes(content)
    with pytest.raises(DownloadError, match=r"zip bomb|damaged"):
        unpack_all(path, folder)
    assert files_below(folder) == {}


def test_a_file_larger_than_it_says_is_not_written_beyond_that(tmp_path, folder):
    content = bytearray(zipped({"fan/train/0.wav": bytes(100_000)}))
    entry = content.rindex(b"PK\x01\x02")
    struct.pack_into("<L", content, entry + 24, 10)
    path = tmp_path / "lie.zip"
    path.write_bytes(content)
    with pytest.raises(DownloadError, match="damaged"):
        unpack_all(path, folder)
    assert sum(map(len, files_below(folder).values())) <= 10


@pytest.mark.parametrize("names", [("fan/a.wav", "fan/a.wav"), ("fan/a.wav", "fan/A.wav")])
def test_two_files_of_one_name_are_refused(write_zip, folder, names):
    path = write_zip(*((name, b"x") for name in names))
    with pytest.raises(DownloadError, match=r"holds 'fan/.*' twice"):
        unpack_all(path, folder)


def test_an_encrypted_archive_is_refused(tmp_path, folder):
    content = bytearray(zipped(CLIPS))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(signature, at + 1)) >= 0:
            content[at + offset] |= 1
    path = tmp_path / "secret.zip"
    path.write_bytes(content)
    with pytest.raises(DownloadError, match="is encrypted"):
        unpack_all(path, folder)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_archive_is_refused(tmp_path, folder, share):
    content = zipped(CLIPS)
    path = tmp_path / "half.zip"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DownloadError, match="damaged"):
        unpack_all(path, folder)
    assert files_below(folder) == {}


def test_a_page_instead_of_an_archive_is_refused(tmp_path):
    path = tmp_path / "fan.zip"
    path.write_text("<html>please log in</html>", encoding="utf-8")
    with pytest.raises(DownloadError, match="the archive is damaged"):
        list_members(path)
    with pytest.raises(DownloadError, match="no such archive"):
        list_members(tmp_path / "none.zip")


def test_a_damaged_file_inside_is_noticed(tmp_path, folder):
    content = bytearray(zipped(CLIPS))
    content[len(content) // 3] ^= 0xFF
    path = tmp_path / "damaged.zip"
    path.write_bytes(content)
    with pytest.raises(DownloadError, match="damaged"):
        unpack_all(path, folder)


def test_an_unknown_compression_is_refused(tmp_path, folder):
    content = bytearray(zipped({"fan/train/0.wav": b"x"}))
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", content, content.index(signature) + offset, 9)
    path = tmp_path / "deflate64.zip"
    path.write_bytes(content)
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpack_all(path, folder)


def test_nothing_that_is_there_is_written_over(write_zip, folder):
    (folder / "fan").write_text("mine", encoding="utf-8")
    with pytest.raises(DownloadError, match="cannot be written"):
        unpack_all(write_zip(*CLIPS.items()), folder)
    assert files_below(folder) == {"fan": b"mine"}


def test_a_full_disk_is_told(write_zip, folder, monkeypatch):
    def copy(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", copy)
    with pytest.raises(DownloadError, match=r"No space left on device.; make room"):
        unpack_all(write_zip(*CLIPS.items()), folder)


def test_unpacking_ends_when_the_command_is_stopped(write_zip, folder):
    calls = []

    def stop_at_the_third():
        calls.append(1)
        if len(calls) == 3:
            raise DownloadError("stopped")

    with pytest.raises(DownloadError, match="stopped"):
        unpack(write_zip(*CLIPS.items()), folder, str, lambda count: None, stop_at_the_third)
    assert len(files_below(folder)) == 2


def test_the_comment_of_an_archive_is_read(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"de8719b7"
    assert archive_comment(path) == "de8719b7"


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_damage_leads_out_of_the_folder_or_to_another_error(tmp_path_factory, changes):
    content = bytearray(zipped({"fan/train/0.wav": b"normal" * 9, "fan/train/1.wav": b"clip"}))
    for share, value in changes:
        content[min(int(share * len(content)), len(content) - 1)] = value
    root = tmp_path_factory.mktemp("fuzz")
    (root / "folder").mkdir()
    (root / "x.zip").write_bytes(content)
    with contextlib.suppress(DownloadError):
        unpack_all(root / "x.zip", root / "folder")
    assert [path.name for path in root.iterdir() if path.name not in ("folder", "x.zip")] == []
