"""What may be done with the scores of other systems, with and without train scores."""

from __future__ import annotations

import re
import shutil

import pytest
from official_entry import write_official

from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.rules import run_objections
from dcase_asd.errors import (
    EditionError,
    ScoresError,
    SubmissionError,
)
from dcase_asd.fusion.fuse import fuse, fuse_again
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.recipe.fusion import Fusion
from dcase_asd.reports.report import report
from dcase_asd.submission.import_scores import import_scores
from dcase_asd.submission.submit import submit
from dcase_asd.submission.validate import validate

LABEL = "Lastname_INST_task2_1"


def test_a_run_with_train_scores_is_fused_reported_and_submitted(entry, theirs, tmp_path):
    run = tmp_path / "runs/theirs"
    import_scores(write_official(theirs, entry), run, "2025", entry.data)
    fused = tmp_path / "runs/ab"
    done = fuse([entry.run, run], fused, "2025", Fusion(("a", "b"), resamples=0, step=0.5))
    assert (done.train, done.test) == (80, 60)
    assert done.result.alone[0] == done.result.alone[1]
    assert not fuse_again(fused, "2025").changed
    page = report([run, fused], "2025", out=tmp_path / "r", resamples=0).page.read_text()
    assert re.search(r"Sample rate</dt>\s*<dd>unknown", page)
    assert submit(run, "2025", LABEL, tmp_path / "dist").files
    (objection,) = run_objections(run, load_edition("2025"))
    assert objection.level == "warning"
    assert "its scores were imported" in str(objection)


def test_without_train_scores_a_scale_is_for_analysis_alone(blind, entry, tmp_path):
    fused = tmp_path / "runs/both"
    fusion = {"systems": ("a", "b"), "method": "mean"}
    with pytest.raises(ScoresError, match="theirs: dev ToyCar section 00: no leave-one-out"):
        fuse(blind, fused, "2025", Fusion(**fusion))
    with pytest.raises(EditionError, match="--standardize test --analysis"):
        fuse(blind, fused, "2025", Fusion(**fusion, standardize="test"))
    fusion = Fusion(**fusion, standardize="test", analysis=True)
    result = fuse(blind, fused, "2025", fusion).result
    assert (result.analysis, result.standardisation) == (True, "test (transductive)")
    marks = ["which is transductive", "is for analysis alone, and may not be submitted"]
    evaluated = evaluate_run_or_folder(fused, "2025", resamples=0)
    page = report([fused], "2025", out=tmp_path / "report", resamples=0).page
    stored = (fused / "fusion/dcase2025.json").read_text()
    for text in (*marks, '"analysis": true'):
        assert text in stored
    for mark in marks:
        assert mark in " ".join(evaluated.to_json()["notes"])
        assert mark in page.read_text()
        assert mark in " ".join(result.notes)
    with pytest.raises(SubmissionError, match="both: a fusion for analysis alone"):
        submit(fused, "2025", LABEL, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()
    # A fusion of the fusion is marked, too.
    outer = tmp_path / "runs/outer"
    made = fuse([entry.run, fused], outer, "2025", Fusion(("c", "d"), method="mean",
                standardize="test", analysis=True)).result  # fmt: skip
    assert made.analysis
    with pytest.raises(SubmissionError, match="outer: a fusion for analysis alone"):
        submit(outer, "2025", LABEL, tmp_path / "dist")


def test_a_package_of_an_analysis_is_not_valid(blind, entry, tmp_path):
    fusion = Fusion(("a", "b"), method="mean")
    train = fuse([entry.run, shutil.copytree(entry.run, tmp_path / "runs/copy")],
                 tmp_path / "runs/both", "2025", fusion)  # fmt: skip
    package = submit(tmp_path / "runs/both", "2025", LABEL, tmp_path / "dist").archive
    analysis = tmp_path / "runs/analysis"
    fuse(blind, analysis, "2025", Fusion(("a", "b"), method="mean", standardize="test",
                                         analysis=True))  # fmt: skip
    found = validate(package, "2025", entry.data, [analysis]).problems
    assert any(each.level == "error" and "for analysis alone" in each.what for each in found)
    own = validate(package, "2025", entry.data, [tmp_path / "runs/both"])
    assert not any("for analysis alone" in each.what for each in own.problems)
    assert train.changed


def test_a_run_without_train_scores_is_not_submitted(blind, tmp_path):
    message = r"theirs: imported without train scores of \w+ section 00, .*`dcase-asd import-scores"
    with pytest.raises(ScoresError, match=message):
        submit(blind[1], "2025", LABEL, tmp_path / "dist")
