"""Whose recordings a training uses: written down, inherited, and held against a year's rules."""

import dataclasses
import shutil

import pytest
import soundfile

from dcase_asd.clips.prepare import prepare
from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.rules import run_objections, uses_of_checkpoint, uses_of_run
from dcase_asd.progress import Silent
from dcase_asd.training.finetune import finetune

SHORTEST = {"steps": 2, "eval_every": 0, "save_every": 0, "keep": 1}


def tune(data, run, system):
    progress = Silent()
    done = finetune(data, run, system, device="cpu", workers=0, progress=progress)
    return done, [note for note in progress.notes if "does not allow" in note]


@pytest.fixture
def renamed(data, tmp_path):
    """The recordings as another year's."""

    def make(name):
        copy = tmp_path / name
        copy.mkdir()
        shutil.copytree(data / "dcase2025t2", copy / f"{name}t2")
        prepare(copy)
        return copy

    return make


def test_training_and_embedding_say_what_the_edition_to_be_scored_forbids(
    data, renamed, tmp_path, make_system
):
    system = dataclasses.replace(make_system(**SHORTEST), editions=("dcase2026",))
    _, notes = tune(data, tmp_path / "run", system)
    (note,) = notes
    assert "run uses what dcase2026 does not allow: train clips of dcase2025" in note
    assert note.endswith("scores of dcase2026 are for analysis, not for a submission")
    progress = Silent()
    embed(renamed("dcase2026"), tmp_path / "run", "dcase2026", system, "cpu", progress)
    (note,) = [note for note in progress.notes if "does not allow" in note]
    assert f"{tmp_path / 'run'} uses what dcase2026 does not allow" in note
    assert note.endswith("its scores are for analysis, not for a submission")


def test_nothing_is_said_of_what_is_allowed_or_of_ones_own(data, renamed, tmp_path, make_system):
    for name, system in (
        ("allowed", dataclasses.replace(make_system(**SHORTEST), editions=("dcase2025",))),
        ("unsaid", make_system(**SHORTEST)),  # of dcase2025, the newest that is trained on
        ("own", dataclasses.replace(make_system(**SHORTEST), editions=("workshop",))),
    ):
        assert tune(data, tmp_path / name, system)[1] == []
    progress = Silent()
    embed(data, tmp_path / "unsaid", "dcase2025", make_system(**SHORTEST), "cpu", progress)
    assert progress.notes == []


def test_what_is_on_disk_beside_is_said_unless_editions_are_pinned(
    data, renamed, tmp_path, make_system
):
    both = renamed("dcase2026")
    shutil.copytree(data / "dcase2025t2", both / "workshop")
    for path in (both / "workshop").rglob("*.wav"):
        sound, rate = soundfile.read(path)
        soundfile.write(path, sound / 2, rate)  # else the same audio in two places
    prepare(both)
    progress = Silent()
    finetune(both, tmp_path / "all", make_system(noise_editions=("dcase2026",), **SHORTEST),
             device="cpu", workers=0, progress=progress)  # fmt: skip
    assert "trained on all that is on disk: dcase2026, workshop; --editions chooses" in (
        progress.notes
    )
    assert any("external data to dcase2026: train clips of workshop" in n for n in progress.notes)
    pinned = make_system(
        noise_editions=("dcase2026",), editions=("dcase2026",), dev_edition="dcase2026", **SHORTEST
    )
    done, notes = tune(both, tmp_path / "pinned", pinned)
    assert notes == []
    assert set(sum(uses_of_checkpoint(done.scored[0]).values(), ())) == {"dcase2026"}


def test_the_last_checkpoints_use_nobodys_labels(data, tmp_path, make_system):
    done, _ = tune(data, tmp_path / "last", make_system(ensemble="last", **SHORTEST))
    found = uses_of_checkpoint(done.scored[0])
    assert found == {"train": ("dcase2025",), "noise": ("dcase2025",), "dev": ()}
    assert uses_of_run(tmp_path / "last") == found


def test_what_classes_are_clustered_by_counts_as_well(data, renamed, tmp_path, make_system):
    first, year = tmp_path / "first", renamed("dcase2026")
    for path in year.rglob("fan/*/*.wav"):
        path.rename(path.with_name(f"{path.stem.rpartition('_v_')[0]}_noAttribute.wav"))
    prepare(year)
    tune(data, first, make_system(**SHORTEST))
    embed(year, first, "dcase2026", make_system(**SHORTEST), "cpu")
    only = {"editions": ("dcase2026",), "noise_editions": ("dcase2026",), "ensemble": "last"}
    clustered = make_system(pseudo="kmeans", pseudo_run=str(first), **only, **SHORTEST)
    done, notes = tune(year, tmp_path / "clustered", clustered)
    assert uses_of_checkpoint(done.scored[0])["train"] == ("dcase2025", "dcase2026")
    assert len(notes) == 1
    (found,) = run_objections(tmp_path / "clustered", load_edition("2026"))
    assert found.level == "error"
    assert found.way_out == f"cluster the embeddings of another run than {first}"
    plain, notes = tune(year, tmp_path / "plain", make_system(**only, **SHORTEST))
    assert uses_of_checkpoint(plain.scored[0])["train"] == ("dcase2026",)
    assert notes == []
