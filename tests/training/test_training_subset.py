"""A training on some machine types or editions, which never goes on as one on others."""

import dataclasses
import shutil

import pytest

from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.store import planned_subset
from dcase_asd.errors import ArtifactError, DataError, RecipeError
from dcase_asd.progress import Silent
from dcase_asd.recipe.subset import Subset
from dcase_asd.recipe.system import read_system
from dcase_asd.training.data import read_training_set
from dcase_asd.training.dev_score import read_development_set
from dcase_asd.training.finetune import finetune, planned_system

SHORTEST = {"steps": 2, "eval_every": 0, "save_every": 0, "keep": 1}


@pytest.fixture(scope="module")
def years(data, tmp_path_factory):
    """The recordings as those of two years, whose audio is the same."""
    folder = tmp_path_factory.mktemp("years")
    for name in ("dcase2024t2", "dcase2025t2"):
        shutil.copytree(data / "dcase2025t2", folder / name)
    prepare(folder)
    return folder


def tune(data, run, system, **subset):
    progress = Silent()
    done = finetune(data, run, system, device="cpu", workers=0, progress=progress, **subset)
    return done, progress.notes


def test_classes_and_development_clips_are_of_the_subset_alone(data, short):
    subset = Subset(("fan", "valve"))
    chosen = read_training_set(data, short, subset=subset)
    assert {each.label.partition("/")[0] for each in chosen.classes} == {"fan", "valve"}
    assert set(chosen.clips["machine"]) == {"fan", "valve"}
    assert set(chosen.noise["machine"]) == {"fan", "gearbox", "valve"}
    assert "trained on machines fan, valve alone" in chosen.notes
    dev = read_development_set(data, short, subset=subset)
    assert set(dev.clips["machine"]) == {"fan", "valve"}


def test_a_training_on_everything_keeps_its_fingerprint(data, short):
    whole = read_training_set(data, short).fingerprint()
    assert (
        read_training_set(data, short, subset=Subset(("fan", "gearbox", "valve"))).fingerprint()
        == whole
    )
    assert read_training_set(data, short, subset=Subset(("fan", "valve"))).fingerprint() != whole


def test_an_edition_is_left_out_with_its_noise_and_labels(years, short):
    settings = dataclasses.replace(short, noise_editions=())
    chosen = read_training_set(years, settings, subset=Subset(exclude_editions=("2025",)))
    assert set(chosen.clips["edition"]) == set(chosen.noise["edition"]) == {"dcase2024"}
    dev = read_development_set(years, settings, subset=Subset(exclude_editions=("2025",)))
    assert dev.edition.name == "dcase2024"
    named = dataclasses.replace(settings, editions=("2025",))
    with pytest.raises(DataError, match="no clip of edition dcase2025"):
        read_training_set(years, named, subset=Subset(exclude_editions=("2025",)))


def test_a_subset_that_cannot_be_trained_on_is_refused(data, short, tmp_path, make_system):
    with pytest.raises(DataError, match=r"no machine 'fann' \(did you mean 'fan'\?\); no se"):
        tune(data, tmp_path / "run", make_system(), machines="fann", sections="3")
    with pytest.raises(RecipeError, match=r"run: train\.noise_editions names dcase2025, which"):
        tune(data, tmp_path / "run", make_system(), exclude_editions="2025")
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=r"no dev test set with normal .* of section 01 to compare"):
        read_development_set(data, short, subset=Subset(sections=("1",)))


def test_a_training_on_a_subset_never_goes_on_with_other_clips(data, tmp_path, make_system):
    run, system = tmp_path / "run", make_system(**SHORTEST)
    _, notes = tune(data, run, system, machines=["fan", "valve"])
    assert "trained on machines fan, valve alone" in notes
    assert read_system(run).subset == Subset(("fan", "valve"))
    assert not tune(data, run, planned_system(run))[0].changed  # as its own recipe says
    for subset in ({}, {"machines": "fan,gearbox"}, {"machines": "fan,valve", "sections": "0"}):
        with pytest.raises(ArtifactError, match=r"data.* give --machine fan,valve to go on with"):
            tune(data, run, system, **subset)
    whole = tmp_path / "whole"
    tune(data, whole, system)
    with pytest.raises(ArtifactError, match=r"give no --machine, .* to go on with this run"):
        tune(data, whole, system, machines="fan,valve")


def test_what_was_trained_on_some_machines_may_embed_others(data, tmp_path, make_system):
    run = tmp_path / "run"
    tune(data, run, make_system(**SHORTEST), machines="fan,valve")
    embed(data, run, "dcase2025", read_system(run), "cpu", machines="gearbox")
    assert planned_subset(run, "dcase2025") == Subset(("gearbox",))
    assert read_system(run).subset == Subset(("fan", "valve"))  # what it was trained on
    embed(data, run, "dcase2025", read_system(run), "cpu", machines="")
    assert not planned_subset(run, "dcase2025")
