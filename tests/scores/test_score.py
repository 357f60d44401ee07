import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from dcase_asd.embeddings.store import (
    finish,
    machine_marker,
    read_embeddings,
    write_plan,
    writing_vectors,
)
from dcase_asd.errors import ArtifactError, DataError, RecipeError, ScoresError, TooFewClipsError
from dcase_asd.files import fingerprint, write_text
from dcase_asd.progress import Silent
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.system import Embedding, System, read_system
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.scores.neighbors import leave_one_out, nearest
from dcase_asd.scores.score import _average, changed_detector, score
from dcase_asd.scores.table import read_caveats, read_provenance, read_scores


def write_machine(run, machine, sections, stage="dev", seed=0):
    """Embeddings of a machine; sections: section -> (train clips, test clips)."""
    generator = np.random.default_rng(seed)
    rows = [
        (f"section_{section}_{split}_{index:04d}.wav", section, "source", split)
        for section, counts in sections.items()
        for split, count in zip(("test", "train"), counts[::-1], strict=True)
        for index in reversed(range(count))
    ]
    vectors = generator.standard_normal((len(rows), 6)).astype("<f4")
    marker = machine_marker(run, "dcase2025", stage, machine)
    with writing_vectors(marker, len(rows), 6) as file:
        file.write(vectors.tobytes())
    provenance = {"backbone": "x", "parameters": 7, "sample_rate": 16000, "fingerprint": f"{seed}"}
    finish(marker, pd.DataFrame(rows, columns=["file", "section", "domain", "split"]), provenance)
    write_plan(run, "dcase2025", [(stage, machine)])
    write_text(run / "recipe.toml", recipe_text(System("run", Embedding("spectral"), Detector())))
    return vectors


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


def test_scores_are_distances_to_the_train_clips_of_the_same_section(run):
    vectors = write_machine(run, "fan", {"00": (5, 3), "01": (4, 2)})
    done = score(run, "dcase2025")
    assert (done.train, done.test, done.changed) == (9, 5, True)
    scores = read_scores(run, "dcase2025")
    section = scores[scores["section"] == "01"].set_index(["split", "file"])["score"]
    test, train = vectors[8:10], vectors[10:14]
    assert section["test", "section_01_test_0001.wav"] == pytest.approx(nearest(test[:1], train)[0])
    assert section["train", "section_01_train_0000.wav"] == pytest.approx(leave_one_out(train)[-1])
    assert list(scores["file"][:8]) == sorted(scores["file"][:5]) + sorted(scores["file"][5:8])
    assert read_provenance(run, "dcase2025")["parameters"] == 7


def test_unchanged_embeddings_are_not_scored_again(run):
    write_machine(run, "fan", {"00": (5, 3)})
    done = score(run, "dcase2025")
    before = done.path.stat().st_mtime_ns
    assert score(run, "dcase2025") == dataclasses.replace(done, changed=False)
    assert done.path.stat().st_mtime_ns == before
    write_machine(run, "fan", {"00": (5, 3)}, seed=1)
    assert score(run, "dcase2025").changed


def test_another_detector_scores_again_and_is_kept_in_the_recipe(run):
    write_machine(run, "fan", {"00": (5, 3)})
    score(run, "dcase2025")
    plain = read_scores(run, "dcase2025")
    detector = changed_detector(run, {"normalize": "density", "density_neighbors": 2})
    assert score(run, "dcase2025", detector).changed
    assert not read_scores(run, "dcase2025").equals(plain)
    assert read_system(run).score == Detector(normalize="density", density_neighbors=2)
    assert not score(run, "dcase2025").changed


def test_what_was_handled_is_said(run):
    write_machine(run, "fan", {"00": (5, 3), "01": (0, 2), "02": (1, 2)})
    progress = Silent()
    done = score(run, "dcase2025", progress=progress)
    assert (done.train, done.test) == (5, 5)
    assert progress.notes == [
        "dev fan section 01: 2 test clip(s) but no train clip; left out",
        "dev fan section 02: a single train clip has no leave-one-out score: none is written",
    ]


def test_a_damaged_score_table_is_made_again(run):
    write_machine(run, "fan", {"00": (5, 3)})
    done = score(run, "dcase2025")
    whole = done.path.read_bytes()
    done.path.unlink()
    assert score(run, "dcase2025").changed
    assert done.path.read_bytes() == whole


def test_no_section_to_score_is_an_error(run):
    write_machine(run, "fan", {"00": (0, 3)})
    with pytest.raises(ScoresError, match="no section of dcase2025 has both train and test clips"):
        score(run, "dcase2025")


