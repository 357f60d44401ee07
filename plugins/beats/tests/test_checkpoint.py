import os
import pickle
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from dcase_asd_beats import Beats
from dcase_asd_beats.checkpoint import SHARED_TABLE, Config
from safetensors.torch import load_file, save_file

from dcase_asd.backbone import CHECKPOINT_FORMAT, write_tensors
from dcase_asd.errors import BackboneError
from dcase_asd.registry import CACHE_VARIABLE, choose_checkpoint, load_backbone

DATA = Path(__file__).parent / "data"
PRETRAINED, FINETUNED = DATA / "beats_tiny_pretrain.pt", DATA / "beats_tiny_finetuned.pt"
CLIP = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))


def changed(tmp_path, change, source=PRETRAINED):
    content = torch.load(source, weights_only=True)
    change(content)
    torch.save(content, tmp_path / "changed.pt")
    return tmp_path / "changed.pt"


def refused(path, **options):
    """The sentence that a file is refused with."""
    with pytest.raises(BackboneError) as caught:
        Beats.from_checkpoint(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_every_tensor_of_a_published_file_is_used():
    published = torch.load(FINETUNED, weights_only=True)["model"]
    state = Beats.from_checkpoint(FINETUNED, representation="classes").network.state_dict()
    used = set()
    for name, value in published.items():
        ours = f"encoder.{SHARED_TABLE}" if name.endswith(SHARED_TABLE) else name
        assert torch.equal(state[ours], value)
        used.add(ours)
    assert used == set(state)


def test_a_predictor_that_no_representation_needs_is_left_out():
    plain, classes = (
        Beats.from_checkpoint(FINETUNED, representation=choice) for choice in ("mean", "classes")
    )
    assert plain.network.predictor is None
    assert (plain.dimension, classes.dimension) == (48, 16)


def test_a_switch_that_a_file_leaves_out_has_its_authors_default(tmp_path):
    def leave_out(content):
        for name in ("max_distance", "conv_pos", "num_buckets"):
            del content["cfg"][name]
        content["cfg"]["a_switch_of_the_tokenizer"] = 1

    backbone = Beats.from_checkpoint(changed(tmp_path, leave_out))
    assert backbone.options["architecture"]["max_distance"] == 1280
    # Of a second all distances are near, so that nothing changes; in four some are far.
    published, long = Beats.from_checkpoint(PRETRAINED).eval(), CLIP.repeat(1, 4)
    assert torch.equal(backbone.eval().tokens(CLIP), published.tokens(CLIP))
    assert not torch.allclose(backbone.tokens(long), published.tokens(long), atol=1e-3)


def test_half_precision_weights_are_computed_with_in_float32(tmp_path):
    def halve(content):
        content["model"] = {name: value.half() for name, value in content["model"].items()}

    found = Beats.from_checkpoint(changed(tmp_path, halve)).eval().embed(CLIP)
    expected = Beats.from_checkpoint(PRETRAINED).eval().embed(CLIP)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


def test_a_missing_and_a_misspelt_tensor_are_named_with_the_name_meant(tmp_path):
    def misspell(content):
        model = content["model"]
        model["encoder.layers.0.fc1.wieght"] = model.pop("encoder.layers.0.fc1.weight")
        del model["layer_norm.bias"]

    message = refused(changed(tmp_path, misspell))
    assert (
        "unknown key 'encoder.layers.0.fc1.wieght' (did you mean "
        "'encoder.layers.0.fc1.weight'?)" in message
    )
    assert "missing key 'layer_norm.bias'" in message


def test_each_layers_copy_of_the_shared_table_is_accounted_for(tmp_path):
    name = f"encoder.layers.1.self_attn.{SHARED_TABLE}"
    path = changed(tmp_path, lambda content: content["model"].pop(name))
    assert f"missing key {name!r}" in refused(path)

    def differ(content):
        content["model"][name] = content["model"][name] + 1

    assert f"{name!r} differs from that of layer 0" in refused(changed(tmp_path, differ))


def test_a_tensor_of_another_shape_is_named_with_both_shapes(tmp_path):
    def reshape(content):
        content["model"]["encoder.layers.1.fc2.bias"] = torch.zeros(3)

    message = refused(changed(tmp_path, reshape))
    assert "'encoder.layers.1.fc2.bias' is of shape (3,), not (48,)" in message


def test_of_many_problems_some_are_told_and_all_are_counted(tmp_path):
    def deepen(content):
        content["cfg"]["encoder_layers"] = 3

    message = refused(changed(tmp_path, deepen))
    assert message.count("missing key") == 3
    assert "and 17 more" in message


def test_a_tokenizer_is_no_backbone(tmp_path):
    def quantise(content):
        content["model"]["quantize.embedding.weight"] = torch.zeros(8, 4)

    message = refused(changed(tmp_path, quantise))
    assert "unknown key 'quantize.embedding.weight'" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "epoch": 3}, "holds no 'cfg' and 'model', as published files do; "
         "found 'state_dict', 'epoch'"),
        (torch.zeros(2), "found no names"),
        ({"cfg": {"input_patch_size": 16}, "model": {}}, "model's tensors (nothing at all)"),
        ({"cfg": {"input_patch_size": 16}, "model": {"blocks.0.bias": torch.zeros(2)}},
         "another model's tensors ('blocks.0.bias')"),
        ({"cfg": {"input_patch_size": 16}, "model": {"layer_norm.bias": [1.0]}},
         "'layer_norm.bias' is no tensor but list"),
    ],
)  # fmt: skip
def test_files_of_other_models_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    assert message in refused(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"input_patch_size": -1}, "input_patch_size is -1; it must be at least 1"),
        ({"input_patch_size": 160}, "input_patch_size is 160, above 128"),
        ({"input_patch_size": "16"}, "input_patch_size is '16', not of type int"),
        ({"encoder_attention_heads": 7}, "no multiple of encoder_attention_heads, which is 7"),
        ({"activation_fn": "geluu"}, "no activation_fn is called 'geluu'; did you mean 'gelu'?"),
        ({"layer_norm_first": True}, "deep_norm and layer_norm_first are both true"),
        ({"num_buckets": 2}, "num_buckets is 2; it must be at least 4"),
        ({"max_distance": 80}, "max_distance is 80; it must be above a quarter of num_buckets"),
    ],
)
def test_switches_out_of_range_are_told(tmp_path, switches, message):
    path = changed(tmp_path, lambda content: content["cfg"].update(switches))
    message_found = refused(path)
    assert "its 'cfg' describes no BEATs network" in message_found
    assert message in message_found


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share):
    whole = PRETRAINED.read_bytes()
    (tmp_path / "x.pt").write_bytes(whole[: int(share * len(whole))])
    assert "perhaps truncated; fetch it again" in refused(tmp_path / "x.pt")


