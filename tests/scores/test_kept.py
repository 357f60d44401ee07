"""Neighborhoods that lie beside embeddings: what is taken from them and what is not."""

import numpy as np
import pytest

from dcase_asd.scores import kept as module
from dcase_asd.scores.density import NearestClips
from dcase_asd.scores.kept import KeptNeighborhoods

CLIPS = np.random.default_rng(0).standard_normal((2, 30, 6)).astype(np.float32)


@pytest.fixture
def found(monkeypatch):
    """How many neighbors were looked for, each time that was necessary."""
    counts, find = [], module.find_neighborhood

    def counted(bank, count, metric):
        counts.append(count)
        return find(bank, count, metric)

    monkeypatch.setattr(module, "find_neighborhood", counted)
    return counts


def scores(kept, around=4, form="variance", bank=CLIPS[0], metric="cosine"):
    detector = NearestClips(form=form, around=around, metric=metric)
    detector.fit(bank, kept=None if kept is None else kept.find)
    return np.concatenate([detector.leave_one_out(), detector.score(CLIPS[1])])


def test_a_neighborhood_is_found_once_for_all_that_it_reaches_for(tmp_path, found):
    for around, form in (
        (4, "variance"),
        (4, "ratio"),
        (1, "difference"),
        (6, "ratio"),
        (5, "log"),
    ):
        kept = KeptNeighborhoods(tmp_path / "fan.json", "a")
        again = scores(kept, around, form)
        kept.save()
        np.testing.assert_array_equal(again, scores(None, around, form))
    assert found == [5, 7]
    assert [path.name for path in tmp_path.iterdir()] == ["fan.neighbors.npz"]


def test_other_clips_and_metrics_have_others(tmp_path, found):
    kept = KeptNeighborhoods(tmp_path / "fan.json", "a")
    changed = CLIPS[0].copy()
    changed[3, 2] += 1e-3
    for options in ({}, {"bank": changed}, {"bank": CLIPS[0][:20]}, {"metric": "euclidean"}):
        np.testing.assert_array_equal(scores(kept, **options), scores(None, **options))
    kept.save()
    assert found == [5, 5, 5, 5]
    scores(KeptNeighborhoods(tmp_path / "fan.json", "a"), metric="euclidean")
    assert len(found) == 4


def mapped(folder, clips):
    np.save(folder / "fan.npy", clips)
    return np.load(folder / "fan.npy", mmap_mode="r")


def test_rows_and_bands_of_the_mapped_file_are_known_by_their_place(tmp_path, found, monkeypatch):
    clips = np.random.default_rng(1).standard_normal((40, 3, 6)).astype(np.float32)
    banks = [(slice(0, 30), 1), (slice(0, 30), 2), (slice(5, 35), 1), (slice(0, 20), 1)]
    vectors = mapped(tmp_path, clips)
    for again in range(2):
        kept = KeptNeighborhoods(tmp_path / "fan.json", "a", vectors)
        with monkeypatch.context() as patched:
            patched.setattr(module, "_hash", None)
            for bank in banks:
                np.testing.assert_array_equal(
                    scores(kept, bank=vectors[bank]), scores(None, bank=vectors[bank])
                )
        kept.save()
        assert len(found) == len(banks), again
    chosen = vectors[[3, 1, 4, 2, 8, 9]]  # a copy, which lies elsewhere
    np.testing.assert_array_equal(scores(kept, bank=chosen[:, 0]), scores(None, bank=chosen[:, 0]))
    assert len(found) == len(banks) + 1


@pytest.mark.parametrize("writeable", [False, True])
def test_what_changes_in_a_file_or_in_memory_is_found_anew(tmp_path, found, writeable):
    for clips in (CLIPS[0], CLIPS[1]):
        vectors = clips.copy() if writeable else mapped(tmp_path, clips)
        kept = KeptNeighborhoods(tmp_path / "fan.json", "a", vectors)
        np.testing.assert_array_equal(scores(kept, bank=vectors), scores(None, bank=clips))
        kept.save()
    assert found == [5, 5]


def damage(path, how):
    whole = path.read_bytes()
    if how == "wrong":
        with np.load(path) as file:
            arrays = {name: np.full_like(file[name], 99) if "ind" in name else file[name]
                      for name in file.files}  # fmt: skip
        np.savez(path, **arrays)
    elif how == "pickle":
        np.savez(path, fingerprint=np.array([{}], dtype=object))
    else:
        path.write_bytes({"cut": whole[:-200], "empty": b"", "text": b"x" * 500}[how])


@pytest.mark.parametrize("how", ["cut", "empty", "text", "wrong", "pickle"])
def test_a_damaged_file_is_replaced(tmp_path, found, how):
    first = KeptNeighborhoods(tmp_path / "fan.json", "a")
    expected = scores(first)
    first.save()
    whole = first.path.read_bytes()
    damage(first.path, how)
    again = KeptNeighborhoods(tmp_path / "fan.json", "a")
    np.testing.assert_array_equal(scores(again), expected)
    again.save()
    assert found == [5, 5]
    assert first.path.read_bytes() == whole


def test_that_of_embeddings_made_before_is_dropped(tmp_path, found):
    for fingerprint in ("a", "b"):
        kept = KeptNeighborhoods(tmp_path / "fan.json", fingerprint)
        scores(kept)
        kept.save()
    assert found == [5, 5]
    with np.load(kept.path) as file:
        assert len(file.files) == 4 - ("allow_pickle" not in file.files)