def test_too_few_clips_name_the_machine(run):
    write_machine(run, "fan", {"00": (3, 3)})
    with pytest.raises(
        TooFewClipsError, match="dev fan section 00: 5 nearest clips were asked for"
    ):
        score(run, "dcase2025", Detector(neighbors=5))


def test_embeddings_that_are_not_finite_are_refused(run):
    write_machine(run, "fan", {"00": (5, 3)})
    path = machine_marker(run, "dcase2025", "dev", "fan").with_suffix(".npy")
    vectors = np.load(path)
    vectors[4, 2] = np.nan
    np.save(path, vectors)
    with pytest.raises(
        ScoresError,
        match=r"section_00_train_0003\.wav is not finite; remove .*/dev/fan\.json and embed again",
    ):
        score(run, "dcase2025")


def test_missing_and_damaged_embeddings_are_told(run):
    run.mkdir()
    with pytest.raises(DataError, match="not a run folder"):
        score(run, "dcase2025")
    write_machine(run, "fan", {"00": (5, 3)})
    with pytest.raises(
        ArtifactError, match=r"no embeddings of dcase2024 \(did you mean 'dcase2025'"
    ):
        score(run, "dcase2024")
    marker = machine_marker(run, "dcase2025", "dev", "fan")
    marker.with_suffix(".npy").write_bytes(b"xx")
    with pytest.raises(ArtifactError, match=r"fan\.npy: damaged"):
        score(run, "dcase2025")
    np.save(marker.with_suffix(".npy"), np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(ArtifactError, match="2 rows for 8 clips"):
        score(run, "dcase2025")
    marker.write_text("{")
    with pytest.raises(ArtifactError, match=r"fan\.json: damaged"):
        score(run, "dcase2025")
    marker.unlink()
    with pytest.raises(
        ArtifactError, match=r"1 of 1 machine\(s\) of dcase2025 are not embedded yet"
    ):
        score(run, "dcase2025")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domains": "pool"}, "--domains cannot be 'pool'; did you mean 'pooled'"),
        ({"normalize": "x"}, "'x'; choose from density, domain, median, none"),
    ],
)
def test_wrong_values_of_the_detector_are_told(run, changes, message):
    write_machine(run, "fan", {"00": (5, 3)})
    with pytest.raises(RecipeError, match=message):
        changed_detector(run, changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: [*rows, rows[-1]],
            "1 clip.s. are named more than once, the first fan section",
        ),
        (
            lambda rows: [*rows[:-1], rows[-1].rpartition(",")[0] + ",nan"],
            "1 score.s. are not finite",
        ),
        (
            lambda rows: [*rows[:-1], rows[-1].rpartition(",")[0] + ",high"],
            "the column score holds a value",
        ),
        (lambda rows: rows[1:], "the header must be"),
        (lambda rows: [*rows, "a,b"], "line 10: 2 fields instead of 6"),
    ],
)
def test_tampered_scores_are_refused(run, change, message):
    write_machine(run, "fan", {"00": (5, 3)})
    path = score(run, "dcase2025").path
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises((ScoresError, ArtifactError), match=message):
        read_scores(run, "dcase2025")


def test_scores_without_their_marker_are_not_finished(run):
    write_machine(run, "fan", {"00": (5, 3)})
    path = score(run, "dcase2025").path
    path.with_suffix(".json").write_text(json.dumps([]))
    with pytest.raises(ScoresError, match=r"no finished scores of dcase2025"):
        read_scores(run, "dcase2025")


def table(scores):
    """Scores of two sections of a machine: two test clips and three train clips each."""
    splits = ["test", "test", "train", "train", "train"]
    rows = [
        ("dev", "fan", section, split, f"section_{section}_{split}_{index}.wav")
        for section in ("00", "01")
        for index, split in enumerate(splits)
    ]
    columns = ["stage", "machine", "section", "split", "file"]
    return pd.DataFrame(rows, columns=columns).assign(score=np.asarray(scores, dtype=float))


def test_scores_of_several_checkpoints_are_standardised_by_train_scores_then_averaged(tmp_path):
    parts = [np.random.default_rng(seed).gamma(2.0, 10.0**seed, size=10) for seed in range(3)]
    average = _average([table(part) for part in parts], tmp_path, Silent())
    expected = np.zeros(10)
    for part in parts:
        for section in (slice(0, 5), slice(5, 10)):
            train = part[section][2:]
            expected[section] += (part[section] - train.mean()) / train.std() / 3
    assert average["score"].to_numpy() == pytest.approx(expected, abs=1e-12)
    clips = ["stage", "machine", "section", "split", "file"]
    assert average[clips].equals(table(parts[0])[clips])


