"""What a sweep makes small is refused where it cannot be known."""

import pandas as pd
import pytest

from dcase_asd.errors import GroundTruthError, ScoresError
from dcase_asd.runs.costs import dev_cost, shift
from dcase_asd.scores.table import write_scores


def scored(run, stage, names):
    rows = [
        {"stage": stage, "machine": "fan", "section": "00", "domain": "source", "split": split,
         "file": name, "score": float(index)}
        for index, (split, name) in enumerate(names)
    ]  # fmt: skip
    write_scores(run, "dcase2025", pd.DataFrame(rows), {"fingerprint": "x"})


def test_without_evaluation_clips_there_is_no_shift(tmp_path):
    scored(tmp_path, "dev", [("train", "a.wav"), ("test", "b.wav")])
    with pytest.raises(ScoresError, match=r"no scores of evaluation clips.*--objective dev"):
        shift(tmp_path, "dcase2025")


def test_without_labels_there_is_no_development_score(tmp_path):
    scored(tmp_path, "dev", [("train", "a.wav"), ("test", "section_00_0001.wav")])
    with pytest.raises(GroundTruthError):
        dev_cost(tmp_path, "dcase2025")
