import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from dcase_asd.fusion import batched_ranking
from dcase_asd.fusion.batched_ranking import ANOMALY, BatchedRanking, values_of_rows, weighted_sums

# An anomalous clip, and normal ones of the source, the target and of no domain.
STRATA = st.lists(st.sampled_from([0, 1, 2, 3]), max_size=60).map(lambda strata: [0, 1, 2, *strata])
# Small whole numbers make many ties, and sums of them that differ by rounding alone.
COARSE, FINE, EQUAL = (
    lambda random, shape: random.integers(-2, 3, shape).astype(float),
    lambda random, shape: random.normal(size=shape),
    lambda random, shape: np.zeros(shape),
)


def reference(scores, strata, with_auc):
    """By scikit-learn: an AUC for each named stratum, and the pAUC."""
    rows = []
    for row in scores:
        anomalous = strata == ANOMALY
        values = []
        for stratum in with_auc:
            chosen = anomalous | (strata == stratum)
            values.append(roc_auc_score(anomalous[chosen], row[chosen]))
        rows.append([*values, roc_auc_score(anomalous, row, max_fpr=0.1)])
    return np.array(rows)


def candidates(random, systems, count=3):
    """Random weights, each system alone, and points of a grid."""
    grid = random.multinomial(10, np.ones(systems) / systems, size=count) / 10
    return np.concatenate([np.eye(systems), grid, random.dirichlet(np.ones(systems), size=count)])


@settings(max_examples=80, deadline=None)
@given(
    STRATA,
    st.sampled_from([COARSE, FINE, EQUAL]),
    st.sampled_from([(1, 2), (1,), (2,), ()]),
    st.integers(0, 2**32 - 1),
)
def test_values_of_rows_and_of_weighted_sums_are_those_of_scikit_learn(
    strata, draw, with_auc, seed
):
    random = np.random.default_rng(seed)
    strata = np.array(strata, dtype=np.uint8)
    systems = draw(random, (4, len(strata)))
    weights = candidates(random, len(systems))
    fused = weighted_sums(weights, systems)
    expected = reference(fused, strata, with_auc)
    assert values_of_rows(fused, strata, with_auc) == pytest.approx(expected, abs=1e-12)
    values = BatchedRanking(systems, strata, with_auc).values(weights)
    assert values == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_chunks_of_any_size_give_the_same_values(monkeypatch, size):
    random = np.random.default_rng(0)
    strata = np.array([0, 1, 2, 3] * 10, dtype=np.uint8)
    systems = np.concatenate([random.integers(0, 3, (3, 20)), random.normal(size=(3, 20))], axis=1)
    weights = candidates(random, 3, 50)
    whole = BatchedRanking(systems, strata, (1, 2)).values(weights)
    monkeypatch.setattr(batched_ranking, "SUMS_AT_ONCE", size)
    monkeypatch.setattr(batched_ranking, "TIED_SUMS_AT_ONCE", size)
    parts = BatchedRanking(systems, strata, (1, 2)).values(weights)
    assert parts == pytest.approx(whole, abs=1e-15)


def test_rows_without_ties_are_ranked_by_the_fast_way_alone(monkeypatch):
    def never(*_):
        raise AssertionError("a row was ranked again")

    random = np.random.default_rng(0)
    strata = np.array([0, 1, 2] * 40, dtype=np.uint8)
    systems = random.normal(size=(5, 120))
    weights = candidates(random, 5, 100)
    expected = values_of_rows(weighted_sums(weights, systems), strata, (1, 2))
    monkeypatch.setattr(batched_ranking, "values_of_rows", never)
    values = BatchedRanking(systems, strata, (1, 2)).values(weights)
    assert values == pytest.approx(expected, abs=1e-15)


def test_scores_that_differ_by_one_rounding_are_told_apart():
    strata = np.array([0, 1, 0, 1], dtype=np.uint8)
    next_to_one = np.nextafter(1.0, 2.0)
    systems = np.array([[next_to_one, 1.0, 2.0, 2.0]])
    values = BatchedRanking(systems, strata, (1,)).values(np.ones((1, 1)))
    assert values[0, 0] == (1 + 0 + 1 + 0.5) / 4


def test_clips_that_are_equal_in_every_system_are_equal_in_every_sum():
    random = np.random.default_rng(0)
    column = random.normal(size=(13, 1)) * 10.0 ** random.integers(-8, 8, (13, 1))
    fused = weighted_sums(random.dirichlet(np.ones(13), 500), column.repeat(37, axis=1))
    assert (fused == fused[:, :1]).all()


def test_scores_on_scales_far_apart_keep_their_order():
    strata = np.array([0, 1] * 30, dtype=np.uint8)
    random = np.random.default_rng(0)
    systems = random.normal(size=(3, 60)) * np.array([[1e9], [1.0], [1e-9]])
    weights = candidates(random, 3, 30)
    expected = reference(weighted_sums(weights, systems), strata, (1,))
    values = BatchedRanking(systems, strata, (1,)).values(weights)
    assert values == pytest.approx(expected, abs=1e-12)
