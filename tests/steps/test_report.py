"""Pages and pictures of runs: what they show, what they leave alone, and what is refused."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, wasserstein_distance

from dcase_asd.artifacts.atomic import only_writer, replacing, write_text
from dcase_asd.artifacts.checkpoints import KeptCheckpoint, KeptCheckpoints, write_kept
from dcase_asd.artifacts.fusion import (
    FusionResult,
    LeaveOneMachineOut,
    LeftOutMachine,
    Robustness,
    WeightSpread,
    read_fusion,
    write_fusion,
)
from dcase_asd.artifacts.scores import read_scores, write_scores
from dcase_asd.detection.threshold import threshold
from dcase_asd.errors import (
    ArtifactError,
    DataError,
    EditionError,
    GroundTruthError,
    ScoresError,
)
from dcase_asd.fused_system import FusedSystem, Fusion
from dcase_asd.progress import Silent
from dcase_asd.recipe import recipe_text
from dcase_asd.steps.evaluate import evaluate_run_or_folder
from dcase_asd.steps.fuse import fuse
from dcase_asd.steps.report import report as step
from dcase_asd.steps.report.comparison import rank_correlations
from dcase_asd.steps.report.folder import MARKER, write_report_folder
from dcase_asd.steps.report.systems import names_of

PROVENANCE = {"backbone": "spectral", "parameters": 1234567, "sample_rate": 16000}


def report(runs, edition, ground_truth=None, out=None, **options):
    runs = [runs] if hasattr(runs, "name") else runs
    return step(runs, edition, ground_truth, out, **{"resamples": 0, **options})


def words(page):
    """The text of a page, with the alternatives of its pictures."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text)


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def another_run(entry, name, noise):
    """A second system with scores that differ."""
    run = entry.run.with_name(name)
    random = np.random.default_rng(round(100 * noise))
    scores = entry.scores.assign(
        score=entry.scores["score"] + noise * random.random(len(entry.scores))
    )
    write_scores(run, entry.edition.name, scores, {**PROVENANCE, "fingerprint": name})
    return run


def fusion_result(names, **changes):
    values = {
        "edition": "dcase2025", "fingerprint": "x", "metric": "2022", "method": "grid",
        "searched": "exhaustive lattice, step 0.1, 11 points", "step": 0.1, "seed": 0,
        "standardisation": "train", "labels": "file names of the development set",
        "ground_truth": None, "machines": ("ToyCar", "ToyTrain"), "systems": names,
        "weights": (0.7, 0.3), "selected_from": None, "dev_score": 0.81,
        "leave_one_machine_out": LeaveOneMachineOut(
            0.75, 0.76, {"ToyCar": LeftOutMachine(names, (1.0, 0.0), 0.7),
                         "ToyTrain": LeftOutMachine(names, None, 0.8)}),
        "equal_weights": 0.76, "alone": (0.79, 0.61), "alone_before": None,
        "bootstrap": WeightSpread(200, "lattice", (0.6, 0.4), (0.1, 0.1), (0.2, 0.0), (1.0, 0.8)),
        "robustness": Robustness(names, ("AutoTrash",), ((0.5,), (1.5,)), (0.5, 1.5)),
        "notes": ("Fitting does not beat the mean.",),
    }  # fmt: skip
    return FusionResult(**values | changes)


def make_fusion(entry, **changes):
    other = another_run(entry, "other", 0.1)
    run = another_run(entry, "fused", 0.05)
    names = (entry.run.name, other.name)
    write_text(run / "recipe.toml", recipe_text(FusedSystem("fused", Fusion(names))))
    write_fusion(run, fusion_result(names, **changes))
    return run


