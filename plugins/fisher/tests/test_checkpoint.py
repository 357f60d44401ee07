import json
import os
from pathlib import Path

import pytest
import torch
from dcase_asd_fisher import Fisher
from dcase_asd_spectral import Spectral
from safetensors.torch import save_file

from dcase_asd.errors import BackboneError

DATA = Path(__file__).parent / "data"
PRETRAINED = DATA / "fisher_tiny.pt"
IMAGE = "modality_encoders.IMAGE."


class Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def content():
    return torch.load(PRETRAINED, weights_only=True)


def write(path, changed):
    torch.save(changed, path)
    return path


def write_folder(folder, model_type="fisher", prefix="", **settings):
    """A Hugging Face folder with the published file's tensors."""
    config = {
        "model_type": model_type, "band_width": 100, "embed_dim": 48, "num_heads": 4, "depth": 2,
        "max_band_per_sample": 64, "max_length": 16,
    }  # fmt: skip
    folder.mkdir(exist_ok=True, parents=True)
    tensors = {prefix + key: value for key, value in content()["model"].items()}
    save_file(tensors, folder / "model.safetensors")
    config = {name: value for name, value in (config | settings).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def same(one, other):
    clip = torch.randn(1, 20000, generator=torch.Generator().manual_seed(0))
    return torch.equal(one.embed(clip), other.embed(clip))


def error(path, **options):
    with pytest.raises(BackboneError) as raised:
        Fisher.from_checkpoint(path, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("prefix", ["", "model.", "fisher.encoder."])
def test_both_published_forms_are_one_network_whatever_prefix_the_keys_have(tmp_path, prefix):
    folder = write_folder(tmp_path, prefix=prefix)
    for path in (folder, folder / "model.safetensors"):
        assert same(Fisher.from_checkpoint(PRETRAINED), Fisher.from_checkpoint(path))


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "_orig_mod.", "module.net."])
def test_a_prefix_that_a_wrapper_put_before_every_key_is_taken_off(tmp_path, prefix):
    changed = content()
    changed["model"] = {prefix + key: value for key, value in changed["model"].items()}
    found = Fisher.from_checkpoint(write(tmp_path / "x.pt", changed))
    assert same(found, Fisher.from_checkpoint(PRETRAINED))


def test_settings_that_are_left_out_have_the_published_defaults(tmp_path):
    backbone = Fisher.from_checkpoint(random_weights=0, architecture={"max_freq": 50})
    tensors = {
        "blocks." + name.removeprefix("blocks."): value
        for name, value in backbone.network.encoder.state_dict().items()
        if name.startswith("blocks.")
    }
    for own, published in {
        "cls_token": "extra_tokens", "positions": "fixed_positional_encoder.positions",
        "patches.weight": "local_encoder.proj.weight", "patches.bias": "local_encoder.proj.bias",
        "norm.weight": "context_encoder.norm.weight", "norm.bias": "context_encoder.norm.bias",
    }.items():  # fmt: skip
        tensors[IMAGE + published] = backbone.network.encoder.state_dict()[own]
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    loaded = Fisher.from_checkpoint(tmp_path)
    assert loaded.options == backbone.options
    assert same(loaded, backbone)


def test_what_was_saved_is_loaded_and_options_given_anew_go_before(tmp_path):
    options = {"representation": "mean", "bands": "mean", "sample_rate": "native", "layer": 1}
    backbone = Fisher.from_checkpoint(PRETRAINED, **options, target_length=100, padded=True)
    backbone.save(tmp_path / "x")
    loaded = Fisher.from_checkpoint(tmp_path / "x")
    assert loaded.options == backbone.options
    assert loaded.sample_rate is None
    clip = torch.randn(1, 30000)
    assert torch.equal(loaded.embed(clip, None, 22050), backbone.embed(clip, None, 22050))
    other = Fisher.from_checkpoint(
        tmp_path / "x", target_length=1024, representation="cls", bands="concatenate",
        sample_rate=16000, padded=False,
    )  # fmt: skip
    assert same(other, Fisher.from_checkpoint(PRETRAINED, layer=1))
    assert "no layer 2; choose from 1 to 1" in error(tmp_path / "x", layer=2)


