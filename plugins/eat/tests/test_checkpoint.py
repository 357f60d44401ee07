import json
import os
from pathlib import Path

import pytest
import torch
from dcase_asd_eat import Eat
from dcase_asd_spectral import Spectral
from safetensors.torch import save_file

from dcase_asd.errors import BackboneError

DATA = Path(__file__).parent / "data"
PRETRAINED = DATA / "eat_tiny_fairseq_pretrain.pt"
FINETUNED = DATA / "eat_tiny_fairseq_finetuned.pt"
IMAGE = "modality_encoders.IMAGE."


class Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def content(path=PRETRAINED):
    return torch.load(path, weights_only=True)


def write(path, changed):
    torch.save(changed, path)
    return path


def write_folder(folder, model_type="eat", **settings):
    """A Hugging Face folder with the pre-trained network's tensors."""
    tensors = {
        "model." + key.removeprefix(IMAGE).replace("context_encoder.norm", "pre_norm"): value
        for key, value in content()["model"].items()
        if key != "_ema" and ".decoder." not in key
    }
    config = {
        "model_type": model_type, "embed_dim": 48, "depth": 2, "num_heads": 4, "max_length": 96,
        "model_variant": "pretrain", "num_classes": 527, "img_size": [1024, 128],
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    config = {name: value for name, value in (config | settings).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def same(one, other):
    clip = torch.randn(1, 20000, generator=torch.Generator().manual_seed(0))
    return torch.equal(one.embed(clip), other.embed(clip))


def unchanged(folder, changed):
    """Whether a changed checkpoint still gives the embedding of the original."""
    return same(Eat.from_checkpoint(PRETRAINED), Eat.from_checkpoint(write(folder / "x", changed)))


def error(path, **options):
    with pytest.raises(BackboneError) as raised:
        Eat.from_checkpoint(path, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_student_is_taken_and_not_its_teacher(tmp_path):
    changed = content()
    for value in changed["model"]["_ema"].values():
        value.zero_()
    assert same(
        Eat.from_checkpoint(PRETRAINED), Eat.from_checkpoint(write(tmp_path / "x", changed))
    )
    del changed["model"]["_ema"]
    assert same(
        Eat.from_checkpoint(PRETRAINED), Eat.from_checkpoint(write(tmp_path / "x", changed))
    )


def test_both_published_forms_are_one_network(tmp_path):
    folder = write_folder(tmp_path / "hub")
    for path in (folder, folder / "model.safetensors"):
        assert same(Eat.from_checkpoint(PRETRAINED), Eat.from_checkpoint(path))


def test_an_older_name_of_the_positions_is_known(tmp_path):
    changed = content()
    name = IMAGE + "fixed_positional_encoder.positions"
    changed["model"][IMAGE + "positional_encoder.pos_embed"] = changed["model"].pop(name)
    assert same(
        Eat.from_checkpoint(PRETRAINED), Eat.from_checkpoint(write(tmp_path / "x", changed))
    )


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "_orig_mod.", "module.net."])
def test_a_prefix_that_a_wrapper_put_before_every_key_is_taken_off(tmp_path, prefix):
    changed = content()
    changed["model"] = {prefix + key: value for key, value in changed["model"].items()}
    assert unchanged(tmp_path, changed)


def test_the_target_length_of_the_checkpoint_is_the_default(tmp_path):
    assert Eat.from_checkpoint(PRETRAINED).options["target_length"] == 1024
    short = Eat.from_checkpoint(write_folder(tmp_path, img_size=[512, 128]))
    assert short.options["target_length"] == 512


def test_the_classifier_is_kept_only_for_logits(tmp_path):
    assert Eat.from_checkpoint(FINETUNED).network.classifier is None
    logits = Eat.from_checkpoint(FINETUNED, representation="logits")
    logits.save(tmp_path / "x")
    assert same(Eat.from_checkpoint(tmp_path / "x"), logits)
    tokens = Eat.from_checkpoint(tmp_path / "x", representation="cls")
    assert tokens.network.classifier is None
    assert same(tokens, Eat.from_checkpoint(FINETUNED))
    assert "logits need" in error(PRETRAINED, representation="logits")
    assert "logits need" in error(FINETUNED, representation="logits", layer=1)


def test_what_was_saved_is_loaded_and_options_given_anew_go_before(tmp_path):
    backbone = Eat.from_checkpoint(PRETRAINED, target_length=208, representation="mean", layer=1)
    backbone.save(tmp_path / "x")
    loaded = Eat.from_checkpoint(tmp_path / "x")
    assert loaded.options == backbone.options
    assert same(loaded, backbone)
    other = Eat.from_checkpoint(tmp_path / "x", target_length=1024, representation="cls")
    assert same(other, Eat.from_checkpoint(PRETRAINED, layer=1))
    assert "no layer 2; choose from 1 to 1" in error(tmp_path / "x", layer=2)


def test_without_a_path_the_fetched_weights_are_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("DCASE_ASD_CACHE", str(tmp_path))
    message = error(None)
    assert "`dcase-asd weights eat --checkpoint EAT-base_epoch30_pretrain`" in message
    assert f"into {tmp_path / 'eat' / 'EAT-base_epoch30_pretrain'}" in message
    assert "huggingface.co/worstchan/EAT-base_epoch30_pretrain/resolve/main/config.json" in message
    (tmp_path / "eat").mkdir()
    write_folder(tmp_path / "eat" / "EAT-base_epoch30_pretrain")
    assert same(Eat.from_checkpoint(), Eat.from_checkpoint(PRETRAINED))


def test_keys_that_do_not_fit_are_named(tmp_path):
    cls, qkv = IMAGE + "extra_tokens", "blocks.0.attn.qkv.weight"
    for wrong, value, message in [
        (IMAGE + "extra_token", torch.ones(1), "(did you mean 'extra_tokens'?)"),
        ("blocks.2.attn.qkv.weight", torch.ones(1), "unknown key 'blocks.2.attn.qkv.weight'"),
        (qkv, torch.ones(144, 24), f"'{qkv}' is of shape (144, 24), not (144, 48)"),
        ("head.weight", torch.ones(1), "unknown key 'head.weight'"),
    ]:
        changed = content()
        del changed["model"][cls]
        changed["model"][wrong] = value
        found = error(write(tmp_path / "x.pt", changed))
        assert message in found
        assert "missing key 'extra_tokens'" in found


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
    changed["cfg"]["model"]["modalities"]["image"]["band_width"] = 100
    assert "--plugin fisher" in error(write(tmp_path / "x", changed))
    changed["cfg"] = {"encoder_layers": 12}
    assert "not of EAT" in (message := error(write(tmp_path / "x", changed)))
    assert "use --plugin beats" in message
    changed["cfg"] = {"model": {"_name": "wav2vec2"}}
    assert "use its model's plugin" in error(write(tmp_path / "x", changed))
    assert "a model of type 'ast', not 'eat'" in error(write_folder(tmp_path / "hub", "ast"))
    Spectral().save(tmp_path / "x")
    assert "use --plugin spectral" in error(tmp_path / "x")


def test_settings_that_no_published_checkpoint_has_are_refused(tmp_path):
    for name, value in {
        "layer_norm_first": True,
        "depth": None,
        "num_heads": 5,
        "depth ": 0,
    }.items():
        changed = content()
        changed["cfg"]["model"][name.strip()] = value
        assert name.strip() in error(write(tmp_path / "x", changed))
    changed = content()
    changed["cfg"]["model"]["modalities"]["image"]["embed_dim"] = 32
    assert "its setting embed_dim is 32; only 48" in error(write(tmp_path / "x", changed))
    assert "its setting stride is 10; only 16" in error(write_folder(tmp_path / "hub", stride=10))
    message = error(write_folder(tmp_path / "hub", model_variant="finetune", num_classes=None))
    assert "do not say num_classes" in message
