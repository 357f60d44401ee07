"""Detectors against values that an independent program computed, and against refitting."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from dcase_asd.errors import ScoresError, TooFewClipsError
from dcase_asd.scores.composed import (
    ByDomain,
    CalibratedMinimum,
    FewerReferences,
    PerBand,
    Standardized,
    farthest_points,
)
from dcase_asd.scores.density import NearestClips
from dcase_asd.scores.detectors import ClusterMeans, Mahalanobis, Subspace
from dcase_asd.scores.named import score_embeddings

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "detectors" / "seed_0.npz")
TRAIN, TEST = GOLDEN["train"], GOLDEN["test"]
FLAT_TRAIN, FLAT_TEST = TRAIN.reshape(len(TRAIN), -1), TEST.reshape(len(TEST), -1)
DOMAINS = np.array(["source"] * (len(TRAIN) - 4) + ["target"] * 4)


def varmin():
    return NearestClips(form="variance", around=4)


def ratio():
    return NearestClips(form="ratio", around=1)


FLAT = {
    "nearest": NearestClips,
    "varmin_4": varmin,
    "varmin_1": lambda: NearestClips(form="variance", around=1),
    "log_density": lambda: NearestClips(form="log", metric="euclidean"),
    "ldn_ratio_1": ratio,
    "ldn_ratio_4": lambda: NearestClips(form="ratio", around=4),
    "mahalanobis": Mahalanobis,
    "standardized_nearest": lambda: Standardized(NearestClips),
    "standardized_varmin_4": lambda: Standardized(varmin),
    "z_min_nearest_varmin_mahalanobis": lambda: CalibratedMinimum(
        [NearestClips, varmin, Mahalanobis]
    ),
    "domain_median": lambda: ByDomain(NearestClips, "median"),
}
BANDS = {
    "beam_nearest": lambda: PerBand(NearestClips),
    "beam_varmin_4": lambda: PerBand(varmin),
    "beam_ldn_ratio_1": lambda: PerBand(ratio),
    "farthest_points_10_beam_ldn_ratio_1": lambda: FewerReferences(lambda: PerBand(ratio), 10),
}


@pytest.mark.parametrize("name", FLAT)
def test_a_detector_gives_the_published_formula(name):
    found = FLAT[name]().fit(FLAT_TRAIN, DOMAINS).score(FLAT_TEST)
    np.testing.assert_allclose(found, GOLDEN[name], rtol=1e-9)


@pytest.mark.parametrize("name", BANDS)
def test_a_detector_of_bands_gives_the_published_formula(name):
    found = BANDS[name]().fit(TRAIN, DOMAINS).score(TEST)
    np.testing.assert_allclose(found, GOLDEN[name], rtol=1e-9)


def test_the_clips_that_lie_farthest_apart_come_in_the_order_of_their_choice():
    assert farthest_points(TRAIN, 10).tolist() == GOLDEN["farthest_points_10"].tolist()
    copies = np.repeat(TRAIN[:2], 3, axis=0)
    assert sorted(farthest_points(copies, 9).tolist()) == list(range(6))


LEFT_OUT = {
    **{name: make for name, make in FLAT.items() if not name.startswith(("z_min", "domain"))},
    "difference": lambda: NearestClips(2, "difference", 5),
    "more neighbors than clips": lambda: NearestClips(3, "variance", 99),
    "as many neighbors as other clips": lambda: NearestClips(form="ratio", around=22),
    "subspace": Subspace,
    "cluster means": lambda: ClusterMeans(3),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_train_clip_is_scored_as_if_it_had_not_been_there(name):
    found = LEFT_OUT[name]().fit(FLAT_TRAIN).leave_one_out()
    expected = [
        LEFT_OUT[name]().fit(np.delete(FLAT_TRAIN, clip, axis=0)).score(FLAT_TRAIN[[clip]])[0]
        for clip in range(len(FLAT_TRAIN))
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_many_train_clips_are_left_out_in_groups():
    clips = np.random.default_rng(0).standard_normal((150, 6))
    found = Subspace(0.5).fit(clips).leave_one_out()
    group = np.arange(150) % 64 == 3
    np.testing.assert_allclose(found[group], Subspace(0.5).fit(clips[~group]).score(clips[group]))


def test_the_covariance_is_the_one_of_scikit_learn_in_more_dimensions_than_clips():
    generator = np.random.default_rng(1)
    train, test = generator.standard_normal((9, 40)), generator.standard_normal((5, 40))
    expected = LedoitWolf().fit(train).mahalanobis(test)
    np.testing.assert_allclose(Mahalanobis().fit(train).score(test), expected, rtol=1e-9)


def test_the_subspace_is_the_one_of_scikit_learn():
    pca = PCA(0.95, svd_solver="full").fit(FLAT_TRAIN)
    rest = FLAT_TEST - pca.inverse_transform(pca.transform(FLAT_TEST))
    found = Subspace(0.95).fit(FLAT_TRAIN).score(FLAT_TEST)
    np.testing.assert_allclose(found, (rest**2).sum(1), rtol=1e-9)


EVERY = [*FLAT.values(), Subspace, ClusterMeans]


@pytest.mark.parametrize("make", EVERY)
def test_identical_clips_give_finite_scores(make):
    train = np.ones((6, 4))
    found = make().fit(train, np.array(["source"] * 4 + ["target"] * 2))
    assert np.isfinite(found.score(np.vstack([train, np.eye(4)]))).all()
    assert np.isfinite(found.leave_one_out()).all()


@pytest.mark.parametrize("make", EVERY)
def test_a_value_without_variance_gives_finite_scores(make):
    train, test = FLAT_TRAIN.copy(), FLAT_TEST.copy()
    train[:, 2], test[:, 2] = 5.0, 6.0
    found = make().fit(train, DOMAINS)
    assert np.isfinite(found.score(test)).all()
    assert np.isfinite(found.leave_one_out()).all()


@pytest.mark.parametrize("make", [varmin, Mahalanobis, Subspace, lambda: NearestClips(3)])
def test_too_few_clips_are_refused(make):
    with pytest.raises(TooFewClipsError, match=r"1 normal clip\(s\), and this detector needs"):
        make().fit(FLAT_TRAIN[:1])


@pytest.mark.parametrize("make", [NearestClips, Subspace, varmin, Mahalanobis])
def test_what_nothing_is_left_to_compare_with_has_no_leave_one_out_score(make):
    detector = make()
    assert np.isnan(detector.fit(FLAT_TRAIN[: detector.fewest]).leave_one_out()).all()


def test_scales_known_from_before_give_the_same_scores():
    first = varmin().fit(FLAT_TRAIN)
    again = varmin().fit(FLAT_TRAIN, kept=lambda bank, count, metric: first.near)
    assert again.near is first.near
    np.testing.assert_array_equal(again.score(FLAT_TEST), first.score(FLAT_TEST))


NAMED = {
    "nearest": (FLAT_TRAIN, FLAT_TEST, "nearest", {}),
    "varmin_4": (FLAT_TRAIN, FLAT_TEST, "varmin", {}),
    "varmin_1": (FLAT_TRAIN, FLAT_TEST, "varmin", {"around": 1}),
    "log_density": (FLAT_TRAIN, FLAT_TEST, "log-density", {}),
    "ldn_ratio_4": (FLAT_TRAIN, FLAT_TEST, "density", {"around": 4}),
    "mahalanobis": (FLAT_TRAIN, FLAT_TEST, "mahalanobis", {}),
    "standardized_varmin_4": (FLAT_TRAIN, FLAT_TEST, "varmin", {"standardize": True}),
    "beam_varmin_4": (TRAIN, TEST, "varmin", {}),
    "farthest_points_10_beam_ldn_ratio_1": (TRAIN, TEST, "density", {"references": 10}),
}


@pytest.mark.parametrize("name", NAMED)
def test_arrays_are_scored_by_the_name_of_a_detector(name):
    train, test, detector, options = NAMED[name]
    found = score_embeddings(train, test, detector, **options)
    np.testing.assert_allclose(found, GOLDEN[name], rtol=1e-9)


def test_an_unknown_detector_option_or_shape_is_told():
    with pytest.raises(ScoresError, match="no detector is called 'varmim'; did you mean 'varmin'"):
        score_embeddings(FLAT_TRAIN, FLAT_TEST, "varmim")
    with pytest.raises(ScoresError, match="the detector 'mahalanobis' refuses its options"):
        score_embeddings(FLAT_TRAIN, FLAT_TEST, "mahalanobis", around=3)
    with pytest.raises(ScoresError, match="must both be"):
        score_embeddings(FLAT_TRAIN, TEST)
