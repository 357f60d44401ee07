"""`validate` against packages that `submit` made, with the data and runs they came from."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from dcase_asd.clips.manifest import manifest_path, write_manifest
from dcase_asd.errors import ArtifactError, DataError, ScoresError, SubmissionError
from dcase_asd.submission.submit import submit
from dcase_asd.submission.validate import validate

LABEL = "Lastname_INST_task2_1"
SECOND = "Lastname_INST_task2_2"
FORM = Path(__file__).parents[2] / "submissions/examples/submission.toml"


@pytest.fixture
def pdf(tmp_path):
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7\n")
    return tmp_path / "report.pdf"


@pytest.fixture
def entry(make_entry):
    return make_entry("dcase2024")


@pytest.fixture
def packed(entry, tmp_path, pdf):
    return submit(entry.run, "dcase2024", LABEL, tmp_path / "dist", form=FORM, report=pdf)


def errors(found):
    return [f"{p.where}: {p.what}" for p in found.problems if p.level == "error"]


@pytest.mark.parametrize(
    ("edition", "clips"),
    [("dcase2020", 36), ("dcase2021", 72), ("dcase2022", 36), ("dcase2024", 12), ("dcase2026", 12)],
)
def test_what_submit_makes_is_valid_as_zip_and_as_folder(make_entry, tmp_path, pdf, edition, clips):
    entry = make_entry(edition)
    done = submit(entry.run, edition, LABEL, tmp_path / "dist", form=FORM, report=pdf)
    for package in (done.archive, done.folder.parents[1], done.folder.parent):
        found = validate(package, edition, entry.data, [str(entry.run)])
        assert errors(found) == []
        assert found.accepted()
        assert (found.systems, found.clips) == ([LABEL], clips)
        assert any("the package covers 2 of" in problem.what for problem in found.problems)
        assert not found.accepted(strict=True)


def test_a_package_checked_against_other_clips_names_both_differences(entry, packed):
    first = "section_00_0000.wav"
    paths = entry.clips["path"].str.replace(f"3DPrinter/test/{first}", "3DPrinter/test/new.wav")
    write_manifest(manifest_path(entry.data), entry.clips.assign(path=paths))
    found = validate(packed.archive, "dcase2024", entry.data, [str(entry.run)])
    where = f"task2/{LABEL}/anomaly_score_3DPrinter_section_00_test.csv"
    assert f"{where}: 1 test clip(s) have no score: new.wav" in errors(found)
    assert f"{where}: 1 clip(s) are not in the test set: {first}; take them out" in errors(found)


def test_recordings_in_flac_are_named_as_wav(entry, packed):
    paths = entry.clips["path"].str.replace(".wav", ".flac")
    write_manifest(manifest_path(entry.data), entry.clips.assign(path=paths))
    assert errors(validate(packed.archive, "dcase2024", entry.data)) == []


def test_noise_and_training_clips_need_no_score(entry, packed):
    extra = entry.clips.query("stage == 'eval' and split == 'test'").assign(
        split="supplemental", path="x/section_00_noise_0000.wav", role="noise"
    )
    write_manifest(manifest_path(entry.data), extra)
    with pytest.raises(DataError, match="holds no evaluation test clip of dcase2024"):
        validate(packed.archive, "dcase2024", entry.data)


def test_results_are_compared_with_the_run(entry, packed):
    entry.write(entry.scores.assign(score=-entry.scores["score"]))
    found = validate(packed.archive, "dcase2024", entry.data, [str(entry.run)])
    results = [line for line in errors(found) if "but the run's scores give" in line]
    assert len(results) == 6
    turned = "6 of 6 scores are not the run's: their signs are turned"
    assert sum(turned in line for line in errors(found)) == 2


FILES = [
    f"anomaly_score_{machine}_section_00_test.csv" for machine in ("3DPrinter", "AirCompressor")
]


def permuted(files):
    clips, values = zip(*(line.split(",") for line in files[FILES[0]].splitlines()), strict=True)
    moved = zip(clips, values[1:] + values[:1], strict=True)
    return {FILES[0]: "".join(f"{clip},{value}\n" for clip, value in moved)}


def constant(files):
    clips = [line.split(",")[0] for line in files[FILES[0]].splitlines()]
    return {FILES[0]: "".join(f"{clip},0.5\n" for clip in clips)}


def swapped(files):
    names = [FILES, [name.replace("anomaly_score", "decision_result") for name in FILES]]
    return {a: files[b] for pair in names for a, b in (pair, pair[::-1])}


@pytest.mark.parametrize(
    ("corrupt", "words"),
    [
        (permuted, "the same numbers stand at other clips"),
        (swapped, f"they are those of {FILES[1]}"),
        (constant, "all are 0.5"),
    ],
)
def test_scores_that_are_not_the_runs_are_found(entry, packed, corrupt, words):
    files = {path.name: path.read_text() for path in packed.folder.iterdir()}
    for name, text in corrupt(files).items():
        (packed.folder / name).write_text(text)
    folder = packed.folder.parents[1]
    found = validate(folder, "dcase2024", entry.data, [str(entry.run)])
    assert not found.accepted()
    assert any(FILES[0] in line and words in line for line in errors(found))


def test_decisions_are_compared_at_the_quantile_that_they_were_submitted_with(entry, tmp_path, pdf):
    done = submit(
        entry.run, "dcase2024", LABEL, tmp_path / "q", form=FORM, report=pdf, quantile=0.5
    )
    runs = [str(entry.run)]
    assert errors(validate(done.archive, "dcase2024", entry.data, runs, quantile=0.5)) == []
    found = errors(validate(done.archive, "dcase2024", entry.data, runs))
    assert found
    assert all("another --quantile" in line for line in found)


def test_a_package_without_its_folder_is_told_and_not_its_runs(entry, packed, tmp_path):
    nested = tmp_path / "nested.zip"
    with zipfile.ZipFile(packed.archive) as old, zipfile.ZipFile(nested, "w") as new:
        for name in old.namelist():
            new.writestr(f"outer/{name}", old.read(name))
    found = validate(nested, "dcase2024", entry.data, [f"{LABEL}={entry.run}"])
    assert "task2: there is no system; add one with `submit`" in errors(found)


def test_training_with_what_the_rules_forbid_is_an_error(make_entry, trained_with, tmp_path, pdf):
    entry = make_entry("dcase2026")
    done = submit(entry.run, "dcase2026", LABEL, tmp_path / "dist", form=FORM, report=pdf)
    trained_with(entry.run, "dcase2020", "dcase2026")
    found = validate(done.archive, "dcase2026", entry.data, [str(entry.run)])
    (line,) = errors(found)
    assert line.startswith(f"task2/{LABEL}: {entry.run} uses what dcase2026 does not allow")
    assert "train clips of dcase2020" in line
    trained_with(entry.run, "dcase2026")
    assert errors(validate(done.archive, "dcase2026", entry.data, [str(entry.run)])) == []


def test_runs_go_to_systems_in_order_or_by_label(entry, packed, tmp_path):
    other = tmp_path / "runs/other"
    shutil.copytree(entry.run, other)
    entry.write(entry.scores.assign(score=-entry.scores["score"]))
    submit(entry.run, "dcase2024", SECOND, tmp_path / "dist", form=FORM)
    first, second = str(other), str(entry.run)
    for runs in (
        [first, second],
        [f"{SECOND}={second}", first],
        [f"{SECOND}={second}", f"{LABEL}={first}"],
    ):
        assert errors(validate(packed.archive, "dcase2024", entry.data, runs)) == []
    assert errors(validate(packed.archive, "dcase2024", entry.data, [second, first]))
    found = validate(packed.archive, "dcase2024", entry.data, [first])
    unchecked = [p.where for p in found.problems if "were not checked; give the run" in p.what]
    assert unchecked == [f"task2/{SECOND}/{SECOND}.meta.yaml"]
    with pytest.raises(SubmissionError, match=r"3 runs for 2 system\(s\)"):
        validate(packed.archive, "dcase2024", entry.data, [first, second, first])


def test_a_run_of_a_label_that_is_not_in_the_package_is_refused(entry, packed):
    with pytest.raises(SubmissionError, match=f"no system {SECOND}; did you mean '{LABEL}'"):
        validate(packed.archive, "dcase2024", entry.data, [f"{SECOND}={entry.run}"])


def test_a_run_without_scores_is_refused(entry, packed, tmp_path):
    with pytest.raises(DataError, match="none: no such run folder"):
        validate(packed.archive, "dcase2024", entry.data, [str(tmp_path / "none")])
    (tmp_path / "new" / "embeddings").mkdir(parents=True)
    with pytest.raises(ScoresError, match="new: no finished scores of dcase2024"):
        validate(packed.archive, "dcase2024", entry.data, [tmp_path / "new"])


def test_a_package_of_another_edition_fails(make_entry, packed):
    other = make_entry("dcase2025")
    found = validate(packed.archive, "dcase2025", other.data)
    assert any("4 file(s) are missing: anomaly_score_AutoTrash" in line for line in errors(found))
    assert any("no file of dcase2025 is called so" in line for line in errors(found))


def test_everything_wrong_is_told_at_once(entry, packed, tmp_path):
    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(packed.archive) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if "anomaly_score_3D" in name:
                content = content.split(b"\n", 1)[1]
            if name.endswith(".pdf"):
                content = b"not yet"
            new.writestr(name, content)
        new.writestr("../outside", "x")
    found = validate(broken, "dcase2024", entry.data)
    text = "\n".join(errors(found))
    assert "../outside: the path leaves the package" in text
    assert "is no PDF" in text
    assert "1 test clip(s) have no score: section_00_0000.wav" in text
    assert found.errors == 3
    assert found.errors + found.warnings == len(found.problems)


def test_missing_package_or_data_is_one_line(entry, packed, tmp_path):
    with pytest.raises(SubmissionError, match="no such package"):
        validate(tmp_path / "none.zip", "dcase2024", entry.data)
    with pytest.raises(DataError, match="no such data folder"):
        validate(packed.archive, "dcase2024", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no recordings here"):
        validate(packed.archive, "dcase2024", tmp_path / "empty")
    (tmp_path / "empty/dcase2024t2/eval_data").mkdir(parents=True)
    with pytest.raises(ArtifactError, match=f"dcase-asd prepare --data {tmp_path}/empty`"):
        validate(packed.archive, "dcase2024", tmp_path / "empty")
