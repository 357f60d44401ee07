"""A submit that meets what others made, is stopped, or finds no room."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from folder_contents import tree

from dcase_asd import files
from dcase_asd.errors import (
    ArtifactError,
    SubmissionError,
)
from dcase_asd.files import only_writer
from dcase_asd.submission import submit as module
from dcase_asd.submission.submit import submit

LABEL = "Lastname_INST_task2_1"
FORM = Path(__file__).parents[2] / "submissions/examples/submission.toml"


def test_a_package_of_another_edition_is_refused(make_entry, out):
    entry = make_entry("dcase2024")
    submit(entry.run, "dcase2024", LABEL, out)
    before = tree(out)
    other = make_entry("dcase2025")
    with pytest.raises(SubmissionError, match="holds a package for dcase2024, not dcase2025"):
        submit(other.run, "dcase2025", "Lastname_INST_task2_2", out)
    assert tree(out) == before


@pytest.mark.parametrize("foreign", ["Lastname_INST_task2.zip", "Lastname_INST_task2/task2/x"])
def test_what_somebody_else_made_is_not_touched(make_entry, out, foreign):
    entry = make_entry("dcase2024")
    (out / foreign).parent.mkdir(parents=True)
    (out / foreign).write_text("mine")
    with pytest.raises(SubmissionError, match="was not made by `submit`"):
        submit(entry.run, "dcase2024", LABEL, out, overwrite=True)
    assert (out / foreign).read_text() == "mine"


def test_a_link_in_the_package_is_refused(make_entry, out, tmp_path):
    entry = make_entry("dcase2024")
    done = submit(entry.run, "dcase2024", LABEL, out)
    (done.folder.parent / "notes").symlink_to(tmp_path)
    with pytest.raises(SubmissionError, match="notes: is a link"):
        submit(entry.run, "dcase2024", LABEL, out)


def test_two_at_once_are_refused(make_entry, out):
    entry = make_entry("dcase2024")
    with only_writer(out), pytest.raises(ArtifactError, match="another dcase-asd is writing"):
        submit(entry.run, "dcase2024", LABEL, out)


@pytest.mark.parametrize("fails", ["fsync", "rename", "second rename", "archive"])
def test_an_interrupted_submit_keeps_the_old_package_and_can_be_run_again(
    make_entry, out, tmp_path, monkeypatch, fails
):
    entry = make_entry("dcase2024")
    submit(entry.run, "dcase2024", LABEL, out, form=FORM)
    before = tree(out)
    entry.write(entry.scores.assign(score=entry.scores["score"] * 2))
    submit(entry.run, "dcase2024", LABEL, tmp_path / "whole", form=FORM)

    class StoppedError(BaseException):
        pass

    rename, calls = Path.rename, []

    def stop(*_):
        raise StoppedError

    def stop_second(self, target):
        calls.append(target)
        if len(calls) == 2:
            raise StoppedError
        return rename(self, target)

    with monkeypatch.context() as patch:
        if fails == "fsync":
            patch.setattr(files.os, "fsync", stop)
        elif fails == "archive":
            patch.setattr(module, "zip_content", stop)
        else:
            patch.setattr(Path, "rename", stop if fails == "rename" else stop_second)
        with pytest.raises(StoppedError):
            submit(entry.run, "dcase2024", LABEL, out, form=FORM, overwrite=True)
    archive = "Lastname_INST_task2.zip"
    assert tree(out)[archive] == before[archive]
    if fails != "archive":
        assert tree(out) == before
    submit(entry.run, "dcase2024", LABEL, out, form=FORM, overwrite=True)
    assert tree(out) == tree(tmp_path / "whole")


def test_what_a_killed_submit_left_is_put_right(make_entry, out):
    entry = make_entry("dcase2024")
    done = submit(entry.run, "dcase2024", LABEL, out)
    before = tree(out)
    # Killed between the two moves: the new system still under its temporary name, the old one away.
    for label in (LABEL, "Lastname_INST_task2_2"):
        shutil.copytree(done.folder, done.folder.with_name(f".writing-{label}"))
    done.folder.rename(done.folder.with_name(f".replaced-{LABEL}"))
    entry.write(entry.scores.assign(score=entry.scores["score"] * 2))
    with pytest.raises(SubmissionError, match="is there already and differs"):
        submit(entry.run, "dcase2024", LABEL, out)
    assert tree(out) == before
    done = submit(entry.run, "dcase2024", "Lastname_INST_task2_2", out)
    assert done.systems == [LABEL, "Lastname_INST_task2_2"]
    assert tree(out).items() >= {k: v for k, v in before.items() if ".zip" not in k}.items()


def test_a_full_disk_is_one_line(make_entry, out, monkeypatch):
    entry = make_entry("dcase2024")

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(ArtifactError, match="No space left on device"):
            submit(entry.run, "dcase2024", LABEL, out)
    assert submit(entry.run, "dcase2024", LABEL, out).changed
