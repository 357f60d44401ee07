import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import GroundTruthError
from dcase_asd.metrics.evaluate import read_official_scores
from dcase_asd.metrics.labels import join_ground_truth, read_ground_truth
from dcase_asd.metrics.official import ALL, SectionResult, aggregate, evaluate, official_means
from dcase_asd.metrics.ranking import FLOOR

GOLDENS = Path(__file__).parents[1] / "data" / "metrics"

# Columns of the official section tables, as the keys of our results.
SECTION_KEYS = {
    "2021": ("auc", "pauc", "precision", "recall", "f1"),
    "2022": (
        "auc",
        "auc_source",
        "auc_target",
        "pauc",
        *(
            f"{key}_{domain}"
            for key in ("precision", "recall", "f1")
            for domain in ("source", "target")
        ),
    ),
}


@pytest.fixture(scope="module", params=["2021", "2022"])
def year(request):
    return request.param


@pytest.fixture(scope="module")
def golden(year):
    """Our evaluation of the reference scores, and the rows of the official result file."""
    edition = load_edition(year)
    scores = read_official_scores(GOLDENS / year / "scores", edition)
    labelled = join_ground_truth(scores, read_ground_truth(GOLDENS / year, edition))
    with (GOLDENS / year / "expected_official_result.csv").open(newline="") as file:
        return evaluate(labelled, edition.metric), list(csv.reader(file))


def test_every_section_value_is_printed_as_by_the_official_evaluator(golden, year):
    evaluation, rows = golden
    machine, expected = "", []
    for row in rows:
        if len(row) == 1:
            machine = row[0]
        elif row and row[0].isdigit():
            names = 2 if year == "2021" else 1
            domain = row[1] if year == "2021" else ""
            expected.append((machine, row[0], domain, row[names:]))
    assert expected == [
        (
            section.machine,
            section.section,
            section.domain,
            [repr(section.result[key]) for key in SECTION_KEYS[year]],
        )
        for section in evaluation.sections
    ]
    assert len(expected) == {"2021": 42, "2022": 21}[year]


def test_every_mean_is_printed_as_by_the_official_evaluator(golden, year):
    evaluation, rows = golden
    means, machine, compared = official_means(evaluation), "", 0
    for row in rows:
        if len(row) == 1:
            machine = row[0]
        elif row and "mean" in row[0]:
            name, over_all, _ = row[0].partition(" over all")
            if year == "2022" and not over_all and name.startswith(("source", "target")):
                # The script of 2022 splits a machine's sections into two halves and calls them
                # source and target, so these rows of it are not what they say.
                continue
            key = ALL if over_all else machine
            assert [repr(value) for value in means[key][name].values()] == row[2:], (key, name)
            compared += 1
    assert compared == {"2021": 32, "2022": 18}[year]


def test_official_score_is_printed_as_by_the_official_evaluator(golden):
    evaluation, rows = golden
    (printed,) = [row[2] for row in rows if row and row[0] == "official score"]
    assert repr(evaluation.official_score) == printed
    assert evaluation.official_score == evaluation.means["hmean"]


def test_a_machines_source_and_target_means_of_2022_are_those_of_the_domains():
    edition = load_edition("2022")
    scores = read_official_scores(GOLDENS / "2022" / "scores", edition)
    evaluation = evaluate(
        join_ground_truth(scores, read_ground_truth(GOLDENS / "2022", edition)), "2022"
    )
    fan = [section.result for section in evaluation.sections if section.machine == "fan"]
    row = official_means(evaluation)["fan"]["source harmonic mean"]
    assert row["auc"] == pytest.approx(3 / sum(1 / result["auc_source"] for result in fan))
    assert evaluation.machines["fan"]["auc_source"] == pytest.approx(row["auc"], abs=1e-15)


