"""`embed` with a pooling gives what `pool` gives of the backbone's tokens, for every plugin."""

import numpy as np
import pytest
import soundfile
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel
from typer.testing import CliRunner

from dcase_asd import pool
from dcase_asd.audio import read_waveform
from dcase_asd.cli.app import app
from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings import machines as module
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.store import read_embeddings
from dcase_asd.errors import (
    ArtifactError,
    AudioError,
    BackboneError,
    RecipeError,
    ScoresError,
)
from dcase_asd.recipe.system import Embedding, System, read_system
from dcase_asd.recipe.toml import read_recipe, recipe_text
from dcase_asd.registry import load_backbone
from dcase_asd.scores.score import _all_same, _check_finite

FAN = "dcase2025t2/dev_data/raw/fan"
YEAR = "dcase2025"
BEATS = {
    "encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16,
    "encoder_attention_heads": 2, "embed_dim": 16,
}  # fmt: skip
SMALL = {"embed_dim": 16, "depth": 2, "num_heads": 2}


@pytest.fixture
def data(small_tree, write_clip):
    for seed, seconds in ((90, 1.1), (91, 0.73)):  # to be padded
        name = f"train/section_00_source_train_normal_{seed:04d}_m-n_W.wav"
        write_clip(small_tree / FAN / name, seed, seconds)
    prepare(small_tree)
    return small_tree


