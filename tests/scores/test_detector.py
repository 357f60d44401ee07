import numpy as np
import pytest

from dcase_asd.errors import TooFewClipsError
from dcase_asd.recipe.detector import Detector
from dcase_asd.scores.detector import score_section
from dcase_asd.scores.neighbors import leave_one_out, nearest


def section(source=12, target=4, test=7):
    generator = np.random.default_rng(0)
    train = generator.standard_normal((source + target, 5))
    domains = np.array(["source"] * source + ["target"] * target)
    return train, domains, generator.standard_normal((test, 5))


def test_the_default_is_one_nearest_neighbor_on_pooled_domains():
    train, domains, test = section()
    found = score_section(train, domains, test, Detector())
    np.testing.assert_array_equal(found.test, nearest(test, train))
    np.testing.assert_array_equal(found.train, leave_one_out(train))
    assert found.notes == []


def test_the_minimum_over_domains_equals_pooling_for_one_neighbor():
    train, domains, test = section()
    pooled = score_section(train, domains, test, Detector())
    separate = score_section(train, domains, test, Detector(domains="minimum"))
    np.testing.assert_allclose(separate.test, pooled.test, atol=1e-15)
    np.testing.assert_allclose(separate.train, pooled.train, atol=1e-15)


def test_the_minimum_over_domains_averages_within_a_domain():
    train, domains, test = section()
    found = score_section(train, domains, test, Detector(neighbors=3, domains="minimum"))
    each = [nearest(test, train[domains == domain], 3) for domain in ("source", "target")]
    np.testing.assert_allclose(found.test, np.minimum(*each))
    source, target = train[:12], train[12:]
    expected = np.minimum(leave_one_out(source, 3), nearest(source, target, 3))
    np.testing.assert_allclose(found.train[:12], expected)


def test_calibration_standardises_each_domain_by_its_leave_one_out_scores():
    train, domains, test = section()
    found = score_section(train, domains, test, Detector(normalize="domain"))
    standardized = []
    for domain in ("source", "target"):
        bank = train[domains == domain]
        own = leave_one_out(bank)
        standardized.append((nearest(test, bank) - own.mean()) / own.std())
    np.testing.assert_allclose(found.test, np.minimum(*standardized))


@pytest.mark.parametrize("detector", [Detector(domains="minimum"), Detector(normalize="domain")])
def test_a_machine_without_target_clips_is_scored_and_said(detector):
    train, domains, test = section(target=0)
    found = score_section(train, domains, test, detector)
    assert found.notes == ["no target-domain train clip: scored against the source domain alone"]
    order = np.argsort(nearest(test, train))
    np.testing.assert_array_equal(np.argsort(found.test), order)


def test_a_single_target_clip_is_calibrated_by_all_domains_and_said():
    train, domains, test = section(target=1)
    found = score_section(train, domains, test, Detector(normalize="domain"))
    assert np.isfinite(found.test).all()
    assert np.isfinite(found.train).all()
    assert any("1 train clip(s) has no spread" in note for note in found.notes)


@pytest.mark.parametrize(
    "detector",
    [
        Detector(),
        Detector(domains="minimum"),
        Detector(normalize="domain"),
        Detector(normalize="density"),
    ],
)
def test_a_single_train_clip_scores_test_clips_and_is_said(detector):
    train, domains, test = section(source=1, target=0)
    found = score_section(train, domains, test, detector)
    np.testing.assert_allclose(found.test, nearest(test, train))
    assert np.isnan(found.train).all()
    assert "a single train clip has no leave-one-out score: none is written" in found.notes


def test_a_small_machine_gets_the_density_neighbors_that_it_has():
    train, domains, test = section(source=5, target=0)
    found = score_section(train, domains, test, Detector(normalize="density"))
    assert found.notes == ["local density of 3 neighbors, all that 5 clips have"]
    assert np.isfinite(found.test).all()


def test_identical_train_clips_are_not_standardised():
    train = np.ones((6, 3))
    found = score_section(train, np.array(["source"] * 6), np.eye(3), Detector(normalize="domain"))
    assert "leave-one-out scores have no spread: not standardized" in found.notes
    assert np.isfinite(found.test).all()


def test_missing_and_too_few_train_clips_are_refused():
    _, domains, test = section()
    with pytest.raises(TooFewClipsError, match="no train clip"):
        score_section(np.empty((0, 5)), domains[:0], test, Detector())
    with pytest.raises(TooFewClipsError, match="5 nearest clips were asked for"):
        score_section(np.ones((3, 5)), domains[:3], test, Detector(neighbors=5))


def test_a_detector_needs_a_neighbor():
    with pytest.raises(ValueError, match="at least 1"):
        Detector(neighbors=0)
