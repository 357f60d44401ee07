import sys

import numpy as np
import pytest

from dcase_asd.errors import ScoresError, TooFewClipsError
from dcase_asd.recipe.detector import Detector
from dcase_asd.scores.detector import domain_shift, make_detector, score_section
from dcase_asd.scores.named import DETECTORS, installed_detectors, score_embeddings
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


def test_the_median_scale_divides_each_domain_by_that_of_its_leave_one_out_scores():
    train, domains, test = section()
    found = score_section(train, domains, test, Detector(normalize="median"))
    banks = [train[domains == domain] for domain in ("source", "target")]
    expected = [nearest(test, bank) / np.median(leave_one_out(bank)) for bank in banks]
    np.testing.assert_allclose(found.test, np.minimum(*expected))


def test_detectors_are_put_around_each_other_in_one_order():
    """Standardized in a band, bands of a domain, domains of the references."""
    generator = np.random.default_rng(3)
    train, test = generator.standard_normal((14, 2, 5)), generator.standard_normal((6, 2, 5))
    domains = np.array(["source"] * 10 + ["target"] * 4)
    settings = Detector("varmin", {"around": 2}, standardize=True, references=9, domains="minimum")
    options = {"standardize": True, "around": 2}
    chosen = make_detector(settings, bands=True).fit(train, domains).chosen
    expected = [
        np.mean([
            score_embeddings(train[clips][:, band], test[:, band], "varmin", **options)
            for band in range(2)
        ], axis=0)
        for clips in (chosen[chosen < 10], chosen[chosen >= 10])
    ]  # fmt: skip
    found = score_section(train, domains, test, settings)
    np.testing.assert_allclose(found.test, np.minimum(*expected))


@pytest.mark.parametrize(("name", "join"), [("minimum", np.min), ("mean", np.mean)])
@pytest.mark.parametrize("of", [("nearest", "density", "subspace"), "nearest, density,subspace"])
def test_several_detectors_are_joined_on_the_scales_of_their_leave_one_out_scores(name, join, of):
    train, domains, test = section(source=20)
    found = score_section(train, domains, test, Detector(name, {"of": of}))
    standard = []
    for each in ("nearest", "density", "subspace"):
        one = score_section(train, domains, test, Detector(each))
        standard.append((one.test - one.train.mean()) / one.train.std())
    np.testing.assert_allclose(found.test, join(standard, axis=0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Detector("varmim"), "no detector is called 'varmim'; did you mean 'varmin'?"),
        (Detector("varmin", {"arround": 2}), "unknown name 'arround' (did you mean 'around'?)"),
        (Detector("varmin", {"around": "x"}), "'around' must be a whole number, not 'x'"),
        (Detector("varmin", {"around": 0}), "around must be at least 1, not 0"),
        (Detector("varmin", {"metric": "cos"}), "'cos' (did you mean 'cosine'?)"),
        (Detector("subspace", {"explained": 1.5}), "explained must be in (0, 1), not 1.5"),
        (Detector("clusters", {"clusters": 0, "seed": -1}),
         "clusters must be at least 1, not 0; seed must be at least 0, not -1"),
        (Detector("nearest", {"around": 2}), "unknown name 'around'"),
        (Detector("minimum", {"of": ["nearest", "mahalanobi"]}), "did you mean 'mahalanobis'?"),
        (Detector("varmin", {"neighbors": 2}, neighbors=3), "given as an option as well"),
    ],
)  # fmt: skip
def test_what_a_detector_does_not_take_is_told_with_the_nearest_name(settings, message):
    with pytest.raises(ScoresError) as raised:
        make_detector(settings)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_all_that_belongs_to_another_detector_is_told_at_once():
    settings = Detector(
        "mahalanobis", {"shrink": 1}, neighbors=2, normalize="density", density_neighbors=3
    )
    with pytest.raises(ScoresError) as raised:
        make_detector(settings)
    for message in (
        "normalize = density belongs to the detector nearest, not to mahalanobis; leave it out",
        "density_neighbors belongs to the detector nearest",
        "neighbors is no matter of the detector",
    ):
        assert message in str(raised.value)