class Code:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_executed(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pt"
    torch.save({"cfg": Code(), "model": {}}, path, _use_new_zipfile_serialization=zipped)
    assert "which is not loaded, as a pickle can run code" in refused(path)
    path.write_bytes(pickle.dumps({"cfg": Code()}, protocol=2))
    refused(path)
    assert not (tmp_path / "executed").exists()


def test_files_that_are_no_checkpoint_at_all_are_refused(tmp_path):
    (tmp_path / "page.pt").write_text("<html>This link has expired</html>")
    assert "a web page (HTML), not weights" in refused(tmp_path / "page.pt")
    (tmp_path / "empty.pt").touch()
    assert "not a readable torch file" in refused(tmp_path / "empty.pt")
    assert "a folder; give the file of weights in it" in refused(tmp_path)
    with pytest.raises(BackboneError, match="no such checkpoint"):
        load_backbone("beats", tmp_path / "nothing.pt")


@pytest.mark.parametrize("options", [{}, {"layers": [1]}, {"representation": "classes"}])
def test_what_is_saved_is_loaded_with_its_options(tmp_path, options):
    path = tmp_path / "saved.safetensors"
    backbone = Beats.from_checkpoint(FINETUNED, gradient_decay=0.9, **options).eval()
    backbone.save(path)
    loaded = load_backbone("beats", path)
    assert loaded.options == backbone.options
    assert loaded.network.encoder.gradient_decay == 0.9
    assert torch.equal(loaded.embed(CLIP), backbone.embed(CLIP))


def test_options_of_a_saved_file_may_be_overridden_where_its_weights_allow_it(tmp_path):
    path = tmp_path / "saved.safetensors"
    Beats.from_checkpoint(FINETUNED, layers=[1]).save(path)
    assert Beats.from_checkpoint(path, representation="bands").dimension == 8 * 48
    with pytest.raises(BackboneError, match=r"layers are \[2\]; choose from 1 to 1"):
        Beats.from_checkpoint(path, layers=[2])
    with pytest.raises(BackboneError, match="classes need the last layer"):
        Beats.from_checkpoint(path, representation="classes")


def test_tensors_of_a_saved_file_are_accounted_for_as_well(tmp_path):
    path = tmp_path / "saved.safetensors"
    backbone = Beats.from_checkpoint(PRETRAINED)
    backbone.network.layer_norm.bias = None
    backbone.save(path)
    assert "missing key 'layer_norm.bias'" in refused(path)


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "_orig_mod.", "module.net."])
def test_a_prefix_that_a_wrapper_put_before_every_key_is_taken_off(tmp_path, prefix):
    def wrap(content):
        content["model"] = {prefix + key: value for key, value in content["model"].items()}

    found = Beats.from_checkpoint(changed(tmp_path, wrap)).eval()
    assert torch.equal(found.embed(CLIP), Beats.from_checkpoint(PRETRAINED).eval().embed(CLIP))


