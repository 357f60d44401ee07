"""Results of one's own machines: AUC and pAUC with intervals, named so."""

import json
import re

import numpy as np
import pytest
from scored_clips import areas, dev_names, evaluate, make_run
from sklearn.metrics import roc_auc_score

from dcase_asd.errors import GroundTruthError
from dcase_asd.metrics.evaluate import write_results
from dcase_asd.scores.table import read_scores

PLAIN = [f"{condition} {index}.flac" for condition in ("normal", "anomaly") for index in range(12)]
IDS = [
    f"{condition}_id_{section}_{index:08}.wav"
    for section in ("00", "02")
    for condition in ("normal", "anomaly")
    for index in range(12)
]


@pytest.mark.parametrize(
    "clips",
    [
        {("dev", "big_fan", "00"): PLAIN},
        {("dev", "fan", "00"): IDS[:24], ("dev", "fan", "02"): IDS[24:]},
        {("dev", "fan", "00"): IDS[:24], ("dev", "drill", "00"): PLAIN},
        {("dev", "fan", "00"): dev_names(count=12), ("dev", "drill", "00"): PLAIN},
    ],
    ids=["plain", "ids", "both", "domains"],
)
def test_one_s_own_machines_get_auc_and_pauc_with_intervals_named_so(clips, tmp_path):
    run = make_run(tmp_path / "run", "my_plant", clips)
    report = evaluate(run, "my_plant", resamples=40)
    result = json.loads(json.dumps(report.to_json(), allow_nan=False))
    machines = sorted({machine for _, machine, _ in clips})
    for machine in machines:
        sections = [areas(run, "my_plant", m, section) for _, m, section in clips if m == machine]
        for key in ("auc", "pauc"):
            value = np.mean([each[key] for each in sections])
            assert result["machines"][machine][key] == pytest.approx(value, abs=1e-12)
            interval = result["confidence_intervals"]["machines"][machine][key]
            assert interval["lower"] <= value <= interval["upper"]
            assert (interval["level"], interval["resamples"]) == (0.95, 40)
    for key in ("auc", "pauc"):
        of_machines = [result["machines"][machine][key] for machine in machines]
        assert result["means"][key] == pytest.approx(np.mean(of_machines), abs=1e-12)
        assert set(result["confidence_intervals"]["means"][key]) >= {"lower", "upper"}
    assert (result["official_score"], result["official_means"]) == (None, None)
    assert report.complete
    assert report.notes == ()
    assert "official" not in report.summary()
    auc = f"AUC {100 * result['means']['auc']:.2f} % (95 % interval "
    assert report.summary().startswith(auc)
    assert f" and pAUC {100 * result['means']['pauc']:.2f} % (95 % interval " in report.summary()


def test_every_format_names_auc_and_pauc_of_ones_own_and_their_intervals(tmp_path):
    run = make_run(tmp_path / "run", "my_plant", {("dev", "big_fan", "00"): PLAIN})
    report = evaluate(run, "my_plant", resamples=40)
    values = areas(run, "my_plant", "big_fan", "00")
    interval = report.intervals["big_fan"]["auc"].percent
    assert re.fullmatch(r"\d+\.\d\d to \d+\.\d\d", interval)
    auc = f"{100 * values['auc']:.2f}"
    paths = {name: tmp_path / name for name in ("csv", "markdown", "latex")}
    write_results(report, **paths)
    text = {name: path.read_text() for name, path in paths.items()}
    assert text["csv"].startswith("Machine,Metric,run,95 % interval\n")
    assert f"big_fan,AUC,{auc},{interval}\nbig_fan,pAUC," in text["csv"]
    assert f"| big_fan | AUC | {auc} | {interval} |\n|  | pAUC |" in text["markdown"]
    assert rf"big\_fan & AUC & {auc} & {interval} \\" in text["latex"]
    assert "hmean" not in "".join(text.values())


def test_domains_of_ones_own_get_an_auc_each_beside(tmp_path):
    names = dev_names(count=12)
    run = make_run(tmp_path / "run", "my_plant", {("dev", "fan", "00"): names})
    found = evaluate(run, "my_plant").evaluation.machines["fan"]
    rows = read_scores(run, "my_plant").query("split == 'test'")
    anomalous = rows["file"].str.contains("anomaly")
    for domain in ("source", "target"):
        counted = anomalous | rows["file"].str.contains(domain)
        expected = roc_auc_score(anomalous[counted], rows["score"][counted])
        assert found[f"auc_{domain}"] == pytest.approx(expected, abs=1e-12)


def test_few_clips_of_ones_own_and_a_missing_condition_are_said(tmp_path):
    run = make_run(tmp_path / "run", "my_plant", {("dev", "big_fan", "00"): PLAIN[:13]})
    report = evaluate(run, "my_plant")
    assert "big_fan: 12 normal and 1 anomalous test clips; below 10 of each" in report.notes[0]
    normal = make_run(tmp_path / "normal", "my_plant", {("dev", "big_fan", "00"): PLAIN[:12]})
    with pytest.raises(GroundTruthError, match=r"no anomaly clip.*names begin with normal, and"):
        evaluate(normal, "my_plant")


def test_decisions_of_ones_own_are_evaluated_over_all_clips(tmp_path):
    lines = [f"{name.replace('flac', 'wav')},{index}" for index, name in enumerate(PLAIN)]
    (tmp_path / "anomaly_score_saw_section_00_test.csv").write_text("\n".join(lines))
    decisions = [f"{line.split(',')[0]},{int(index >= 10)}" for index, line in enumerate(lines)]
    (tmp_path / "decision_result_saw_section_00_test.csv").write_text("\n".join(decisions))
    (section,) = evaluate(tmp_path, "my_plant").evaluation.sections
    # 12 anomalies are found, and 2 of 12 normal clips are decided anomalous.
    assert section.result["precision"] == pytest.approx(12 / 14)
    assert section.result["recall"] == 1.0