BAD = {
    "one train clip": lambda train: train[:1],
    "two train clips": lambda train: train[:2],
    "identical clips": lambda train: np.repeat(train[:1], 9, axis=0),
    "a value without variance": lambda train: train * [1, 1, 0, 1, 1],
    "more values than clips": lambda train: np.hstack([train[:4]] * 3),
    "all zero": lambda train: 0 * train,
}


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("bad", BAD)
def test_hard_input_has_a_defined_score_or_one_line(bad, name, standardize):
    train, _, test = section(source=6, target=3, test=3)
    train, settings = BAD[bad](train), Detector(name, standardize=standardize)
    test = np.hstack([test, test, test])[:, : train.shape[1]]
    bands = train[:, None] * [[1], [0]], test[:, None] * [[1], [2]]  # one without variance
    for vectors, queries in ((train, test), bands):
        domains = np.full(len(train), "source")
        several = name in ("minimum", "mean")
        if len(train) == 1 and make_detector(settings).fewest > 1 and not several:
            with pytest.raises(TooFewClipsError, match=r"1 normal clip\(s\), and this .* needs 2;"):
                score_section(vectors, domains, queries, settings)
            continue
        found = score_section(vectors, domains, queries, settings)
        assert np.isfinite(found.test).all()
        assert np.isfinite(found.train).all() or len(train) < 3
        assert np.isnan(found.train).any() == any("leave-one-out score" in x for x in found.notes)
        few = any("are too few to calibrate the detectors of" in x for x in found.notes)
        assert few == (several and len(train) < 6)


@pytest.mark.parametrize("name", ["density", "varmin", "log-density"])
def test_fewer_clips_than_a_density_asks_for_are_told(name):
    train, domains, test = section(source=4, target=0)
    few = score_section(train, domains, test, Detector(name, {"around": 7}))
    enough = score_section(train, domains, test, Detector(name, {"around": 3}))
    np.testing.assert_array_equal(few.test, enough.test)
    assert enough.notes == []
    assert few.notes == [
        "4 train clips have no 7 nearest others to tell their density by: it is told by 3"
    ]


@pytest.mark.parametrize("clips", [3, 5, 6])
def test_few_clips_are_scored_by_the_nearest_and_their_copies_lowest(clips):
    train, domains, test = section(source=clips, target=0)
    settings = Detector("mean", {"of": ["varmin", "mahalanobis"]}, standardize=True)
    found = score_section(train, domains, np.concatenate([train, test]), settings)
    plain = score_section(train, domains, np.concatenate([train, test]), Detector())
    assert np.array_equal(found.test, plain.test) == (clips < 6)
    assert found.test[:clips].max() < (found.test[clips:].min() if clips < 6 else 0)
    told = f"{clips} train clip(s) are too few to calibrate the detectors of mean, which takes 6:"
    assert [note.startswith(told) for note in found.notes] == [True] * (clips < 6)


def test_a_domain_too_small_for_a_detector_is_scored_with_the_others():
    train, domains, test = section(target=1)
    found = score_section(train, domains, test, Detector("mahalanobis", domains="minimum"))
    pooled = score_section(train, domains, test, Detector("mahalanobis"))
    np.testing.assert_array_equal(found.test, pooled.test)
    np.testing.assert_array_equal(found.train, pooled.train)
    assert found.notes == [
        "a domain of 1 train clip(s), and this detector needs 2: all domains are scored as one"
    ]


def test_a_median_scale_of_scores_below_0_names_the_other():
    train, domains, test = section(source=30, target=10)
    train, test = 0.01 * train, 0.01 * test
    with pytest.raises(ScoresError, match="take --normalize domain"):
        score_section(train, domains, test, Detector("log-density", normalize="median"))
    found = score_section(train, domains, test, Detector("log-density", normalize="domain"))
    assert np.isfinite(found.test).all()