@pytest.mark.parametrize("edition", ["dcase2020", "dcase2021", "dcase2025"])
def test_a_report_of_each_year_shows_every_section_with_its_official_values(
    make_entry, tmp_path, edition
):
    entry = make_entry(edition)
    done = report(entry.run, edition, out=tmp_path / "out")
    assert done.changed
    text = words(done.page)
    official = evaluate_run_or_folder(entry.run, edition, resamples=0).evaluation
    for section in official.sections:
        for key in ("auc", "auc_source", "auc_target", "pauc"):
            # From 2022 on the AUC of all clips is not scored.
            if key in section.result and not (edition > "dcase2021" and key == "auc"):
                assert f"{100 * section.result[key]:.2f}" in text
    for machine, values in official.machines.items():
        assert machine in text
        for key, value in values.items():
            if edition != "dcase2021" or key not in ("auc", "pauc"):
                assert f"{100 * value:.2f}</td>" in text
    score = official.official_score or official.means["mean"]
    assert f"<b>{100 * score:.2f} %</b>" in text
    assert "Development set" in text
    assert "the labels of these clips are not known" in text
    rocs = [path for path in done.pictures if path.name.endswith("_roc.svg")]
    histograms = [path for path in done.pictures if path.name.endswith("_scores.svg")]
    sections = len(official.sections) // (2 if edition == "dcase2021" else 1)
    assert len(rocs) == sections
    assert len(histograms) >= sections + 2
    assert all(path.is_file() for path in done.pictures)


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


