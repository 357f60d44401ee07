"""Equality with the authors' code, within the tolerances of float32."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from dcase_asd_fisher import Fisher
from dcase_asd_fisher.checkpoint import FISHER
from dcase_asd_fisher.front_end import DEVIATION, MEAN
from dcase_asd_fisher.network import Architecture
from safetensors.torch import save_file

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[3].parent / "shared" / "goldens" / "models"

FROM_SPECTROGRAM = 2e-5
SPECTROGRAM, QUIET_SPECTROGRAM = 1e-3, 5e-2
TOKENS, CLS = 5e-4, 2e-4
"""Largest difference: given the input of the network; of that input, where the magnitude is above
`QUIET` and elsewhere; from the waveform."""
QUIET = 1e-3
RELATIVE = 5e-5
"""Of networks that divide by tiny deviations, relative to the largest value."""


@pytest.fixture(scope="module")
def shared():
    if not SHARED.is_dir():
        pytest.skip("the large reference results (../shared/goldens) are not on this machine")
    return SHARED


def close(found, expected, tolerance):
    found, expected = np.asarray(found.detach()), np.asarray(expected)
    assert found.shape == expected.shape
    assert (np.abs(found - expected) <= tolerance).all()


def waveforms(samples):
    return torch.from_numpy(np.atleast_2d(samples).astype(np.float32) / 32768)


def by_band(tokens, bands):
    """Concatenated tokens (b, n, bands * d) as the reference has them, (b * bands, n, d)."""
    return tokens.unflatten(-1, (bands, -1)).transpose(1, 2).flatten(0, 1)


def check_all(checkpoint, golden, waves):
    """Compare everything that a golden file holds of these clips."""
    compared = set()

    def check(found, key, tolerance):
        close(found, golden[key], tolerance)
        compared.add(key)

    for name, samples in waves.items():
        clips, rate = waveforms(samples), int(name.rpartition("_")[2])
        backbone = Fisher.from_checkpoint(checkpoint, sample_rate=rate).eval()
        bands = backbone.dimension // backbone.network.encoder.cls_token.shape[-1]
        with torch.inference_mode():
            check(backbone.embed(clips), f"emb_{name}", CLS)
            if f"tokens_{name}" in golden:
                check(by_band(backbone.tokens(clips), bands), f"tokens_{name}", TOKENS)
            if f"spec_{name}" in golden:
                magnitude = np.exp(golden[f"logspec_{name}"])
                tolerance = np.where(magnitude > QUIET, SPECTROGRAM, QUIET_SPECTROGRAM)
                found = backbone.spectrogram(clips)
                check(found[:, None], f"spec_{name}", tolerance)
                logarithm = found[0] * 2 * DEVIATION + MEAN
                check(logarithm, f"logspec_{name}", tolerance * 2 * DEVIATION)
                check_given_spectrogram(backbone, golden, name, bands)
            if f"emb_{name}_pad1024" in golden:
                padded = Fisher.from_checkpoint(checkpoint, sample_rate=rate, padded=True)
                check(padded.embed(clips), f"emb_{name}_pad1024", CLS)
    assert compared == {key for key in golden if any(f"_{name}" in key for name in waves)}


def check_given_spectrogram(backbone, golden, name, bands):
    """Compare the network alone."""
    spectrogram = torch.from_numpy(golden[f"spec_{name}"][:, 0])
    tokens = backbone.tokens_from_spectrogram(spectrogram)
    close(by_band(tokens, bands), golden[f"tokens_{name}"], FROM_SPECTROGRAM)
    cls = backbone.cls_from_spectrogram(spectrogram)
    close(cls, golden[f"emb_{name}"], FROM_SPECTROGRAM)


def test_a_published_checkpoint_gives_the_published_values_at_every_rate():
    check_all(
        DATA / "fisher_tiny.pt", np.load(DATA / "fisher_tiny.npz"), np.load(DATA / "waves.npz")
    )


def test_means_are_those_of_the_tokens():
    checkpoint, clip = DATA / "fisher_tiny.pt", torch.randn(1, 20000)
    tokens = Fisher.from_checkpoint(checkpoint).tokens(clip)
    for representation, expected in (("frame_mean", tokens[:, 1:]), ("mean", tokens)):
        backbone = Fisher.from_checkpoint(checkpoint, representation=representation)
        torch.testing.assert_close(backbone.embed(clip), expected.mean(1))


def all_waves(shared):
    own = {f"{name}_16000": value for name, value in np.load(shared / "waves_16k.npz").items()}
    names = ("noise10_16000", "machine12_16000", "sine2_16000", "zeros1_16000")
    other = np.load(shared / "waves_other_rates.npz")
    return {name: own[name] for name in names} | dict(other)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("checkpoint", "golden"),
    [("fisher_tiny.pt", "fisher_tiny.npz"), ("fisher_tiny_hf", "fisher_tiny_hf/golden.npz")],
)
def test_all_clips_give_the_published_values(shared, checkpoint, golden):
    check_all(shared / checkpoint, np.load(shared / golden), all_waves(shared))


@pytest.mark.shared
def test_the_constant_of_each_layer_norm_is_the_published_one(shared):
    golden = np.load(shared / "fisher_tiny_eps.npz")
    backbone = Fisher.from_checkpoint(shared / "fisher_tiny_eps.pt")
    spectrogram = torch.from_numpy(golden["spec"][:, 0])
    close(backbone.spectrogram(waveforms(golden["wave"])), spectrogram, QUIET_SPECTROGRAM)
    largest = np.abs(golden["emb"]).max()
    close(backbone.cls_from_spectrogram(spectrogram), golden["emb"], RELATIVE * largest)


@pytest.mark.shared
def test_fisher_tiny_gives_the_published_values(shared, tmp_path):
    specification = importlib.util.spec_from_file_location("fill", shared / "fill.py")
    fill = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(fill)
    stem = "modality_encoders.IMAGE."
    names = {
        "encoder.cls_token": stem + "extra_tokens",
        "encoder.patches": stem + "local_encoder.proj",
        "encoder.positions": stem + "fixed_positional_encoder.positions",
        "encoder.norm": stem + "context_encoder.norm",
        "encoder.blocks": "blocks",
    }
    tensors = {}
    for own, shape in FISHER.shapes(Architecture()).items():
        name = next(name for name in names if own.startswith(name))
        key = names[name] + own.removeprefix(name)
        value = fill.fill_value(key, shape, seed=5)
        if value is None:
            random = Fisher.from_checkpoint(random_weights=0, architecture={"depth": 1})
            tensors[key] = random.network.encoder.positions
        else:
            tensors[key] = torch.from_numpy(value)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "fisher"}), encoding="utf-8")
    golden = np.load(shared / "fisher_real_tiny_recipe.npz")
    check_all(tmp_path, golden, all_waves(shared))
