"""How far normal clips have moved: whatever anomalies do, and found where they have moved."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, spearmanr, wasserstein_distance

from dcase_asd.errors import TooFewClipsError
from dcase_asd.fusion.robustness import normal_shift, spread

SKILLS = norm.ppf([0.5, 0.6, 0.7, 0.8, 0.9, 0.999]) * np.sqrt(2)
"""How far anomalies lie above normal clips, in deviations: AUC 0.5 to 1 of normal scores."""
MACHINES, DRAWS = 8, 50
BASES = {
    "lognormal": lambda random, n: np.exp(0.5 * random.standard_normal(n)) / 0.604,
    "gamma": lambda random, n: random.gamma(3.0, 1.0, n) / np.sqrt(3),
    "normal": lambda random, n: random.standard_normal(n),
}
"""Scores of normal clips, with standard deviation 1."""


def machine(random, base, skill, move=0.0, scale=1.0):
    """Train scores of 400 clips, and test scores of 100 normal and 100 anomalous ones."""
    train = base(random, 400)
    middle = np.median(train)
    tests = middle + scale * (base(random, 200) - middle) + move
    return train, tests + np.repeat([0.0, skill], 100)


def figures(base, measure, skills=SKILLS, draws=DRAWS, **moved):
    """Mean over machines of each draw (rows) and system (columns)."""
    random = np.random.default_rng(5)
    return np.array(
        [
            [
                np.mean([measure(*machine(random, base, skill, **moved)) for _ in range(MACHINES)])
                for skill in skills
            ]
            for _ in range(draws)
        ]
    )


def chosen(values, count=2):
    """Share of draws in which each system is among the `count` most robust ones."""
    ranks = np.argsort(np.argsort(values, axis=1), axis=1)
    return (ranks < count).mean(axis=0), (ranks[:, :2] < count).all(axis=1).mean()


@pytest.mark.parametrize("moved", [{}, {"move": 0.5}])
@pytest.mark.parametrize("base", BASES)
def test_the_choice_does_not_depend_on_how_well_anomalies_are_told(base, moved):
    values = figures(BASES[base], normal_shift, **moved)
    means, noise = values.mean(axis=0), values.std(axis=0).mean()
    each, both_worst = chosen(values)
    assert np.ptp(means) < 2 * noise
    assert abs(means[:3].mean() - means[3:].mean()) < noise
    assert abs(np.mean([spearmanr(SKILLS, row)[0] for row in values])) < 0.35
    assert both_worst < 0.25  # one pair of 15; what the distance of distributions takes always
    assert (each[[0, 2, 3, 4, 5]] > 0.1).all()


def test_the_distance_of_whole_distributions_prefers_poor_detectors():
    def distance(train, test):
        return wasserstein_distance(train, test) / train.std()

    _, both_worst = chosen(figures(BASES["lognormal"], distance))
    assert both_worst == 1


@pytest.mark.parametrize("moved", [{"move": 1.0}, {"move": -1.0}, {"scale": 1.6}, {"scale": 0.5}])
@pytest.mark.parametrize("base", ["lognormal", "gamma"])
def test_a_system_whose_normal_clips_moved_is_found_whatever_its_skill(base, moved):
    still, gone = (figures(BASES[base], normal_shift, draws=12, **by) for by in ({}, moved))
    assert (gone > still.max()).all()


def test_scores_without_a_steep_end_need_a_larger_move():
    still, gone = (
        figures(BASES["normal"], normal_shift, draws=25, move=move) for move in (0.0, 1.5)
    )
    assert (gone > np.quantile(still, 0.95)).mean() > 0.95


def test_a_move_counts_in_deviations_of_the_middle_half_and_no_anomaly_does():
    train = norm.ppf((np.arange(400) + 0.5) / 400)
    assert spread(train) == pytest.approx(1, rel=0.01)
    assert normal_shift(train, train) == 0
    assert normal_shift(train, train + 3) == pytest.approx(3 / spread(train))
    assert normal_shift(10 * train, 10 * train - 5) == pytest.approx(0.5 / spread(train))
    near, far = (np.concatenate([train + 0.5, train + away]) for away in (6, 1000))
    assert normal_shift(train, near) == normal_shift(train, far)
    assert normal_shift(train, far) == pytest.approx(0.5 / spread(train), abs=0.02)
    outliers = np.where(np.arange(400) < 396, train, 1000)
    assert normal_shift(outliers, train + 3) == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ([], range(9)),
        (range(9), []),
        (range(9), range(5)),
        (range(5), range(9)),
        ([0.1] * 9, range(9)),
    ],
)
def test_nothing_to_compare_is_an_error(train, test):
    with pytest.raises(TooFewClipsError, match="more than 5 test scores, and as many train scores"):
        normal_shift(np.array(train, dtype=float), np.array(test, dtype=float))