def test_checkpoints_without_spread_in_a_section_are_averaged_as_they_are_and_noted(tmp_path):
    parts = [np.arange(10.0), np.arange(10.0)]
    parts[1][7:] = 0.1
    progress = Silent()
    average = _average([table(part) for part in parts], tmp_path, progress)
    assert progress.notes == [
        "dev fan section 01: train scores have no spread; "
        "the checkpoints' scores are averaged as they are"
    ]
    train = np.arange(7.0, 10.0)
    standard = (np.arange(5.0, 10.0) - train.mean()) / train.std()
    expected = (standard + np.array([5, 6, 0.1, 0.1, 0.1])) / 2
    assert average["score"].to_numpy()[5:] == pytest.approx(expected)


def test_checkpoints_that_embedded_different_clips_are_refused(tmp_path):
    other = table(np.arange(10)).iloc[::-1].reset_index(drop=True)
    with pytest.raises(ScoresError, match="its checkpoints embedded different clips"):
        _average([table(np.arange(10)), other], tmp_path, Silent())


def test_equal_embeddings_of_a_section_are_told(run):
    write_machine(run, "fan", {"00": (5, 3), "01": (4, 2)})
    path = machine_marker(run, "dcase2025", "dev", "fan").with_suffix(".npy")
    vectors = np.load(path)
    vectors[:8] = vectors[0] * (1 + 1e-7 * np.arange(8)[:, None])
    np.save(path, vectors)
    progress = Silent()
    score(run, "dcase2025", progress=progress)
    assert progress.notes == [
        "dev fan section 00: all embeddings are the same, so that its scores say nothing"
    ]


def test_a_checkpoint_that_is_not_embedded_is_made_with_its_run(run):
    member = run / "members" / "step_0000100"
    with pytest.raises(ArtifactError, match="no embeddings of dcase2025") as raised:
        read_embeddings(member, "dcase2025")
    assert f"`dcase-asd embed --data data --edition dcase2025 --run {run}`" in str(raised.value)


def test_a_neighborhood_is_kept_beside_the_embeddings_for_another_form(run, monkeypatch):
    write_machine(run, "fan", {"00": (9, 3)})
    score(run, "dcase2025")
    kept = machine_marker(run, "dcase2025", "dev", "fan").with_suffix(".neighbors.npz")
    assert not kept.exists()  # the nearest clip asks for none
    score(run, "dcase2025", Detector("varmin"))
    assert kept.exists()
    monkeypatch.setattr("dcase_asd.scores.kept.find_neighborhood", None)
    again = score(run, "dcase2025", Detector("density", {"around": 3}))
    kept.unlink()
    monkeypatch.undo()
    before = again.path.read_bytes()
    again.path.unlink()
    score(run, "dcase2025")
    assert again.path.read_bytes() == before


def test_a_long_computation_says_how_far_it_is(run, monkeypatch):
    write_machine(run, "fan", {"00": (9, 3)})
    monkeypatch.setattr("dcase_asd.progress.LONG", 0)
    monkeypatch.setattr("dcase_asd.scores.neighbors.BANK_BLOCK", 6)
    progress, told = Silent(), []
    monkeypatch.setattr(progress, "status", told.append)
    score(run, "dcase2025", Detector("varmin"), progress)
    shares = [re.sub("about .* s", "about 1 s", each) for each in told]
    fan = "dev fan: neighborhoods of 9 clips: "
    assert shares[:3] == [f"{fan}44%, about 1 s left", f"{fan}89%, about 1 s left", ""]
    assert shares[-2:] == ["dev fan: comparing with 9 clips: 67%, about 1 s left", ""]


def test_bands_are_scored_each_by_itself(run):
    write_machine(run, "fan", {"00": (9, 3)})
    path = machine_marker(run, "dcase2025", "dev", "fan").with_suffix(".npy")
    vectors = np.load(path).reshape(12, 3, 2)
    np.save(path, vectors)
    score(run, "dcase2025")
    scores = read_scores(run, "dcase2025").set_index(["split", "file"])["score"]
    expected = np.mean([nearest(vectors[:3, band], vectors[3:, band]) for band in range(3)], axis=0)
    files = [f"section_00_test_{number:04d}.wav" for number in (2, 1, 0)]
    np.testing.assert_allclose([scores["test", file] for file in files], expected)


