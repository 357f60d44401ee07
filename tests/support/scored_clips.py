"""Runs with scores of clips, and what they evaluate to."""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.scores.table import read_scores, write_scores


def evaluate(target, edition, ground_truth=None, **options):
    return evaluate_run_or_folder(target, edition, ground_truth, **{"resamples": 0, **options})


def dev_names(section="00", count=5):
    return [
        f"section_{section}_{domain}_test_{condition}_{index:04}_x_1.wav"
        for domain in ("source", "target")
        for condition in ("normal", "anomaly")
        for index in range(count)
    ]


def make_run(run, edition, clips):
    """A run with scores; `clips` maps (stage, machine, section) to names of test clips."""
    generator = np.random.default_rng(0)
    rows = [
        (*key, "test", name, generator.random()) for key, names in clips.items() for name in names
    ]
    rows += [(*key, "train", f"train_{key[2]}.wav", 0.5) for key in clips]
    columns = ["stage", "machine", "section", "split", "file", "score"]
    write_scores(run, edition, pd.DataFrame(rows, columns=columns), {"backbone": "x"})
    return run


def areas(run, edition, machine, section):
    """AUC and pAUC by scikit-learn, of one section of a machine of one's own."""
    rows = read_scores(run, edition).query("machine == @machine and section == @section")
    rows = rows[rows["split"] == "test"]
    anomalous = rows["file"].str.contains("anomaly")
    return {
        "auc": roc_auc_score(anomalous, rows["score"]),
        "pauc": roc_auc_score(anomalous, rows["score"], max_fpr=0.1),
    }
