"""Runs to report on beside that of an entry: a second system, a fusion with all its figures."""

from __future__ import annotations

import numpy as np

from dcase_asd.files import write_text
from dcase_asd.fusion.result import (
    FusionResult,
    LeaveOneMachineOut,
    LeftOutMachine,
    Robustness,
    WeightSpread,
    write_fusion,
)
from dcase_asd.recipe.fusion import FusedSystem, Fusion
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.scores.table import write_scores

PROVENANCE = {"backbone": "spectral", "parameters": 1234567, "sample_rate": 16000}


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
        "bootstrap": WeightSpread(200, "grid", (0.6, 0.4), (0.1, 0.1), (0.2, 0.0), (1.0, 0.8)),
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