def test_without_a_path_the_fetched_weights_are_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("DCASE_ASD_CACHE", str(tmp_path))
    message = error(None)
    assert "`dcase-asd weights fisher --checkpoint FISHER-small-0723`" in message
    assert f"into {tmp_path / 'fisher' / 'FISHER-small-0723'}" in message
    assert "huggingface.co/jiangab/FISHER-small-0723/resolve/main/config.json" in message
    write_folder(tmp_path / "fisher" / "FISHER-small-0723")
    assert same(Fisher.from_checkpoint(), Fisher.from_checkpoint(PRETRAINED))


def test_keys_that_do_not_fit_are_named(tmp_path):
    norm, qkv = IMAGE + "context_encoder.norm.bias", "blocks.0.attn.qkv.weight"
    for wrong, value, message in [
        (IMAGE + "context_encoder.nrom.bias", torch.ones(1), "(did you mean 'context_encoder.norm"),
        ("blocks.2.attn.qkv.weight", torch.ones(1), "unknown key 'blocks.2.attn.qkv.weight'"),
        (qkv, torch.ones(144, 24), f"'{qkv}' is of shape (144, 24), not (144, 48)"),
        ("_ema", {}, "unknown key '_ema'"),
    ]:
        changed = content()
        del changed["model"][norm]
        changed["model"][wrong] = value
        found = error(write(tmp_path / "x.pt", changed))
        assert message in found
        assert "missing key 'context_encoder.norm.bias'" in found


def test_a_checkpoint_with_other_objects_is_refused_and_nothing_in_it_runs(tmp_path):
    path = write(tmp_path / "x.pt", content() | {"extra": Code(tmp_path / "code ran")})
    assert "which is not loaded, as a pickle can run code" in error(path)
    assert not (tmp_path / "code ran").exists()


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(PRETRAINED.read_bytes()[:100_000])
    assert "perhaps truncated; fetch it again" in error(path)
    folder = write_folder(tmp_path / "hub")
    tensors = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(tensors[:-10])
    assert "not a readable checkpoint" in error(folder)
    path.write_bytes(tensors)
    assert "not a checkpoint that dcase-asd saved" in error(path)


def test_checkpoints_of_other_models_are_refused(tmp_path):
    changed = content()
    del changed["cfg"]["model"]["band_width"]
    assert same(
        Fisher.from_checkpoint(PRETRAINED), Fisher.from_checkpoint(write(tmp_path / "x", changed))
    )
    del changed["cfg"]["model"]["modalities"]["image"]["band_width"]
    assert "has no band_width; use --plugin eat" in error(write(tmp_path / "x", changed))
    changed["cfg"] = {"encoder_layers": 12}
    assert "not of FISHER" in (message := error(write(tmp_path / "x", changed)))
    assert "use --plugin beats" in message
    changed["cfg"] = {"model": {"_name": "wav2vec2"}}
    assert "use its model's plugin" in error(write(tmp_path / "x", changed))
    assert "a model of type 'eat', not 'fisher'" in error(write_folder(tmp_path / "hub", "eat"))
    Spectral().save(tmp_path / "x")
    assert "use --plugin spectral" in error(tmp_path / "x")


def test_settings_that_no_published_checkpoint_has_are_refused(tmp_path):
    for name, value, message in [
        ("layer_norm_first", True, "its setting layer_norm_first is True; only False"),
        ("depth", None, "its settings do not say depth"),
        ("depth", 0, "its settings describe no network (depth must be"),
        ("num_heads", 5, "its settings describe no network (embed_dim must be"),
        ("band_width", 8, "its settings describe no network (band_width must be"),
    ]:
        changed = content()
        changed["cfg"]["model"][name] = value
        assert message in error(write(tmp_path / "x", changed))
    changed = content()
    changed["cfg"]["model"]["modalities"]["image"]["flatten"] = "time"
    assert "its setting flatten is 'time'; only 'freq'" in error(write(tmp_path / "x", changed))
    message = error(write_folder(tmp_path / "hub", max_length=1))
    assert "its settings describe no network (target_length must be" in message