def test_a_target_domain_far_above_is_told_kept_and_shown_by_evaluate(run):
    write_machine(run, "fan", {"00": (60, 3)})
    marker = machine_marker(run, "dcase2025", "dev", "fan")
    vectors = np.load(marker.with_suffix(".npy"))
    vectors[3:53] = vectors[3:53] * 0.1 + 4
    np.save(marker.with_suffix(".npy"), vectors)
    clips = pd.read_csv(marker.with_suffix(".csv"), dtype=str)
    clips.loc[53:, "domain"] = "target"
    clips.to_csv(marker.with_suffix(".csv"), index=False)
    progress = Silent()
    score(run, "dcase2025", progress=progress)
    (told,) = progress.notes
    assert told.startswith("dev fan section 00: normal clips of the target domain score far higher")
    assert told.endswith(
        f"`dcase-asd score {run} --edition dcase2025 --domains minimum --normalize median` puts "
        "each domain on a scale of its own"
    )
    assert read_caveats(run, "dcase2025") == [told]
    again = Silent()
    assert not score(run, "dcase2025", progress=again).changed
    assert again.notes == [told]
    scaled = Silent()
    score(run, "dcase2025", Detector(domains="minimum", normalize="median"), scaled)
    assert scaled.notes == []
    assert read_caveats(run, "dcase2025") == []


def test_all_sections_with_a_target_domain_far_above_are_told_at_once(run):
    write_machine(run, "fan", {"00": (60, 3), "01": (60, 3)})
    marker = machine_marker(run, "dcase2025", "dev", "fan")
    clips = pd.read_csv(marker.with_suffix(".csv"), dtype=str)
    vectors = np.load(marker.with_suffix(".npy"))
    for section in ("00", "01"):
        train = np.flatnonzero((clips["section"] == section) & (clips["split"] == "train"))
        vectors[train[:50]] = vectors[train[:50]] * 0.1 + 4
        clips.loc[train[50:], "domain"] = "target"
    np.save(marker.with_suffix(".npy"), vectors)
    clips.to_csv(marker.with_suffix(".csv"), index=False)
    score(run, "dcase2025")
    (told,) = read_caveats(run, "dcase2025")
    assert told.startswith("dev fan section 00: normal clips of the target domain score far higher")
    assert told.count("; likewise dev fan section 01; `dcase-asd score ") == 1


def test_scores_of_a_run_made_before_are_left_as_they_are(run):
    """Its recipe names four values, and their fingerprint is of these alone."""
    write_machine(run, "fan", {"00": (5, 3)})
    table = (
        '[score]\nneighbors = 1\ndomains = "pooled"\nnormalize = "none"\ndensity_neighbors = 16\n'
    )
    text = recipe_text(System("run", Embedding("spectral"))) + table
    (run / "recipe.toml").write_text(text)
    done = score(run, "dcase2025")
    four = {"neighbors": 1, "domains": "pooled", "normalize": "none", "density_neighbors": 16}
    provenance = read_provenance(run, "dcase2025")
    assert provenance["fingerprint"] == fingerprint(["0"], four)
    assert done.detector == Detector()


def test_flags_of_the_nearest_clips_take_the_place_of_another_detector(run):
    write_machine(run, "fan", {"00": (9, 3)})
    score(run, "dcase2025", Detector("varmin", {"around": 2}, standardize=True))
    for changes in ({"neighbors": 2}, {"normalize": "density"}, {"density_neighbors": 3}):
        progress = Silent()
        assert changed_detector(run, changes, progress) == Detector(**changes)
        (flag,) = changes
        assert progress.notes == [
            f"--{flag.replace('_', '-')}: scored by the nearest train clips, not by varmin as "
            f"{run}/recipe.toml says; name it with --detector to keep it"
        ]
    kept = Silent()
    wanted = Detector("varmin", {"around": 3}, standardize=True, domains="minimum")
    assert changed_detector(run, {"options": {"around": 3}, "domains": "minimum"}, kept) == wanted
    assert changed_detector(run, {"detector": "mahalanobis"}, kept) == Detector(
        "mahalanobis", standardize=True
    )
    assert kept.notes == []
    score(run, "dcase2025", Detector(normalize="density", neighbors=3, density_neighbors=2))
    assert changed_detector(run, {"detector": "subspace"}) == Detector("subspace")
