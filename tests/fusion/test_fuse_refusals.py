"""Runs and scores that cannot be fused, and the edition that is taken by default."""

from __future__ import annotations

import itertools
import shutil

import pandas as pd
import pytest
from reference_fusion import Systems

from dcase_asd.errors import DataError, EditionError, ScoresError
from dcase_asd.files import write_text
from dcase_asd.fusion.fuse import fuse
from dcase_asd.fusion.members import newest_common_edition
from dcase_asd.recipe.fusion import Fusion
from dcase_asd.scores.table import scores_path


def test_systems_with_other_clips_are_refused_with_both_differences(systems):
    systems.change("b", lambda table: table.drop(table.index[table["split"] == "test"][:2]))
    extra = systems.tables["c"].iloc[-1:].assign(file="section_00_9999.wav")
    systems.change("c", lambda table: pd.concat([table, extra]))
    with pytest.raises(ScoresError) as error:
        systems.fuse()
    a, b, c = systems.runs
    assert f"2 in {a} but not in {b}, the first dev " in str(error.value)
    assert f"1 in {c} but not in {a}, the first eval " in str(error.value)
    assert "9999.wav" in str(error.value)
    assert not systems.run("fused").exists()


def test_train_clips_without_a_score_of_every_system_are_left_out_and_said(systems):
    systems.change("b", lambda table: table.drop(table.index[table["split"] == "train"][:3]))
    done = systems.fuse(method="mean")
    total = (systems.tables["a"]["split"] == "train").sum()
    assert done.train == total - 3
    assert f"{systems.run('a')}: 3 train clip(s) without a leave-one-out" in done.result.notes[0]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("test", "all .* test clips of dev .* section 00 have the score 0.5, which tells nothing"),
        ("train", "dev .* section 00: .* leave-one-out train score.s. are equal, so that scores"),
    ],
)
def test_constant_scores_name_run_machine_and_section(systems, split, message):
    machine = systems.tables["b"]["machine"].iloc[0]

    def constant(table):
        chosen = (table["split"] == split) & (table["machine"] == machine)
        return table.assign(score=table["score"].where(~chosen, 0.5))

    systems.change("b", constant)
    with pytest.raises(ScoresError, match=message) as error:
        systems.fuse()
    assert str(systems.run("b")) in str(error.value)
    assert machine in str(error.value)


def test_scores_without_a_test_clip_are_refused(systems):
    systems.change_each(lambda table: table[table["split"] == "train"])
    with pytest.raises(ScoresError, match="a: holds no test clip; embed and score test/ folders"):
        systems.fuse()


def test_sections_without_a_train_score_are_refused(systems):
    systems.change_each(lambda table: table[table["split"] == "test"])
    with pytest.raises(ScoresError, match="no leave-one-out train score is there, so that"):
        systems.fuse()


def test_systems_that_scored_no_test_clip_are_refused(systems):
    systems.change_each(lambda table: table[table["split"] == "train"])
    with pytest.raises(ScoresError, match="a: holds no test clip; embed and score test/ folders"):
        systems.fuse()


def test_scores_that_are_not_numbers_are_refused(systems):
    path = scores_path(systems.run("b"), "dcase2025")
    lines = path.read_text().splitlines()
    lines[3] = lines[3].rpartition(",")[0] + ",nan"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ScoresError, match=r"b/scores/dcase2025.csv: 1 score\(s\) are not finite"):
        systems.fuse()


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (("a", "x"), DataError, "x: no such run folder; make one with `dcase-asd embed"),
        (("a", "../runs/a"), DataError, "is given twice, as .*a before; name each system once"),
        (("a", "file"), DataError, "file: a file"),
    ],
)
def test_wrong_runs_are_told(systems, names, error, message):
    systems.run("file").write_text("")
    runs = [systems.folder / name for name in names]
    with pytest.raises(error, match=message):
        fuse(runs, systems.run("fused"), "2025", Fusion(names))
    assert not systems.run("fused").exists()


def test_as_many_runs_as_systems_are_fused(systems):
    with pytest.raises(ValueError, match="2 run folders for 3 systems"):
        fuse(systems.runs[:2], systems.run("fused"), "2025", Fusion(("a", "b", "c")))


def test_a_run_without_scores_of_the_edition_is_told(systems):
    with pytest.raises(ScoresError, match=r"a: no finished scores of dcase2024 \(did you mean"):
        fuse(systems.runs, systems.run("fused"), "2024", Fusion(("a", "b", "c")))
    path = scores_path(systems.run("b"), "dcase2025")
    path.unlink()
    with pytest.raises(ScoresError, match=r"b/scores/dcase2025.csv: not found; score again"):
        systems.fuse()


def test_the_newest_edition_that_all_systems_have_is_the_default(systems, make_entry):
    assert newest_common_edition(systems.runs) == "dcase2025"
    Systems(systems.folder, "dcase2024", make_entry("dcase2024").scores, {"a": 1.0, "b": 1.0})
    shutil.rmtree(systems.run("b") / "scores")
    (systems.run("b") / "embeddings").mkdir()
    with pytest.raises(ScoresError, match=r"no edition that all systems have scores of .*b: none"):
        newest_common_edition(systems.runs)
    Systems(systems.folder, "dcase2024", make_entry("dcase2024").scores, {"b": 1.0})
    assert newest_common_edition([systems.run("a"), systems.run("b")]) == "dcase2024"


def test_several_editions_of_ones_own_have_to_be_named(tmp_path):
    for run, edition in itertools.product("ab", ("plant", "workshop")):
        write_text(scores_path(tmp_path / run, edition), "")
        write_text(scores_path(tmp_path / run, edition).with_suffix(".json"), "{}")
    runs = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(ScoresError, match="share scores of plant, workshop; say which"):
        newest_common_edition(runs)
    scores_path(tmp_path / "a", "plant").unlink()
    assert newest_common_edition(runs) == "workshop"


def test_what_is_transductive_is_refused_where_the_rules_forbid_it(systems):
    with pytest.raises(EditionError, match="dcase2025 forbids what is transductive"):
        systems.fuse(standardize="test")