# Table 1 of the SJTU-AITHU report for DCASE 2025: AUC_s, AUC_t, pAUC and hmean of each machine for
# the systems 1 to 4, in percent.
TABLE_1 = {
    "bearing": "68.26 67.96 60.68 65.44  66.76 68.44 58.79 64.38  "
    "65.74 68.06 58.00 63.63  66.22 68.42 58.11 63.93",
    "fan": "61.54 62.40 55.42 59.62  61.42 62.50 55.89 59.79  "
    "61.24 62.56 55.42 59.57  61.36 62.06 55.79 59.60",
    "gearbox": "80.96 75.20 68.79 74.65  82.92 82.22 67.53 76.86  "
    "83.10 82.94 67.79 77.24  82.90 82.50 67.53 76.94",
    "slider": "88.40 76.22 60.63 73.30  91.98 77.82 59.95 74.25  "
    "91.92 77.30 59.68 73.94  92.12 77.92 60.05 74.36",
    "ToyCar": "67.82 63.22 51.79 60.15  69.04 63.26 53.16 61.10  "
    "69.12 62.76 52.84 60.82  69.10 63.20 53.11 61.07",
    "ToyTrain": "75.76 74.70 62.11 70.28  76.92 70.34 57.63 67.31  "
    "76.50 69.20 56.53 66.35  77.22 70.26 57.47 67.29",
    "valve": "88.16 93.92 78.11 86.22  87.58 94.06 84.11 88.39  "
    "87.32 93.60 84.63 88.36  87.44 94.04 84.11 88.34",
}
TABLE_1_MEANS = (
    "74.59 72.16 61.53 68.94",
    "75.19 72.70 61.17 69.12",
    "74.91 72.36 60.75 68.76",
    "75.13 72.63 61.02 69.02",
)


@pytest.mark.parametrize("system", range(4))
def test_the_four_systems_of_the_report_get_its_means(system):
    table = {
        machine: [float(value) for value in text.split()][4 * system : 4 * system + 4]
        for machine, text in TABLE_1.items()
    }
    keys = ("auc_source", "auc_target", "pauc")
    evaluation = aggregate(
        [
            SectionResult(
                machine, "00", "", {k: v / 100 for k, v in zip(keys, table[machine], strict=False)}
            )
            for machine in sorted(table)
        ],
        "2022",
    )
    for machine, values in table.items():
        printed = {key: f"{100 * value:.2f}" for key, value in evaluation.machines[machine].items()}
        assert printed == dict(zip((*keys, "hmean"), (f"{v:.2f}" for v in values), strict=True))
    expected = TABLE_1_MEANS[system].split()
    assert [f"{100 * value:.2f}" for value in evaluation.means.values()] == expected
    assert f"{100 * evaluation.official_score:.2f}" == expected[-1]


def clips(machine="fan", section="00", seed=0, strata=None):
    """Labelled clips; `strata` maps (domain, condition) to their number."""
    strata = strata or {
        (domain, condition): 10
        for domain in ("source", "target")
        for condition in ("normal", "anomaly")
    }
    rows = [(*key, index) for key, count in strata.items() for index in range(count)]
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "machine": machine,
            "section": section,
            "file": [f"section_{section}_{n:04}.wav" for n in range(len(rows))],
            "domain": [row[0] for row in rows],
            "condition": [row[1] for row in rows],
            "score": generator.normal(size=len(rows)).round(1),
        }
    )


def test_source_auc_of_2022_takes_the_anomalies_of_both_domains():
    labelled = clips()
    result = evaluate(labelled, "2022").sections[0].result
    anomalous, source = labelled["condition"] == "anomaly", labelled["domain"] == "source"
    chosen = anomalous | source
    expected = roc_auc_score(anomalous[chosen], labelled["score"][chosen])
    assert result["auc_source"] == pytest.approx(expected, abs=1e-12)


def test_auc_of_2021_takes_the_clips_of_one_domain_alone():
    labelled = clips()
    evaluation = evaluate(labelled, "2021")
    assert [section.domain for section in evaluation.sections] == ["source", "target"]
    chosen = labelled[labelled["domain"] == "target"]
    expected = roc_auc_score(chosen["condition"] == "anomaly", chosen["score"])
    assert evaluation.sections[1].result["auc"] == pytest.approx(expected, abs=1e-12)
    assert evaluation.machines["fan"]["auc_target"] == pytest.approx(expected, abs=1e-15)


