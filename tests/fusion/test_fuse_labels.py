"""Which labels `fuse` fits to, and what it does without any."""

from __future__ import annotations

import pytest
from ground_truth_files import evaluation_clips, write_ground_truth

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import ArtifactError, GroundTruthError
from dcase_asd.fusion.fuse import fuse_again
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.progress import Silent
from dcase_asd.submission.submit import submit


def test_no_label_of_the_evaluation_set_is_looked_at(make_systems):
    """Names in the evaluation set that tell a condition change nothing."""
    plain, told = (make_systems({"a": 0.6, "b": 0.9}) for _ in range(2))

    def tell(table):
        inside = (table["stage"] == "eval") & (table["split"] == "test")
        named = [
            f"section_00_source_test_{'anomaly' if index % 2 else 'normal'}_{index:04}_x_1.wav"
            if of_eval
            else file
            for index, (file, of_eval) in enumerate(zip(table["file"], inside, strict=True))
        ]
        return table.assign(file=named)

    expected = plain.fuse().result
    told.change_each(tell)
    result = told.fuse("told").result
    assert (result.weights, result.dev_score) == (expected.weights, expected.dev_score)


@pytest.fixture
def truth(systems, tmp_path):
    """Labels of the evaluation set by which a system is perfect that else is nothing."""

    def perfect(table):
        test = (table["stage"] == "eval") & (table["split"] == "test")
        numbers = table["file"].str.extract(r"(\d{4})")[0].astype(int)
        return table.assign(score=table["score"] + 1e4 * (test & (numbers % 2 == 1)))

    systems.change("c", perfect)
    return write_ground_truth(tmp_path / "truth", evaluation_clips(systems.tables["c"]))


def test_weights_are_fitted_to_a_ground_truth_only_where_asked_for_and_that_is_said(systems, truth):
    assert systems.fuse(method="mean", select="best:2").result.systems == ("a", "b")
    progress = Silent()
    settings = {"method": "mean", "select": "best:1", "always": ("b",)}
    result = systems.fuse("cheating", truth, progress=progress, **settings).result
    assert result.systems == ("b", "c")
    assert result.dev_score == pytest.approx(1)
    assert result.labels == "the ground truth truth"
    assert result.machines == tuple(sorted(load_edition("dcase2025").machines["eval"])[:2])
    caveat = "the fusion was fitted to the labels of the ground truth truth: its figures on these"
    assert progress.notes[0].startswith(caveat)
    report = evaluate_run_or_folder(systems.run("cheating"), "2025", truth, resamples=0)
    assert report.notes[0] == progress.notes[0]
    submitting = Silent()
    label = "Lastname_INST_task2_1"
    submit(systems.run("cheating"), "2025", label, systems.folder / "dist", progress=submitting)
    assert submitting.notes[0] == progress.notes[0]
    assert report.evaluation.official_score == pytest.approx(1)


def test_scoring_again_takes_the_same_ground_truth(systems, truth):
    done = systems.fuse(ground_truth=truth)
    assert not fuse_again(systems.run("fused"), "dcase2025").changed
    systems.change("a", lambda table: table.assign(score=-table["score"]))
    again = fuse_again(systems.run("fused"), "dcase2025")
    assert again.changed
    assert again.result.ground_truth == done.result.ground_truth == str(truth.resolve())
    with pytest.raises(ArtifactError, match=r"the ground truth was .* and is None"):
        systems.fuse()


def test_a_ground_truth_of_other_machines_is_refused_even_where_nothing_is_fitted(
    systems, tmp_path
):
    clips = evaluation_clips(systems.tables["a"])
    others = clips[clips["machine"] == clips["machine"].iloc[0]].assign(machine="lathe")
    truth = write_ground_truth(tmp_path / "other", others)
    with pytest.raises(GroundTruthError, match="other: labels of lathe 00, but scored are"):
        systems.fuse(method="mean", ground_truth=truth)
    assert not systems.run("fused").exists()


def test_without_development_labels_only_methods_that_fit_nothing_work(systems):
    systems.change_each(lambda table: table[table["stage"] == "eval"])
    for settings in ({}, {"method": "bayesian"}, {"method": "mean", "select": "best:2"}):
        with pytest.raises(GroundTruthError, match="no scores of the development set") as error:
            systems.fuse(**settings)
        assert str(error.value).endswith(
            "without labels fuse with --method mean, minimum, calibrated or --weights"
        )
    assert not systems.run("fused").exists()
    result = systems.fuse(method="mean").result
    assert (result.dev_score, result.alone, result.equal_weights) == (None, None, None)
    assert "there are no figures: " in result.notes[0]
    assert result.robustness is not None


def test_development_names_without_a_condition_are_an_edition_without_labels(systems):
    def blind(table):
        numbered = [f"section_00_{index:04}.wav" for index in range(len(table))]
        return table.assign(file=table["file"].where(table["split"] == "train", numbered))

    systems.change_each(blind)
    with pytest.raises(GroundTruthError, match="no test clip of dcase2025 tells its condition"):
        systems.fuse()