def test_files_of_other_plugins_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    metadata = {"format": CHECKPOINT_FORMAT, "plugin": "eat", "options": "{}"}
    write_tensors(path, {"weight": torch.zeros(1)}, metadata)
    assert "use --plugin eat" in refused(path)
    save_file(load_file(path), path)
    assert "not a checkpoint that dcase-asd saved" in refused(path)


def test_without_a_checkpoint_the_weights_of_the_cache_are_taken(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(BackboneError, match=r"put BEATs_iter3.pt into .*microsoft/unilm"):
        Beats.from_checkpoint()
    place = choose_checkpoint("beats").path("beats")
    place.parent.mkdir(parents=True)
    place.write_bytes(PRETRAINED.read_bytes())
    assert Beats.from_checkpoint().dimension == 48


def test_an_architecture_is_only_for_random_weights():
    with pytest.raises(BackboneError, match="the checkpoint says the architecture"):
        Beats.from_checkpoint(PRETRAINED, architecture={"encoder_layers": 1})
    with pytest.raises(BackboneError, match="leave out either this checkpoint or random_weights"):
        Beats.from_checkpoint(PRETRAINED, random_weights=0)
    with pytest.raises(BackboneError, match=r"no switch 'encoder_layer'; did you mean"):
        load_backbone("beats", random_weights=0, architecture={"encoder_layer": 1})


def test_the_released_architecture_has_the_switches_of_published_files():
    published = torch.load(FINETUNED, weights_only=True)["cfg"]
    sizes = {name: published[name] for name in ("encoder_layers", "encoder_embed_dim",
             "encoder_ffn_embed_dim", "encoder_attention_heads", "embed_dim", "finetuned_model",
             "predictor_class")}  # fmt: skip
    assert asdict(Config.released(**sizes)) == asdict(Config(**published))


def test_an_ordered_dictionary_of_tensors_is_read_like_any_other(tmp_path):
    def order(content):
        content["model"] = OrderedDict(content["model"])

    assert Beats.from_checkpoint(changed(tmp_path, order)).dimension == 48


def test_a_whole_number_is_as_good_as_the_fraction_that_it_equals():
    assert type(Config.released(dropout=0).dropout) is float
    assert Config.released(dropout=0) == Config.released(dropout=0.0)
