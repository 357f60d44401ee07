"""Whole fine-tunings of a tiny backbone: what they leave behind and how they go on."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from dcase_asd.audio import Mapped
from dcase_asd.backbone import read_tensors
from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.kept import checkpoints_folder, read_kept, write_kept
from dcase_asd.errors import ArtifactError, TrainingError
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.progress import Silent
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.registry import load_backbone
from dcase_asd.scores.score import score
from dcase_asd.scores.table import read_provenance, read_scores
from dcase_asd.training import batches, engine
from dcase_asd.training.checkpoints import CheckpointFiles
from dcase_asd.training.data import TrainingSet, read_training_set
from dcase_asd.training.engine import Engine
from dcase_asd.training.finetune import finetune


def weights(run):
    """All tensors of the checkpoint of the last step."""
    last = max(checkpoints_folder(run).glob("step_*.safetensors"))
    return load_file(last)


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def tune(data, run, system, **options):
    return finetune(data, run, system, device="cpu", workers=0, **options)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory, plugin_path, short):
    """A finished run of the short recipe."""
    run = tmp_path_factory.mktemp("runs") / "run"
    done = tune(data, run, System("run", Embedding("tiny"), train=short))
    return run, done


def test_a_run_leaves_recipe_history_and_the_chosen_checkpoints(finished):
    run, done = finished
    assert [each.step for each in done.checkpoints] == [8, 16]
    assert all(0 < each.score <= 1 for each in done.checkpoints)
    assert {path.name for path in done.scored} == {each.file for each in done.checkpoints}
    assert not (checkpoints_folder(run) / "state.pt").exists()
    lines = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == list(range(1, 9))
    assert [line["step"] for line in lines] == list(range(2, 17, 2))
    assert [line["update"] for line in lines if "dev_score" in line] == [4, 8]
    assert read_kept(run).finished


def test_a_checkpoint_carries_classes_recipe_and_batch_norm_statistics(data, finished, short):
    _, done = finished
    tensors, metadata = read_tensors(done.scored[-1])
    chosen = read_training_set(data, short)
    assert json.loads(metadata["classes"]) == {each.label: 1 for each in chosen.classes}
    assert metadata["recipe"] == recipe_text(short)
    of_2025 = ["dcase2025"]
    assert json.loads(metadata["editions"]) == {"train": of_2025, "noise": of_2025, "dev": of_2025}
    assert (metadata["plugin"], metadata["step"]) == ("tiny", "16")
    assert tensors["classifier.weight"].shape == (len(chosen.classes), short.embedding)
    for norm in ("norm", "output_norm"):
        assert bool(tensors[f"head.pool.{norm}.running_mean"].any())
        assert int(tensors[f"head.pool.{norm}.num_batches_tracked"]) == short.steps
    opened = load_backbone("tiny", done.scored[-1])
    assert torch.equal(opened.head.pool.norm.running_var, tensors["head.pool.norm.running_var"])


def test_a_finished_run_is_not_done_again(data, finished, make_system):
    run, done = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    again = tune(data, run, make_system())
    assert not again.changed
    assert again.scored == done.scored
    assert before == {
        path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"
    }


def test_the_checkpoints_are_embedded_and_scored_as_one_system(data, finished, make_system):
    run, done = finished
    assert embed(data, run, "dcase2025", make_system(), "cpu").made == 2 * 3
    assert embed(data, run, "dcase2025", make_system(), "cpu").kept == 2 * 3
    assert score(run, "dcase2025").changed
    assert not score(run, "dcase2025").changed
    report = evaluate_run_or_folder(run, "dcase2025", resamples=0)
    assert 0.0 < report.evaluation.official_score <= 1.0
    assert read_provenance(run, "dcase2025")["parameters"] == 2 * sum(
        value.numel() for value in load_backbone("tiny", done.scored[0]).parameters()
    )
    scores = read_scores(run, "dcase2025")
    train = scores[scores["split"] == "train"].groupby("machine")["score"]
    # Standardised by the leave-one-out scores of the train clips, whose mean is 0 therefore.
    assert train.mean().abs().max() < 1e-9


def test_one_checkpoint_scores_as_well_as_training_said(data, tmp_path, make_system):
    system = make_system(keep=1, eval_every=0)
    run = tmp_path / "run"
    done = tune(data, run, system)
    (last,) = done.checkpoints
    embed(data, run, "dcase2025", system, "cpu")
    score(run, "dcase2025")
    report = evaluate_run_or_folder(run, "dcase2025", resamples=0)
    assert report.evaluation.official_score == pytest.approx(last.score, abs=1e-12)


def test_a_checkpoint_gives_the_same_embeddings_in_another_process(finished):
    _, done = finished
    clip = torch.randn(1, 30000, generator=torch.Generator().manual_seed(3)) * 0.1
    program = f"""
