"""What a fusion writes down: its weights, figures and provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dcase_asd.artifacts.fusion import FusionResult, Robustness
from dcase_asd.challenge.edition import Edition
from dcase_asd.fused_system import Fusion
from dcase_asd.steps.fuse.development import Development
from dcase_asd.steps.fuse.figures import Figures, as_weights
from dcase_asd.steps.fuse.fit import Fit
from dcase_asd.steps.fuse.members import Members

STANDARDISATIONS = {"train": "train", "test": "test (transductive)"}
"""What a result calls the standardisation of the recipe."""


def make_result(
    members: Members,
    edition: Edition,
    fusion: Fusion,
    fit: Fit,
    figures: Figures | None,
    *,
    development: Development | None,
    robustness: Robustness | None,
    ground_truth: Path | None,
    made_of: str,
    notes: Sequence[str],
) -> FusionResult:
    """Put together what `artifacts.fusion` keeps."""
    alone = figures.alone if figures else None
    return FusionResult(
        edition=edition.name,
        fingerprint=made_of,
        metric=edition.metric,
        method=fusion.method,
        searched=fit.searched,
        step=fusion.step if fusion.method == "grid" else None,
        seed=fusion.seed,
        standardisation=STANDARDISATIONS[fusion.standardize],
        labels=development.source if development else None,
        ground_truth=str(ground_truth.resolve()) if ground_truth else None,
        machines=development.machines if development else (),
        systems=tuple(members.names[number] for number in fit.systems),
        weights=as_weights(fit),
        selected_from=members.names if fusion.select else None,
        dev_score=figures.dev_score if figures else None,
        leave_one_machine_out=figures.leave_one_machine_out if figures else None,
        equal_weights=figures.equal_weights if figures else None,
        alone=tuple(alone[number] for number in fit.systems) if alone else None,
        alone_before=alone if fusion.select else None,
        bootstrap=figures.bootstrap if figures else None,
        robustness=robustness,
        notes=tuple(notes),
        select=fusion.select,
    )


def provenance(members: Members, fit: Fit) -> dict[str, Any]:
    """What fused scores are made of, as for any run's scores; systems of weight zero do not count.

    Returns:
        ``backbone``: names joined by +; ``parameters``: their sum, None if one is not known;
        ``sample_rate``: the common one in Hz, or None.
    """
    used = np.ones(len(fit.systems), dtype=bool) if fit.weights is None else fit.weights > 0
    made = [
        members.provenances[number] for number, take in zip(fit.systems, used, strict=True) if take
    ]
    backbones = [name for each in made for name in str(each["backbone"]).split("+")]
    rates = {each.get("sample_rate") for each in made}
    parameters = [each.get("parameters") for each in made]
    return {
        "backbone": "+".join(dict.fromkeys(backbones)),
        "parameters": None if None in parameters else sum(parameters),
        "sample_rate": rates.pop() if len(rates) == 1 else None,
    }
