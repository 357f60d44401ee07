"""The zip is written alike every time and read without trusting it."""

from __future__ import annotations

import io
import os
import stat
import time
import warnings
import zipfile

import pytest

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import SubmissionError
from dcase_asd.submission import package as module
from dcase_asd.submission.package import package_name, read_package, zip_content

EDITION = load_edition("dcase2025")
FILES = {"task2/A_B_task2_1/x.csv": b"1\n", "task2/A_B_task2.technical_report.pdf": b"%PDF-"}


@pytest.mark.parametrize("label", ["Lastname_INST_task2_1", "Xiao_HEU-HIT_task2_4"])
def test_a_package_is_called_like_its_labels_without_the_number(label):
    assert package_name(label, EDITION) == label[:-2]


@pytest.mark.parametrize(
    "label",
    ["", "A_task2_1", "A_B_task1_1", "A_B_task2", "A_B_task2_0", "A_B_task2_01", "A B_C_task2_1",
     "A_B_task2_1/..", "Müller_B_task2_1", "../A_B_task2_1"],
)  # fmt: skip
def test_a_malformed_label_is_refused_with_the_grammar(label):
    with pytest.raises(SubmissionError, match="must read <Lastname>_<Inst>_task2_<1-4>"):
        package_name(label, EDITION)


def test_a_fifth_system_is_refused():
    with pytest.raises(SubmissionError, match="at most 4 systems"):
        package_name("A_B_task2_5", EDITION)


def test_a_zip_depends_on_nothing_but_the_files(monkeypatch):
    expected = zip_content(FILES)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    umask = os.umask(0o077)
    try:
        assert zip_content(dict(reversed(FILES.items()))) == expected
    finally:
        os.umask(umask)
    with zipfile.ZipFile(io.BytesIO(expected)) as archive:
        assert archive.namelist() == sorted(FILES)
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {member.external_attr >> 16 for member in archive.infolist()} == {
            stat.S_IFREG | 0o644
        }


def test_zip_and_folder_are_read_alike(tmp_path):
    for name, content in FILES.items():
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_bytes(content)
    (tmp_path / "p/task2/.DS_Store").write_bytes(b"hidden")
    (tmp_path / "p.zip").write_bytes(zip_content(FILES))
    folder, inner, archive = (read_package(tmp_path / name) for name in ("p", "p/task2", "p.zip"))
    assert folder.files == inner.files == archive.files == FILES
    assert (folder.name, archive.name) == ("", "p")
    assert archive.systems() == {"A_B_task2_1": {"x.csv": b"1\n"}}
    assert not folder.problems + archive.problems


def test_litter_is_no_system_and_in_a_zip_worth_a_warning(tmp_path):
    litter = {
        "__MACOSX/task2/._A_B_task2.technical_report.pdf": b"x",
        "task2/__MACOSX/._x.csv": b"x",
        "task2/.ipynb_checkpoints/x-checkpoint.csv": b"x",
        "task2/A_B_task2_1/._x.csv": b"x",
        "task2/A_B_task2_1/Thumbs.db": b"x",
    }
    for name, content in {**FILES, **litter}.items():
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_bytes(content)
    (tmp_path / "p.zip").write_bytes(zip_content({**FILES, **litter}))
    folder, archive = (read_package(tmp_path / name) for name in ("p", "p.zip"))
    assert folder.files == archive.files == FILES
    assert not folder.problems
    (problem,) = archive.problems
    assert (problem.level, problem.where) == ("warning", "task2")
    assert problem.what.startswith("left by an operating system: __MACOSX/task2/._A_B_task2.tech")
    assert problem.what.endswith("and 2 more; take that out of the zip")


def test_a_package_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SubmissionError, match=r"none\.zip: no such package"):
        read_package(tmp_path / "none.zip")


def problems_of(path):
    return [f"{problem.where}: {problem.what}" for problem in read_package(path).problems]


def write_zip(path, *members):
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for member, content in members:
            archive.writestr(member, content)
    return path


@pytest.mark.parametrize(
    "name",
    ["../evil", "task2/../../evil", "/etc/evil", "C:evil", "task2\\..\\evil", "task2/a\\b"],
)
def test_a_path_that_leaves_the_package_is_an_error(tmp_path, name):
    path = write_zip(tmp_path / "p.zip", (name, "x"), ("task2/ok", "x"))
    assert problems_of(path) == [f"{name}: the path leaves the package; take it out"]
    assert list(read_package(path).files) == ["task2/ok"]


def test_a_member_named_twice_is_an_error(tmp_path):
    path = write_zip(tmp_path / "p.zip", ("task2/a", "1"), ("task2/a", "2"))
    assert problems_of(path) == ["task2/a: stands in the zip twice; keep one"]


def test_links_are_errors_and_folders_are_none(tmp_path):
    link = zipfile.ZipInfo("task2/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = write_zip(tmp_path / "p.zip", (link, "/etc/passwd"), ("task2/folder/", ""))
    assert problems_of(path) == ["task2/link: is a link; put the file itself there"]
    (tmp_path / "p/task2").mkdir(parents=True)
    (tmp_path / "p/task2/link").symlink_to("/etc/passwd")
    assert problems_of(tmp_path / "p") == ["task2/link: is a link; put the file itself there"]


def test_a_folder_without_a_task_is_an_error(tmp_path):
    assert problems_of(tmp_path) == [f"task2: {tmp_path} holds no folder task2/"]


@pytest.mark.parametrize("content", [b"", b"no zip at all", zip_content(FILES)[:-30]])
def test_what_is_no_zip_is_an_error(tmp_path, content):
    (tmp_path / "p.zip").write_bytes(content)
    (problem,) = problems_of(tmp_path / "p.zip")
    assert problem.startswith("p.zip: not a readable zip")


def test_a_damaged_member_is_an_error(tmp_path):
    content = bytearray(zip_content({"task2/a": b"score" * 100}))
    content[40] ^= 0xFF
    (tmp_path / "p.zip").write_bytes(content)
    (problem,) = problems_of(tmp_path / "p.zip")
    assert problem.startswith("task2/a: is damaged")


def test_an_encrypted_member_is_an_error(tmp_path):
    content = bytearray(zip_content({"task2/a": b"x"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    (tmp_path / "p.zip").write_bytes(content)
    assert problems_of(tmp_path / "p.zip") == ["task2/a: is encrypted; zip it without a password"]


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_FILE", 2**20)
    monkeypatch.setattr(module, "LARGEST_PACKAGE", 3 * 2**20)
    bomb = bytes(2**20)
    one = {"task2/a": bomb + b"x"}
    (tmp_path / "p.zip").write_bytes(zip_content(one))
    assert problems_of(tmp_path / "p.zip") == ["task2/a: unpacks to more than 1 MiB; take it out"]
    many = {f"task2/{index}": bomb for index in range(9)}
    (tmp_path / "p.zip").write_bytes(zip_content(many))
    package = read_package(tmp_path / "p.zip")
    assert len(package.files) == 3
    (problem,) = package.problems
    assert problem.what == "the package unpacks to more than 3 MiB; nothing further was read"
    for name, content in {**one, **many}.items():
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_bytes(content)
    whats = [problem.what for problem in read_package(tmp_path / "p").problems]
    assert any("unpacks to more than 3 MiB" in what for what in whats)


def test_a_zip_of_countless_members_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_FILES", 1)
    (tmp_path / "p.zip").write_bytes(zip_content(FILES))
    assert problems_of(tmp_path / "p.zip") == ["p.zip: 2 members; a package has at most 1"]
