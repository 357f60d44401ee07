"""Which clips can be the nearest is told in float32; what is told of them is of float64."""

import itertools

import numpy as np
import pytest

from dcase_asd.scores import distances as module
from dcase_asd.scores import neighbors
from dcase_asd.scores.density import NearestClips
from dcase_asd.scores.distances import Side, bound_smallest, unit_vectors
from dcase_asd.scores.neighbors import find_neighborhood

FORMS = ["ratio", "difference", "variance", "log"]


def clips(kind, count, seed=0, dimension=12):
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((count, dimension))
    return {
        "unlike": noise,
        "alike": np.arange(1, dimension + 1) * (1 + 1e-3 * noise),
        "two domains": np.where(np.arange(count)[:, None] % 20, 5 + noise, noise - 5),
        "large": 1e25 * noise,
        "small": 1e-25 * noise,
        "of all sizes": noise * 10.0 ** generator.integers(-30, 30, (count, 1)),
        "with copies": np.concatenate([noise[: count // 2], noise[: count - count // 2]]),
        "with silence": np.where(np.arange(count)[:, None] % 9, noise, 0.0),
    }[kind]


KINDS_AND_METRICS = [
    *itertools.product(
        ["unlike", "alike", "two domains", "large", "small"], ["cosine", "euclidean"]
    ),
    ("of all sizes", "cosine"),
]


def defined(queries, bank, metric):
    """All distances, one by one, from differences, which lose nothing where clips are alike."""
    if metric == "cosine":
        differences = unit_vectors(queries)[:, None] - unit_vectors(bank)
        return (differences**2).sum(axis=2) / 2
    return np.sqrt(((queries[:, None] - bank) ** 2).sum(axis=2))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", ["unlike", "alike", "two domains"])
def test_rounding_in_float32_is_within_its_bound(kind, metric):
    bank, queries = clips(kind, 300, dimension=200), clips(kind, 60, 1, dimension=200)
    middle = (unit_vectors(bank) if metric == "cosine" else bank).mean(axis=0)
    for center in (middle, np.zeros(200)):
        own, other = Side(queries, center, metric), Side(bank, center, metric)
        found = own.approximate(other, slice(None)).astype(np.float64)
        exact = defined(queries, bank, metric)
        off = np.abs(found - (exact if metric == "cosine" else exact**2 / 2))
        assert (off <= own.error(other, slice(None))).all()
        assert off.max() > 0


@pytest.mark.parametrize(("kind", "metric"), KINDS_AND_METRICS)
@pytest.mark.parametrize("few", [0, 1 / 64, 2])
def test_neighborhoods_are_those_of_a_full_sort(monkeypatch, kind, metric, few):
    """Whether distances are measured by rows (0), one by one (2) or both."""
    monkeypatch.setattr(module, "FEW", few)
    bank = clips(kind, 300)
    expected = defined(bank, bank, metric)
    np.fill_diagonal(expected, np.inf)
    order = np.argsort(expected, axis=1, kind="stable")[:, :5]
    for block in (2048, 70):
        monkeypatch.setattr(neighbors, "BANK_BLOCK", block)
        found = find_neighborhood(bank, 5, metric)
        np.testing.assert_array_equal(found.indices, order)
        np.testing.assert_allclose(
            found.distances, np.take_along_axis(expected, order, axis=1), rtol=1e-7, atol=1e-15
        )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kind", "metric"), [*KINDS_AND_METRICS, ("with copies", "cosine"), ("with silence", "cosine")]
)
def test_scores_do_not_depend_on_blocks(monkeypatch, kind, form, metric):
    monkeypatch.setattr(neighbors, "LONG", 1)
    bank, queries = clips(kind, 300), clips(kind, 40, 1)
    queries[:5] = bank[:5]
    results = []
    for query_block, bank_block, strip, few in (
        (1024, 2048, 256, 1 / 64), (7, 90, 5, 1 / 64), (1024, 2048, 256, 0), (40, 300, 256, 2),
    ):  # fmt: skip
        monkeypatch.setattr(neighbors, "QUERY_BLOCK", query_block)
        monkeypatch.setattr(neighbors, "BANK_BLOCK", bank_block)
        monkeypatch.setattr(module, "STRIP", strip)
        monkeypatch.setattr(module, "FEW", few)
        fitted = NearestClips(2, form, 4, metric).fit(bank)
        results.append(np.concatenate([fitted.score(queries), fitted.leave_one_out()]))
    # Distances are off by 1e-16 of the squared lengths; of clips alike they are 1e-8 of them.
    share = 1e-6 if kind == "alike" and metric == "cosine" else 1e-12
    for result in results[1:]:
        off = np.abs(result - results[0])
        assert off.max() <= share * np.abs(results[0]).max()


@pytest.mark.parametrize("form", ["none", *FORMS])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "kind", ["unlike", "two domains", "large", "of all sizes", "with copies", "with silence"]
)
def test_scores_are_those_of_all_distances_in_float64(monkeypatch, kind, count, form):
    bank, queries = clips(kind, 300, dimension=300), clips(kind, 40, 1, dimension=300)
    queries[:5] = bank[:5]
    found = []
    for long in (1, 10**9):
        monkeypatch.setattr(neighbors, "LONG", long)
        fitted = NearestClips(count, form, 4).fit(bank)
        found.append(np.concatenate([fitted.score(queries), fitted.leave_one_out()]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["unlike", "alike", "two domains"])
def test_few_distances_are_measured(monkeypatch, kind):
    monkeypatch.setattr(Side, "measure", None)
    fitted = NearestClips(1, "variance", 4).fit(clips(kind, 1000, dimension=256))
    fitted.score(clips(kind, 50, 1, dimension=256))


def test_copies_are_at_distance_0_and_the_first_of_them_is_taken():
    bank = np.tile(clips("unlike", 3, dimension=700), (100, 1))
    found = find_neighborhood(bank, 4)
    assert (found.distances == 0).all()
    for clip in range(300):
        others = [other for other in range(clip % 3, 300, 3) if other != clip]
        assert found.indices[clip].tolist() == others[:4]


def test_what_is_no_number_is_no_small_distance():
    bank, queries = (clips("unlike", count, count, dimension=256) for count in (200, 3))
    fitted = NearestClips(1, "variance", 4).fit(bank)
    expected = fitted.score(queries)
    queries[1, 4] = np.nan
    found = fitted.score(queries)
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], rtol=1e-12)


@pytest.mark.parametrize(("columns", "count"), [(300, 4), (300, 1), (300, 60), (130, 3), (3, 3)])
def test_the_bound_of_the_smallest_holds(columns, count):
    found = clips("unlike", 20, dimension=columns)
    bound = bound_smallest(found, count)
    assert ((found <= bound).sum(axis=1) >= count).all()
    assert ((found <= bound).sum(axis=1) <= 3 * count).all()
    assert np.isinf(bound_smallest(found, columns + 1)).all()
