"""Equality with the authors' code, within the tolerances of float32."""

import json
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from dcase_asd_beats import Beats
from dcase_asd_beats.checkpoint import SHARED_TABLE, Config
from dcase_asd_beats.network import Network

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[3].parent / "shared" / "goldens" / "models"

FROM_SPECTROGRAM, MEL, TOKENS, POOLED = 2e-5, 1e-3, 5e-4, 2e-4
"""Largest difference: given the input of the network; of that input; from the waveform."""
PROBABILITIES = 1e-5
RELATIVE = 5e-5
"""Of networks whose norms divide by tiny deviations, relative to the largest value."""


@pytest.fixture(scope="module")
def shared():
    if not SHARED.is_dir():
        pytest.skip("the large reference results (../shared/goldens) are not on this machine")
    return SHARED


@pytest.fixture(autouse=True)
def no_gradient():
    with torch.inference_mode():
        yield


def tensor(values):
    return torch.from_numpy(np.asarray(values))


def waveforms(samples):
    return tensor(samples.astype(np.float32) / 32768).reshape(-1, samples.shape[-1])


def close(found, expected, tolerance):
    assert found.shape == expected.shape
    assert np.abs(found.numpy() - expected).max() <= tolerance


def published_mask(lengths, samples, frames, tokens):
    """Valid tokens by the published rule, which shrinks a mask of samples to frames, then tokens.

    Each time what does not fill a whole factor is dropped from the end, and a place is padding if
    all that it was shrunk from is. A token thus looks at other frames than those of its patch.
    """
    padding = np.arange(samples)[None] >= lengths[:, None]
    for size in (frames, tokens):
        padding = padding[:, : padding.shape[1] // size * size]
        padding = padding.reshape(len(padding), size, -1).all(-1)
    return ~padding


def check_clips(backbone, golden, waves):
    """Compare everything that a golden file holds of single clips; what was compared."""
    compared = set()

    def check(key, found, tolerance):
        if key in golden:
            close(found, golden[key], tolerance)
            compared.add(key)

    for name in set(waves) - {"batch", "batch_valid_samples"}:
        clip = waveforms(waves[name])
        check(f"fbank_{name}", backbone.spectrogram(clip), MEL)
        tokens = backbone.tokens(clip)
        check(f"features_{name}", tokens, TOKENS)
        check(f"features_head_{name}", tokens[:, :16], TOKENS)
        check(f"pooled_{name}", tokens.mean(1), POOLED)  # `embed`, says test_backbone
        if f"fbank_{name}" in golden:
            spectrogram = tensor(golden[f"fbank_{name}"])
            tokens = backbone.tokens_from_spectrogram(spectrogram)
            check(f"features_{name}", tokens, FROM_SPECTROGRAM)
    return compared


def check_batch(backbone, golden, waves):
    """Compare a batch with padding, by the published rule for what is padding; what was compared.

    `tokens` and `embed` have another rule (`FrontEnd.token_mask` says why), so that the mask is
    handed to the network here; all else is what they run.
    """
    clips, lengths = waveforms(waves["batch"]), waves["batch_valid_samples"]
    spectrogram = backbone.spectrogram(clips)
    count = backbone.token_mask(tensor(lengths), clips.shape[1]).shape[1]
    mask = published_mask(lengths, clips.shape[1], spectrogram.shape[1], count)
    (tokens,) = backbone.network(spectrogram, tensor(mask))
    means = np.stack([clip[kept].mean(0) for clip, kept in zip(tokens.numpy(), mask, strict=True)])
    found = {
        "token_padding_mask_batch": ~mask,
        "features_batch": tokens.numpy(),
        "features_head_batch": tokens[:, :16].numpy(),
        "pooled_batch_all_tokens": tokens.mean(1).numpy(),
        "pooled_batch_valid_tokens": means,
    }
    compared = set(found) & set(golden)
    for key in compared:
        assert found[key].shape == golden[key].shape
        tolerance = POOLED if key.startswith("pooled") else TOKENS
        assert np.abs(found[key].astype(float) - golden[key]).max() <= tolerance
    return compared


def check_layers(checkpoint, golden, waves):
    """Compare the output of every layer."""
    for layer, expected in enumerate(golden["hidden_sine2"], 1):
        backbone = Beats.from_checkpoint(checkpoint, layers=[layer]).eval()
        close(backbone.tokens(waveforms(waves["sine2"]))[0], expected, TOKENS)
    return {"hidden_sine2"}


def check_probabilities(checkpoint, golden, waves):
    backbone = Beats.from_checkpoint(checkpoint, representation="classes").eval()
    compared = {key for key in golden if key.startswith("probs_")} - {"probs_batch"}
    for key in compared:
        close(backbone.embed(waveforms(waves[key[6:]])), golden[key], PROBABILITIES)
    lengths = waves["batch_valid_samples"]
    clips = waveforms(waves["batch"])
    spectrogram = backbone.spectrogram(clips)
    valid = tensor(published_mask(lengths, clips.shape[1], spectrogram.shape[1], 496))
    (tokens,) = backbone.network(spectrogram, valid)
    means = torch.stack([clip[kept].mean(0) for clip, kept in zip(tokens, valid, strict=True)])
    close(backbone.network.predictor(means).sigmoid(), golden["probs_batch"], PROBABILITIES)
    return compared | {"probs_batch"}


def check_file(folder, name, waves):
    golden = dict(np.load(folder / f"{name}.npz"))
    checkpoint = folder / f"{name}.pt"
    backbone = Beats.from_checkpoint(checkpoint).eval()
    compared = check_clips(backbone, golden, waves) | check_batch(backbone, golden, waves)
    if "hidden_sine2" in golden:
        compared |= check_layers(checkpoint, golden, waves)
    if "probs_sine2" in golden:
        compared |= check_probabilities(checkpoint, golden, waves)
    assert compared == set(golden) - {"valid_samples_batch"}


@pytest.mark.parametrize("name", ["beats_tiny_pretrain", "beats_tiny_finetuned"])
def test_features_are_those_of_the_authors_code(name):
    check_file(DATA, name, dict(np.load(DATA / "waves.npz")))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["beats_tiny_pretrain", "beats_tiny_finetuned"])
