"""What a report shows of a training."""

from __future__ import annotations

import json

import pytest
from report_pages import report, words

from dcase_asd.embeddings.kept import KeptCheckpoint, KeptCheckpoints, write_kept
from dcase_asd.errors import ArtifactError
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.recipe.toml import recipe_text


def test_training_is_drawn_as_it_went(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    lines = [
        {"update": i, "step": 8 * i, "loss": 5 / i, "accuracy": i / 40, "learning_rate": 1e-5 * i}
        | ({"dev_score": 0.5 + i / 100} if i % 10 == 0 else {})
        for i in range(1, 41)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (entry.run / "train.jsonl").write_text(text + '{"update": 41, "st')
    kept = tuple(KeptCheckpoint(f"step_{i}.safetensors", i, 0.5) for i in (160, 240, 320))
    write_kept(
        entry.run, KeptCheckpoints("x", kept, ("step_240.safetensors", "step_320.safetensors"))
    )
    done = report(entry.run, "2025", out=tmp_path / "out")
    text = words(done.page)
    assert "loss: from 5 at step 8 to 0.125 at step 320." in text
    assert "accuracy, %: from 2.5 at step 8 to 100 at step 320." in text
    assert "learning rate: from 1e-05 at step 8 to 0.0004 at step 320." in text
    assert "4 checkpoints of small: best 90.00 % at step 320. Scored: steps 240, 320." in text
    assert "step_240.safetensors, step_320.safetensors" in text
    assert len([path for path in done.pictures if "training" in path.name]) == 4


def test_a_pre_training_is_drawn_where_the_system_embeds_with_it(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    pretrained = tmp_path / "pretrained"
    pretrained.mkdir()
    (pretrained / "pretrain.toml").touch()
    lines = [
        {
            "update": i, "step": i, "loss": 20 / i, "effective_rank": 1 + i / 10,
            "target_var": 0.99, "pred_var": i / 50, "teacher_decay": 0.999, "learning_rate": 1e-3,
        }
        for i in range(1, 41)
    ]  # fmt: skip
    (pretrained / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    system = System("small", Embedding("fisher", str(pretrained)))
    (entry.run / "recipe.toml").write_text(recipe_text(system))
    done = report(entry.run, "2025", out=tmp_path / "out")
    text = words(done.page)
    assert "Pre-training of small, loss: from 20 at step 1 to 0.5 at step 40." in text
    assert "effective rank of [CLS]: from 1.1 at step 1 to 5 at step 40." in text
    assert "deviation of predictions: from 0.02 at step 1 to 0.8 at step 40." in text
    assert "decay of the teacher: from 0.999 at step 1" in text
    assert len([path for path in done.pictures if "pretraining" in path.name]) == 6
    assert not [path for path in done.pictures if "_training" in path.name]


def test_a_damaged_history_is_an_error(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    (entry.run / "train.jsonl").write_text('{"update": 1, oops}\n')
    with pytest.raises(ArtifactError, match=r"train.jsonl: a line is damaged"):
        report(entry.run, "2025", out=tmp_path / "out")
