"""Fusing scores of recordings of one's own, where statistics of test clips are allowed."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from reference_fusion import CLIP, Systems

from dcase_asd.errors import TooFewClipsError
from dcase_asd.fusion.result import fusion_path
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.progress import Silent
from dcase_asd.reports.report import report


@pytest.fixture
def own(tmp_path):
    rows = [
        ("dev", machine, "00", split, f"{condition}_{index}.wav")
        for machine in ("drill", "saw")
        for split, conditions in (("train", ("normal",)), ("test", ("normal", "anomaly")))
        for condition in conditions
        for index in range(10)
    ]
    clips = pd.DataFrame(rows, columns=CLIP)
    return Systems(tmp_path / "runs", "workshop", clips, {"a": 1.0, "b": 1.0})


def test_test_statistics_are_named_in_every_output_where_they_are_allowed(own):
    progress = Silent()
    done = own.fuse(method="mean", standardize="test", progress=progress)
    assert done.result.standardisation == "test (transductive)"
    assert any("which is transductive" in note for note in progress.notes)
    content = json.loads(fusion_path(own.run("fused"), "workshop").read_text())
    assert content["standardisation"] == "test (transductive)"
    scores = own.scores()
    report = evaluate_run_or_folder(own.run("fused"), "workshop", resamples=0)
    assert any("which is transductive" in note for note in report.notes)
    expected = (own.standardized("a", "test") + own.standardized("b", "test")) / 2
    pd.testing.assert_series_equal(scores, expected, check_names=False, rtol=1e-12)


def test_recordings_of_ones_own_are_fused_by_the_mean_of_auc_and_pauc(own):
    result = own.fuse().result
    assert result.dev_score == pytest.approx(own.score(result.weights), abs=1e-12)
    assert result.weights == pytest.approx(own.best())
    assert result.leave_one_machine_out is not None
    assert not any("domain" in note for note in result.notes)
    page = report([own.run("fused")], "workshop", resamples=0).page.read_text()
    assert "Mean of AUC and pAUC in percent: this fusion" in page
    assert "fficial" not in page


def test_robustness_that_cannot_be_measured_is_said_unless_it_decides(own):
    def with_lathe(table):
        tests = table[(table["split"] == "test") & (table["machine"] == "saw")]
        return pd.concat([table, tests.assign(stage="eval", machine="lathe")])

    own.change_each(with_lathe)
    result = own.fuse(method="mean", standardize="test").result
    assert any(note.startswith("robustness is not measured: eval lathe") for note in result.notes)
    own.tables["c"] = own.tables["a"]
    own.write("c")
    with pytest.raises(TooFewClipsError, match="eval lathe section 00: how far normal clips"):
        own.fuse("other", method="mean", standardize="test", select="robust:2")
