"""Fusions that no label decides on, alone and beside the fitted one."""

import json

import numpy as np
import pytest

from dcase_asd.errors import ScoresError
from dcase_asd.fusion.result import fusion_path, read_fusion
from dcase_asd.recipe.fusion import Fusion
from dcase_asd.scores.calibrate import calibrated_union

LABEL_FREE = ["mean", "minimum", "calibrated"]


def union_of(systems, names):
    """The union of tables, by each stage, machine and section."""
    tables = [systems.standardized(name) for name in names]  # any scale gives the same
    rows = tables[0].index.to_frame(index=False)
    groups = rows.groupby(["stage", "machine", "section"]).ngroup().to_numpy()
    normal = (rows["split"] == "train").to_numpy()
    return tables[0] * 0 + calibrated_union(np.stack(tables), groups, normal)


def test_a_calibrated_fusion_is_the_union_of_the_systems(systems):
    result = systems.fuse(method="calibrated").result
    union = union_of(systems, systems.tables)
    np.testing.assert_allclose(systems.scores(), union, rtol=1e-9)
    assert result.weights is None
    assert result.dev_score == pytest.approx(systems.evaluation(union).official_score)
    assert (result.label_free["calibrated"].dev_score, result.leave_one_machine_out) == (
        result.dev_score,
        None,
    )


def test_figures_without_labels_stand_beside_the_fitted_one(systems):
    result = systems.fuse().result
    assert list(result.label_free) == LABEL_FREE
    assert result.label_free["mean"].dev_score == result.equal_weights
    for method in LABEL_FREE:
        alone = systems.fuse(method, method=method).result
        found = result.label_free[method]
        assert found.dev_score == found.out_of_sample == alone.dev_score
        assert alone.label_free == result.label_free


def test_where_labels_select_the_dev_score_is_not_out_of_sample(systems):
    result = systems.fuse(method="calibrated", select="best:1", always=("c",)).result
    found = result.label_free["calibrated"]
    assert found.dev_score == result.dev_score
    assert found.out_of_sample == result.leave_one_machine_out.score < found.dev_score
    mean = result.label_free["mean"]
    assert mean.out_of_sample == result.leave_one_machine_out.equal_weights


def test_results_of_earlier_versions_are_read(systems):
    result = systems.fuse().result
    path = fusion_path(systems.run("fused"), "dcase2025")
    content = json.loads(path.read_text())
    del content["label_free"], content["analysis"]
    path.write_text(json.dumps(content))
    earlier = read_fusion(systems.run("fused"), "dcase2025")
    assert (earlier.label_free, earlier.analysis) == ({}, False)
    assert earlier.dev_score == result.dev_score
    assert not systems.fuse().changed


def test_scores_that_cannot_be_calibrated_leave_the_other_figures(systems):
    def flatten(table):
        train = table["split"] == "train"
        first = ~table[train].duplicated(["stage", "machine", "section"])
        return table.assign(score=table["score"].where(~train, 0.0 + first.reindex(table.index)))

    systems.change("b", flatten)
    with pytest.raises(ScoresError, match=r"b: dev \w+ section 00: the train scores are too few"):
        systems.fuse(method="calibrated")
    result = systems.fuse(method="mean").result
    assert list(result.label_free) == ["mean", "minimum"]
    assert any("no figure of --method calibrated" in note for note in result.notes)


def test_analysis_is_asked_for_where_it_is_needed():
    with pytest.raises(ValueError, match="analysis is given, but standardize is 'train'"):
        Fusion(("a", "b"), analysis=True)
