import numpy as np
import pytest

from dcase_asd.scores import neighbors
from dcase_asd.scores.density import NearestClips
from dcase_asd.scores.distances import unit_vectors


def density_scores(train, test, count, around):
    """Leave-one-out scores of train clips, and scores of test clips."""
    fitted = NearestClips(count, "ratio", around).fit(train)
    return fitted.leave_one_out(), fitted.score(test)


def direct(train, test, count, density_count):
    """The definition, clip by clip: every leave-one-out density is computed anew."""
    unit = unit_vectors(train)
    among, across = 1 - unit @ unit.T, 1 - unit_vectors(test) @ unit.T

    def scales(clips):
        return np.array(
            [np.sort([among[r, s] for s in clips if s != r])[:density_count].mean() for r in clips]
        )

    everyone = range(len(train))
    left_out = []
    for clip in everyone:
        others = [other for other in everyone if other != clip]
        left_out.append(np.sort(among[clip, others] / scales(others))[:count].mean())
    return left_out, np.sort(across / scales(everyone), axis=1)[:, :count].mean(axis=1)


@pytest.mark.parametrize(("count", "density_count"), [(1, 1), (1, 4), (3, 4), (1, 18)])
@pytest.mark.parametrize("block", [2048, 7])
def test_scores_equal_the_definition(monkeypatch, count, density_count, block):
    monkeypatch.setattr(neighbors, "BANK_BLOCK", block)
    generator = np.random.default_rng(0)
    train, test = generator.standard_normal((20, 6)), generator.standard_normal((9, 6))
    left_out, scores = density_scores(train, test, count, density_count)
    expected_left_out, expected = direct(train, test, count, density_count)
    np.testing.assert_allclose(left_out, expected_left_out, rtol=1e-12)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


def test_a_sparse_domain_is_judged_by_its_own_spread():
    """Normal clips of a wide target domain score as low as those of a narrow source domain."""
    generator = np.random.default_rng(1)
    source = np.array([10.0, 0, 0, 0]) + 0.05 * generator.standard_normal((100, 4))
    target = np.array([0, 10.0, 0, 0]) + 1.0 * generator.standard_normal((10, 4))
    test_source = np.array([10.0, 0, 0, 0]) + 0.05 * generator.standard_normal((50, 4))
    test_target = np.array([0, 10.0, 0, 0]) + 1.0 * generator.standard_normal((50, 4))
    train = np.concatenate([source, target])
    plain = neighbors.nearest(np.concatenate([test_source, test_target]), train)
    _, balanced = density_scores(train, np.concatenate([test_source, test_target]), 1, 5)
    assert np.median(plain[50:]) / np.median(plain[:50]) > 20
    assert np.median(balanced[50:]) / np.median(balanced[:50]) < 5


def test_copies_of_a_clip_leave_scores_finite():
    train = np.repeat(np.random.default_rng(0).standard_normal((3, 4)), 5, axis=0)
    for scores in density_scores(train, train + 0.1, 1, 4):
        assert np.isfinite(scores).all()