@pytest.fixture(scope="module")
def ast(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ast")
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = ASTConfig(**sizes, hidden_size=16, max_length=200, num_mel_bins=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ASTModel(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, parameter.mean().item(), 0.1)
        model.save_pretrained(folder)
    ASTFeatureExtractor(max_length=200, num_mel_bins=32).save_pretrained(folder)
    return str(folder)


def expected(data, fan, backbone, method, **parameters):
    """Each clip by itself, by the Python API."""
    rows = []
    for split, file in zip(fan.clips["split"], fan.clips["file"], strict=True):
        clip = torch.from_numpy(read_waveform(data / FAN / split / file))
        with torch.inference_mode():
            tokens, mask = backbone.token_grid(clip[None])
        rows.append(pool(tokens[0].numpy(), method, mask=mask[0].numpy(), **parameters))
    return np.stack(rows)


@pytest.mark.parametrize(
    ("plugin", "options", "bands"),
    [
        ("spectral", {"mel_bins": 24}, 8),
        ("beats", {"random_weights": 0, "architecture": BEATS}, 8),
        ("beats", {"random_weights": 0, "architecture": BEATS, "layers": [1, 2]}, 8),
        ("eat", {"random_weights": 0, "architecture": SMALL, "target_length": 128}, 8),
        ("fisher", {"random_weights": 0, "architecture": SMALL}, 12),
        ("huggingface", {}, 2),
    ],
)
def test_embeddings_are_the_pooled_tokens_of_each_clip(data, tmp_path, ast, plugin, options, bands):
    checkpoint = ast if plugin == "huggingface" else None
    backbone = load_backbone(plugin, checkpoint, **options)
    grids = {}
    for kept in ("apart", "concat", "mean"):
        settings = {"pooling": "rdp", "pooling_options": {"gamma": 4}, "bands": kept}
        system = System(kept, Embedding(plugin, checkpoint, options, **settings))
        embed(data, tmp_path / kept, YEAR, system, "cpu")
        (fan,) = read_embeddings(tmp_path / kept, YEAR)
        grids[kept] = np.asarray(fan.vectors)
    found = expected(data, fan, backbone, "rdp", gamma=4)
    assert found.shape[:2] == (16, bands)
    close = {"rtol": 1e-3, "atol": 1e-4 * np.abs(found).max()}
    np.testing.assert_allclose(grids["apart"], found, **close)
    np.testing.assert_allclose(grids["concat"], found.reshape(16, -1), **close)
    np.testing.assert_allclose(grids["mean"], found.mean(axis=1), **close)
    assert fan.vectors.dtype == np.float32


def test_bands_together_are_one_token_of_each_moment(data, tmp_path):
    settings = {"pooling": "rdp", "pooling_options": {"gamma": 4}, "bands": "together"}
    embed(data, tmp_path, YEAR, System("together", Embedding("spectral", **settings)), "cpu")
    (fan,) = read_embeddings(tmp_path, YEAR)

    class Together(type(load_backbone("spectral"))):
        def token_grid(self, *arguments):
            tokens, mask = super().token_grid(*arguments)
            return tokens.flatten(2)[:, :, None], mask

    found = expected(data, fan, Together(), "rdp", gamma=4)[:, 0]
    np.testing.assert_allclose(fan.vectors, found, rtol=1e-4)


def call(*arguments):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_flags_of_embed_are_kept_in_the_recipe_and_gone_on_with(data, tmp_path):
    run = tmp_path / "run"
    base = ("embed", "--data", data, "--edition", "2025", "--run", run)
    flags = ("--pooling", "rdp+gem", "--pooling-option", "gamma=16", "--pooling-option", "p=2")
    done = call(*base, "--plugin", "spectral", *flags, "--bands", "apart")
    assert "1 machine(s) embedded" in done.stdout
    options = {"gamma": 16.0, "p": 2.0}
    recipe = Embedding("spectral", pooling="rdp+gem", pooling_options=options, bands="apart")
    assert read_system(run).embed == recipe
    (fan,) = read_embeddings(run, YEAR)
    assert fan.vectors.shape == (16, 8, 16)
    assert fan.provenance["dimension"] == 128
    assert (fan.provenance["pooling"], fan.provenance["bands"]) == ("rdp+gem", "apart")
    np.testing.assert_allclose(
        fan.vectors, expected(data, fan, load_backbone("spectral"), "rdp+gem", **options), rtol=1e-4
    )
    assert "0 machine(s) embedded, 1 were complete" in call(*base).stdout
    with pytest.raises(ArtifactError, match=r"pooling was 'rdp\+gem' and is 'max'"):
        call(*base, "--pooling", "max")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--bands", "apart"), "bands need a pooling; choose one with --pooling, such as rdp"),
        (("--pooling-option", "gamma=4"), "pooling_options need a pooling"),
        (
            ("--pooling", "gem", "--pooling-option", "gamma=4", "--far", "wram", "--channel", 2),
            "'gem' has no parameter 'gamma'; it has p; far = wram takes the other of two channels",
        ),
        (("--pooling", "gwrp", "--pooling-option", "r=1.5"), r"r = 1.5 .* must lie in \[0, 1\]"),
        (("--pooling", "rdp", "--pooling-option", "gamma=nan"), "gamma = nan .* must lie in"),
        (("--pooling", "rdp", "--pooling-option", "gamma=x"), "gamma' must be a number, not 'x'"),
    ],
)
def test_settings_that_cannot_be_are_refused_together_before_anything_is_written(
    data, tmp_path, flags, message
):
    base = ("embed", "--plugin", "spectral", "--data", data, "--edition", "2025")
    with pytest.raises(RecipeError, match=message):
        call(*base, "--run", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_a_recipe_is_read_back_and_its_mistakes_are_told(tmp_path):
    path = tmp_path / "x.toml"
    embedding = Embedding(
        "beats", pooling="rdp", pooling_options={"gamma": 8.0}, bands="apart", far="cancel"
    )
    path.write_text(recipe_text(System("x", embedding)))
    assert read_recipe(path, System).embed == embedding
    path.write_text(
        'name = "x"\n[embed]\nplugin = "beats"\npooling = "rpd"\nband = "apart"\nfar = "cancle"\n'
    )
    with pytest.raises(RecipeError) as told:
        read_system(path)
    for part in ("'rpd' (did you mean 'rdp'", "'embed.band'", "'cancle' (did you mean 'cancel'"):
        assert part in str(told.value)
    with pytest.raises(ValueError, match="no pooling is called 'rpd'; did you mean 'rdp'"):
        Embedding("beats", pooling="rpd")
    with pytest.raises(ValueError, match="far cannot be 'cancle'; did you mean 'cancel'"):
        Embedding("beats", far="cancle")


def test_embeddings_made_before_there_were_poolings_stay_valid(monkeypatch):
    monkeypatch.setattr(module, "installed_plugins", list)
    of = module._backbone_fingerprint
    assert of(Embedding("spectral")) == "b59e41799245eba4ee8cd0070ae80491"
    other = Embedding("spectral", None, {"mel_bins": 64}, 1, 4)
    assert of(other) == "555c322cce549e4ac1ab48a8152f0811"
    whole, number = (Embedding("x", pooling="rdp", pooling_options={"gamma": g}) for g in (4, 4.0))
    assert of(whole) == of(number) != of(Embedding("x", pooling="rdp"))
    assert of(Embedding("x", far="cancel")) != of(Embedding("x"))


def test_clips_of_other_shapes_are_refused(data, tmp_path, monkeypatch):
    def uneven(*_):
        yield np.zeros((1, 2, 3), np.float32)
        yield np.zeros((1, 4, 3), np.float32)

    monkeypatch.setattr(module, "_embed_batch", uneven)
    system = System("x", Embedding("spectral"))
    with pytest.raises(BackboneError, match=r"other shapes, \(2, 3\) and \(4, 3\); give --bands"):
        embed(data, tmp_path / "run", YEAR, system)


def test_bands_apart_are_checked_clip_by_clip(tmp_path):
    vectors = np.zeros((3, 2, 4), np.float32)
    assert _all_same(vectors[:2], vectors[2:])
    vectors[1, 1, 2] = np.nan
    files = np.array(["a.wav", "b.wav", "c.wav"])

    with pytest.raises(ScoresError, match=r"the embedding of b\.wav is not finite"):
        _check_finite(vectors, files, "dev fan", tmp_path / "fan.json")
    vectors[1, 1, 2] = 1.0
    assert not _all_same(vectors[:2], vectors[2:])


def test_a_clip_too_short_to_be_pooled_is_named(data, tmp_path):
    name = "section_00_source_train_normal_0095_m-n_W.wav"
    soundfile.write(data / FAN / "train" / name, 0.1 * np.sin(np.arange(300)), 16000)

    system = System("x", Embedding("spectral", pooling="max"))
    with pytest.raises(AudioError, match=f"{name}: a clip of 300 samples is shorter than one fram"):
        embed(data, tmp_path / "run", YEAR, system)
