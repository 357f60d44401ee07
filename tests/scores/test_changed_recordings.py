"""Recordings that changed since they were embedded are told when they are scored."""

import dataclasses

import pytest

from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.embed import embed
from dcase_asd.progress import Silent
from dcase_asd.recipe.system import Embedding, System, read_system
from dcase_asd.scores.score import score


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def embedded(small_tree, run):
    """A run that was embedded, with its recordings."""
    prepare(small_tree)
    embed(small_tree, run, "dcase2025", System("run", Embedding("spectral")))
    return small_tree


FAN = "dcase2025t2/dev_data/raw/fan"
AGAIN = (
    "scored as it was, embed it again with `dcase-asd embed --data {} --edition dcase2025 --run {}`"
)


@pytest.mark.parametrize("prepared", [True, False])
def test_recordings_that_changed_since_they_were_embedded_are_told(
    embedded, run, write_clip, prepared
):
    progress = Silent()
    before = score(run, "dcase2025", progress=progress)
    assert progress.notes == []
    changed = embedded / FAN / "test" / "section_00_source_test_normal_0000_m-n_W.wav"
    write_clip(changed, seed=90)
    gone = embedded / FAN / "train" / "section_00_source_train_normal_0001_m-n_W.wav"
    gone.unlink()
    write_clip(embedded / FAN / "test" / "section_00_source_test_normal_0008_m-n_W.wav", 91)
    write_clip(
        embedded / "dcase2025t2/dev_data/raw/valve/train/section_00_source_train_normal_0000_x.wav"
    )
    write_clip(embedded / "own/dev_data/raw/pump/train/of another edition.wav")
    (embedded / FAN / "test" / "notes.txt").write_text("no clip")
    manifest = (embedded / "clips.csv").read_bytes()
    if prepared:
        prepare(embedded)
    assert score(run, "dcase2025", progress=progress) == dataclasses.replace(before, changed=False)
    assert progress.notes == [
        f"{run}: since it was embedded, 2 new (section_00_source_test_normal_0008_m-n_W.wav, "
        f"section_00_source_train_normal_0000_x.wav), 1 changed ({changed.name}), "
        f"1 gone or left out ({gone.name}); {AGAIN.format(embedded, run)}"
    ]
    if not prepared:  # `score` writes nothing into the data folder
        assert (embedded / "clips.csv").read_bytes() == manifest


def test_recordings_that_were_only_touched_are_not_told(embedded, run):
    for path in (embedded / FAN).rglob("*.wav"):
        path.touch()
    progress = Silent()
    score(run, "dcase2025", progress=progress)
    assert progress.notes == []


def test_recordings_that_are_elsewhere_now_are_told(embedded, run, tmp_path):
    embedded.rename(tmp_path / "moved")
    progress = Silent()
    assert score(run, "dcase2025", progress=progress).test == 8
    assert progress.notes == [
        f"{run}: there are no recordings in {embedded} now, so that it is not known whether those "
        "that were embedded changed"
    ]
    embed(tmp_path / "moved", run, "dcase2025", read_system(run))
    progress = Silent()
    score(run, "dcase2025", progress=progress)
    assert progress.notes == []
