"""A part of an edition is embedded and scored, and never looks like the whole."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.store import planned_subset, read_embeddings
from dcase_asd.errors import ArtifactError, DataError
from dcase_asd.files import fingerprint
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.progress import Silent
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.subset import EVERYTHING, Subset
from dcase_asd.recipe.system import Embedding, System, read_system
from dcase_asd.scores.score import _values, score
from dcase_asd.scores.table import read_provenance, read_scores, scored_subset

YEAR = "dcase2022"
SYSTEM = System("run", Embedding("spectral"), Detector())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two machines of dcase2022 with two sections each, and one of dcase2023."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for year, machine, sections in (
        ("dcase2022t2", "fan", ("00", "01")),
        ("dcase2022t2", "valve", ("00", "01")),
        ("dcase2023t2", "bearing", ("00",)),
    ):
        raw = folder / year / "dev_data" / "raw" / machine
        for section in sections:
            names = [
                f"train/section_{section}_source_train_normal_{i:04}_x_1.wav" for i in range(4)
            ]
            names += [
                f"test/section_{section}_{domain}_test_{condition}_{i:04}_x_1.wav"
                for domain in ("source", "target")
                for condition in ("normal", "anomaly")
                for i in range(2)
            ]
            for name in names:
                path = raw / name
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, generator.standard_normal(4000) * 0.1, 16000)
    prepare(folder)
    return folder


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def pairs(run):
    scores = read_scores(run, YEAR)
    return sorted(set(zip(scores["machine"], scores["section"], strict=True)))


def test_a_subset_is_embedded_and_scored_alone_and_said(data, run):
    progress = Silent()
    done = embed(data, run, YEAR, SYSTEM, progress=progress, machines=["fan"], sections="1")
    assert (done.made, done.clips) == (1, 12)
    (fan,) = read_embeddings(run, YEAR)
    assert set(fan.clips["section"]) == {"01"}
    subset = Subset(("fan",), ("01",))
    assert planned_subset(run, YEAR) == read_system(run).subset == subset
    score(run, YEAR, progress=progress)
    assert pairs(run) == [("fan", "01")]
    assert scored_subset(run, YEAR) == subset
    assert f"embedded of {YEAR}: machine fan, section 01 alone" in progress.notes
    assert f"{run}: scored of {YEAR}: machine fan, section 01 alone" in progress.notes
    assert not any("new" in note for note in progress.notes)  # the rest is no new recording


def test_vectors_and_scores_of_a_subset_are_those_of_the_whole(data, run, tmp_path):
    whole = tmp_path / "whole"
    for folder, machines in ((whole, None), (run, "valve")):
        embed(data, folder, YEAR, SYSTEM, machines=machines)
        score(folder, YEAR)
    (valve,) = read_embeddings(run, YEAR)
    same = read_embeddings(whole, YEAR)[1]
    assert valve.provenance["fingerprint"] == same.provenance["fingerprint"]
    np.testing.assert_array_equal(valve.vectors, same.vectors)
    scores = read_scores(whole, YEAR)
    expected = scores[scores["machine"] == "valve"].reset_index(drop=True)
    assert read_scores(run, YEAR).equals(expected)


def test_a_run_of_everything_keeps_the_files_that_it_had_without_subsets(data, run):
    embed(data, run, YEAR, SYSTEM)
    score(run, YEAR)
    plan = json.loads((run / f"embeddings/{YEAR}/machines.json").read_text())
    assert plan.keys() == {"machines", "data"}
    assert "[data]" not in (run / "recipe.toml").read_text()
    made = [each.provenance["fingerprint"] for each in read_embeddings(run, YEAR)]
    provenance = read_provenance(run, YEAR)
    assert provenance["fingerprint"] == fingerprint(made, _values(Detector()))
    assert "subset" not in provenance


def test_more_may_be_embedded_later_and_what_is_there_stays(data, run):
    embed(data, run, YEAR, SYSTEM, machines="fan")
    score(run, YEAR)
    done = embed(data, run, YEAR, read_system(run), machines="")
    assert (done.made, done.kept) == (1, 1)
    assert planned_subset(run, YEAR) == read_system(run).subset == EVERYTHING
    assert scored_subset(run, YEAR) == Subset(("fan",))  # until it is scored
    assert score(run, YEAR).changed
    assert pairs(run) == [("fan", "00"), ("fan", "01"), ("valve", "00"), ("valve", "01")]
    assert scored_subset(run, YEAR) == EVERYTHING


def test_a_run_follows_its_recipe_and_says_how_to_take_all(data, run):
    progress = Silent()
    embed(data, run, YEAR, SYSTEM, machines="fan")
    assert embed(data, run, YEAR, read_system(run), progress=progress).made == 0
    assert "as the recipe says; --machine '' and --section '' take all" in progress.notes[0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, None),
        ({"machines": "valve"}, "which is no part of machine valve; ask for it, too"),
        ({"sections": "0"}, "more than section 00; score that part alone with `dcase-asd score "),
    ],
)
def test_less_than_is_embedded_is_refused_and_nothing_changes(data, run, asked, said):
    first = {"machines": "fan"} if said and "no part" in said else {}
    embed(data, run, YEAR, SYSTEM, **first)
    before = contents(run)
    if said is None:
        embed(data, run, YEAR, SYSTEM, **asked)
    else:
        with pytest.raises(ArtifactError, match=f"{run}: .* of {YEAR} is embedded, {said}"):
            embed(data, run, YEAR, SYSTEM, **asked)
    assert contents(run) == before


def test_a_part_of_what_is_embedded_can_be_scored_and_the_lost_scores_are_told(data, run):
    embed(data, run, YEAR, SYSTEM)
    score(run, YEAR)
    progress = Silent()
    done = score(run, YEAR, progress=progress, machines="fan", sections=["section_00"])
    assert (done.train, done.test, done.changed) == (4, 8, True)
    assert pairs(run) == [("fan", "00")]
    (lost,) = [note for note in progress.notes if "left out now" in note]
    assert "scores of fan 01, valve 00, valve 01 are left out now" in lost
    assert f"`dcase-asd score {run} --edition {YEAR}` scores all again" in lost
    assert not score(run, YEAR, machines="fan", sections="0").changed
    assert score(run, YEAR, sections="0").changed  # other machines never look complete
    assert pairs(run) == [("fan", "00"), ("valve", "00")]
    assert score(run, YEAR).changed
    assert len(pairs(run)) == 4


def test_a_command_that_a_message_proposes_is_of_the_same_subset(data, run, tmp_path):
    copy = shutil.copytree(data, tmp_path / "copy")
    embed(copy, run, YEAR, SYSTEM, machines="fan")
    clip = min(copy.glob("dcase2022t2/dev_data/raw/fan/test/*.wav"))
    soundfile.write(clip, np.linspace(-0.5, 0.5, 4000), 16000)
    progress = Silent()
    score(run, YEAR, progress=progress)
    (told,) = [note for note in progress.notes if "since it was embedded, 1 changed" in note]
    assert f"--run {run} --machine fan`" in told
    (run / f"embeddings/{YEAR}/dev/fan.json").unlink()
    with pytest.raises(ArtifactError, match=f"finish them with .* --run {run} --machine fan`"):
        score(run, YEAR)


def test_naming_all_there_is_is_the_whole(data, run):
    embed(data, run, YEAR, SYSTEM, machines="valve,fan", sections="0,1")
    assert planned_subset(run, YEAR) == EVERYTHING
    score(run, YEAR)
    assert not score(run, YEAR, machines="fan,valve").changed
    assert not evaluate_run_or_folder(run, YEAR, machines="fan,valve", resamples=0).subset


def test_names_that_nothing_has_are_told_and_nothing_is_written(data, run):
    with pytest.raises(DataError, match=r"no machine 'fam' \(did you mean 'fan'\?\); no section"):
        embed(data, run, YEAR, SYSTEM, machines="fam", sections="9")
    with pytest.raises(DataError, match=f"{YEAR}: no clip of machine bearing; .* fan, valve"):
        embed(data, run, YEAR, SYSTEM, machines="bearing")
    with pytest.raises(DataError, match=f"{YEAR} is asked for, and left out"):
        embed(data, run, YEAR, SYSTEM, exclude_editions="2022")
    assert not run.exists()
    embed(data, run, YEAR, SYSTEM, machines="fan")
    with pytest.raises(DataError, match=r"no machine 'valve' \(choose from fan\)"):
        score(run, YEAR, machines="valve")
    with pytest.raises(DataError, match=f"{YEAR} is asked for, and left out"):
        score(run, YEAR, exclude_editions=[YEAR])


def test_a_machine_that_only_other_editions_have_is_told(data, run):
    progress = Silent()
    embed(data, run, YEAR, SYSTEM, progress=progress, machines=["fan", "bearing"])
    assert f"{YEAR} has no clip of bearing" in progress.notes
    embed(data, run, "dcase2023", read_system(run), progress=progress)
    assert "dcase2023 has no clip of fan" in progress.notes
    assert planned_subset(run, "dcase2023") == EVERYTHING


def test_the_result_of_a_subset_is_not_called_official(data, run):
    embed(data, run, YEAR, SYSTEM)
    score(run, YEAR)
    whole = evaluate_run_or_folder(run, YEAR, resamples=0)
    part = evaluate_run_or_folder(run, YEAR, machines="fan", resamples=10)
    assert part.evaluation.score == whole.evaluation.machines["fan"]["hmean"]
    assert "official score" not in part.summary().replace("not the official score", "")
    assert part.summary().endswith("; machine fan alone: not the official score")
    told = part.to_json()
    assert (told["official_score"], told["official_means"], told["complete"]) == (None, None, False)
    assert told["subset"] == {"machines": ["fan"]}
    assert told["subset_score"] == part.evaluation.score
    assert told["confidence_interval"]["of"] == "subset_score"
    (missing,) = part.notes  # of the subset; that all else is missing was asked for
    assert missing.startswith("only 2 of 3 machine sections of the dev set of dcase2022")
    assert missing.endswith("without fan 02")
    assert whole.to_json().keys() == told.keys() - {"subset", "subset_score"}
    assert whole.to_json()["official_score"] == whole.evaluation.official_score
    score(run, YEAR, sections="1")  # scores of a part alone say so by themselves
    assert evaluate_run_or_folder(run, YEAR, resamples=0).subset == Subset(sections=("01",))
    both = evaluate_run_or_folder(run, YEAR, machines="fan", resamples=0)
    assert both.subset == Subset(("fan",), ("01",))
