import argparse
import json
import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dcase_asd.backbone.published import (
    WeightsFile,
    fit_tensors,
    is_hugging_face,
    is_safetensors,
    present_values,
    read_hugging_face_folder,
    read_torch_file,
    require_model_type,
    require_values,
    required_values,
)
from dcase_asd.errors import BackboneError


class Code:
    """What a malicious pickle holds: a call that runs when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Meter:
    """Some object of a training program."""


def message_of(raised):
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_a_torch_file_is_read(tmp_path):
    content = {"cfg": {"depth": 2}, "model": {"w": torch.ones(2)}, "args": argparse.Namespace(a=1)}
    for zipped in (True, False):
        path = tmp_path / "x.pt"
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        weights = read_torch_file(path)
        assert weights.settings == {"depth": 2}
        assert torch.equal(weights.tensors["w"], torch.ones(2))
        assert not is_safetensors(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_never_run(tmp_path, zipped):
    path, proof = tmp_path / "x.pt", tmp_path / "code ran"
    content = {"cfg": {}, "model": {}, "extra": Code(proof)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BackboneError) as raised:
        read_torch_file(path)
    assert "mkdir, which is not loaded, as a pickle can run code" in message_of(raised)
    assert not proof.exists()


def test_a_plain_pickle_with_code_is_refused(tmp_path):
    path, proof = tmp_path / "x.pt", tmp_path / "code ran"
    path.write_bytes(pickle.dumps(Code(proof)))
    with pytest.raises(BackboneError) as raised:
        read_torch_file(path)
    assert "not a readable torch file" in message_of(raised)
    assert not proof.exists()


def test_an_object_of_a_training_program_is_named_with_the_way_out(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"cfg": {}, "model": {"w": torch.ones(2)}, "meter": Meter()}, path)
    with pytest.raises(BackboneError, match=r"holds an object of type \S+\.Meter") as raised:
        read_torch_file(path)
    program = re.search(r'python -c "(.*)"', message_of(raised))[1]
    folder = os.getcwd()  # noqa: PTH109
    try:
        os.chdir(tmp_path)
        exec(program, {})  # noqa: S102 - the way out that the message shows
    finally:
        os.chdir(folder)
    assert torch.equal(read_torch_file(tmp_path / "plain.pt").tensors["w"], torch.ones(2))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_torch_file_is_refused(tmp_path, zipped):
    path = tmp_path / "x.pt"
    content = {"cfg": {}, "model": {"w": torch.ones(500)}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for size in (0, 20, len(whole) // 2, len(whole) - 50):
        path.write_bytes(whole[:size])
        with pytest.raises(BackboneError, match="not a readable torch file") as raised:
            read_torch_file(path)
        assert str(path) in message_of(raised)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            {"state_dict": {}, "epoch": 1},
            "found 'state_dict', 'epoch'; give the published file, or",
        ),
        ({"cfg": {}, "model": torch.ones(1)}, "found 'cfg', 'model'"),
        ([1, 2], "found no names"),
    ],
)
def test_a_torch_file_of_another_form_is_refused(tmp_path, content, found):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(BackboneError, match=f"holds no 'cfg' and 'model'.*{found}"):
        read_torch_file(tmp_path / "x.pt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BackboneError, match="cannot be read"):
        is_safetensors(tmp_path / "x.pt")
    with pytest.raises(BackboneError, match="not a readable torch file"):
        read_torch_file(tmp_path / "x.pt")


def write_folder(folder, config='{"depth": 2}'):
    save_file({"w": torch.ones(2)}, folder / "model.safetensors")
    (folder / "config.json").write_text(config, encoding="utf-8")


def test_a_hugging_face_folder_is_read_by_its_name_or_that_of_its_weights(tmp_path):
    write_folder(tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        assert is_hugging_face(path)
        weights = read_hugging_face_folder(path)
        assert weights.settings == {"depth": 2}
        assert torch.equal(weights.tensors["w"], torch.ones(2))
    assert is_safetensors(tmp_path / "model.safetensors")
    (tmp_path / "config.json").unlink()
    assert not is_hugging_face(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_part_of_a_folder_is_named(tmp_path, name):
    write_folder(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(BackboneError, match=f"{name}: is missing"):
        read_hugging_face_folder(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [("{", "not readable as JSON"), ("[1]", "is no table of settings")],
)
def test_damaged_settings_are_refused(tmp_path, config, message):
    write_folder(tmp_path, config)
    with pytest.raises(BackboneError, match=message):
        read_hugging_face_folder(tmp_path)


def test_truncated_safetensors_are_refused(tmp_path):
    write_folder(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BackboneError, match=r"model\.safetensors: not a readable checkpoint"):
        read_hugging_face_folder(tmp_path)


EXPECTED = {"attn.weight": (2, 3), "attn.bias": (2,), "norm.weight": (2,)}


def tensors(**changes):
    found = {f"model.{name}": torch.ones(shape) for name, shape in EXPECTED.items()}
    return {key: value for key, value in (found | changes).items() if value is not None}


def canonical(key):
    return None if key.startswith("decoder.") else key.removeprefix("model.")


def fit(found):
    return fit_tensors(WeightsFile("x.pt", {}, found), EXPECTED, canonical)


def test_keys_are_fitted_and_converted_to_float32():
    fitted = fit(tensors(**{"decoder.w": torch.ones(9), "model.attn.bias": torch.ones(2).half()}))
    assert list(fitted) == list(EXPECTED)
    assert fitted["attn.bias"].dtype is torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.attn.bias": None}, "x.pt: missing key 'attn.bias'"),
        (
            {"model.attn.bias": None, "model.atn.bias": torch.ones(2)},
            "x.pt: unknown key 'model.atn.bias' (did you mean 'attn.bias'?); "
            "missing key 'attn.bias'",
        ),
        ({"extra": torch.ones(2)}, "x.pt: unknown key 'extra'"),
        ({"extra": 5}, "x.pt: unknown key 'extra'"),
        (
            {"model.attn.weight": torch.ones(3, 2)},
            "x.pt: 'model.attn.weight' is of shape (3, 2), not (2, 3)",
        ),
        ({"model.attn.bias": 5}, "x.pt: 'model.attn.bias' is no tensor but int"),
        (
            {"attn.bias": torch.ones(2)},
            "x.pt: 'attn.bias' is there twice, with and without a prefix",
        ),
        (
            {f"extra{index}": torch.ones(1) for index in range(5)},
            "x.pt: unknown key 'extra0'; unknown key 'extra1'; unknown key 'extra2'; and 2 more",
        ),
    ],
)
def test_every_key_is_accounted_for(changes, message):
    with pytest.raises(BackboneError) as raised:
        fit(tensors(**changes))
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "prefix", ["module.", "backbone.", "_orig_mod.", "module._orig_mod.", "a.b."]
)
def test_a_prefix_of_all_keys_is_taken_off(prefix):
    plain = {key: torch.randn(shape) for key, shape in EXPECTED.items()}
    fitted = fit_tensors(
        WeightsFile("x.pt", {}, {prefix + key: value for key, value in plain.items()}),
        EXPECTED,
        canonical,
    )
    assert all(torch.equal(fitted[key], value) for key, value in plain.items())


def test_modules_that_were_compiled_alone_are_known():
    found = {
        key.replace("attn.", "attn._orig_mod."): torch.ones(shape)
        for key, shape in EXPECTED.items()
    }
    assert set(fit(found)) == set(EXPECTED)
    with pytest.raises(BackboneError, match=r"'attn\.bias' is there twice"):
        fit({**found, "attn.bias": torch.ones(2)})


def test_what_stands_beside_a_wrapped_network_is_named():
    wrapped = {f"net.{key}": torch.ones(shape) for key, shape in EXPECTED.items()}
    with pytest.raises(BackboneError) as raised:
        fit({**wrapped, "head.weight": torch.ones(2)})
    assert str(raised.value) == "x.pt: unknown key 'head.weight'"


def test_settings_with_another_value_or_missing_are_refused():
    settings = json.loads('{"patch_size": 8, "depth": null, "heads": 3}')
    require_values("x.pt", settings, {"heads": 3, "not there": 1})
    with pytest.raises(BackboneError, match=r"x\.pt: its setting patch_size is 8; only 16"):
        require_values("x.pt", settings, {"patch_size": 16})
    assert required_values("x.pt", settings, ["heads"]) == {"heads": 3}
    with pytest.raises(BackboneError, match=r"x\.pt: its settings do not say depth, width"):
        required_values("x.pt", settings, ["heads", "depth", "width"])


def test_tensors_of_another_model_altogether_are_told_as_such():
    weights = WeightsFile(Path("x.pt"), {}, {"conv.weight": torch.ones(2)})
    with pytest.raises(BackboneError, match=r"x.pt: holds another model's tensors \('conv.weight'"):
        fit_tensors(weights, {"dense.weight": (2,), "dense.bias": (2,)}, lambda key: key)


def test_settings_that_are_there_are_taken_and_another_model_is_refused():
    settings = {"depth": 2, "width": None, "model_type": "ast"}
    assert present_values(settings, "depth", "width", "heads") == {"depth": 2}
    weights = WeightsFile(Path("hub"), settings, {})
    require_model_type(weights, "ast")
    require_model_type(WeightsFile(Path("hub"), {}, {}), "ast")
    with pytest.raises(BackboneError, match="hub: a model of type 'ast', not 'eat'"):
        require_model_type(weights, "eat")
