import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from dcase_asd.errors import TooFewClipsError
from dcase_asd.scores import neighbors as module
from dcase_asd.scores.distances import unit_vectors
from dcase_asd.scores.neighbors import leave_one_out, nearest


def embeddings(count, dimension=8, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 5), st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_scores_equal_those_of_an_independent_implementation(clips, queries, count, seed):
    count = min(count, clips)
    bank, asked = embeddings(clips, seed=seed), embeddings(queries, seed=seed + 1)
    reference = NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute")
    distances, _ = reference.fit(bank.astype(np.float64)).kneighbors(asked.astype(np.float64))
    np.testing.assert_allclose(nearest(asked, bank, count), distances.mean(axis=1), atol=1e-12)


def test_no_clip_is_its_own_neighbor():
    bank = embeddings(20)
    expected = [nearest(bank[i : i + 1], np.delete(bank, i, axis=0), 3)[0] for i in range(20)]
    np.testing.assert_allclose(leave_one_out(bank, 3), expected, atol=1e-14)
    np.testing.assert_allclose(nearest(bank, bank), 0, atol=1e-14)


@pytest.mark.parametrize("count", [1, 4])
def test_the_size_of_the_blocks_does_not_matter(monkeypatch, count):
    bank, asked = embeddings(50), embeddings(23, seed=1)
    whole, left_out = nearest(asked, bank, count), leave_one_out(bank, count)
    monkeypatch.setattr(module, "QUERY_BLOCK", 7)
    monkeypatch.setattr(module, "BANK_BLOCK", 11)
    np.testing.assert_allclose(nearest(asked, bank, count), whole, atol=1e-14)
    np.testing.assert_allclose(leave_one_out(bank, count), left_out, atol=1e-14)


def test_memory_is_bounded_by_the_blocks(tmp_path):
    import tracemalloc

    path = tmp_path / "bank.npy"
    bank = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(60_000, 64))
    bank[:] = embeddings(60_000, 64)
    bank.flush()
    mapped = np.load(path, mmap_mode="r")
    tracemalloc.start()
    nearest(embeddings(10, 64, seed=1), mapped)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20  # the bank in float64 would be 31 MB


def test_scores_are_never_negative_and_scale_does_not_matter():
    bank = embeddings(10)
    assert nearest(bank * 3.7, bank).min() >= 0
    np.testing.assert_allclose(nearest(bank[::-1] * 5, bank, 2), nearest(bank[::-1], bank, 2))


def test_a_zero_embedding_is_at_distance_one_from_all():
    bank = embeddings(4)
    assert nearest(np.zeros((1, 8)), bank).tolist() == [1.0]
    assert np.isfinite(unit_vectors(np.zeros((2, 3)))).all()


def test_no_query_gives_no_score():
    assert nearest(np.empty((0, 8)), embeddings(3)).shape == (0,)


@pytest.mark.parametrize("count", [0, 4])
def test_too_few_clips_are_told(count):
    with pytest.raises(TooFewClipsError, match=rf"{count} nearest clips .* only 3 normal clip"):
        nearest(embeddings(2), embeddings(3), count)
    with pytest.raises(TooFewClipsError, match="only 0 normal clip"):
        leave_one_out(embeddings(1))
