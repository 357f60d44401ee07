"""The folder of a report: where it is, what is replaced in it, and what is left alone."""

from __future__ import annotations

import json

import pytest
from folder_contents import tree
from report_pages import report
from report_runs import another_run, make_fusion

from dcase_asd.errors import ArtifactError
from dcase_asd.files import only_writer, replacing
from dcase_asd.reports.report import MARKER, write_report_folder


def test_the_default_folder_is_in_the_run_or_of_several_here(make_entry, tmp_path, monkeypatch):
    entry = make_entry("dcase2025")
    monkeypatch.chdir(tmp_path)
    assert report(entry.run, "2025").page == entry.run / "report/dcase2025/report.html"
    several = report([entry.run, another_run(entry, "other", 0.1)], "2025")
    assert several.page.resolve() == tmp_path / "report/dcase2025/report.html"


def test_the_same_inputs_give_the_same_bytes_and_touch_nothing(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    runs = [make_fusion(entry), entry.run]
    first = report(runs, "2025", out=tmp_path / "a", resamples=20)
    report(runs, "2025", out=tmp_path / "b", resamples=20)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    times = {path: path.stat().st_mtime_ns for path in first.pictures}
    again = report(runs, "2025", out=tmp_path / "a", resamples=20)
    assert not again.changed
    assert times == {path: path.stat().st_mtime_ns for path in again.pictures}


def test_an_earlier_report_is_replaced_and_nothing_else_is_touched(tmp_path):
    folder = tmp_path / "out"
    assert write_report_folder(folder, {"report.html": b"1", "pictures/a/x.svg": b"x"})
    (folder / "pictures/a/mine.txt").write_text("mine")
    assert not write_report_folder(folder, {"report.html": b"1", "pictures/a/x.svg": b"x"})
    assert write_report_folder(folder, {"report.html": b"2", "pictures/y.svg": b"y"})
    assert set(tree(folder)) == {"report.html", "pictures/y.svg", "pictures/a/mine.txt", MARKER}
    assert write_report_folder(folder, {"report.html": b"2"})
    assert (folder / "pictures/a").is_dir()
    assert not (folder / "pictures/y.svg").exists()


@pytest.mark.parametrize("name", ["report.html", "pictures/x.svg", "report.json"])
def test_a_file_of_somebody_else_is_in_the_way(tmp_path, name):
    folder = tmp_path / "out"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("my thesis")
    before = tree(folder)
    with pytest.raises(ArtifactError, match=rf"{name}: was not made by a report; .*--out"):
        write_report_folder(folder, {"report.html": b"1", "pictures/x.svg": b"x"})
    assert tree(folder) == before


def test_a_folder_in_the_place_of_the_page_is_in_the_way(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(ArtifactError, match=r"report\.html: was not made by a report"):
        write_report_folder(tmp_path, {"report.html": b"1"})


def test_a_page_that_was_edited_is_made_again(tmp_path):
    write_report_folder(tmp_path, {"report.html": b"1"})
    (tmp_path / "report.html").write_text("1, and my remarks")
    assert write_report_folder(tmp_path, {"report.html": b"1"})
    assert (tmp_path / "report.html").read_bytes() == b"1"


@pytest.mark.parametrize(
    "content", ['{"files": 3}', '{"files": [{}, 1]}', '{"title": "mine"}', "[1]", "mine"]
)
def test_a_marker_that_no_report_wrote_is_in_the_way(tmp_path, content):
    (tmp_path / MARKER).write_text(content)
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(ArtifactError, match=r"report\.(html|json): was not made by a report"):
        write_report_folder(tmp_path, {"report.html": b"1"})
    assert tree(tmp_path) == {MARKER: content.encode(), "report.html": b"mine"}


@pytest.mark.parametrize("name", ["../mine.txt", "mine.txt", "/mine.txt", "pictures"])
def test_a_marker_never_leads_out_of_the_pictures(tmp_path, name):
    folder = tmp_path / "out"
    write_report_folder(folder, {"report.html": b"1", "pictures/x.svg": b"x"})
    (tmp_path / "mine.txt").write_bytes(b"1")
    (folder / "mine.txt").write_bytes(b"1")
    marker = json.loads((folder / MARKER).read_text())
    marker["files"].append(name if name[0] != "/" else str(tmp_path / name[1:]))
    (folder / MARKER).write_text(json.dumps(marker))
    write_report_folder(folder, {"report.html": b"2", "pictures/x.svg": b"x"})
    assert (tmp_path / "mine.txt").read_bytes() == b"1"
    assert set(tree(folder)) == {"report.html", "pictures/x.svg", "mine.txt", MARKER}


def test_a_report_of_an_earlier_version_is_replaced(tmp_path):
    for name in ("report.html", "pictures/1_a/x.svg", "pictures/1_a/y.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    names = ["report.html", "pictures/1_a/x.svg", "pictures/1_a/y.png"]
    (tmp_path / MARKER).write_text(json.dumps({"files": {name: ["hash"] for name in names}}))
    files = {"report.html": b"1", "pictures/y.svg": b"y"}
    assert write_report_folder(tmp_path, files)
    assert {name: content for name, content in tree(tmp_path).items() if name != MARKER} == files
    assert not (tmp_path / "pictures/1_a").exists()


@pytest.mark.parametrize(
    "broken", ["report.html", "pictures/x.svg", "pictures/new.svg", "report.json"]
)
def test_a_report_that_was_killed_anywhere_is_made_again(tmp_path, monkeypatch, broken):
    from dcase_asd.reports import report as module

    before = {"report.html": b"1", "pictures/x.svg": b"x", "pictures/old.svg": b"o"}
    write_report_folder(tmp_path, before)
    files = {"report.html": b"2", "pictures/x.svg": b"xx", "pictures/new.svg": b"n"}

    class KilledError(Exception):
        pass

    def stop(path):
        if path.relative_to(tmp_path).as_posix() == broken:
            raise KilledError
        return replacing(path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "replacing", stop)
        if broken == MARKER:
            patch.setattr(module, "write_json", lambda path, _: stop(path))
        with pytest.raises(KilledError):
            write_report_folder(tmp_path, files)
    assert write_report_folder(tmp_path, files)
    assert {name: content for name, content in tree(tmp_path).items() if name != MARKER} == files


def test_a_folder_that_another_process_writes_is_left_to_it(tmp_path):
    with only_writer(tmp_path), pytest.raises(ArtifactError, match="another dcase-asd is writing"):
        write_report_folder(tmp_path, {"report.html": b"1"})
