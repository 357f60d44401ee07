"""The official metrics against a loop of `roc_auc_score`, and what the bootstrap takes."""

import time

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from dcase_asd.metrics.bootstrap import confidence_interval
from dcase_asd.metrics.official import evaluate

MACHINES = ("ToyCar", "ToyTrain", "bearing", "fan", "gearbox", "slider", "valve")
CLIPS = 200
REPEATS = 15


def test_set():
    """Seven machines with 50 clips of each domain and condition."""
    generator = np.random.default_rng(0)
    domain = np.tile(["source", "target"], CLIPS // 2)
    condition = np.repeat(["normal", "anomaly"], CLIPS // 2)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "machine": machine,
                    "section": "00",
                    "file": [f"section_00_{index:04}.wav" for index in range(CLIPS)],
                    "domain": domain,
                    "condition": condition,
                    "score": generator.normal(size=CLIPS) + (condition == "anomaly"),
                }
            )
            for machine in MACHINES
        ],
        ignore_index=True,
    )


def reference(machines):
    """The values that an official evaluator computes for each machine, one call for each."""
    values = []
    for anomalous, target, scores in machines:
        source_clips, target_clips = anomalous | ~target, anomalous | target
        values += [
            roc_auc_score(anomalous, scores),
            roc_auc_score(anomalous[source_clips], scores[source_clips]),
            roc_auc_score(anomalous[target_clips], scores[target_clips]),
            roc_auc_score(anomalous, scores, max_fpr=0.1),
        ]
    return values


def seconds(function):
    """The shortest of several runs, after one to warm up."""
    function()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    labelled = test_set()
    machines = [
        (
            (clips["condition"] == "anomaly").to_numpy(),
            (clips["domain"] == "target").to_numpy(),
            clips["score"].to_numpy(),
        )
        for _, clips in labelled.groupby("machine")
    ]
    ours = [
        section.result[key]
        for section in evaluate(labelled, "2022").sections
        for key in ("auc", "auc_source", "auc_target", "pauc")
    ]
    difference = np.abs(np.subtract(ours, reference(machines))).max()
    if difference > 1e-12:
        raise SystemExit(f"official metrics differ from scikit-learn's by {difference:g}")
    ratio = seconds(lambda: reference(machines)) / seconds(lambda: evaluate(labelled, "2022"))
    print(f"official metrics over a roc_auc_score loop  {ratio:.1f}  >= 20")
    took = seconds(lambda: confidence_interval(labelled, "2022"))
    print(f"seconds for a bootstrap of 1000 resamples  {took:.2f}  < 1")


if __name__ == "__main__":
    main()
