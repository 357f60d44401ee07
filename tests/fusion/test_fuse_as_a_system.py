"""A fusion is a system: what it says of itself, and what can be done with it."""

from __future__ import annotations

import pytest

from dcase_asd.embeddings.embed import embed
from dcase_asd.errors import ArtifactError, RecipeError
from dcase_asd.files import write_text
from dcase_asd.fusion.fuse import fuse, fuse_again
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.recipe.fusion import Fusion, is_fused
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.scores.score import score
from dcase_asd.scores.table import read_provenance
from dcase_asd.submission.submit import submit
from dcase_asd.training.finetune import finetune, planned_system


def test_a_fusion_says_what_it_is_made_of(systems):
    systems.write("a", backbone="eat", parameters=7)
    systems.write("b", sample_rate=None)
    systems.fuse(method="weights", weights=(0.5, 0.5, 0.0))
    made = read_provenance(systems.run("fused"), "dcase2025")
    assert (made["backbone"], made["parameters"], made["sample_rate"]) == ("eat+beats", 107, None)
    systems.write("b", parameters=None)
    systems.fuse("minimum", method="minimum")
    assert read_provenance(systems.run("minimum"), "dcase2025")["parameters"] is None


def test_a_fusion_is_a_system_like_any_other(systems, tmp_path):
    systems.fuse("inner", method="mean")
    runs = [systems.run("inner"), systems.run("c")]
    nested = fuse(runs, systems.run("nested"), "2025", Fusion(("inner", "c"), resamples=0))
    assert nested.result.systems == ("inner", "c")
    made = read_provenance(systems.run("nested"), "dcase2025")
    assert (made["backbone"], made["sample_rate"]) == ("beats", 16000)
    package = submit(systems.run("nested"), "2025", "Lastname_INST_task2_1", tmp_path / "dist")
    assert all(file.threshold is not None for file in package.files)
    assert evaluate_run_or_folder(systems.run("nested"), "2025", resamples=0).complete is False
    assert is_fused(systems.run("nested"))
    assert not is_fused(systems.run("c"))
    systems.change("b", lambda table: table.assign(score=-table["score"]))
    assert fuse_again(systems.run("inner"), "2025").changed
    assert fuse_again(systems.run("nested"), "2025").changed


def test_embedding_scoring_and_fine_tuning_a_fusion_is_one_clear_line(systems, small_tree):
    systems.fuse()
    run = systems.run("fused")
    spectral = System("fused", Embedding("spectral"))
    clear = "a fusion of other systems, with no backbone of its own"
    with pytest.raises(RecipeError, match=clear):
        score(run, "dcase2025")
    with pytest.raises(RecipeError, match=clear):
        planned_system(run, plugin="spectral")
    write_text(small_tree / "clips.csv", "")
    before = (run / "recipe.toml").read_bytes()
    for step in (lambda: embed(small_tree, run, "dcase2025", spectral),
                 lambda: finetune(small_tree, run, spectral)):  # fmt: skip
        with pytest.raises((RecipeError, ArtifactError)):
            step()
    assert (run / "recipe.toml").read_bytes() == before