import torch
from dcase_asd.registry import load_backbone
from pathlib import Path
clip = torch.randn(1, 30000, generator=torch.Generator().manual_seed(3)) * 0.1
model = load_backbone("tiny", Path({str(done.scored[0])!r}))
with torch.inference_mode():
    print(model.embed(clip).double().tolist())
"""
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    with torch.inference_mode():
        expected = load_backbone("tiny", done.scored[0]).embed(clip).double().tolist()
    assert json.loads(found) == expected


def test_masks_of_padded_clips_lie_in_the_clips(data, tmp_path, make_system, monkeypatch):
    whole, seen = engine.mask_spectrogram, []

    def watched(spectrogram, *arguments):
        masked = whole(spectrogram, *arguments)
        seen.append((spectrogram, masked))
        return masked

    monkeypatch.setattr(engine, "mask_spectrogram", watched)
    # Clips of 1 s, which are 98 frames of 25 ms every 10 ms, in crops of 1.6 s.
    tune(data, tmp_path / "run", make_system(seconds=1.6, steps=8, eval_every=0, time_mask=80))
    assert len(seen) == 8
    for spectrogram, masked in seen:
        assert spectrogram.shape == (8, 158, 32)
        assert torch.equal(masked[:, 98:], spectrogram[:, 98:])
        changed = masked != spectrogram
        assert changed.any((1, 2)).sum() > 4
        means = spectrogram[:, :98].mean((1, 2))[:, None, None].expand_as(masked)
        torch.testing.assert_close(masked[changed], means[changed])


class Stopped(BaseException):
    """Ends a run at once, as a kill does."""


@pytest.mark.parametrize(
    "where",
    [
        (Engine, "update", False, 1),
        (Engine, "update", True, 3),
        (CheckpointFiles, "save_model", False, 1),
        (CheckpointFiles, "save_model", True, 1),
        (CheckpointFiles, "save_model", True, 2),
        (CheckpointFiles, "tidy", False, 1),
        (CheckpointFiles, "save_state", True, 2),
        (CheckpointFiles, "save_state", True, 4),
        (CheckpointFiles, "finish", False, 1),
    ],
)
def test_a_run_that_was_stopped_anywhere_ends_as_an_undisturbed_one(
    data, finished, tmp_path, make_system, monkeypatch, where
):
    kind, name, after, call = where
    whole, calls = getattr(kind, name), []

    def stopping(self, *arguments):
        calls.append(None)
        if len(calls) == call and not after:
            raise Stopped
        result = whole(self, *arguments)
        if len(calls) == call:
            raise Stopped
        return result

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(kind, name, stopping)
        with pytest.raises(Stopped):
            tune(data, run, make_system())
    done = tune(data, run, make_system())
    undisturbed, expected = finished
    assert done.checkpoints == expected.checkpoints
    for one, other in zip(done.scored, expected.scored, strict=True):
        assert one.read_bytes() == other.read_bytes()
    files = [path.name for path in sorted(checkpoints_folder(run).iterdir())]
    assert files == [path.name for path in sorted(checkpoints_folder(undisturbed).iterdir())]
    history = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    before = [json.loads(line) for line in (undisturbed / "train.jsonl").read_text().splitlines()]
    times = {"clips_per_second", "waited"}
    for one, other in zip(history, before, strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {
            k: v for k, v in other.items() if k not in times
        }


PROGRAM = """
import sys
from pathlib import Path
from dcase_asd.training.finetune import finetune
from dcase_asd.recipe.system import read_system
finetune(Path(sys.argv[1]), Path(sys.argv[2]), read_system(Path(sys.argv[3])),
         device="cpu", workers=int(sys.argv[4]))
