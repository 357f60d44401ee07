"""What every plugin with weights does with bad input: one clear line, and nothing is executed."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from dcase_asd_spectral import Spectral
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.embed import embed
from dcase_asd.errors import AudioError, BackboneError, DcaseAsdError
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.registry import load_backbone, load_class

PLUGINS = ("beats", "eat", "fisher", "huggingface")
SMALL = {
    "beats": {
        "encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16,
        "encoder_attention_heads": 2, "embed_dim": 16,
    },
    "eat": {"embed_dim": 16, "depth": 1, "num_heads": 2},
    "fisher": {"embed_dim": 16, "depth": 1, "num_heads": 2},
}  # fmt: skip
TINY_HUBERT = HubertConfig(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    conv_dim=(8,) * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
)  # fmt: skip


class Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def folder_of_hubert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hubert")
    HubertModel(TINY_HUBERT).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture
def make(folder_of_hubert):
    """A small backbone of a plugin."""

    def of(plugin):
        if plugin == "huggingface":
            return load_backbone(plugin, folder_of_hubert)
        return load_backbone(plugin, random_weights=0, architecture=SMALL[plugin])

    return of


@pytest.fixture(params=PLUGINS)
def plugin(request):
    """Each plugin's name."""
    return request.param


def refused(plugin, path):
    """The message, which is one line that begins with the file."""
    with pytest.raises(DcaseAsdError) as raised:
        load_backbone(plugin, path)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(str(path.parent)), message
    return message


def test_a_checkpoint_of_another_plugin_names_the_one_to_use(tmp_path, plugin, make):
    for other in (each for each in PLUGINS if each != plugin):
        make(other).save(tmp_path / other)
        assert f"use --plugin {other}" in refused(plugin, tmp_path / other)
    Spectral().save(tmp_path / "x")
    assert "use --plugin spectral" in refused(plugin, tmp_path / "x")


@pytest.mark.parametrize("plugin", PLUGINS[1:])  # BEATs was never published as such a folder
@pytest.mark.parametrize("other", [each for each in PLUGINS if each != "huggingface"])
def test_a_hub_folder_of_another_model_is_refused(tmp_path, plugin, other, folder_of_hubert):
    if plugin == "huggingface":
        config = {"model_type": other, "auto_map": {"AutoModel": "code.Model"}}
    else:
        config = {"model_type": "hubert"}
    for file in folder_of_hubert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    message = refused(plugin, tmp_path / "model.safetensors")
    assert config["model_type"] in message


def test_a_file_cut_off_anywhere_is_refused(tmp_path, plugin, make):
    path = tmp_path / "weights"
    make(plugin).save(path)
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(plugin, path)


@pytest.mark.parametrize("form", ["zip", "old", "plain"])
def test_code_in_a_pickle_is_never_executed(tmp_path, plugin, form):
    path, ran = tmp_path / "x.pt", tmp_path / "code ran"
    content = {"cfg": {}, "model": {}, "extra": Code(ran)}
    if form == "plain":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    refused(plugin, path)
    assert not ran.exists()
    pickle.loads(pickle.dumps(Code(ran)))  # noqa: S301 - that the code would have run
    assert ran.exists()


INSTEAD = {
    b"<!DOCTYPE html><title>Too many requests</title>": "a web page (HTML), not weights",
    b"\xef\xbb\xbf\n<html><body>sign in</body></html>": "a web page (HTML), not weights",
    b"404: Not Found": "text, not weights ('404: Not Found')",
    b"Entry not\nfound\n": "text, not weights ('Entry not found')",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 361345\n": "a Git LFS pointer"
    " of 69 bytes to a file of 361345 bytes: fetch the real file with `git lfs pull`",
}
"""What downloads and clones leave in place of weights, and what is said of it."""


@pytest.mark.parametrize("content", INSTEAD)
def test_what_was_saved_in_place_of_weights_is_told(tmp_path, plugin, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    assert INSTEAD[content] in refused(plugin, path)


@pytest.mark.parametrize("plugin", PLUGINS[1:])  # BEATs was never published as such a folder
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("content", INSTEAD)
def test_so_it_is_in_a_hub_folder(tmp_path, plugin, name, content, folder_of_hubert):
    for file in folder_of_hubert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_bytes(content)
    message = refused(plugin, tmp_path / "model.safetensors")
    assert message.startswith(f"{tmp_path / name}: {INSTEAD[content]}")


def test_a_file_that_is_not_there_is_named(tmp_path, plugin):
    for path in (tmp_path / "gone.pt", tmp_path / "gone"):
        assert "no such" in refused(plugin, path)


def test_a_checkpoint_is_given_as_text_or_path(tmp_path, plugin, make):
    backbone, path = make(plugin), tmp_path / "weights"
    backbone.save(str(path))
    clip = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = backbone.eval().embed(clip)
        for checkpoint in (path, str(path)):
            assert torch.equal(load_backbone(plugin, checkpoint).embed(clip), expected)
            loaded = load_class(plugin).from_checkpoint(checkpoint).eval()
            assert torch.equal(loaded.embed(clip), expected)


def test_an_empty_folder_is_refused(tmp_path, plugin):
    (tmp_path / "hub").mkdir()
    message = refused(plugin, tmp_path / "hub")
    wanted = "a folder; give the file of weights" if plugin == "beats" else "config.json"
    assert wanted in message


def test_without_weights_it_says_what_to_put_where(tmp_path, plugin, monkeypatch):
    monkeypatch.setenv("DCASE_ASD_CACHE", str(tmp_path))
    with pytest.raises(BackboneError) as raised:
        load_backbone(plugin)
    wanted = "give its folder" if plugin == "huggingface" else f"into {tmp_path / plugin}"
    assert wanted in str(raised.value)


def test_clips_of_a_moment_are_refused_and_of_less_than_a_second_embedded(plugin, make):
    backbone = make(plugin)
    rate = backbone.sample_rate
    for samples in (0, 1, 100, 399):
        with pytest.raises(
            AudioError, match=rf"a clip of {samples} samples is (too short|shorter)"
        ):
            backbone.embed(torch.zeros(2, samples))
        with pytest.raises(
            AudioError, match=rf"a clip of {samples} samples is (too short|shorter)"
        ):
            backbone.embed(torch.zeros(2, rate), torch.tensor([rate, samples]))
    with torch.no_grad():
        found = backbone.embed(0.1 * torch.randn(2, rate // 4))
    assert found.shape == (2, backbone.dimension)
    assert bool(found.isfinite().all())


def test_a_rate_that_it_cannot_take_is_refused(plugin, make):
    backbone = make(plugin)
    with pytest.raises(AudioError, match="44100"):
        backbone.embed(torch.zeros(1, 44100), sample_rate=44100)


def test_a_clip_too_short_among_others_is_named_with_the_way_out(
    tmp_path, plugin, folder_of_hubert, small_tree, write_clip, make
):
    short = next(small_tree.rglob("*source_test_normal_0000*"))
    write_clip(short, seconds=0.01)
    prepare(small_tree)
    checkpoint = tmp_path / "weights"
    make(plugin).save(checkpoint)
    system = System("x", Embedding(plugin, str(checkpoint)))
    with pytest.raises(AudioError) as raised:
        embed(small_tree, tmp_path / "run", "dcase2025", system, "cpu")
    assert short.name in str(raised.value)
    assert "samples" in str(raised.value)
    assert Path(tmp_path / "run").is_dir()
