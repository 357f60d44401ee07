from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from dcase_asd.errors import GroundTruthError
from dcase_asd.fusion.batched_ranking import weighted_sums
from dcase_asd.fusion.objective import OfficialObjective
from dcase_asd.metrics.bootstrap import resampled_scores
from dcase_asd.metrics.official import evaluate
from dcase_asd.metrics.ranking import FLOOR

METRICS = ("2020", "2021", "2022")
SYSTEMS = 4


def clips(machines=("fan", "ToyCar", "valve"), sections=("00", "03"), counts=(12, 7, 9, 8)):
    """Labelled clips in random order; `counts` are those of each domain and condition."""
    strata = list(product(("source", "target"), ("normal", "anomaly")))
    rows = [
        (machine, section, f"section_{section}_{domain}_{condition}_{index}.wav", domain, condition)
        for machine, section in product(machines, sections)
        for (domain, condition), count in zip(strata, counts, strict=True)
        for index in range(count)
    ]
    table = pd.DataFrame(rows, columns=["machine", "section", "file", "domain", "condition"])
    return table.sample(frac=1, random_state=0).reset_index(drop=True)


def systems_of(labelled, decimals=15, seed=0):
    """Scores of systems that tell anomalies apart a little; few decimals make ties."""
    anomalous = (labelled["condition"] == "anomaly").to_numpy()
    random = np.random.default_rng(seed)
    return (random.normal(size=(SYSTEMS, len(labelled))) + 0.8 * anomalous).round(decimals)


def candidates(count=3):
    random = np.random.default_rng(1)
    grid = random.multinomial(10, np.ones(SYSTEMS) / SYSTEMS, size=count) / 10
    return np.concatenate([np.eye(SYSTEMS), grid, random.dirichlet(np.ones(SYSTEMS), count)])


def by_scikit_learn(labelled, scores, metric):
    """The official score of one system, one call of `roc_auc_score` for each value."""
    table = labelled.assign(score=scores, anomalous=labelled["condition"] == "anomaly")
    of_machines, values = [], []
    for _, machine in table.groupby("machine"):
        of_sections = []
        for _, section in machine.groupby("section"):
            domains = [section["domain"] == domain for domain in ("source", "target")]
            if metric == "2020":
                kept = [(section, False), (section, True)]
            elif metric == "2021":
                kept = [(section[of], partial) for of in domains for partial in (False, True)]
            else:
                kept = [(section[of | section["anomalous"]], False) for of in domains]
                kept.append((section, True))
            of_sections += [
                roc_auc_score(part["anomalous"], part["score"], max_fpr=0.1 if partial else None)
                for part, partial in kept
            ]
        of_machines.append(np.mean(of_sections))
        values += of_sections
    if metric == "2020":
        return np.mean(of_machines)
    return len(values) / np.sum(1 / np.maximum(values, FLOOR))


