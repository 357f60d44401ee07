"""Pre-training from recordings to a checkpoint that embeds."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
from pretraining_settings import SHORT, TINY, stopped_at
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dcase_asd import load_backbone
from dcase_asd.backbone.family import FamilyBackbone
from dcase_asd.errors import ArtifactError, BackboneError, RecipeError, TrainingError
from dcase_asd.progress import Silent
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.training import pretraining_cost, pretraining_engine
from dcase_asd.training.pretrain import plan_pretraining, pretrain
from dcase_asd.training.pretraining_batches import PretrainingBatch
from dcase_asd.training.pretraining_cost import gflop_of_clip
from dcase_asd.training.pretraining_engine import images_and_clones, smaller_batch
from dcase_asd.training.pretraining_files import settings_of
from dcase_asd.training.pretraining_objective import (
    MaskedPrediction,
    draw_masks,
    visible_patches,
)
from dcase_asd.training.pretraining_student import student
from dcase_asd.training.recordings import write_shards
from dcase_asd.training.updates import warmed_cosine

SPEED = ("clips_per_second", "waited")


def settings(**changes):
    return dataclasses.replace(SHORT, **changes)


def run(audio, folder, recipe=SHORT, **options):
    return pretrain([audio], folder, recipe, device="cpu", workers=0, **options)


def history(folder):
    lines = (folder / "train.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name not in SPEED}
        for line in lines
    ]


@pytest.mark.parametrize("plugin", ["fisher", "eat"])
def test_the_loss_falls_and_the_checkpoint_embeds(audio, tmp_path, plugin):
    done = run(audio, tmp_path / "run", settings(plugin=plugin, updates=12))
    assert done.changed
    told = history(tmp_path / "run")
    assert [line["update"] for line in told] == list(range(1, 13))
    assert told[-1]["loss"] < 0.95 * told[0]["loss"]
    for name in ("target_var", "pred_var", "effective_rank", "teacher_decay", "learning_rate"):
        assert all(np.isfinite(line[name]) for line in told)
    assert told[0]["teacher_decay"] == pytest.approx(0.9 + 0.05 / 6)
    assert told[0]["effective_rank"] > 1
    backbone = load_backbone(plugin, tmp_path / "run")
    assert backbone.options["architecture"]["embed_dim"] == 48
    waveform = torch.from_numpy(soundfile.read(audio / "0.wav", dtype="float32")[0])[None]
    assert backbone.embed(waveform).shape == (1, backbone.dimension)
    fresh = load_backbone(plugin, random_weights=1, architecture=backbone.options["architecture"])
    assert not torch.allclose(backbone.embed(waveform), fresh.embed(waveform), atol=1e-2)
    again = run(audio, tmp_path / "run", settings(plugin=plugin, updates=12))
    assert (again.changed, again.checkpoint) == (False, done.checkpoint)


def test_the_student_learns_what_its_optimizer_says(audio, tmp_path):
    """After one update with the first recordings: AdamW's formula by hand, then the teacher's."""
    recipe = settings(updates=2, warmup=1, accumulation=1, checkpoint_every=1, clip_norm=0)
    backbone, _ = student(recipe)
    before = {name: each.detach().clone() for name, each in backbone.named_parameters()}
    engines = []
    made = pretraining_engine.PretrainingEngine.update

    def first_update(engine, number, batches):
        if not number:
            engines.append(engine)
        report = made(engine, number, batches)
        if not number:
            engines.append({k: v.grad.clone() for k, v in engine.model.student.named_parameters()})
            engines.append(
                {k: v.detach().clone() for k, v in engine.model.teacher.named_parameters()}
            )
        return report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining_engine.PretrainingEngine, "update", first_update)
        run(audio, tmp_path / "run", recipe)
    _, gradients, teacher = engines
    tuned = load_backbone("fisher", tmp_path / "run" / "checkpoints" / "step_0000001.safetensors")
    for name, old in before.items():
        own = name.removeprefix("network.encoder.")
        gradient = gradients[own].double()
        decayed = old.double() * (1 - 1e-3 * 0.05 * (old.ndim > 1))
        expected = decayed - 1e-3 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
        new = tuned.state_dict()[name].double()
        assert float((new - expected).abs().max()) < 1e-6, name
        decay = 0.9 + 0.05 / 6
        followed = decay * old.double() + (1 - decay) * new
        assert float((teacher[own] - followed).abs().max()) < 1e-6


PROGRAM = """
import sys
from dcase_asd.recipe.toml import read_recipe
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.training.pretrain import pretrain
pretrain([sys.argv[1]], sys.argv[2], read_recipe(sys.argv[3], Pretraining), device="cpu",
         workers=int(sys.argv[4]))