def test_features_of_long_clips_are_those_of_the_authors_code(shared, name):
    check_file(shared, name, dict(np.load(shared / "waves_16k.npz")))


def test_norms_add_the_authors_epsilon():
    golden = np.load(DATA / "beats_tiny_eps.npz")
    clip = waveforms(golden["wave"])
    backbone = Beats.from_checkpoint(DATA / "beats_tiny_eps.pt").eval()
    for found, expected in [
        (backbone.tokens(clip), golden["features"]),
        (backbone.embed(clip), golden["pooled"]),
    ]:
        close(found, expected, RELATIVE * np.abs(expected).max())
    assert golden["rel_change_if_eps_1e6"] > 5 * RELATIVE
    classes = Beats.from_checkpoint(DATA / "beats_tiny_eps.pt", representation="classes").eval()
    close(classes.embed(clip), golden["probs"], PROBABILITIES)


def drawn_by_name(name, shape, seed):
    """Weights that any implementation draws alike: the generator's seed is made of the name."""
    if name.endswith(SHARED_TABLE):
        name = f"encoder.layers.0.self_attn.{SHARED_TABLE}"
    state = (zlib.crc32(name.encode()) + 1000003 * seed) % 2**32
    z = np.random.RandomState(state).standard_normal(tuple(shape))
    kind = name.rpartition(".")[2]
    if kind == "weight_g":
        z = 1.2 * (1 + 0.1 * z)
    elif kind == "grep_a":
        z = 1 + 0.2 * z
    elif name.endswith(SHARED_TABLE):
        z = 0.5 * z
    elif len(shape) == 1:
        z = 1 + 0.1 * z if kind == "weight" else 0.1 * z
    else:
        z /= np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(z.astype(np.float32))


def published_file(config, path, seed):
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in Network(config).state_dict().items()}
    table = shapes.pop(f"encoder.{SHARED_TABLE}")
    for layer in range(config.encoder_layers):
        shapes[f"encoder.layers.{layer}.self_attn.{SHARED_TABLE}"] = table
    tensors = {name: drawn_by_name(name, shape, seed) for name, shape in shapes.items()}
    torch.save({"cfg": asdict(config), "model": tensors}, path)
    return tensors


def test_the_tiny_checkpoint_is_drawn_by_the_same_recipe(tmp_path):
    published = torch.load(DATA / "beats_tiny_pretrain.pt", weights_only=True)
    tensors = published_file(Config(**published["cfg"]), tmp_path / "same.pt", seed=0)
    assert set(tensors) == set(published["model"])
    for name, value in tensors.items():
        torch.testing.assert_close(value, published["model"][name], rtol=0, atol=0)


@pytest.mark.shared
@pytest.mark.slow
def test_features_of_the_base_model_are_those_of_the_authors_code(shared, tmp_path):
    path = tmp_path / "base.pt"
    tensors = published_file(Config.released(), path, seed=5)
    assert len(tensors) == 250
    golden = dict(np.load(shared / "beats_base_pretrain_recipe.npz"))
    waves = dict(np.load(shared / "waves_16k.npz"))
    backbone = Beats.from_checkpoint(path).eval()
    assert sum(each.numel() for each in backbone.parameters()) == 90_311_792
    compared = check_clips(backbone, golden, waves) | check_batch(backbone, golden, waves)
    assert compared == set(golden)


@pytest.mark.shared
def test_the_tiny_files_here_are_those_of_the_reference_results(shared):
    for name in ("pretrain", "finetuned", "eps"):
        file = f"beats_tiny_{name}.pt"
        assert (DATA / file).read_bytes() == (shared / file).read_bytes()
    config = json.loads((shared / "beats_report.json").read_text())["beats_tiny_pretrain"]["cfg"]
    released = asdict(Config.released())
    sizes = ("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "embed_dim",
             "encoder_attention_heads")  # fmt: skip
    assert {key: released[key] for key in config if key not in sizes} == {
        key: value for key, value in config.items() if key not in sizes
    }
