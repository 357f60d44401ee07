import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from dcase_asd_huggingface import HuggingFace
from dcase_asd_spectral import Spectral
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from dcase_asd.errors import BackboneError
from dcase_asd.registry import load_backbone

TENSORS = "model.safetensors"


class Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def copied(tmp_path, save_model):
    """A model's folder that may be changed."""

    def copy(family="wav2vec2"):
        return shutil.copytree(save_model(family), tmp_path / family)

    return copy


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache, and a hub that nobody answers at."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "cache"


def change(folder, file="config.json", **values):
    settings = json.loads((folder / file).read_text(encoding="utf-8"))
    (folder / file).write_text(json.dumps(settings | values), encoding="utf-8")
    return folder


def same(one, other):
    clip = torch.randn(1, 20000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return torch.equal(one.eval().embed(clip), other.eval().embed(clip))


def error(path, **options):
    with pytest.raises(BackboneError) as raised:
        load_backbone("huggingface", path, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_folder_and_the_weights_in_it_are_one_model(save_model):
    folder = save_model("wav2vec2")
    assert same(HuggingFace.from_checkpoint(folder), HuggingFace.from_checkpoint(folder / TENSORS))


def test_what_was_saved_needs_no_other_file_and_options_given_anew_go_before(
    tmp_path, copied, family
):
    folder = copied(family)
    backbone = HuggingFace.from_checkpoint(folder, layers=[1], representation="mean")
    backbone.save(tmp_path / "x")
    shutil.rmtree(folder)
    loaded = HuggingFace.from_checkpoint(tmp_path / "x")
    assert loaded.options == backbone.options
    assert same(loaded, backbone)
    other = HuggingFace.from_checkpoint(tmp_path / "x", layers=[2, 1], merge="mean")
    assert other.options["layers"] == [2, 1]
    assert not same(loaded, other)


def test_a_model_with_a_head_is_that_model_without(tmp_path, copied):
    folder = copied()
    expected = HuggingFace.from_checkpoint(folder)
    tensors = {f"wav2vec2.{name}": value for name, value in load_file(folder / TENSORS).items()}
    tensors |= {"lm_head.weight": torch.ones(5, 32), "lm_head.bias": torch.ones(5)}
    del tensors["wav2vec2.masked_spec_embed"]  # only its authors' training needs it
    save_file(tensors, folder / TENSORS, {"format": "pt"})
    assert same(HuggingFace.from_checkpoint(folder), expected)


def test_without_a_model_one_is_asked_for():
    assert "give its folder or its name on the hub as --checkpoint" in error(None)


def test_a_model_of_the_hub_that_is_in_the_cache_needs_no_network(hub, save_model):
    commit = "0123456789012345678901234567890123456789"
    repository = hub / "models--somebody--sounds"
    shutil.copytree(save_model("hubert"), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    found = load_backbone("huggingface", Path("somebody/sounds"))
    assert same(found, HuggingFace.from_checkpoint(save_model("hubert")))


def test_what_the_hub_answers_is_told(hub, monkeypatch):
    def refuse(*_, **__):
        raise OSError("the repository\nis closed")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    message = error(Path("owner/closed"))
    assert message.startswith(
        "owner/closed: cannot be fetched (the repository is closed); give the"
    )


def test_without_a_network_it_says_what_to_put_where_at_once(hub):
    before = time.monotonic()
    message = error(Path("somebody/sounds"))
    assert time.monotonic() - before < 30
    assert message.startswith(f"somebody/sounds: not in the cache ({hub}), and the hub cannot be")
    assert "`hf download somebody/sounds`" in message
    assert "config.json, preprocessor_config.json, model.safetensors" in message


def test_what_is_neither_a_folder_nor_a_name_is_said(tmp_path, hub):
    for name in ("gone", "./some/where/else", str(tmp_path / "gone")):
        assert "no such folder, and no name of a model on the hub" in error(Path(name))
    assert not hub.exists()


def test_pickles_are_refused_and_nothing_in_them_runs(tmp_path, copied):
    folder = copied()
    (folder / TENSORS).unlink()
    torch.save(Code(tmp_path / "code ran"), folder / "pytorch_model.bin")
    message = error(folder)
    assert "holds only pytorch_model.bin, which is not loaded, as a pickle can run code" in message
    assert "save_pretrained('.')" in message
    assert "not a readable checkpoint" in error(folder / "pytorch_model.bin")
    assert not (tmp_path / "code ran").exists()


def test_a_models_own_code_is_not_run(tmp_path, copied):
    folder = copied()
    (folder / "code.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'code ran')!r})\n")
    automatic = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    change(folder, model_type="mine", auto_map=automatic)
    assert "its model 'mine' is code in that folder, which is not run" in error(folder)
    change(folder, model_type="wav2vec2")
    change(
        folder, "preprocessor_config.json", feature_extractor_type="Mine",
        auto_map={"AutoFeatureExtractor": "code.Mine"},
    )  # fmt: skip
    error(folder)
    assert not (tmp_path / "code ran").exists()


def test_files_that_are_missing_are_named(copied):
    folder = copied()
    (folder / "preprocessor_config.json").rename(folder / "away")
    assert "has no preprocessor_config.json, which says how sound becomes" in error(folder)
    (folder / "away").rename(folder / "preprocessor_config.json")
    (folder / TENSORS).unlink()
    assert "no *.safetensors: fetch the weights of the model, too" in error(folder)
    (folder / "config.json").unlink()
    assert "has no config.json; give the folder of a model" in error(folder)


def test_damaged_files_are_refused(tmp_path, copied):
    folder = copied()
    content = (folder / TENSORS).read_bytes()
    for part in (content[:-10], content[:100], b""):
        (folder / TENSORS).write_bytes(part)
        assert "the weights cannot be loaded" in error(folder)
    (folder / TENSORS).write_bytes(content)
    (folder / "preprocessor_config.json").write_text("{", encoding="utf-8")
    assert "not a feature extractor for audio that transformers can open" in error(folder)
    (folder / "config.json").write_text("[]", encoding="utf-8")
    assert "names no model_type; it is no model of transformers" in error(folder)
    (folder / "config.json").write_text("{", encoding="utf-8")
    assert "config.json: not readable as JSON" in error(folder)
    backbone = HuggingFace.from_checkpoint(copied("hubert"))
    backbone.save(tmp_path / "x")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-10])
    assert "x: not a readable checkpoint" in error(tmp_path / "x")


def test_weights_of_another_model_are_refused(tmp_path, copied):
    folder = copied()
    tensors = load_file(folder / TENSORS)
    for changed, message in [
        ({"other": torch.ones(3)}, "tensors are missing, as '"),
        (
            {f"module.{name}": value for name, value in tensors.items()},
            "and others are there, as 'module.encoder.layer_norm.bias'",
        ),
        ({n: v for n, v in tensors.items() if ".layers.2." not in n}, "encoder.layers.2"),
        (tensors | {"feature_projection.projection.weight": torch.ones(2, 2)}, "cannot be loaded"),
    ]:
        save_file(changed, folder / TENSORS, {"format": "pt"})
        assert message in error(folder)
    Spectral().save(tmp_path / "x")
    assert "use --plugin spectral" in error(tmp_path / "x")


def test_models_that_are_none_for_audio_are_refused(tmp_path):
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    assert "either this is no model for audio" in error(tmp_path)
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000,
        "feature_size": 1, "padding_value": 0.0, "do_normalize": True,
    }  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(extractor), encoding="utf-8")
    assert "the model 'bert' does not turn sound into tokens" in error(tmp_path)
    change(tmp_path, "preprocessor_config.json", sampling_rate=None)
    assert "is no feature extractor for audio" in error(tmp_path)


def test_what_another_version_of_transformers_saved_is_told(tmp_path, save_model):
    backbone = HuggingFace.from_checkpoint(save_model("hubert"))
    backbone.options["config"] = backbone.options["config"] | {"model_type": "future"}
    backbone.save(tmp_path / "x")
    assert "x: this version of transformers cannot make its model" in error(tmp_path / "x")


def test_listing_the_plugins_does_not_import_transformers():
    code = (
        "import sys; from dcase_asd.cli import main; sys.argv = ['dcase-asd', 'plugins']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'transformers', 'torch', 'huggingface_hub'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "dcase_asd_huggingface:HuggingFace" in done.stdout
