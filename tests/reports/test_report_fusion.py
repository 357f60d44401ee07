"""What a report shows of a fusion."""

from __future__ import annotations

import shutil

from report_pages import report, words
from report_runs import another_run, make_fusion

from dcase_asd.fusion.fuse import fuse
from dcase_asd.fusion.result import LeaveOneMachineOut, read_fusion
from dcase_asd.recipe.fusion import Fusion


def test_a_fusion_shows_its_weights_and_how_far_they_can_be_trusted(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    done = report(make_fusion(entry), "2025", out=tmp_path / "out")
    text = words(done.page)
    assert "Fusion weights in percent: small 70.0, other 30.0." in text
    assert (
        "Official score in percent: this fusion 81.00, left-out machines 75.00, "
        "equal weights 76.00, small 79.00, other 61.00." in text
    )
    assert "exhaustive lattice, step 0.1, 11 points" in text
    assert "200 bootstrap samples" in text
    assert "Fitting does not beat the mean." in text
    assert '<td class="words">small 100</td>' in text
    assert "mean over machines: small 0.50, other 1.50" in text
    assert "Rank correlation of the test scores of 2 systems" in text
    assert "[fusion]" in text  # its recipe


def test_a_fusion_shows_what_was_computed_only(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    nothing = ["weights", "dev_score", "leave_one_machine_out", "equal_weights", "alone",
               "bootstrap", "robustness", "labels"]  # fmt: skip
    run = make_fusion(
        entry, method="minimum", selected_from=("small", "other", "x"), notes=(),
        **dict.fromkeys(nothing),
    )  # fmt: skip
    shutil.rmtree(entry.run)
    done = report(run, "2025", out=tmp_path / "out")
    text = words(done.page)
    assert "Selected from</dt><dd>small, other, x" in text
    assert "Without small: " in text
    assert "no such run folder" in text
    assert not [path for path in done.pictures if "fusion" in path.name]


def test_an_estimate_that_labels_chose_for_is_not_called_honest(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    plain = words(report(make_fusion(entry), "2025", out=tmp_path / "out").page)
    assert "were left out of the fit, which is the honest estimate." in plain
    left_out = LeaveOneMachineOut(0.75, 0.76, {}, ("other",), 0.72)
    run = make_fusion(entry, leave_one_machine_out=left_out)
    text = words(report(run, "2025", out=tmp_path / "out").page)
    assert "left-out machines 75.00, with last checkpoints 72.00, equal weights" in text
    assert "out of the fit of weights; their labels chose checkpoints or weights of other." in text
    assert "honest" not in text


def test_what_fuse_writes_is_read(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    other = another_run(entry, "other", 0.3)
    run = entry.run.with_name("fused")
    fuse([entry.run, other], run, "dcase2025", Fusion(("small", "other"), resamples=3))
    done = report(run, "2025", out=tmp_path / "out")
    text = words(done.page)
    result = read_fusion(run, "dcase2025")
    assert f"this fusion {100 * result.dev_score:.2f}" in text
    assert f"left-out machines {100 * result.leave_one_machine_out.score:.2f}" in text
    assert "Robustness of its systems" in text
    assert "Agreement of its systems" in text