def test_thresholds_are_those_of_submit_and_say_what_they_decide(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    strict = words(
        report(entry.run, "2025", out=tmp_path / "e", rule="empirical", quantile=0.5).page
    )
    scores = read_scores(entry.run, "dcase2025")
    for (stage, machine), rows in scores.groupby(["stage", "machine"]):
        train = rows[rows["split"] == "train"]["score"].to_numpy()
        limit = threshold(train, "gamma", 0.9)
        assert f"Above the threshold {limit:.4g}: " in text
        assert f"Above the threshold {threshold(train, 'empirical', 0.5):.4g}: " in strict
        if stage == "dev":
            tests = rows[rows["split"] == "test"]
            anomalous = tests[tests["file"].str.contains("anomaly")]["score"]
            share = f"{100 * (anomalous > limit).mean():.0f} % of {len(anomalous)} anomalous"
            assert f"{machine}</h4><p>Above the threshold {limit:.4g}" in text
            assert share in text


def test_train_scores_without_a_spread_are_said_and_the_rest_is_shown(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    scores = entry.scores
    machine = scores["machine"].iloc[0]
    flat = (scores["machine"] == machine) & (scores["split"] == "train")
    entry.write(scores.assign(score=scores["score"].where(~flat, 0.25)))
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    assert f"No threshold: {machine}: all 20 train scores are 0.25" in text
    assert f"{machine}: no train scores with a spread, so no shift can be told" in text


def test_scores_without_any_train_clip_are_shown_too(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    entry.write(entry.scores[entry.scores["split"] == "test"])
    done = report(entry.run, "2025", out=tmp_path / "out")
    assert "0 train score(s) are too few" in words(done.page)
    assert not [path for path in done.pictures if "shift" in path.name]


def ground_truth(entry, tmp_path, machines=None):
    """An official evaluator's folder for the evaluation clips."""
    tests = entry.scores[(entry.scores["stage"] == "eval") & (entry.scores["split"] == "test")]
    for machine, rows in tests.groupby("machine"):
        if machines is not None and machine not in machines:
            continue
        for folder, labels in (("data", "010101"), ("domain", "001100")):
            path = (
                tmp_path / f"truth/ground_truth_{folder}/ground_truth_{machine}_section_00_test.csv"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            pairs = zip(rows["file"], labels, strict=True)
            path.write_text("".join(f"{name},{value}\n" for name, value in pairs))
    return tmp_path / "truth"


def test_ground_truth_gives_the_evaluation_set_its_official_result(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    truth = ground_truth(entry, tmp_path)
    done = report(entry.run, "2025", truth, tmp_path / "out", resamples=50)
    official = evaluate_run_or_folder(entry.run, "2025", truth, resamples=50)
    text = words(done.page)
    assert f"<b>{100 * official.evaluation.official_score:.2f} %</b>" in text
    assert f"{100 * official.interval.lower:.2f} to {100 * official.interval.upper:.2f}" in text
    assert "labels from ground truth truth" in text
    assert "the labels of these clips are not known" not in text


def test_ground_truth_of_a_part_leaves_the_rest_unlabelled(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    machines = sorted(entry.scores[entry.scores["stage"] == "eval"]["machine"].unique())
    done = report(entry.run, "2025", ground_truth(entry, tmp_path, machines[:1]), tmp_path / "out")
    text = words(done.page)
    assert f"that the ground truth does not cover are left out ({machines[1]} 00)" in text
    assert "6 unlabelled clips" in text
    others = sorted(set(entry.edition.machines["eval"]) - {machines[0]})
    assert f"without {', '.join(f'{name} 00' for name in others)}" in text


def test_ground_truth_of_other_clips_is_refused(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    truth = ground_truth(entry, tmp_path)
    for path in list((truth / "ground_truth_data").iterdir()):
        for folder in ("data", "domain"):
            old = truth / f"ground_truth_{folder}" / path.name
            old.rename(old.with_name("ground_truth_ToyRCCar_section_00_test.csv"))
        break
    (first,) = {p.name for p in (truth / "ground_truth_data").iterdir()} - {
        "ground_truth_ToyRCCar_section_00_test.csv"
    }
    for folder in ("data", "domain"):
        (truth / f"ground_truth_{folder}" / first).unlink()
    with pytest.raises(GroundTruthError, match="labels of ToyRCCar 00, but scored are"):
        report(entry.run, "2025", truth, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_set_whose_result_is_not_defined_is_shown_without_one(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    scores = entry.scores
    normal = scores["file"].str.contains("target_test_normal")
    entry.write(scores[~normal])
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    assert "No official result: ToyCar section 00: no normal clip of the target domain" in text
    assert "6 anomalous clips" in text


def test_machines_can_be_chosen(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    done = report(entry.run, "2025", out=tmp_path / "out", machines=["ToyCar"])
    text = words(done.page)
    assert "ToyTrain</h4>" not in text
    assert "The result is of 1 of the 7 machine sections of dcase2025" in text
    with pytest.raises(
        ScoresError, match=r"no scores of the machine 'toycar'; did you mean 'ToyCar'"
    ):
        report(entry.run, "2025", out=tmp_path / "out", machines=["toycar"])


def test_recordings_of_one_s_own_are_shown_with_what_is_defined(tmp_path):
    run = tmp_path / "Wärmepumpe <1> $x$"
    rows = [("dev", "ポンプ", "00", "train", f"{i}.wav", 0.1 * i) for i in range(8)]
    rows += [("dev", "ポンプ", "00", "test", f"normal {i}.flac", 0.1 * i) for i in range(5)]
    rows += [("dev", "ポンプ", "00", "test", f"anomaly {i}.flac", 0.3 * i) for i in range(5)]
    rows += [("dev", "ポンプ", "00", "test", f"what {i}.flac", 0.3) for i in range(2)]
    columns = ["stage", "machine", "section", "split", "file", "score"]
    write_scores(run, "plant", pd.DataFrame(rows, columns=columns), PROVENANCE)
    done = report(run, "plant", form="png")
    text = words(done.page)
    assert "<h1>Wärmepumpe &lt;1&gt; $x$</h1>" in text
    assert "ポンプ</h4>" in text
    assert "no normal clip of the target domain" in text
    assert "2 unlabelled" in text
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in done.pictures)
    assert all(path.name.isprintable() and " " not in path.name for path in done.pictures)


def test_several_systems_stand_side_by_side(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    runs = [entry.run, another_run(entry, "other", 0.3), another_run(entry, "third", 0.6)]
    done = report(runs, "2025", out=tmp_path / "out")
    text = words(done.page)
    assert "<h1>3 systems compared</h1>" in text
    for number, run in enumerate(runs, start=1):
        assert f'<section id="system-{number}"' in text
        assert f'<a href="#system-{number}">{run.name}</a>' in text
        score = evaluate_run_or_folder(run, "2025", resamples=0).evaluation.official_score
        assert text.count(f"{100 * score:.2f}") >= 3
    names = {path.name for path in done.pictures}
    assert {"correlation.svg", "robustness.svg", "dev_results.svg"} <= names
    folders = {path.parent.name for path in done.pictures}
    assert folders == {"pictures", "1_small", "2_other", "3_third"}


def test_systems_that_scored_other_machines_are_compared_where_they_can(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    other = another_run(entry, "other", 0.3)
    scores = read_scores(other, "dcase2025")
    write_scores(other, "dcase2025", scores[scores["machine"] != "ToyCar"], PROVENANCE)
    text = words(report([entry.run, other], "2025", out=tmp_path / "out").page)
    assert "\N{EN DASH}</td>" in text


def test_rank_correlations_are_the_means_of_spearman_s_over_sections(make_entry):
    entry = make_entry("dcase2025")
    random = np.random.default_rng(0)
    tests = entry.scores[entry.scores["split"] == "test"]
    tables = {
        name: tests.assign(score=(tests["score"] * 4 + random.random(len(tests))).round(1))
        for name in "abc"
    }
    shuffled = {name: table.sample(frac=1, random_state=1) for name, table in tables.items()}
    found = rank_correlations(shuffled)
    assert found.names == ("a", "b", "c")
    assert (found.clips, found.sections) == (len(tests), 4)
    for i, first in enumerate("abc"):
        for j, second in enumerate("abc"):
            expected = [
                spearmanr(tables[first].loc[rows, "score"], tables[second].loc[rows, "score"])[0]
                for rows in tests.groupby(["stage", "machine", "section"]).groups.values()
            ]
            assert found.correlations[i, j] == pytest.approx(np.mean(expected))
    assert rank_correlations({"a": tables["a"]}) is None
    flat = rank_correlations({"a": tables["a"], "b": tables["b"].assign(score=1.0)})
    assert np.isnan(flat.correlations[0, 1])
    assert flat.correlations[0, 0] == pytest.approx(1)
    other = tables["b"].assign(machine=tables["b"]["machine"] + "2")
    assert rank_correlations({"a": tables["a"], "b": other}) is None


def test_shifts_are_wasserstein_distances_in_deviations_of_train_scores(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    for (machine, _), rows in entry.scores.groupby(["machine", "section"]):
        train = rows[rows["split"] == "train"]["score"]
        test = rows[rows["split"] == "test"]["score"]
        distance = wasserstein_distance(train, test) / train.std(ddof=0)
        assert f"{machine} {distance:.2f}" in text


def test_a_fusion_shows_its_weights_and_how_far_they_can_be_trusted(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    done = report(make_fusion(entry), "2025", out=tmp_path / "out")
    text = words(done.page)
    assert "Fusion weights in percent: small 70.0, other 30.0." in text
    assert (
        "Official scores in percent: this fusion 81.00, left-out machines 75.00, "
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
    assert "no finished scores of dcase2025" in text
    assert not [path for path in done.pictures if "fusion" in path.name]


def test_training_is_drawn_as_it_went(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    lines = [
        {"update": i, "step": 8 * i, "loss": 5 / i, "accuracy": i / 40, "learning_rate": 1e-5 * i}
        | ({"dev_score": 0.5 + i / 100} if i % 10 == 0 else {})
        for i in range(1, 41)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (entry.run / "train.jsonl").write_text(text + '{"update": 41, "st')
    kept = tuple(KeptCheckpoint(f"step_{i}.safetensors", i, 0.5) for i in (160, 240, 320))
    write_kept(
        entry.run, KeptCheckpoints("x", kept, ("step_240.safetensors", "step_320.safetensors"))
    )
    done = report(entry.run, "2025", out=tmp_path / "out")
    text = words(done.page)
    assert "loss: from 5 at step 8 to 0.125 at step 320." in text
    assert "accuracy, %: from 2.5 at step 8 to 100 at step 320." in text
    assert "learning rate: from 1e-05 at step 8 to 0.0004 at step 320." in text
    assert "4 checkpoints of small: best 90.00 % at step 320. Scored: steps 240, 320." in text
    assert "step_240.safetensors, step_320.safetensors" in text
    assert len([path for path in done.pictures if "training" in path.name]) == 4


def test_a_damaged_journal_is_an_error(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    (entry.run / "train.jsonl").write_text('{"update": 1, oops}\n')
    with pytest.raises(ArtifactError, match=r"train.jsonl: a line is damaged"):
        report(entry.run, "2025", out=tmp_path / "out")


def test_every_picture_has_words_and_an_anchor_leads_to_every_section(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    done = report([make_fusion(entry), entry.run], "2025", out=tmp_path / "out")
    text = words(done.page)
    pictures = re.findall(r"<svg[^>]*>", text)
    assert len(pictures) == len(done.pictures)
    labels = [re.search(r'role="img" aria-label="([^"]+)"', each) for each in pictures]
    assert all(label is not None and len(label[1]) > 30 for label in labels)
    anchors = set(re.findall(r'href="#([\w-]+)"', text.split("<main")[0]))
    assert anchors <= set(re.findall(r' id="([\w-]+)"', text))
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_progress_counts_the_machine_sections(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    told = []

    class Counting(Silent):
        def bar(self, description, total, unit):
            told.append([description, total, unit, 0])

            class Bar:
                def __enter__(self):
                    return lambda count: told[-1].__setitem__(3, told[-1][3] + count)

                def __exit__(self, *_):
                    pass

            return Bar()

    report(entry.run, "2025", out=tmp_path / "out", progress=Counting())
    assert told == [["Reading", 1, "runs", 1], ["Drawing", 4, "machine sections", 4]]


@pytest.mark.parametrize(
    ("runs", "options", "error", "message"),
    [
        ([], {}, DataError, "no run folder is given"),
        (["runs/smal"], {}, DataError, r"smal: no such run folder \(did you mean 'small'\?\)"),
        (["clips.txt"], {}, DataError, "clips.txt: a file, not a run folder"),
        (["runs/small", "runs/../runs/small"], {}, DataError, "is given twice"),
        (["runs"], {}, ScoresError, "no finished scores of dcase2025"),
        (["runs/small"], {"edition": "dcase2019"}, EditionError, "there is no edition 'dcase2019'"),
        (["runs/small"], {"edition": "dcase2024"}, ScoresError, "no finished scores of dcase2024"),
        (["runs/small"], {"quantile": 1.0}, ScoresError, "the quantile 1.0 must lie between"),
        (["runs/small"], {"ground_truth": "none"}, GroundTruthError, "no such ground truth"),
        (["runs/small"], {"out": "clips.txt"}, ArtifactError, "clips.txt: is a file"),
    ],
)
def test_wrong_input_is_one_line_that_names_it(make_entry, tmp_path, runs, options, error, message):
    make_entry("dcase2025")
    (tmp_path / "clips.txt").write_text("mine")
    values = {"edition": "dcase2025", "out": "out", **options}
    for name in ("out", "ground_truth"):
        if name in values:
            values[name] = tmp_path / values[name]
    with pytest.raises(error, match=message) as caught:
        report([tmp_path / run for run in runs], **values)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "clips.txt").read_text() == "mine"


def test_a_run_without_test_clips_is_refused(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    entry.write(entry.scores[entry.scores["split"] == "train"])
    with pytest.raises(ScoresError, match="holds no test clip"):
        report(entry.run, "2025", out=tmp_path / "out")


def test_names_are_as_long_as_they_must_be(tmp_path):
    for name in ("a/x", "b/x", "b/y"):
        (tmp_path / name).mkdir(parents=True)
    assert names_of([tmp_path / "a/x", tmp_path / "b/y"]) == ["x", "y"]
    assert names_of([tmp_path / "a/x", tmp_path / "b/x"]) == ["a/x", "b/x"]


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


@pytest.mark.parametrize("files", [{"report.html": b"2"}, {"other.html": b"2"}])
def test_a_page_that_was_edited_is_never_replaced_or_removed(tmp_path, files):
    write_report_folder(tmp_path, {"report.html": b"1"})
    (tmp_path / "report.html").write_text("1, and my remarks")
    with pytest.raises(ArtifactError, match=r"report\.html: was edited since it was made"):
        write_report_folder(tmp_path, files)
    assert (tmp_path / "report.html").read_text() == "1, and my remarks"


def test_a_marker_never_leads_out_of_the_folder(tmp_path):
    folder = tmp_path / "out"
    write_report_folder(folder, {"report.html": b"1"})
    (tmp_path / "mine.txt").write_bytes(b"1")
    marker = json.loads((folder / MARKER).read_text())
    marker["files"]["../mine.txt"] = marker["files"]["report.html"]
    (folder / MARKER).write_text(json.dumps(marker))
    write_report_folder(folder, {"report.html": b"2"})
    assert (tmp_path / "mine.txt").read_bytes() == b"1"


@pytest.mark.parametrize("broken", ["report.html", "pictures/x.svg", "report.json"])
def test_a_report_that_was_killed_anywhere_is_made_again(tmp_path, monkeypatch, broken):
    from dcase_asd.steps.report import folder as module

    write_report_folder(tmp_path, {"report.html": b"1", "pictures/x.svg": b"x"})
    files = {"report.html": b"2", "pictures/x.svg": b"xx"}

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
