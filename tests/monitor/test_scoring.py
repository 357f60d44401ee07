"""Detector and event joined to one score, each normal window's by what is learnt without it."""

import numpy as np
import pytest

from dcase_asd.monitor.heat import deviations, normal_events, usual_range
from dcase_asd.monitor.scoring import SPECTRA, Scorer


def windows(random, count, alike=1):
    """Vectors and grids of so many recordings, each of some windows that are almost equal."""
    levels = np.repeat(random.standard_normal((count, 3)), alike, axis=0)
    grids = np.repeat(random.standard_normal((count, 6, 4, 2)), alike, axis=0)
    levels = levels + 1e-3 * random.standard_normal(levels.shape)
    grids = 3 * grids + 1e-3 * random.standard_normal(grids.shape)
    return levels, list(grids + np.exp(levels[:, None, :1, None]))


@pytest.mark.parametrize(("alike", "rate"), [(1, 0.05), (2, 0.1)])
def test_false_alarms_are_those_that_are_asked_for_where_recordings_are_exchangeable(alike, rate):
    random, above = np.random.default_rng(0), []
    for _ in range(300):
        vectors, grids = windows(random, 19, alike)
        owners = np.repeat(np.arange(19), alike)
        scorer = Scorer(vectors, owners, normal_events(grids, owners), SPECTRA)
        new, looked_at = windows(random, 20)
        usual = usual_range(grids)
        events = np.array([np.abs(deviations(each, usual)[0]).max() for each in looked_at])
        above.append(np.mean(scorer.score(new, events) > scorer.calibration.threshold(rate)))
    # Rates differ from fit to fit by about as much as they are large.
    assert np.mean(above) <= rate + 3 * np.std(above) / np.sqrt(300)
    assert np.mean(above) > rate / 5


def test_a_score_is_the_sum_of_both_in_their_deviations():
    vectors, grids = windows(np.random.default_rng(1), 30)
    events = normal_events(grids, np.arange(30))
    scorer = Scorer(vectors, np.arange(30), events, SPECTRA)
    raw = scorer.detector.leave_one_out()
    both = raw / np.std(raw) + events / np.std(events)
    np.testing.assert_allclose(scorer.calibration.scores, both / np.median(both))
    new = vectors[:2] + 1
    expected = scorer.detector.score(new) / np.std(raw) + np.array([2.0, 9.0]) / np.std(events)
    np.testing.assert_allclose(scorer.score(new, np.array([2.0, 9.0])), expected / np.median(both))


@pytest.mark.parametrize("odd", ["vector", "event"])
def test_one_odd_normal_recording_does_not_hide_what_is_odd_in_the_other_way(odd):
    vectors, grids = windows(np.random.default_rng(2), 12)
    events = normal_events(grids, np.arange(12))
    if odd == "vector":
        vectors[0] += 30
    else:
        events[0] *= 10
    scorer = Scorer(vectors, np.arange(12), events, SPECTRA)
    if odd == "vector":
        found = scorer.score(vectors[1:2], events[:1] * 4)
    else:
        found = scorer.score(vectors[1:2] + 30, events[1:2])
    assert found[0] > scorer.calibration.scores.max()