def test_2020_takes_arithmetic_means_over_ids_then_machines_and_has_no_official_score():
    strata = {("", "normal"): 20, ("", "anomaly"): 20}
    labelled = pd.concat(
        [
            clips("fan", "01", 1, strata),
            clips("fan", "03", 2, strata),
            clips("pump", "01", 3, strata),
        ],
        ignore_index=True,
    )
    evaluation = evaluate(labelled, "2020")
    fan = [section.result for section in evaluation.sections if section.machine == "fan"]
    assert evaluation.official_score is None
    assert evaluation.machines["fan"]["auc"] == (fan[0]["auc"] + fan[1]["auc"]) / 2
    of_machines = evaluation.machines.values()
    assert evaluation.means["mean"] == pytest.approx(sum(of["mean"] for of in of_machines) / 2)
    halves = evaluation.means["auc"] / 2 + evaluation.means["pauc"] / 2
    assert evaluation.means["mean"] == pytest.approx(halves)


def test_the_order_of_rows_changes_nothing():
    labelled = pd.concat([clips("valve", seed=1), clips("ToyCar", seed=2)], ignore_index=True)
    shuffled = labelled.sample(frac=1, random_state=0)
    assert evaluate(shuffled, "2022") == evaluate(labelled, "2022")


def test_an_auc_of_zero_leaves_a_tiny_score_and_no_division_by_zero():
    labelled = clips().assign(score=0.0)
    labelled.loc[labelled["condition"] == "normal", "score"] = 1.0
    score = evaluate(labelled, "2022").official_score
    assert 0 < score < 10 * FLOOR


def test_decisions_without_an_alarm_give_zero_precision_and_f1():
    result = evaluate(clips().assign(decision=0), "2022").sections[0].result
    assert (result["precision_source"], result["recall_source"], result["f1_source"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("metric", "missing", "words"),
    [
        ("2022", ("target", "normal"), "fan section 00: no normal clip of the target domain"),
        ("2021", ("source", "anomaly"), "fan section 00: no anomaly clip of the source domain"),
    ],
)
def test_a_domain_without_normal_or_anomalous_clips_is_an_error(metric, missing, words):
    labelled = clips()
    kept = (labelled["domain"] != missing[0]) | (labelled["condition"] != missing[1])
    with pytest.raises(GroundTruthError, match=words):
        evaluate(labelled[kept], metric)


@pytest.mark.parametrize("metric", ["2020", "2022"])
def test_a_section_of_one_condition_is_an_error_that_names_it(metric):
    labelled = clips("pump", "02", strata={("source", "normal"): 5})
    with pytest.raises(GroundTruthError, match="pump section 02: no anomaly clip,"):
        evaluate(labelled, metric)


def test_own_recordings_without_a_target_domain_get_the_metrics_that_are_defined():
    labelled = clips(strata={("source", "normal"): 10, ("source", "anomaly"): 10})
    evaluation = evaluate(labelled.assign(decision=1), "2022", strict=False)
    assert set(evaluation.machines["fan"]) == {"auc_source", "pauc", "hmean"}
    assert "precision_target" not in evaluation.sections[0].result
    assert set(official_means(evaluation)["fan"]) == {
        "arithmetic mean",
        "harmonic mean",
        "source harmonic mean",
    }
    (sentence,) = evaluation.left_out
    assert "target domain" in sentence


def test_own_recordings_of_which_nothing_can_be_evaluated_are_an_error():
    with pytest.raises(GroundTruthError, match="no anomaly clip"):
        evaluate(clips(strata={("source", "normal"): 10}), "2022", strict=False)


def test_clips_of_an_unknown_condition_are_an_error():
    with pytest.raises(GroundTruthError, match="the condition '' is neither normal nor anomaly"):
        evaluate(clips(strata={("source", "normal"): 1, ("source", ""): 1}), "2022")


def test_no_clip_at_all_is_an_error():
    with pytest.raises(GroundTruthError, match="there is no clip to evaluate"):
        evaluate(clips().head(0), "2022")
