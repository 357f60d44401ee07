"""What `fuse` computes, held against plain references, and which folders it leaves alone."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from dcase_asd.artifacts.atomic import only_writer, write_text
from dcase_asd.artifacts.fusion import fusion_path, read_fusion
from dcase_asd.artifacts.scores import read_provenance, read_scores, scores_path, write_scores
from dcase_asd.challenge.edition import load_edition
from dcase_asd.challenge.ground_truth import labels_from_names
from dcase_asd.challenge.metrics import aggregate, evaluate
from dcase_asd.errors import (
    ArtifactError,
    DataError,
    EditionError,
    GroundTruthError,
    RecipeError,
    ScoresError,
    TooFewClipsError,
)
from dcase_asd.fused_system import Fusion, is_fused, read_fused_system
from dcase_asd.progress import Silent
from dcase_asd.steps.embed import embed
from dcase_asd.steps.evaluate import evaluate_run_or_folder
from dcase_asd.steps.finetune import finetune, planned_system
from dcase_asd.steps.fuse import fuse, fuse_again, newest_common_edition
from dcase_asd.steps.score import score
from dcase_asd.steps.submit import submit
from dcase_asd.system import Embedding, System

CLIP = ["stage", "machine", "section", "split", "file"]


class Systems:
    """Runs with scores of the same clips, and plain references for what a fusion makes of them."""

    def __init__(self, folder, edition, clips, gains, seed=0):
        self.folder, self.edition = folder, load_edition(edition)
        self.random = np.random.default_rng(seed)
        anomalous = clips["file"].str.contains("anomaly").to_numpy()
        self.tables = {}
        for name, gain in gains.items():
            gain_of = gain if isinstance(gain, dict) else dict.fromkeys(clips["machine"], gain)
            shift = clips["machine"].map(gain_of).fillna(0.0).to_numpy() * anomalous
            scale = self.random.uniform(0.1, 10)
            noise = self.random.standard_normal(len(clips))
            self.tables[name] = clips.assign(score=scale * (shift + noise))
            self.write(name)

    def run(self, name):
        return self.folder / name

    @property
    def runs(self):
        return [self.run(name) for name in self.tables]

    def write(self, name, **provenance):
        made = {"backbone": "beats", "parameters": 100, "sample_rate": 16000, "fingerprint": name}
        write_scores(self.run(name), self.edition.name, self.tables[name], made | provenance)

    def change(self, name, change):
        self.tables[name] = change(self.tables[name].copy())
        self.write(name)

    def fuse(self, run="fused", ground_truth=None, overwrite=False, progress=None, **settings):
        fusion = Fusion(tuple(self.tables), **({"resamples": 0, "step": 0.25} | settings))
        return fuse(
            self.runs, self.run(run), self.edition.name, fusion, ground_truth,
            overwrite=overwrite, progress=progress,
        )  # fmt: skip

    def standardised(self, name, split="train"):
        table = self.tables[name].set_index(CLIP)["score"].sort_index()
        groups = ["stage", "machine", "section"]
        of_split = table[table.index.get_level_values("split") == split].groupby(level=groups)
        keys = table.index.droplevel(["split", "file"])
        mean, deviation = (
            values.reindex(keys).to_numpy() for values in (of_split.mean(), of_split.std(ddof=0))
        )
        return (table - mean) / deviation

    def fused(self, weights):
        return sum(
            weight * self.standardised(name)
            for name, weight in zip(self.tables, weights, strict=True)
        )

    def evaluation(self, fused, machines=None):
        """The official result of fused scores on development clips."""
        table = fused.rename("score").reset_index()
        table = table[(table["stage"] == "dev") & (table["split"] == "test")]
        if machines is not None:
            table = table[table["machine"].isin(machines)]
        labelled = labels_from_names(table, self.edition)
        return evaluate(labelled.reset_index(drop=True), self.edition.metric)

    def score(self, weights, machines=None):
        return official(self.evaluation(self.fused(weights), machines))

    def best(self, machines=None, parts=4):
        """The best of all weights in steps of 1 / parts, by the definition."""
        points = [
            np.array(point) / parts
            for point in itertools.product(range(parts + 1), repeat=len(self.tables))
            if sum(point) == parts
        ]
        ranked = sorted(points, key=lambda point: (-self.score(point, machines), sum(point**2)))
        return ranked[0]

    def left_out(self, weights_of):
        """The official score of all machine types, each with weights of its own."""
        sections = [
            section
            for machine, weights in sorted(weights_of.items())
            for section in self.evaluation(self.fused(weights), [machine]).sections
        ]
        return official(aggregate(sections, self.edition.metric))


def official(evaluation):
    """The official score; of 2020 the mean of AUC and pAUC."""
    if evaluation.official_score is None:
        return evaluation.means["mean"]
    return evaluation.official_score


@pytest.fixture
def make_systems(make_entry):
    def make(gains, edition="dcase2025", seed=0):
        entry = make_entry(edition)
        shutil.rmtree(entry.run)
        return Systems(entry.run.parent, edition, entry.scores, gains, seed)

    return make


@pytest.fixture
def systems(make_systems):
    """Each of two systems is good at another machine, a third one nowhere."""
    machines = list(load_edition("dcase2025").machines["dev"])[:2]
    gains = [{machines[0]: 2.0, machines[1]: 0.7}, {machines[0]: 0.3, machines[1]: 1.5}, 0.0]
    return make_systems(dict(zip("abc", gains, strict=True)))


def test_scores_are_weighted_sums_of_scores_standardised_by_train_clips(systems):
    done = systems.fuse(method="weights", weights=(0.5, 0.3, 0.2))
    scores = read_scores(systems.run("fused"), "dcase2025").set_index(CLIP)["score"]
    pd.testing.assert_series_equal(
        scores.sort_index(), systems.fused([0.5, 0.3, 0.2]), check_names=False, rtol=1e-12
    )
    counts = scores.index.get_level_values("split").value_counts()
    assert (done.train, done.test, done.changed) == (counts["train"], counts["test"], True)
    assert done.result.weights == (0.5, 0.3, 0.2)
    assert done.result.searched == "weights given by hand"


def test_a_minimum_is_the_smallest_standardised_score(systems):
    done = systems.fuse(method="minimum")
    scores = read_scores(systems.run("fused"), "dcase2025").set_index(CLIP)["score"].sort_index()
    expected = pd.concat([systems.standardised(name) for name in "abc"], axis=1).min(axis=1)
    pd.testing.assert_series_equal(scores, expected, check_names=False, rtol=1e-12)
    assert done.result.weights is None
    assert done.result.dev_score == pytest.approx(official(systems.evaluation(expected)), abs=1e-12)


@pytest.mark.parametrize("edition", ["dcase2020", "dcase2021", "dcase2022", "dcase2025"])
def test_the_grid_finds_the_best_official_score_of_each_year(make_systems, edition):
    systems = make_systems({"a": 0.6, "b": 0.9, "c": 0.4}, edition)
    result = systems.fuse().result
    best = systems.best()
    assert result.weights == tuple(best)
    assert result.dev_score == pytest.approx(systems.score(best), abs=1e-12)
    assert result.searched == "exhaustive lattice, step 0.25, 15 points"
    assert result.alone == pytest.approx([systems.score(row) for row in np.eye(3)], abs=1e-12)
    assert result.equal_weights == pytest.approx(systems.score([1 / 3] * 3), abs=1e-12)


@pytest.mark.parametrize("edition", ["dcase2020", "dcase2021", "dcase2025"])
def test_the_fitted_score_is_what_evaluate_says_of_the_fused_run(make_systems, edition):
    systems = make_systems({"a": 0.6, "b": 0.9}, edition)
    done = systems.fuse()
    report = evaluate_run_or_folder(systems.run("fused"), edition, resamples=0)
    assert done.result.dev_score == pytest.approx(official(report.evaluation), abs=1e-12)


@pytest.mark.parametrize("edition", ["dcase2020", "dcase2021", "dcase2025"])
def test_left_out_machines_are_fused_as_was_fitted_on_the_others(make_systems, edition):
    machines = list(load_edition(edition).machines["dev"])[:2]
    gains = [{machines[0]: 2.0, machines[1]: 0.5}, {machines[0]: 0.2, machines[1]: 1.5}]
    systems = make_systems(dict(zip("ab", gains, strict=True)), edition)
    left_out = systems.fuse().result.leave_one_machine_out
    without = {machine: systems.best([other for other in machines if other != machine])
               for machine in machines}  # fmt: skip
    assert {name: of.weights for name, of in left_out.machines.items()} == {
        machine: tuple(weights) for machine, weights in without.items()
    }
    for machine, weights in without.items():
        expected = systems.score(weights, [machine])
        assert left_out.machines[machine].score == pytest.approx(expected, abs=1e-12)
    assert left_out.score == pytest.approx(systems.left_out(without), abs=1e-12)
    assert left_out.score < systems.fuse().result.dev_score


def test_fitting_that_does_not_beat_equal_weights_is_said(systems):
    progress = Silent()
    result = systems.fuse(progress=progress).result
    left_out = result.leave_one_machine_out
    assert left_out.score < left_out.equal_weights == pytest.approx(result.equal_weights, abs=1e-12)
    (note,) = result.notes
    assert note.startswith("fitted weights do not beat equal ones on machine types that were left")
    assert note.endswith("--method mean is the safer choice")
    assert progress.notes == [note]


def test_fitting_that_beats_equal_weights_goes_without_a_warning(make_systems):
    result = make_systems({"a": 2.5, "b": 0.0}).fuse().result
    assert result.leave_one_machine_out.score > result.equal_weights
    assert result.notes == ()


def test_one_machine_has_no_left_out_estimate_and_that_is_said(systems):
    first = load_edition("dcase2025").machines["dev"].keys().__iter__().__next__()
    for name in "abc":
        systems.change(
            name, lambda table: table[(table["stage"] == "eval") | (table["machine"] == first)]
        )
    result = systems.fuse().result
    assert result.machines == (first,)
    assert result.leave_one_machine_out is None
    assert result.weights == tuple(systems.best([first]))
    assert f"{first} is the only machine type with labels" in result.notes[0]


def test_the_best_systems_are_selected_again_without_the_machine_left_out(systems):
    first, second = list(load_edition("dcase2025").machines["dev"])[:2]
    result = systems.fuse(select="best:1", always=("c",)).result
    alone = {name: systems.score(row) for name, row in zip("abc", np.eye(3), strict=True)}
    assert result.selected_from == ("a", "b", "c")
    assert result.alone_before == pytest.approx(list(alone.values()), abs=1e-12)
    chosen = max("ab", key=alone.get)
    assert result.systems == (chosen, "c")
    assert result.alone == pytest.approx((alone[chosen], alone["c"]), abs=1e-12)
    machines = result.leave_one_machine_out.machines
    # Without its own machine each system is the worse one.
    assert (machines[first].systems, machines[second].systems) == (("b", "c"), ("a", "c"))
    equal = systems.left_out({first: [0, 0.5, 0.5], second: [0.5, 0, 0.5]})
    assert result.leave_one_machine_out.equal_weights == pytest.approx(equal, abs=1e-12)


def test_the_mean_of_selected_systems_has_an_honest_estimate_too(systems):
    result = systems.fuse(method="mean", select="best:1", always=("c",)).result
    left_out = result.leave_one_machine_out
    assert left_out.score == pytest.approx(left_out.equal_weights, abs=1e-15)
    assert left_out.score < result.dev_score
    assert result.bootstrap is None


def test_the_most_robust_systems_have_the_smallest_distance_over_eval_machines(systems):
    def shifted(table):
        moved = (table["stage"] == "eval") & (table["split"] == "test")
        return table.assign(score=table["score"] + 100 * table["score"].std() * moved)

    systems.change("a", shifted)
    result = systems.fuse(method="mean", select="robust:1", always=("c",)).result
    assert result.systems == ("b", "c")
    table = result.robustness
    assert table.systems == ("a", "b", "c")
    assert table.machines == tuple(sorted(load_edition("dcase2025").machines["eval"])[:2])
    assert np.mean(table.distance, axis=1) == pytest.approx(table.mean)
    assert table.mean[0] > 50 * max(table.mean[1:])
    assert result.leave_one_machine_out is None


def test_robustness_without_evaluation_scores_is_left_out_or_refused(systems):
    for name in "abc":
        systems.change(name, lambda table: table[table["stage"] == "dev"])
    assert systems.fuse().result.robustness is None
    with pytest.raises(ScoresError, match=r"select 'robust:1' compares evaluation scores"):
        systems.fuse("other", select="robust:1", always=("c",))


def test_weights_spread_over_resamples_and_the_seed_repeats_them(systems):
    first, again = (systems.fuse(run, resamples=20).result.bootstrap for run in ("fused", "again"))
    assert first == again
    assert first.resamples == 20
    assert sum(first.mean) == pytest.approx(1)
    assert all(
        0 <= lower <= mean <= upper <= 1
        for lower, mean, upper in zip(first.lower, first.mean, first.upper, strict=True)
    )
    assert max(first.std) > 0
    assert systems.fuse("other", resamples=20, seed=1).result.bootstrap != first


def test_a_bayesian_search_repeats_itself_and_beats_each_system(systems):
    first, again = (
        systems.fuse(run, method="bayesian", budget=30, patience=8, resamples=3).result
        for run in ("fused", "again")
    )
    assert first == again
    assert first.dev_score >= max(first.alone)
    assert first.dev_score == pytest.approx(systems.score(first.weights), abs=1e-12)
    assert sum(first.weights) == pytest.approx(1)
    assert "Gaussian process over the simplex" in first.searched
    assert first.step is None


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
    for name in "ab":
        told.change(name, tell)
    result = told.fuse("told").result
    assert (result.weights, result.dev_score) == (expected.weights, expected.dev_score)


@pytest.fixture
def truth(systems, tmp_path):
    """Labels of the evaluation set by which a system is perfect that else is nothing."""
    folder = tmp_path / "truth"

    def perfect(table):
        test = (table["stage"] == "eval") & (table["split"] == "test")
        numbers = table["file"].str.extract(r"(\d{4})")[0].astype(int)
        return table.assign(score=table["score"] + 1e4 * (test & (numbers % 2 == 1)))

    systems.change("c", perfect)
    table = systems.tables["c"]
    clips = table[(table["stage"] == "eval") & (table["split"] == "test")]
    for kind, rule in (("data", lambda n: n % 2), ("domain", lambda n: n // 2 % 2)):
        for machine, rows in clips.groupby("machine"):
            path = folder / f"ground_truth_{kind}/ground_truth_{machine}_section_00_test.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (f"{file},{rule(int(file[-8:-4]))}\n" for file in rows["file"])
            path.write_text("".join(lines))
    return folder


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


def test_without_development_labels_only_methods_that_fit_nothing_work(systems):
    for name in "abc":
        systems.change(name, lambda table: table[table["stage"] == "eval"])
    for settings in ({}, {"method": "bayesian"}, {"method": "mean", "select": "best:2"}):
        with pytest.raises(GroundTruthError, match="no scores of the development set") as error:
            systems.fuse(**settings)
        assert str(error.value).endswith(
            "without labels fuse with --method mean, minimum or --weights"
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

    for name in "abc":
        systems.change(name, blind)
    with pytest.raises(GroundTruthError, match="no test clip of dcase2025 tells its condition"):
        systems.fuse()


def test_unchanged_scores_are_not_fused_again(systems):
    progress = Silent()
    done = systems.fuse(progress=progress)
    before = {path: path.stat().st_mtime_ns for path in systems.run("fused").rglob("*.*")}
    assert systems.fuse(progress=progress) == dataclasses.replace(done, changed=False)
    assert fuse_again(systems.run("fused"), "2025") == dataclasses.replace(done, changed=False)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert progress.notes == [*done.result.notes] * 2


def test_changed_scores_are_fused_again_even_by_hand(systems):
    done = systems.fuse()
    path = scores_path(systems.run("a"), "dcase2025")
    text = path.read_text()
    path.write_text(text.replace(text.splitlines()[5].rpartition(",")[2], "77.5"))
    again = systems.fuse()
    assert again.changed
    assert again.result.fingerprint != done.result.fingerprint


@pytest.mark.parametrize("lost", ["scores", "marker", "fusion", "recipe"])
def test_a_killed_fusion_is_made_whole_by_the_same_command(systems, lost):
    done = systems.fuse()
    run = systems.run("fused")
    whole = {path: path.read_bytes() for path in run.rglob("*.*")}
    gone = {
        "scores": done.path,
        "marker": done.path.with_suffix(".json"),
        "fusion": fusion_path(run, "dcase2025"),
        "recipe": run / "recipe.toml",
    }[lost]
    gone.unlink()
    if lost == "recipe":  # nothing says any more what the folder is
        with pytest.raises(ArtifactError, match="holds something else than a fusion"):
            systems.fuse()
        return
    assert systems.fuse().changed
    assert {path: path.read_bytes() for path in whole} == whole


def test_other_settings_are_refused_and_replaced_only_when_asked(systems):
    systems.fuse()
    with pytest.raises(ArtifactError, match="fused with other settings") as error:
        systems.fuse(method="mean")
    assert "(method was 'grid' and is 'mean')" in str(error.value)
    assert str(error.value).endswith("give another --run, or replace it with --overwrite")
    assert read_fused_system(systems.run("fused")).fusion.method == "grid"
    assert systems.fuse(method="mean", overwrite=True).changed
    assert read_fused_system(systems.run("fused")).fusion.method == "mean"


def test_another_number_of_resamples_is_no_other_fusion(systems):
    first = systems.fuse()
    second = systems.fuse(resamples=5)
    assert second.changed
    assert second.result.weights == first.result.weights
    assert second.result.bootstrap.resamples == 5


def test_replacing_a_fusion_drops_its_other_editions(systems, make_entry):
    systems.fuse()
    older = make_entry("dcase2024").scores
    Systems(systems.folder, "dcase2024", older, dict.fromkeys("abc", 1.0)).fuse()
    run = systems.run("fused")
    assert scores_path(run, "dcase2024").exists()
    systems.fuse(method="mean", overwrite=True)
    left = sorted(path.name for path in run.rglob("dcase*"))
    assert left == ["dcase2025.csv", "dcase2025.json", "dcase2025.json"]


def test_no_other_kind_of_run_folder_is_overwritten(systems):
    for name, text in (("a", None), ("notes", "mine")):
        path = systems.run(name)
        path.mkdir(exist_ok=True)
        if text:
            (path / "notes.txt").write_text(text)
        with pytest.raises(ArtifactError, match=r"fused into itself|holds something else"):
            systems.fuse(name, overwrite=True)
    systems.run("file").write_text("mine")
    with pytest.raises(ArtifactError, match="file: a file; give another --run"):
        systems.fuse("file")


def test_only_one_process_writes_a_fusion(systems):
    with (
        only_writer(systems.run("fused")),
        pytest.raises(ArtifactError, match="another dcase-asd is writing this folder"),
    ):
        systems.fuse()


def test_systems_with_other_clips_are_refused_with_both_differences(systems):
    systems.change("b", lambda table: table.drop(table.index[table["split"] == "test"][:2]))
    extra = systems.tables["c"].iloc[-1:].assign(file="section_00_9999.wav")
    systems.change("c", lambda table: pd.concat([table, extra]))
    with pytest.raises(ScoresError) as error:
        systems.fuse()
    a, b, c = systems.runs
    assert f"2 in {a} but not in {b}, the first dev " in str(error.value)
    assert f"1 in {c} but not in {a}, the first eval " in str(error.value)
    assert "9999.wav" in str(error.value)
    assert not systems.run("fused").exists()


def test_train_clips_without_a_score_of_every_system_are_left_out_and_said(systems):
    systems.change("b", lambda table: table.drop(table.index[table["split"] == "train"][:3]))
    done = systems.fuse(method="mean")
    total = (systems.tables["a"]["split"] == "train").sum()
    assert done.train == total - 3
    assert f"{systems.run('a')}: 3 train clip(s) without a leave-one-out" in done.result.notes[0]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("test", "all .* test clips of dev .* section 00 have the score 0.5, which tells nothing"),
        ("train", "dev .* section 00: .* leave-one-out train score.s. are equal, so that scores"),
    ],
)
def test_constant_scores_name_run_machine_and_section(systems, split, message):
    machine = systems.tables["b"]["machine"].iloc[0]

    def constant(table):
        chosen = (table["split"] == split) & (table["machine"] == machine)
        return table.assign(score=table["score"].where(~chosen, 0.5))

    systems.change("b", constant)
    with pytest.raises(ScoresError, match=message) as error:
        systems.fuse()
    assert str(systems.run("b")) in str(error.value)
    assert machine in str(error.value)


def test_sections_without_a_train_score_are_refused(systems):
    for name in "abc":
        systems.change(name, lambda table: table[table["split"] == "test"])
    with pytest.raises(ScoresError, match="no leave-one-out train score is there, so that"):
        systems.fuse()


def test_scores_that_are_not_numbers_are_refused(systems):
    path = scores_path(systems.run("b"), "dcase2025")
    lines = path.read_text().splitlines()
    lines[3] = lines[3].rpartition(",")[0] + ",nan"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ScoresError, match=r"b/scores/dcase2025.csv: 1 score\(s\) are not finite"):
        systems.fuse()


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (("a", "x"), DataError, r"x: no such run folder \(choose from a, b, c\)"),
        (("a", "../runs/a"), DataError, "is given twice, as .*a before; name each system once"),
        (("a", "file"), DataError, "file: a file"),
    ],
)
def test_wrong_runs_are_told(systems, names, error, message):
    systems.run("file").write_text("")
    runs = [systems.folder / name for name in names]
    with pytest.raises(error, match=message):
        fuse(runs, systems.run("fused"), "2025", Fusion(names))
    assert not systems.run("fused").exists()


def test_a_run_without_scores_of_the_edition_is_told(systems):
    with pytest.raises(ScoresError, match=r"a: no finished scores of dcase2024 \(did you mean"):
        fuse(systems.runs, systems.run("fused"), "2024", Fusion(("a", "b", "c")))
    path = scores_path(systems.run("b"), "dcase2025")
    path.unlink()
    with pytest.raises(ScoresError, match=r"b/scores/dcase2025.csv: not found; score again"):
        systems.fuse()


def test_the_newest_edition_that_all_systems_have_is_the_default(systems, make_entry):
    assert newest_common_edition(systems.runs) == "dcase2025"
    Systems(systems.folder, "dcase2024", make_entry("dcase2024").scores, {"a": 1.0, "b": 1.0})
    shutil.rmtree(systems.run("b") / "scores")
    with pytest.raises(ScoresError, match=r"no edition that all systems have scores of .*b: none"):
        newest_common_edition(systems.runs)
    Systems(systems.folder, "dcase2024", make_entry("dcase2024").scores, {"b": 1.0})
    assert newest_common_edition([systems.run("a"), systems.run("b")]) == "dcase2024"


def test_several_editions_of_ones_own_have_to_be_named(tmp_path):
    for run, edition in itertools.product("ab", ("plant", "workshop")):
        write_text(scores_path(tmp_path / run, edition), "")
        write_text(scores_path(tmp_path / run, edition).with_suffix(".json"), "{}")
    runs = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(ScoresError, match="share scores of plant, workshop; say which"):
        newest_common_edition(runs)
    scores_path(tmp_path / "a", "plant").unlink()
    assert newest_common_edition(runs) == "workshop"


def test_what_is_transductive_is_refused_where_the_rules_forbid_it(systems):
    with pytest.raises(EditionError, match="dcase2025 forbids what is transductive"):
        systems.fuse(standardize="test")


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
    scores = read_scores(own.run("fused"), "workshop").set_index(CLIP)["score"].sort_index()
    report = evaluate_run_or_folder(own.run("fused"), "workshop", resamples=0)
    assert any("which is transductive" in note for note in report.notes)
    expected = (own.standardised("a", "test") + own.standardised("b", "test")) / 2
    pd.testing.assert_series_equal(scores, expected, check_names=False, rtol=1e-12)


def test_recordings_of_ones_own_are_fused_with_what_is_defined(own):
    result = own.fuse().result
    assert any("no normal clip of the target domain" in note for note in result.notes)
    assert result.leave_one_machine_out is not None


def test_robustness_that_cannot_be_measured_is_said_unless_it_decides(own):
    def with_lathe(table):
        tests = table[(table["split"] == "test") & (table["machine"] == "saw")]
        return pd.concat([table, tests.assign(stage="eval", machine="lathe")])

    for name in "ab":
        own.change(name, with_lathe)
    result = own.fuse(method="mean", standardize="test").result
    assert any(note.startswith("robustness is not measured: eval lathe") for note in result.notes)
    own.tables["c"] = own.tables["a"]
    own.write("c")
    with pytest.raises(TooFewClipsError, match="eval lathe section 00: a distance of distrib"):
        own.fuse("other", method="mean", standardize="test", select="robust:2")


def test_a_fusion_says_what_it_is_made_of(systems):
    systems.write("a", backbone="eat", parameters=7)
    systems.write("b", sample_rate=None)
    systems.fuse(method="weights", weights=(0.5, 0.5, 0.0))
    made = read_provenance(systems.run("fused"), "dcase2025")
    assert (made["backbone"], made["parameters"], made["sample_rate"]) == ("eat+beats", 107, None)
    systems.write("b", parameters=None)
    systems.fuse("minimum", method="minimum")
    assert read_provenance(systems.run("minimum"), "dcase2025")["parameters"] is None


def test_a_fusion_is_a_system_like_any_other(systems, tmp_path):
    systems.fuse("inner", method="mean")
    runs = [systems.run("inner"), systems.run("c")]
    nested = fuse(runs, systems.run("nested"), "2025", Fusion(("inner", "c"), resamples=0))
    assert nested.result.systems == ("inner", "c")
    made = read_provenance(systems.run("nested"), "dcase2025")
    assert (made["backbone"], made["sample_rate"]) == ("beats", 16000)
    package = submit(systems.run("nested"), "2025", "Lastname_INST_task2_1", tmp_path / "dist")
    assert all(file.threshold is not None for file in package.files)
    assert evaluate_run_or_folder(systems.run("nested"), "2025", resamples=0).complete is False
    assert is_fused(systems.run("nested"))
    assert not is_fused(systems.run("c"))
    systems.change("b", lambda table: table.assign(score=-table["score"]))
    assert fuse_again(systems.run("inner"), "2025").changed
    assert fuse_again(systems.run("nested"), "2025").changed


def test_embedding_scoring_and_fine_tuning_a_fusion_is_one_clear_line(systems, small_tree):
    systems.fuse()
    run = systems.run("fused")
    spectral = System("fused", Embedding("spectral"))
    clear = "a fusion of other systems, with no backbone of its own"
    with pytest.raises(RecipeError, match=clear):
        score(run, "dcase2025")
    with pytest.raises(RecipeError, match=clear):
        planned_system(run, plugin="spectral")
    write_text(small_tree / "clips.csv", "")
    before = (run / "recipe.toml").read_bytes()
    for step in (lambda: embed(small_tree, run, "dcase2025", spectral),
                 lambda: finetune(small_tree, run, spectral)):  # fmt: skip
        with pytest.raises((RecipeError, ArtifactError)):
            step()
    assert (run / "recipe.toml").read_bytes() == before


def test_runs_elsewhere_are_found_again_from_the_run_folder(systems, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fusion = Fusion(("runs/a", "runs/b", "runs/c"), resamples=0, select="best:1", always=("a",))
    runs = [systems.run(name).relative_to(tmp_path) for name in "abc"]
    target = tmp_path / "elsewhere" / "fused"
    fuse(runs, target, "2025", fusion)
    recipe = read_fused_system(target)
    assert recipe.name == "fused"
    assert recipe.fusion.systems == ("../runs/a", "../runs/b", "../runs/c")
    assert recipe.fusion.always == ("../runs/a",)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("runs", "elsewhere"):
        shutil.move(tmp_path / name, moved / name)
    assert not fuse_again(moved / "elsewhere" / "fused", "2025").changed


def test_a_system_that_is_gone_is_told_when_the_fusion_is_applied_again(systems):
    systems.fuse()
    shutil.rmtree(systems.run("b"))
    with pytest.raises(DataError, match="b: no such run folder"):
        fuse_again(systems.run("fused"), "2025")


def test_a_damaged_result_is_made_again(systems):
    systems.fuse()
    path = fusion_path(systems.run("fused"), "dcase2025")
    whole = path.read_bytes()
    path.write_text('{"edition": "dcase2025"}')
    assert read_fusion(systems.run("fused"), "dcase2025") is None
    assert systems.fuse().changed
    assert path.read_bytes() == whole
