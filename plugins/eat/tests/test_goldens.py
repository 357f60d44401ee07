"""Equality with the authors' code, within the tolerances of float32."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from dcase_asd_eat import Eat
from dcase_asd_eat.checkpoint import EAT
from dcase_asd_eat.network import Architecture
from safetensors.torch import save_file

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[3].parent / "shared" / "goldens" / "models"

FROM_SPECTROGRAM = 2e-5
MEL = 1e-3
TOKENS, CLS = 5e-4, 2e-4
"""Largest difference: given the input of the network; of that input; from the waveform."""
RELATIVE = 5e-5
"""Of networks that divide by tiny deviations, relative to the largest value."""


@pytest.fixture(scope="module")
def shared():
    if not SHARED.is_dir():
        pytest.skip("the large reference results (../shared/goldens) are not on this machine")
    return SHARED


def close(found, expected, tolerance):
    found, expected = found.detach().numpy(), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance


def close_relative(found, expected):
    close(found, expected, RELATIVE * np.abs(expected).max())


def waveform(samples):
    return torch.from_numpy(samples.astype(np.float32) / 32768)[None]


def check_all(checkpoint, golden, waves):
    """Compare everything that a golden file holds of these clips."""
    compared = set()

    def check(found, key, tolerance):
        close(found, golden[key], tolerance)
        compared.add(key)

    for name, samples in waves.items():
        clip = waveform(samples)
        for frames in (1024, 1200, 208):
            key = name if frames == 1024 else f"{name}_t{frames}"
            if f"cls_{key}" not in golden:
                continue
            backbone = Eat.from_checkpoint(checkpoint, target_length=frames).eval()
            with torch.inference_mode():
                tokens = backbone.tokens(clip)
                check(backbone.embed(clip), f"cls_{key}", CLS)
                check(tokens[:, 1:].mean(1), f"framemean_{key}", CLS)
                if f"tokens_{key}" in golden:
                    check(tokens, f"tokens_{key}", TOKENS)
                if f"tokens_head_{key}" in golden:
                    check(tokens[:, :17], f"tokens_head_{key}", TOKENS)
                if f"mel_{key}" in golden:
                    check(backbone.spectrogram(clip)[:, None], f"mel_{key}", MEL)
                    check_given_mel(checkpoint, golden, key)
                    compared.add(f"hidden_{key}")
            if f"logits_{key}" in golden:
                logits = Eat.from_checkpoint(
                    checkpoint, representation="logits", target_length=frames
                )
                assert logits.dimension == 16
                check(logits.embed(clip), f"logits_{key}", CLS)
    assert compared == {key for key in golden if any(f"_{name}" in key for name in waves)}


def check_given_mel(checkpoint, golden, key):
    """Compare the network alone, block by block."""
    mel = torch.from_numpy(golden[f"mel_{key}"][:, 0])
    layers = enumerate(golden[f"hidden_{key}"], start=1)
    for layer, hidden in [*layers, (None, golden[f"tokens_{key}"][0])]:
        backbone = Eat.from_checkpoint(checkpoint, target_length=mel.shape[1], layer=layer)
        close(backbone.tokens_from_spectrogram(mel)[0], hidden, FROM_SPECTROGRAM)
        close(backbone.cls_from_spectrogram(mel)[0], hidden[0], FROM_SPECTROGRAM)


@pytest.mark.parametrize("name", ["eat_tiny_fairseq_pretrain", "eat_tiny_fairseq_finetuned"])
def test_a_fairseq_checkpoint_gives_the_published_values(name):
    waves = dict(np.load(DATA / "waves_16k.npz"))
    check_all(DATA / f"{name}.pt", np.load(DATA / f"{name}.npz"), waves)


def test_means_are_those_of_the_tokens():
    checkpoint, clip = DATA / "eat_tiny_fairseq_pretrain.pt", torch.randn(1, 20000)
    tokens = Eat.from_checkpoint(checkpoint, target_length=208).tokens(clip)
    for representation, expected in (("frame_mean", tokens[:, 1:]), ("mean", tokens)):
        backbone = Eat.from_checkpoint(checkpoint, representation=representation, target_length=208)
        torch.testing.assert_close(backbone.embed(clip), expected.mean(1))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("checkpoint", "golden"),
    [
        ("eat_tiny_fairseq_pretrain.pt", "eat_tiny_fairseq_pretrain.npz"),
        ("eat_tiny_fairseq_finetuned.pt", "eat_tiny_fairseq_finetuned.npz"),
        ("eat_tiny_hf_pretrain", "eat_tiny_hf_pretrain/golden.npz"),
        ("eat_tiny_hf_finetune", "eat_tiny_hf_finetune/golden.npz"),
    ],
)
def test_all_clips_give_the_published_values(shared, checkpoint, golden):
    waves = np.load(shared / "waves_16k.npz")
    names = ("noise10", "machine12", "sine2", "zeros1")
    check_all(shared / checkpoint, np.load(shared / golden), {name: waves[name] for name in names})


@pytest.mark.shared
def test_the_constant_of_each_layer_norm_is_the_published_one(shared):
    checkpoint = shared / "eat_tiny_eps_hf_finetune"
    golden = np.load(checkpoint / "golden.npz")
    backbone = Eat.from_checkpoint(checkpoint, target_length=208)
    mel = torch.from_numpy(golden["mel"][:, 0])
    close(backbone.spectrogram(waveform(golden["wave"])), mel, MEL)
    close_relative(backbone.tokens_from_spectrogram(mel), golden["tokens"])
    fine_tuned = Eat.from_checkpoint(checkpoint, representation="logits", target_length=208)
    logits = fine_tuned.network.classifier(fine_tuned.cls_from_spectrogram(mel))
    close_relative(logits, golden["logits"])


@pytest.mark.shared
@pytest.mark.slow
def test_eat_base_gives_the_published_values(shared, tmp_path):
    specification = importlib.util.spec_from_file_location("fill", shared / "fill.py")
    fill = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(fill)
    names = {
        "encoder.cls_token": "model.extra_tokens",
        "encoder.patches": "model.local_encoder.proj",
        "encoder.positions": "model.fixed_positional_encoder.positions",
        "encoder.norm": "model.pre_norm",
        "encoder.blocks": "model.blocks",
    }
    tensors = {}
    for own, shape in EAT.shapes(Architecture()).items():
        key = next(
            published + own.removeprefix(name)
            for name, published in names.items()
            if own.startswith(name)
        )
        value = fill.fill_value(key, shape, seed=5)
        if value is None:
            random = Eat.from_checkpoint(random_weights=0, architecture={"depth": 1})
            tensors[key] = random.network.encoder.positions
        else:
            tensors[key] = torch.from_numpy(value)
    save_file(tensors, tmp_path / "model.safetensors")
    config = {"model_type": "eat", "embed_dim": 768, "depth": 12, "num_heads": 12}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    waves = np.load(shared / "waves_16k.npz")
    clips = {name: waves[name] for name in ("noise10", "machine12", "sine2", "zeros1")}
    check_all(tmp_path, np.load(shared / "eat_base_hf_recipe.npz"), clips)
