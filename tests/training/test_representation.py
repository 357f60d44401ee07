"""Which output of a fine-tuned network is scored: dense layer, its input, or the class token."""

import dataclasses

import numpy as np
import pytest
import torch

from dcase_asd.audio import read_waveform
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.kept import embedding_folders
from dcase_asd.embeddings.store import read_embeddings
from dcase_asd.errors import ArtifactError, BackboneError
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.system import read_system
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.registry import load_backbone
from dcase_asd.scores.score import score
from dcase_asd.training import loop
from dcase_asd.training.checkpoints import CheckpointFiles
from dcase_asd.training.finetune import finetune


def tune(data, run, system):
    return finetune(data, run, system, device="cpu", workers=0)


def test_each_representation_of_a_run_is_scored_with_all_its_checkpoints(
    data, tmp_path, make_system
):
    run, made = tmp_path / "run", {"plugin": "tiny-cls", "pooling": "attention"}
    done = tune(data, run, make_system(representation="cls", **made))
    assert embed(data, run, "dcase2025", read_system(run), "cpu").made == 2 * 3
    for representation, width in (("cls", 32), ("dense", 16), ("pooled", 2 * 32)):
        changed = make_system(representation=representation, **made)
        new = embed(data, run, "dcase2025", changed, "cpu").made
        assert new == (0 if representation == "cls" else 2 * 3)
        assert read_system(run) == dataclasses.replace(changed, score=Detector())
        for folder, checkpoint in zip(embedding_folders(run), done.scored, strict=True):
            fan = read_embeddings(folder, "dcase2025")[0]
            assert fan.vectors.shape == (16, width)
            (path,) = data.rglob(f"fan/*/{fan.clips['file'][0]}")
            model = load_backbone("tiny-cls", checkpoint, embedding=representation)
            with torch.inference_mode():
                expected = model.embed(torch.from_numpy(read_waveform(path))[None])[0]
            np.testing.assert_allclose(fan.vectors[0], expected, atol=1e-5)
        assert score(run, "dcase2025").changed
        report = evaluate_run_or_folder(run, "dcase2025", resamples=0)
        assert report.evaluation.official_score > 0
    assert tune(data, run, changed).checkpoints == done.checkpoints


@pytest.mark.parametrize(("representation", "width"), [("dense", 16), ("pooled", 64), ("cls", 32)])
def test_checkpoints_are_compared_by_what_is_scored(
    data, tmp_path, make_system, monkeypatch, representation, width
):
    widths = []
    monkeypatch.setattr(
        loop, "dev_score", lambda _, shares, __: widths.append(shares[0][1].shape[1]) or 0.5
    )
    system = make_system(plugin="tiny-cls", pooling="attention", representation=representation)
    tune(data, tmp_path / "run", system)
    assert widths == [width] * 2


def test_a_representation_that_does_not_fit_changes_nothing(data, tmp_path, make_system):
    run = tmp_path / "run"
    tune(data, run, make_system())
    embed(data, run, "dcase2025", make_system(), "cpu")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(BackboneError, match=r"'tiny' has no class token .* dense or pooled"):
        embed(data, run, "dcase2025", make_system(representation="cls"), "cpu")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("changes", [{"pooling": "cls"}, {"representation": "cls"}])
def test_a_class_token_that_is_not_there_is_told_before_anything_is_trained(
    data, tmp_path, make_system, changes
):
    with pytest.raises(BackboneError, match="'tiny' has no class token"):
        tune(data, tmp_path / "run", make_system(**changes))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_run_that_is_trained_keeps_its_representation(data, tmp_path, make_system, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFiles, "finish", lambda *_: pytest.fail("stop"))
        with pytest.raises(pytest.fail.Exception):
            tune(data, run, make_system())
    with pytest.raises(ArtifactError, match=r"train\.representation was 'dense' and is 'pooled'"):
        tune(data, run, make_system(representation="pooled"))


def test_embeddings_of_another_representation_than_the_recipe_s_are_not_scored(
    data, tmp_path, make_system
):
    run = tmp_path / "run"
    tune(data, run, make_system(steps=2, eval_every=0))
    embed(data, run, "dcase2025", make_system(steps=2, eval_every=0), "cpu")
    recipe = run / "recipe.toml"  # as after embedding another edition
    recipe.write_text(recipe_text(make_system(steps=2, eval_every=0, representation="pooled")))
    said = "is embedded with the representation dense, not its recipe's pooled; embed it again"
    with pytest.raises(ArtifactError, match=said):
        score(run, "dcase2025")


def test_fine_tuned_checkpoints_are_pooled_before_their_head(data, tmp_path, make_system):
    run, plain = tmp_path / "run", make_system()
    done = tune(data, run, plain)
    embed(data, run, "dcase2025", plain, "cpu")
    deviation = dataclasses.replace(plain.embed, pooling="std")
    pooled = dataclasses.replace(plain, embed=deviation)
    assert embed(data, run, "dcase2025", pooled, "cpu").made == len(done.scored) * 3
    assert read_system(run) == dataclasses.replace(pooled, score=Detector())
    for folder, checkpoint in zip(embedding_folders(run), done.scored, strict=True):
        fan = read_embeddings(folder, "dcase2025")[0]
        (path,) = data.rglob(f"fan/*/{fan.clips['file'][0]}")
        with torch.inference_mode():
            clip = torch.from_numpy(read_waveform(path))[None]
            tokens, _ = load_backbone("tiny", checkpoint).token_grid(clip)
        expected = tokens[0, :, 0].std(0, correction=0)
        np.testing.assert_allclose(fan.vectors[0], expected, rtol=1e-3, atol=1e-5)
    assert score(run, "dcase2025").changed
    assert tune(data, run, pooled).checkpoints == done.checkpoints
    # An edition that was embedded otherwise before is not taken for one of the recipe.
    (run / "recipe.toml").write_text(recipe_text(plain))
    told = r"embedded with pooling = std, not with the plugin's own rep.* again with"
    with pytest.raises(ArtifactError, match=told):
        score(run, "dcase2025")
