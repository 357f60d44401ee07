"""Backbones of plugins as front ends, with their weights beside or within the model's file."""

import shutil

import numpy as np
import pytest
import torch
from located_faults import RATE
from tiny_backbone import Tiny

from dcase_asd.errors import ArtifactError, BackboneError, RecipeError
from dcase_asd.monitor.backbones import BackboneChoice
from dcase_asd.monitor.monitor import Monitor


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A backbone with a checkpoint; returns its choice."""
    from importlib.metadata import EntryPoint

    point = EntryPoint("tiny", "tiny_backbone:Tiny", "dcase_asd.backbones")
    monkeypatch.setattr("dcase_asd.registry.entry_points", lambda group: [point])
    path = tmp_path / "weights/tiny.safetensors"
    path.parent.mkdir()
    Tiny(seed=7, width=16).save(path)
    return BackboneChoice.find("tiny", str(path), {})


@pytest.fixture
def model(tiny, machine):
    return Monitor.fit([machine.normal() for _ in range(8)], sample_rate=RATE, backbone=tiny)


def test_windows_are_embedded_by_the_backbone(model, tiny, machine):
    backbone = Tiny(seed=7, width=16).eval()
    machine.normal()
    assert model.normals.vectors.shape == (8, 16)
    sound = machine.normal()
    with torch.no_grad():
        expected = backbone.embed(torch.from_numpy(sound)[None])[0].numpy()
    from dcase_asd.monitor.hearing import sound_of

    found = model.embedder.embed(sound_of(sound, RATE), model.front)
    np.testing.assert_allclose(found, [expected], atol=1e-5)
    verdict = model.check(machine.faulty("leak", 25).samples)
    assert verdict.spans  # the explanation is that of the spectrum
    assert model.check(np.zeros(RATE)).verdict == "suspicious"


@pytest.mark.parametrize("within", [False, True])
def test_a_saved_model_finds_its_weights(model, tiny, machine, tmp_path, within):
    model.save(tmp_path / "m.asd", embed_weights=within)
    if within:
        shutil.rmtree(tmp_path / "weights")
    sound = machine.normal()
    loaded = Monitor.load(tmp_path / "m.asd")
    assert loaded.check(sound).score == pytest.approx(model.check(sound).score)


def test_other_or_missing_weights_are_refused(model, machine, tmp_path):
    model.save(tmp_path / "m.asd")
    Tiny(seed=8, width=16).save(tmp_path / "weights/tiny.safetensors")
    with pytest.raises(BackboneError, match="not the weights that the model was made with"):
        Monitor.load(tmp_path / "m.asd").check(machine.normal())
    (tmp_path / "weights/tiny.safetensors").unlink()
    with pytest.raises(BackboneError, match="no such checkpoint"):
        Monitor.load(tmp_path / "m.asd").check(machine.normal())


def test_damaged_weights_within_a_model_are_refused(model, machine, tmp_path):
    model.save(tmp_path / "m.asd", embed_weights=True)
    content = bytearray((tmp_path / "m.asd").read_bytes())
    at = content.rfind(b"weights/tiny.safetensors", 0, content.rfind(b"PK\1\2") - 100) + 2000
    content[at] ^= 1
    (tmp_path / "m.asd").write_bytes(content)
    with pytest.raises(ArtifactError, match="its weights cannot be read"):
        Monitor.load(tmp_path / "m.asd").check(machine.normal())


def test_the_spectral_plugin_needs_no_weights(machine):
    choice = BackboneChoice.find("spectral", None, {"mel_bins": 40})
    assert (choice.checkpoint, choice.files) == (None, {})
    model = Monitor.fit([machine.normal() for _ in range(5)], sample_rate=RATE, backbone=choice)
    assert model.normals.vectors.shape == (5, 120)


def test_a_recipe_names_the_backbone(tmp_path, machine):
    import soundfile
    from typer.testing import CliRunner

    from dcase_asd.cli import app

    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", machine.normal(), RATE)
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "x"\n[embed]\nplugin = "spectral"\noptions = { mel_bins = 20 }\n')
    words = ["fit", str(tmp_path), "--out", str(tmp_path / "m.asd"), "--recipe", str(recipe)]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert Monitor.load(tmp_path / "m.asd").normals.vectors.shape == (4, 60)
    recipe.write_text('name = "x"\n[embed]\nplugin = "spectral"\n[train]\n')
    done = CliRunner().invoke(app, [*words, "--force"])
    assert isinstance(done.exception, RecipeError)
    assert "--checkpoint with that file" in str(done.exception)