"""


def test_a_killed_run_ends_with_the_same_bytes(audio, tmp_path):
    from dcase_asd.recipe.toml import recipe_text

    recipe = settings(updates=9)
    run(audio, tmp_path / "one", recipe)
    (tmp_path / "recipe.toml").write_text(recipe_text(recipe))
    arguments = [audio, tmp_path / "two", tmp_path / "recipe.toml", 1]
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    told = tmp_path / "two" / "train.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if told.is_file() and told.read_text().count("\n") >= 3:
            break
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "two" / "pretrained.safetensors").exists()
    run(audio, tmp_path / "two", recipe)
    one, two = (tmp_path / name / "pretrained.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert history(tmp_path / "one") == history(tmp_path / "two")


def test_shards_train_as_any_recordings(audio, tmp_path):
    write_shards([audio], f"{tmp_path}/{{0..2}}.tar")
    run(f"{tmp_path}/{{0..2}}.tar", tmp_path / "run")
    assert len(history(tmp_path / "run")) == 6


def test_of_shards_that_end_in_the_middle_the_whole_recordings_are_learnt_from(audio, tmp_path):
    done = write_shards([audio], f"{tmp_path}/{{0..1}}.tar")
    cut = done.shards[0]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    progress = Silent()
    run(f"{tmp_path}/{{0..1}}.tar", tmp_path / "run", progress=progress)
    (note,) = [each for each in progress.notes if "0.tar" in each]
    assert "ends in the middle of a recording" in note
    assert len(history(tmp_path / "run")) == 6


@pytest.mark.parametrize(("plugin", "frames"), [("eat", 64), ("fisher", 1024)])
def test_what_was_learnt_on_short_crops_embeds_as_it_was_trained(audio, tmp_path, plugin, frames):
    """EAT's images are as long as the crops, padded in the same way; FISHER's as the clips."""
    made = []
    with pytest.MonkeyPatch.context() as patch:
        of = pretraining_engine.PretrainingEngine.update
        patch.setattr(
            pretraining_engine.PretrainingEngine, "update",
            lambda engine, *given: (made.append(engine), of(engine, *given))[1],
        )  # fmt: skip
        run(audio, tmp_path / "run", settings(plugin=plugin))
    backbone = load_backbone(plugin, tmp_path / "run")
    assert backbone.options["target_length"] == frames
    assert backbone.options["architecture"]["target_length"] == frames
    waveform = torch.from_numpy(soundfile.read(audio / "0.wav", dtype="float32")[0])[None, :8000]
    lengths, rate = torch.tensor([8000]), 16000
    batch = PretrainingBatch(0, waveform, lengths, torch.tensor([rate]), [], [])
    trained = made[-1].backbone.eval()
    seen, _ = images_and_clones(batch, trained, settings(plugin=plugin), torch.device("cpu"))
    images = backbone.images(waveform, lengths, rate)[:, : seen.shape[1]]
    assert torch.equal(images, seen)
    torch.testing.assert_close(backbone.embed(waveform), trained.embed(waveform))


def test_continued_pre_training_begins_where_the_checkpoint_is(audio, tmp_path):
    run(audio, tmp_path / "first")
    recipe = Pretraining(**vars(settings(checkpoint=str(tmp_path / "first"), architecture={})))
    backbone, _ = student(recipe)
    saved = load_backbone("fisher", tmp_path / "first").state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in backbone.state_dict().items())
    run(audio, tmp_path / "second", recipe)
    assert history(tmp_path / "second")[0]["loss"] < history(tmp_path / "first")[0]["loss"]


def test_a_checkpoint_of_another_size_is_told(audio, tmp_path):
    mini = load_backbone(
        "fisher", random_weights=0, architecture={"embed_dim": 256, "num_heads": 4}
    )
    mini.save(tmp_path / "mini.safetensors")
    recipe = settings(checkpoint=str(tmp_path / "mini.safetensors"), architecture={}, size="small")
    with pytest.raises(RecipeError, match="checkpoint of size mini, not small; leave out --size"):
        run(audio, tmp_path / "run", recipe)
    other = load_backbone("fisher", random_weights=0, architecture={"depth": 3})
    other.save(tmp_path / "other.safetensors")
    of_other = settings(
        checkpoint=str(tmp_path / "other.safetensors"), architecture={}, size="tiny"
    )
    with pytest.raises(RecipeError, match=r"another size \(.*'depth': 3.*\), not tiny"):
        run(audio, tmp_path / "run", of_other)
    with pytest.raises(RecipeError, match="architecture: that of the checkpoint stays"):
        run(audio, tmp_path / "run", dataclasses.replace(recipe, architecture=TINY))


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"plugin": "spectral"}, BackboneError, "cannot be pre-trained; choose --plugin fisher or"),
        ({"size": "tinny"}, RecipeError, "has no size 'tinny'; did you mean 'tiny'"),
        ({"plugin": "eat", "sample_rate": 8000}, RecipeError, "eat takes one rate alone"),
        ({"architecture": {"embed_dim": 24}}, RecipeError, "embed_dim must be a multiple of 16"),
        ({"architecture": {"depht": 1}}, BackboneError, "no 'depht'; did you mean 'depth'"),
    ],
)
def test_what_cannot_be_pre_trained_is_told(audio, tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        run(audio, tmp_path / "run", settings(**changes))
    assert settings_of(tmp_path / "run", {}) == Pretraining()  # nothing of it is gone on with


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"updates": 300}, "warmup must be below updates, not 53333 of 300; .* warmup = 40"),
        ({"decoder_kernel": 4}, "decoder_kernel must be odd, not 4"),
        ({"decoder_width": 50}, "decoder_width must be a multiple of 16, not 50"),
        ({"decay_start": 0.99, "decay_end": 0.9}, "decay_end must be at least decay_start"),
        ({"sample_rate": 8}, "sample_rate must be 0 or at least 1000 Hz, not 8"),
        ({"mask_share": 1.0}, "mask_share must be"),
    ],
)
def test_values_that_cannot_be_are_told(tmp_path, given, said):
    with pytest.raises(RecipeError, match=said):
        settings_of(tmp_path, given)


def test_a_device_that_is_not_there_is_told_and_nothing_is_begun(audio, tmp_path):
    with pytest.raises(TrainingError, match=r"on the device 'xpu:7' \(.*\); try --device cpu"):
        pretrain([audio], tmp_path / "run", SHORT, device="xpu:7", workers=0)
    assert not (tmp_path / "run" / "train.jsonl").exists()


def test_a_begun_run_keeps_its_recipe_and_recordings(audio, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with stopped_at(3, monkeypatch):
        run(audio, folder)
    with pytest.raises(ArtifactError, match=r"learning_rate was 0\.001 and is 0\.002"):
        run(audio, folder, settings(learning_rate=2e-3))
    assert settings_of(folder, {}) == SHORT
    with pytest.raises(BackboneError, match="this pre-training has not ended"):
        load_backbone("fisher", folder)
    assert plan_pretraining([audio], folder, SHORT).done == 2
    other = tmp_path / "other"
    shutil.copytree(audio, other)
    (other / "0.wav").unlink()
    with pytest.raises(TrainingError, match="begun with other recordings"):
        run(other, folder)
    state = folder / "checkpoints" / "state.pt"
    content = state.read_bytes()
    state.write_bytes(content[:100])
    with pytest.raises(TrainingError, match=r"state\.pt: damaged"):
        run(audio, folder)
    state.write_bytes(content)
    run(audio, folder, settings(save_every=1))
    with pytest.raises(TrainingError, match="pre-trained on other recordings"):
        run(other, folder, settings(save_every=1))


def test_folders_of_something_else_are_not_written(audio, tmp_path, data):
    (tmp_path / "recipe.toml").touch()
    with pytest.raises(ArtifactError, match="a system's run folder; give another --run"):
        run(audio, tmp_path)
    with pytest.raises(ArtifactError, match="a data folder; give another --run"):
        run(audio, data)


def test_a_loss_that_is_not_finite_names_the_files(audio, tmp_path):
    recipe = settings(learning_rate=1.0, clip_norm=0.0, warmup=0, updates=40, accumulation=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            MaskedPrediction, "targets",
            lambda _, images: (torch.full((len(images), 18, 48), torch.nan), torch.zeros(1, 48)),
        )  # fmt: skip
        with pytest.raises(TrainingError, match=r"loss of batch 0 is nan: .*broken: .*\.wav"):
            run(audio, tmp_path / "run", recipe)


def test_broken_recordings_are_told_once(audio, tmp_path):
    folder = tmp_path / "audio"
    shutil.copytree(audio, folder)
    (folder / "broken.wav").write_bytes((folder / "0.wav").read_bytes()[:999])
    progress = Silent()
    run(folder, tmp_path / "run", settings(updates=12), progress=progress)
    assert len([note for note in progress.notes if "broken.wav: truncated" in note]) == 1
    assert sum(line["skipped"] for line in history(tmp_path / "run")) > 1


def test_memory_that_does_not_suffice_is_told_with_the_way_out():
    assert smaller_batch(settings(batch_size=12)).endswith("--batch-size 6 --accumulation 4")
    assert smaller_batch(settings(batch_size=3)).endswith("--max-images 2")


def test_the_learning_rate_rises_and_falls():
    factors = [warmed_cosine(update, 2, 10) for update in range(10)]
    assert factors[:3] == pytest.approx([0.5, 1, 1])
    assert factors[6] == pytest.approx(0.5)
    assert factors[9] == pytest.approx(0.5 * (1 + np.cos(np.pi * 7 / 8)))


def test_clips_of_several_rates_are_one_batch_of_bands():
    backbone, whole = student(settings(max_images=12))
    torch.manual_seed(0)
    waveforms, lengths = torch.randn(3, 24000), torch.tensor([8000, 24000, 5000])
    waveforms *= torch.arange(24000) < lengths[:, None]
    batch = PretrainingBatch(0, waveforms, lengths, torch.tensor([16000, 48000, 16000]), [], [])
    images, clones = images_and_clones(batch, backbone, whole, torch.device("cpu"))
    assert images.shape == (2 * 2 + 6, 48, 100)  # bands of 4 kHz; 0.5 s are 48 frames
    assert clones.tolist() == [6] * 4 + [2] * 6
    native = load_backbone("fisher", random_weights=1, architecture=TINY, sample_rate=48000)
    wide = native.spectrogram(waveforms[1:2, :24000])[0, :48, :600].unflatten(1, (6, 100))
    assert torch.allclose(images[4:], wide.transpose(0, 1), atol=1e-5)


def test_the_cost_is_what_torch_counts(monkeypatch):
    # Forward: torch counts the gradients of a grouped convolution as if there were no groups.
    monkeypatch.setattr(pretraining_cost, "FORWARD_AND_BACKWARD", 1)
    recipe = settings(max_images=8, architecture=TINY | {"depth": 3})
    backbone, whole = student(recipe)
    model = MaskedPrediction(backbone.network.encoder, whole)
    images, clones = torch.randn(2, 128, 100), torch.tensor([4, 4])
    masked = draw_masks(8, 8, 6, whole, torch.Generator().manual_seed(0))
    noise = torch.zeros(8, 48 - visible_patches(48, whole), 48)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.train()(images, clones, masked, noise)
    counted = gflop_of_clip(backbone.options["architecture"], whole, 48, 2)
    assert counter.get_total_flops() / 1e9 == pytest.approx(counted, rel=0.01)


def test_a_plan_writes_nothing(audio, tmp_path):
    plan = plan_pretraining([audio], tmp_path / "run", SHORT)
    assert (plan.recordings, plan.masks, plan.updates, plan.clips) == (9, 4, 6, 6)
    assert plan.visible == (3, 18)
    assert plan.done == 0
    assert not (tmp_path / "run").exists()


def test_published_sizes_are_those_of_the_plugins():
    parameters = {}
    for size in ("tiny", "mini", "small"):
        backbone, _ = student(Pretraining(size=size))
        assert isinstance(backbone, FamilyBackbone)
        parameters[size] = round(sum(p.numel() for p in backbone.parameters()) / 1e6, 2)
    assert parameters == {"tiny": 5.39, "mini": 9.54, "small": 21.39}  # as published


@pytest.mark.parametrize(
    ("plugin", "layers", "kernel", "width", "masks"),
    [("fisher", 5, 5, 384, 64), ("eat", 6, 3, 768, 16)],
)
def test_what_is_left_to_the_plugin_is_as_published(plugin, layers, kernel, width, masks):
    _, whole = student(Pretraining(plugin=plugin, size="tiny"))
    assert (whole.decoder_layers, whole.decoder_kernel) == (layers, kernel)
    assert (whole.decoder_width, whole.max_images) == (width, masks)


def test_mlflow_gets_what_the_history_gets(audio, tmp_path, monkeypatch):
    told = []

    class Told:
        def __init__(self, where, folder, recipe, progress):
            told.append((where, folder, recipe))

        def add(self, *lines):
            told.extend(lines)

        def close(self, status):
            told.append(status)

    monkeypatch.setattr("dcase_asd.training.tracking.Tracking", Told)
    run(audio, tmp_path / "run", mlflow="mlruns")
    lines = (tmp_path / "run" / "train.jsonl").read_text().splitlines()
    assert told == [("mlruns", tmp_path / "run", SHORT), *map(json.loads, lines), "FINISHED"]
