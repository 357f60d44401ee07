"""What is embedded again, and what is not, once recordings change."""

import os

import numpy as np
import pytest
from embedded_run import contents, system

from dcase_asd.clips import cache
from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings import machines as module
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.store import read_embeddings
from dcase_asd.progress import Silent

FAN = "dcase2025t2/dev_data/raw/fan"
TRAIN = "section_00_source_train_normal_0000_m-n_W.wav"


def test_what_is_complete_is_not_done_again(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    embed(data, run, "dcase2025", system())
    before = contents(run)
    monkeypatch.setattr(module, "load_backbone", lambda *_, **__: pytest.fail("loaded again"))
    done = embed(data, run, "dcase2025", system())
    assert (done.made, done.kept) == (0, 1)
    assert contents(run) == before


def test_a_changed_clip_is_embedded_again(data, tmp_path, write_clip):
    run = tmp_path / "run"
    embed(data, run, "dcase2025", system())
    before = contents(run)
    write_clip(data / FAN / "train" / TRAIN, seed=77)
    assert embed(data, run, "dcase2025", system()).made == 1
    changed = {path.name for path, content in contents(run).items() if content != before[path]}
    assert changed == {"fan.npy", "fan.json"}


def replace_beginning(path, keep_time):
    """Put other audio into the first half; header, middle, size and perhaps time stay."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[100:4000] = np.random.default_rng(1).bytes(3900)
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("keep_time", [True, False])
@pytest.mark.parametrize("prepared", [True, False])
def test_a_clip_replaced_by_one_of_the_same_size_and_middle_is_embedded_again(
    data, tmp_path, keep_time, prepared
):
    run, progress = tmp_path / "run", Silent()
    embed(data, run, "dcase2025", system())
    replace_beginning(data / FAN / "train" / TRAIN, keep_time)
    if prepared:
        prepare(data)
    assert embed(data, run, "dcase2025", system(), progress=progress).made == 1
    told = f"{data / 'clips.csv'}: brought up to date, 1 changed ({TRAIN})"
    assert progress.notes == ([] if prepared else [told])
    embed(data, tmp_path / "fresh", "dcase2025", system())
    again, fresh = (read_embeddings(tmp_path / each, "dcase2025")[0] for each in ("run", "fresh"))
    np.testing.assert_array_equal(again.vectors, fresh.vectors)


def test_new_and_gone_recordings_are_noticed_without_prepare(data, tmp_path, write_clip):
    run, progress = tmp_path / "run", Silent()
    embed(data, run, "dcase2025", system())
    new = write_clip(data / FAN / "test" / "section_00_source_test_normal_0009_m-n_W.wav", 9)
    (data / FAN / "train" / TRAIN).unlink()
    (data / FAN / "test" / "notes.txt").write_text("no clip")
    done = embed(data, run, "dcase2025", system(), progress=progress)
    assert (done.made, done.clips) == (1, 14)
    changes = f"1 new ({new.name}), 1 gone or left out ({TRAIN})"
    assert progress.notes == [f"{data / 'clips.csv'}: brought up to date, {changes}"]
    (fan,) = read_embeddings(run, "dcase2025")
    files = set(fan.clips["file"])
    assert new.name in files
    assert TRAIN not in files
    assert embed(data, run, "dcase2025", system()).kept == 1


def test_what_was_only_touched_is_not_embedded_again(data, tmp_path):
    run, progress = tmp_path / "run", Silent()
    embed(data, run, "dcase2025", system())
    for path in (data / FAN).rglob("*.wav"):
        path.touch()
    done = embed(data, run, "dcase2025", system(), progress=progress)
    assert (done.made, done.kept, progress.notes) == (0, 1, [])


def test_recordings_are_hashed_once(data, tmp_path, monkeypatch):
    embed(data, tmp_path / "a", "dcase2025", system())
    monkeypatch.setattr(cache, "content_hash", lambda path: pytest.fail(f"read {path}"))
    embed(data, tmp_path / "b", "dcase2025", system())