PLUGIN = """
import numpy as np
from dcase_asd.scores.detectors import AnomalyDetector

class Farthest(AnomalyDetector):
    def __init__(self, power: float = 1.0):
        self.power = power
    def learn(self, train):
        self.middle = train.mean(axis=0)
    def score(self, test):
        return np.abs(test - self.middle).max(axis=1) ** self.power
"""


def test_a_third_partys_detector_is_listed_loaded_and_scored(tmp_path, monkeypatch):
    metadata = tmp_path / "somebody-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.2\n")
    points = {"farthest": "their_detector:Farthest", "gone": "nowhere_at_all:X",
              "thing": "their_detector:np"}  # fmt: skip
    lines = "".join(f"{name} = {target}\n" for name, target in points.items())
    (metadata / "entry_points.txt").write_text(f"[dcase_asd.detectors]\n{lines}")
    (tmp_path / "their_detector.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_detector", raising=False)
    theirs = [each for each in installed_detectors() if each["package"] == "somebody"]
    assert [(each["name"], each["version"]) for each in theirs] == [
        ("farthest", "1.2"), ("gone", "1.2"), ("thing", "1.2")
    ]  # fmt: skip
    assert "their_detector" not in sys.modules
    train, domains, test = section()
    found = score_section(train, domains, test, Detector("farthest", {"power": 2}))
    expected = np.abs(test - train.mean(axis=0)).max(axis=1) ** 2
    np.testing.assert_allclose(found.test, expected)
    rest = np.abs(train[3] - np.delete(train, 3, axis=0).mean(axis=0)).max() ** 2
    assert found.train[3] == pytest.approx(rest)
    checked = {each["name"]: each["state"] for each in installed_detectors(check=True)}
    assert checked["farthest"] == checked["nearest"] == "works"
    for name, message in {
        "gone": "the detector 'gone' (nowhere_at_all:X) cannot be imported: ModuleNotFoundError",
        "thing": "the detector 'thing' (their_detector:np) is no class derived from dcase_asd",
        "farthes": "no detector is called 'farthes'; did you mean 'farthest'?",
    }.items():
        with pytest.raises(ScoresError) as raised:
            make_detector(Detector(name))
        assert str(raised.value).startswith(message)
    with pytest.raises(ScoresError, match=r"unknown name 'powr' .did you mean 'power'"):
        make_detector(Detector("farthest", {"powr": 2}))


def test_a_target_domain_far_above_the_source_is_told_and_one_alike_is_not():
    generator = np.random.default_rng(0)
    domains = np.array(["source"] * 100 + ["target"] * 10)
    train = generator.standard_normal((110, 16)) + 4
    assert score_section(train, domains, train[:3], Detector()).shifted == ""
    train[100:] = (train[100:] - 4) * 2 + 4 * (-1) ** np.arange(16)
    found = score_section(train, domains, train[:3], Detector())
    own = leave_one_out(train)
    share = 100 * np.mean(own[100:, None] > own[:100])
    assert f"10 leave-one-out scores lie on average above {share:.0f} %" in found.shifted
    scaled = score_section(train, domains, train[:3], Detector(normalize="median"))
    assert scaled.shifted == ""
    assert score_section(train, np.full(110, ""), train[:3], Detector()).shifted == ""


@pytest.mark.parametrize(("target", "told"), [(1, False), (2, True), (3, True)])
def test_few_target_clips_are_told_only_where_chance_is_unlikely(target, told):
    """All above: by chance 1 / C(n, target), 1 / 61, 1 / 1,891 and 1 / 37,820."""
    own = np.arange(60.0 + target)
    domains = np.array(["source"] * 60 + ["target"] * target)
    assert bool(domain_shift(own, domains)) is told