@pytest.mark.parametrize("decimals", [15, 0])
@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_scikit_learn_and_of_an_evaluation(metric, decimals):
    labelled = clips()
    systems = systems_of(labelled, decimals)
    weights = candidates()
    scores = OfficialObjective(labelled, systems, metric).scores(weights)
    for fused, score in zip(weighted_sums(weights, systems), scores, strict=True):
        assert score == pytest.approx(by_scikit_learn(labelled, fused, metric), abs=1e-12)
        means = evaluate(labelled.assign(score=fused), metric).means
        assert score == pytest.approx(means["mean" if metric == "2020" else "hmean"], abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_a_score_without_a_machine_type_is_that_of_the_others_clips(metric):
    labelled = clips()
    systems = systems_of(labelled)
    objective = OfficialObjective(labelled, systems, metric)
    weights = candidates()
    assert objective.machines == ("ToyCar", "fan", "valve")
    assert objective.folds == [[0, 1, 2], [1, 2], [0, 2], [0, 1]]
    left_out = objective.fold_scores(weights)
    assert (left_out[:, 0] == objective.scores(weights)).all()
    for number, machine in enumerate(objective.machines):
        kept = (labelled["machine"] != machine).to_numpy()
        others = OfficialObjective(labelled[kept].reset_index(drop=True), systems[:, kept], metric)
        assert left_out[:, 1 + number] == pytest.approx(others.scores(weights), abs=1e-14)


@pytest.mark.parametrize("metric", METRICS)
def test_a_held_out_score_gives_each_machine_type_its_own_weights(metric):
    labelled = clips()
    systems = systems_of(labelled)
    objective = OfficialObjective(labelled, systems, metric)
    weights = candidates()[3:6]
    fused = np.zeros(len(labelled))
    for machine, row in zip(objective.machines, weighted_sums(weights, systems), strict=True):
        fused = np.where(labelled["machine"] == machine, row, fused)
    expected = by_scikit_learn(labelled, fused, metric)
    found, *alone = objective.held_out_scores(weights)
    assert found == pytest.approx(expected, abs=1e-12)
    for machine, score in zip(objective.machines, alone, strict=True):
        kept = (labelled["machine"] == machine).to_numpy()
        expected = by_scikit_learn(labelled[kept], fused[kept], metric)
        assert score == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_resampled_objectives_are_the_resamples_of_the_bootstrap(metric):
    labelled = clips(["fan", "valve"], ["00"])
    systems = systems_of(labelled)
    objective = OfficialObjective(labelled, systems, metric)
    resample = objective.resampled(np.random.default_rng(5))
    weights = candidates()
    for fused, score in zip(weighted_sums(weights, systems), resample.scores(weights), strict=True):
        generator = np.random.default_rng(5)
        (expected,) = resampled_scores(labelled.assign(score=fused), metric, 1, generator)
        assert score == pytest.approx(expected, abs=1e-12)
    assert not np.allclose(resample.scores(weights), objective.scores(weights))


@pytest.mark.parametrize("counts", [(5, 3, 0, 0), (5, 0, 4, 3), (5, 3, 0, 4), (0, 2, 30, 2)])
def test_own_recordings_are_scored_by_what_is_defined(counts):
    labelled = clips(counts=counts)
    systems = systems_of(labelled, 0)
    objective = OfficialObjective(labelled, systems, "2022", strict=False)
    weights = candidates()
    for fused, score in zip(
        weighted_sums(weights, systems), objective.scores(weights), strict=True
    ):
        found = evaluate(labelled.assign(score=fused), "2022", strict=False)
        assert score == pytest.approx(found.means["hmean"], abs=1e-12)


def test_a_year_of_the_challenge_needs_every_value():
    labelled = clips(counts=(5, 3, 0, 4))
    with pytest.raises(GroundTruthError, match="no normal clip of the target domain"):
        OfficialObjective(labelled, systems_of(labelled), "2022")


@pytest.mark.parametrize("every", [3, 1])
def test_own_recordings_of_no_domain_count_for_the_pauc_alone(every):
    labelled = clips(counts=(6, 4, 6, 4))
    labelled.loc[labelled.index[::every], "domain"] = ""
    systems = systems_of(labelled)
    objective = OfficialObjective(labelled, systems, "2022", strict=False)
    weights = candidates()
    expected = [
        evaluate(labelled.assign(score=fused), "2022", strict=False).official_score
        for fused in weighted_sums(weights, systems)
    ]
    assert objective.scores(weights) == pytest.approx(expected, abs=1e-12)


def test_a_machine_type_of_which_nothing_is_defined_is_left_out():
    labelled = clips()
    labelled = labelled[(labelled["machine"] != "fan") | (labelled["condition"] == "normal")]
    labelled = labelled.reset_index(drop=True)
    objective = OfficialObjective(labelled, systems_of(labelled), "2022", strict=False)
    assert objective.machines == ("ToyCar", "valve")


def test_an_auc_of_zero_enters_as_the_floor():
    labelled = clips(["fan"], ["00"])
    systems = np.where(labelled["condition"] == "anomaly", 0.0, 1.0)[None].repeat(SYSTEMS, axis=0)
    (score,) = OfficialObjective(labelled, systems, "2022").scores(candidates()[:1])
    assert 0 < score < 10 * FLOOR


def test_no_candidate_gives_no_score():
    labelled = clips()
    objective = OfficialObjective(labelled, systems_of(labelled), "2022")
    assert objective.scores(np.empty((0, SYSTEMS))).shape == (0,)


def test_one_machine_type_cannot_be_left_out():
    labelled = clips(["fan"])
    objective = OfficialObjective(labelled, systems_of(labelled), "2022")
    (fold,) = objective.fold_scores(candidates()).T
    assert fold.tolist() == objective.scores(candidates()).tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_other_systems_have_the_scores_of_an_objective_of_their_own(metric):
    labelled = clips()
    systems = systems_of(labelled)
    others = systems_of(labelled, decimals=1, seed=3)[:2]
    weights = np.array([[1.0, 0.0], [0.3, 0.7]])
    objective = OfficialObjective(labelled, systems, metric)
    before = objective.scores(candidates()).tolist()
    found = objective.of(others).scores(weights)
    assert found.tolist() == OfficialObjective(labelled, others, metric).scores(weights).tolist()
    assert objective.scores(candidates()).tolist() == before


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.full((1, SYSTEMS), 0.5), "zero or more and sum to one"),
        (np.array([[1.5, -0.5, 0, 0]]), "zero or more and sum to one"),
        (np.array([[np.nan, 0.5, 0.5, 0]]), "zero or more and sum to one"),
        (np.ones((1, 1)), r"weights of 4 systems cannot be \(1, 1\)"),
        (np.full(SYSTEMS, 0.25), r"weights of 4 systems cannot be \(4,\)"),
    ],
)
def test_weights_off_the_simplex_are_refused(weights, words):
    labelled = clips()
    objective = OfficialObjective(labelled, systems_of(labelled), "2022")
    with pytest.raises(ValueError, match=words):
        objective.scores(weights)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e301])
def test_scores_that_are_not_finite_are_refused(value):
    labelled = clips()
    systems = systems_of(labelled)
    systems[2, 5] = value
    with pytest.raises(ValueError, match="must be finite"):
        OfficialObjective(labelled, systems, "2022")


@pytest.mark.parametrize("shape", [(SYSTEMS, 3), (0, 216), (216,)])
def test_scores_of_other_clips_are_refused(shape):
    labelled = clips()
    with pytest.raises(ValueError, match="scores of 216 clips cannot be"):
        OfficialObjective(labelled, np.zeros(shape), "2022")


def test_labels_that_cannot_be_evaluated_are_told_as_by_an_evaluation():
    labelled = clips().assign(condition="")
    with pytest.raises(GroundTruthError, match="neither normal nor anomaly"):
        OfficialObjective(labelled, np.zeros((2, len(labelled))), "2022")