"""


@pytest.mark.slow
def test_a_killed_process_is_gone_on_with_to_the_same_weights(data, tmp_path, make_system):
    system = make_system(name="run", steps=120, eval_every=60, ensemble="last", keep=1)
    tune(data, tmp_path / "undisturbed", system)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_text(system))
    run = tmp_path / "run"
    for lines in (7, 25):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(data), str(run), str(recipe), "1"],
            start_new_session=True,
        )
        history, until = run / "train.jsonl", time.monotonic() + 120
        while not (history.exists() and history.read_text().count("\n") >= lines):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not read_kept(run) or not read_kept(run).finished
    tune(data, run, system)
    assert_equal(weights(run), weights(tmp_path / "undisturbed"))


def test_a_changed_recipe_is_refused_with_the_difference(data, finished, make_system):
    run, _ = finished
    with pytest.raises(ArtifactError, match=r"\(train.margin was 0.2 and is 0.3\); leave"):
        tune(data, run, make_system(margin=0.3))
    with pytest.raises(ArtifactError, match=r"options was \{\} and is \{'seed': 1\}"):
        tune(data, run, make_system(options={"seed": 1}))


def test_a_recipe_that_nothing_was_made_with_yet_may_be_changed(data, tmp_path, make_system):
    with pytest.raises(TrainingError, match="freeze: no parameter"):
        tune(data, tmp_path / "run", make_system(freeze=("encoder.*",)))
    assert tune(data, tmp_path / "run", make_system(freeze=("patch.*",))).changed


def test_other_clips_than_a_run_was_begun_with_are_refused(
    data, tmp_path, make_system, monkeypatch
):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFiles, "finish", lambda *_: pytest.fail("stop"))
        with pytest.raises(pytest.fail.Exception):
            tune(data, run, make_system())
    monkeypatch.setattr(TrainingSet, "fingerprint", lambda _: "others")
    with pytest.raises(TrainingError, match="begun with other clips"):
        tune(data, run, make_system())


def test_other_clips_than_a_finished_run_has_seen_are_refused(
    data, finished, make_system, monkeypatch
):
    monkeypatch.setattr(TrainingSet, "fingerprint", lambda _: "others")
    with pytest.raises(TrainingError, match="fine-tuned on other clips"):
        tune(data, finished[0], make_system())


def replace_beginning(data):
    """Other audio in a train clip, with the same name, header, middle and size."""
    path = next((data / "dcase2025t2/dev_data/raw/fan/train").iterdir())
    content = bytearray(path.read_bytes())
    content[100:4000] = bytes(3900)
    path.write_bytes(content)


def test_other_audio_than_a_run_was_begun_with_is_refused(data, tmp_path, make_system, monkeypatch):
    copy, run = shutil.copytree(data, tmp_path / "data"), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFiles, "finish", lambda *_: pytest.fail("stop"))
        with pytest.raises(pytest.fail.Exception):
            tune(copy, run, make_system())
    replace_beginning(copy)
    with pytest.raises(TrainingError, match="begun with other clips"):
        tune(copy, run, make_system())


def test_other_audio_than_a_finished_run_has_seen_is_refused(data, finished, tmp_path, make_system):
    run = shutil.copytree(finished[0], tmp_path / "run")
    copy = shutil.copytree(data, tmp_path / "data")
    assert not tune(copy, run, make_system()).changed
    replace_beginning(copy)
    progress = Silent()
    with pytest.raises(TrainingError, match="fine-tuned on other clips"):
        tune(copy, run, make_system(), progress=progress)
    assert "brought up to date, 1 changed" in progress.notes[0]


def test_a_run_that_knows_only_the_names_of_its_clips_is_still_taken_up(
    data, finished, tmp_path, make_system
):
    run = shutil.copytree(finished[0], tmp_path / "run")
    kept = read_kept(run)
    write_kept(run, dataclasses.replace(kept, inputs=kept.inputs[:32]))
    assert not tune(data, run, make_system()).changed
    write_kept(run, dataclasses.replace(kept, inputs=kept.inputs[:31] + "x"))
    with pytest.raises(TrainingError, match="fine-tuned on other clips"):
        tune(data, run, make_system())


def test_an_unfinished_run_cannot_be_embedded(data, tmp_path, make_system):
    run = tmp_path / "run"
    with pytest.raises(ArtifactError, match="fine-tuning is not finished"):
        embed(data, run, "dcase2025", make_system(), "cpu")


def test_a_checkpoint_that_is_gone_is_told(data, tmp_path, make_system):
    run = tmp_path / "run"
    done = tune(data, run, make_system(steps=2, eval_every=0))
    done.scored[0].unlink()
    with pytest.raises(ArtifactError, match="this checkpoint is gone"):
        embed(data, run, "dcase2025", make_system(steps=2, eval_every=0), "cpu")


def test_a_training_from_packs_ends_with_the_same_weights(data, tmp_path, make_system, monkeypatch):
    (expected,) = tune(data, tmp_path / "files", make_system(keep=1)).scored
    copy = shutil.copytree(data, tmp_path / "data")
    prepare(copy, pack=True)
    read, sources = batches.read_samples, []

    def watched(source, *arguments):
        sources.append(type(source))
        return read(source, *arguments)

    monkeypatch.setattr(batches, "read_samples", watched)
    (found,) = tune(copy, tmp_path / "packed", make_system(keep=1)).scored
    assert set(sources) == {Mapped}
    assert found.read_bytes() == expected.read_bytes()
