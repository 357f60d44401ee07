"""What `fuse` promises for machine types that it was not fitted to."""

from __future__ import annotations

import numpy as np
import pytest

from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.kept import keep_recipe
from dcase_asd.fusion.label_free import _flags
from dcase_asd.progress import Silent
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.recipe.training import Training
from dcase_asd.scores.table import write_scores


@pytest.mark.parametrize("edition", ["dcase2020", "dcase2021", "dcase2025"])
def test_left_out_machines_are_fused_as_was_fitted_on_the_others(make_systems, edition):
    machines = list(load_edition(edition).machines["dev"])[:2]
    gains = [{machines[0]: 2.0, machines[1]: 0.5}, {machines[0]: 0.2, machines[1]: 1.5}]
    systems = make_systems(dict(zip("ab", gains, strict=True)), edition)
    left_out = systems.fuse().result.leave_one_machine_out
    without = {machine: systems.best([other for other in machines if other != machine])
               for machine in machines}  # fmt: skip
    assert {name: of.weights for name, of in left_out.machines.items()} == {
        machine: tuple(weights) for machine, weights in without.items()
    }
    for machine, weights in without.items():
        expected = systems.score(weights, [machine])
        assert left_out.machines[machine].score == pytest.approx(expected, abs=1e-12)
    assert left_out.score == pytest.approx(systems.left_out(without), abs=1e-12)
    assert left_out.score < systems.fuse().result.dev_score


def test_fitting_that_does_not_beat_equal_weights_is_said(systems):
    progress = Silent()
    result = systems.fuse(progress=progress).result
    left_out = result.leave_one_machine_out
    assert left_out.score < left_out.equal_weights == pytest.approx(result.equal_weights, abs=1e-12)
    (note,) = result.notes
    assert note.startswith("fitted weights do not beat equal ones on machine types that were left")
    assert note.endswith("--method mean is the safer choice")
    assert progress.notes == [note]


def test_fitting_that_beats_equal_weights_goes_without_a_warning(make_systems):
    result = make_systems({"a": 2.5, "b": 0.0}).fuse().result
    assert result.leave_one_machine_out.score > result.equal_weights
    assert result.notes == ()


def test_one_machine_has_no_left_out_estimate_and_that_is_said(systems):
    first = next(iter(load_edition("dcase2025").machines["dev"]))
    systems.change_each(
        lambda table: table[(table["stage"] == "eval") | (table["machine"] == first)]
    )
    result = systems.fuse().result
    assert result.machines == (first,)
    assert result.leave_one_machine_out is None
    assert result.weights == tuple(systems.best([first]))
    assert f"{first} is the only machine type with labels" in result.notes[0]


def test_the_best_systems_are_selected_again_without_the_machine_left_out(systems):
    first, second = list(load_edition("dcase2025").machines["dev"])[:2]
    result = systems.fuse(select="best:1", always=("c",)).result
    alone = {name: systems.score(row) for name, row in zip("abc", np.eye(3), strict=True)}
    assert result.selected_from == ("a", "b", "c")
    assert result.alone_before == pytest.approx(list(alone.values()), abs=1e-12)
    chosen = max("ab", key=alone.get)
    assert result.systems == (chosen, "c")
    assert result.alone == pytest.approx((alone[chosen], alone["c"]), abs=1e-12)
    machines = result.leave_one_machine_out.machines
    # Without its own machine each system is the worse one.
    assert (machines[first].systems, machines[second].systems) == (("b", "c"), ("a", "c"))
    equal = systems.left_out({first: [0, 0.5, 0.5], second: [0.5, 0, 0.5]})
    assert result.leave_one_machine_out.equal_weights == pytest.approx(equal, abs=1e-12)


def test_the_mean_of_selected_systems_has_an_honest_estimate_too(systems):
    result = systems.fuse(method="mean", select="best:1", always=("c",)).result
    left_out = result.leave_one_machine_out
    assert left_out.score == pytest.approx(left_out.equal_weights, abs=1e-15)
    assert left_out.score < result.dev_score
    assert result.bootstrap is None


def test_labels_that_chose_checkpoints_are_told_beside_the_estimate(systems):
    plain = systems.fuse("plain").result
    keep_recipe(systems.run("a"), System("a", Embedding("beats", channel=1), train=Training()))
    result = systems.fuse().result
    left_out = result.leave_one_machine_out
    assert (left_out.chosen, left_out.last_checkpoints) == (("a",), None)
    assert left_out.score == plain.leave_one_machine_out.score
    (note,) = (note for note in result.notes if "refits the weights alone" in note)
    assert "too, chose checkpoints or weights of a; for an estimate with their last" in note
    checkpoint = systems.run("a") / "checkpoints/FILE"
    assert f"embed --plugin beats --checkpoint {checkpoint} --channel 1 --data data" in note


def test_the_estimate_is_made_again_of_last_checkpoints_that_are_scored(systems):
    keep_recipe(systems.run("a"), System("a", Embedding("beats"), train=Training()))
    with_best = systems.fuse()
    others = systems.tables["a"].assign(score=systems.tables["b"]["score"] ** 2)
    made = {"backbone": "beats", "parameters": 1, "sample_rate": 16000, "fingerprint": "last"}
    write_scores(systems.run("a") / "last", systems.edition.name, others, made)
    done = systems.fuse()
    assert (with_best.changed, done.changed, systems.fuse().changed) == (True, True, False)
    left_out, before = done.result.leave_one_machine_out, systems.scores()
    systems.tables["a"] = others
    machines = list(load_edition("dcase2025").machines["dev"])[:2]
    without = {machine: systems.best([other for other in machines if other != machine])
               for machine in machines}  # fmt: skip
    assert left_out.last_checkpoints == pytest.approx(systems.left_out(without), abs=1e-12)
    assert left_out.last_checkpoints != left_out.score
    assert left_out.score == with_best.result.leave_one_machine_out.score
    assert done.result.weights == with_best.result.weights
    assert before.equals(systems.scores())


def test_systems_whose_weights_were_fitted_are_told_too(systems):
    inner = systems.fuse("inner")
    systems.tables = {"inner": systems.tables["a"].assign(score=0.0), "c": systems.tables["c"]}
    assert inner.fusion.uses_labels
    result = systems.fuse("outer").result
    assert result.leave_one_machine_out.chosen == ("inner",)
    assert result.notes[-1].endswith("for an estimate without that, fuse the systems that they are "
                                     "made of")  # fmt: skip


def test_what_a_system_is_scored_with_is_proposed_as_it_is_typed():
    detector = Detector("varmin", {"around": 2, "metric": "cosine"}, standardize=True, references=9)
    assert _flags(detector) == [
        *("--detector", "varmin", "--detector-option", "around=2"),
        *("--detector-option", "metric=cosine", "--standardize", "--references", "9"),
    ]
    assert _flags(Detector()) == []
