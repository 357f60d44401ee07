"""Backbones of plugins as front ends, with their weights beside or within the model's file."""

import shutil

import numpy as np
import pytest
import soundfile
import torch
from located_faults import RATE, Machine
from tiny_backbone import Tiny
from typer.testing import CliRunner

from dcase_asd.backbone.time_pooling import pool
from dcase_asd.cli import app
from dcase_asd.errors import ArtifactError, BackboneError, DcaseAsdError, RecipeError
from dcase_asd.monitor.backbones import BackboneChoice
from dcase_asd.monitor.hearing import open_sound, sound_of
from dcase_asd.monitor.monitor import Monitor
from dcase_asd.recipe.detector import Detector
from dcase_asd.registry import load_backbone
from dcase_asd.scores.detectors import Mahalanobis


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


def test_weights_within_a_model_stay_with_it_when_it_is_updated(model, machine, tmp_path):
    model.save(tmp_path / "m.asd", embed_weights=True)
    shutil.rmtree(tmp_path / "weights")
    place = tmp_path / "more/0.wav"
    place.parent.mkdir()
    soundfile.write(place, machine.normal(), RATE)
    for word in ("--update", "--out"):  # in its place, then as another file
        done = CliRunner().invoke(
            app, ["fit", str(place.parent), "--update", str(tmp_path / "m.asd"),
                  *(["--out", str(tmp_path / "n.asd")] if word == "--out" else [])],
        )  # fmt: skip
        assert done.exit_code == 0, done.exception
        soundfile.write(place, machine.normal(), RATE)
    (tmp_path / "m.asd").unlink()
    assert np.isfinite(Monitor.load(tmp_path / "n.asd").check(machine.normal()).score)


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


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Thirty normal recordings in a folder."""
    folder = tmp_path_factory.mktemp("recordings")
    machine = Machine(3, 2.0, "noisy")
    for number in range(30):
        soundfile.write(folder / f"{number:02}.wav", machine.normal(), RATE)
    return folder


def fit(folder, out, *words):
    done = CliRunner().invoke(app, ["fit", str(folder), "--out", str(out), *map(str, words)])
    if isinstance(done.exception, DcaseAsdError):
        raise done.exception
    assert done.exit_code == 0, done.stderr
    return Monitor.load(out)


def test_a_preset_gives_the_backbone_and_the_detector(recordings, tmp_path, machine):
    model = fit(recordings, tmp_path / "a.asd", "--preset", "baseline-mahalanobis")
    assert model.choice == Detector("mahalanobis", domains="minimum")
    assert (model.embedder.choice.plugin, model.embedder.choice.pooling) == ("spectral", None)
    # One domain: the minimum over domains is the detector itself.
    vectors = model.normals.vectors.astype(np.float64)
    expected = Mahalanobis().fit(vectors).leave_one_out()
    np.testing.assert_allclose(model.judge.scorer.raw_left_out, expected)
    sound = open_sound(recordings / "00.wav")
    new = model.embedder.embed(sound, model.front).astype(np.float64)
    (raw,) = Mahalanobis().fit(vectors).score(new)
    event, normal = np.abs(model.check(recordings / "00.wav").heat.values).max(), model.judge.events
    usual = np.median(expected / expected.std() + normal / normal.std())
    score = (raw / expected.std() + event / normal.std()) / usual
    assert model.check(recordings / "00.wav").score == pytest.approx(score, rel=1e-6)


def test_without_score_a_recipe_is_scored_as_its_plugin_proposes(recordings, tmp_path):
    model = fit(recordings, tmp_path / "a.asd", "--preset", "preset:spectral")
    assert model.choice == Detector("mean", {"of": ["varmin", "mahalanobis"]}, standardize=True)
    again = fit(recordings, tmp_path / "b.asd", "--plugin", "spectral")
    assert again.choice == model.choice
    assert (tmp_path / "a.asd").read_bytes() == (tmp_path / "b.asd").read_bytes()
    # Standardized scores lie on both sides of 0; a usual normal window has 1 all the same.
    assert np.median(model.judge.scorer.calibration.scores) == pytest.approx(1.0)


def test_a_recipe_may_pool_bands_and_score_them_apart(recordings, tmp_path, machine):
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'name = "x"\n[embed]\nplugin = "spectral"\noptions = { bands = 4 }\n'
        'pooling = "rdp"\nbands = "apart"\n[embed.pooling_options]\ngamma = 4\n'
        '[score]\ndetector = "varmin"\nreferences = 20\n'
    )
    model = fit(recordings, tmp_path / "a.asd", "--recipe", recipe)
    assert model.choice == Detector("varmin", references=20)
    assert model.normals.vectors.shape[:2] == (30, 4)
    backbone = load_backbone("spectral", None, bands=4)
    sound = machine.normal()[: 2 * RATE]
    with torch.no_grad():
        tokens, mask = backbone.token_grid(torch.from_numpy(sound)[None])
        expected = pool(tokens.float(), "rdp", mask=mask, gamma=4)
    found = model.embedder.embed(sound_of(sound, RATE), model.front)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert model.check(machine.faulty("leak", 25).samples).nearest.endswith(".wav")
    apart = fit(recordings, tmp_path / "b.asd", "--recipe", recipe, "--force")
    assert apart.key == model.key


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ('detector = "nearst"', "nearst.*nearest"),
        ('detector = "nearest"\noptions = { k = 3 }', "refuses its options"),
        ('detector = "subspace"\nneighbors = 2', "neighbors is no matter of"),
        ('detector = "nearest"\nneighbors = 40', "40"),
    ],
)
def test_a_score_that_cannot_be_is_refused(recordings, tmp_path, score, message):
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'name = "x"\n[embed]\nplugin = "spectral"\n[score]\n{score}\n')
    with pytest.raises(DcaseAsdError, match=message):
        fit(recordings, tmp_path / "a.asd", "--recipe", recipe)
    assert not (tmp_path / "a.asd").exists()


def test_presets_that_a_monitor_cannot_take_are_refused(recordings, tmp_path):
    with pytest.raises(RecipeError, match="far one of two microphones"):
        fit(recordings, tmp_path / "a.asd", "--preset", "wram")
    with pytest.raises(RecipeError, match=r"no preset is called 'spektral'.*spectral"):
        fit(recordings, tmp_path / "a.asd", "--preset", "spektral")
    with pytest.raises(RecipeError):  # the form of a submission, no system
        fit(recordings, tmp_path / "a.asd", "--preset", "sjtu-aithu-1")
    words = ["fit", "x", "--out", "a.asd", "--preset", "wram", "--recipe", "r.toml"]
    assert CliRunner().invoke(app, words).exit_code == 2


def test_a_local_density_takes_what_few_recordings_have(recordings, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "x"\n[embed]\nplugin = "spectral"\n[score]\nnormalize = "density"\n')
    few = tmp_path / "few"
    few.mkdir()
    for number in range(8):
        shutil.copy(recordings / f"{number:02}.wav", few)
    model = fit(few, tmp_path / "a.asd", "--recipe", recipe)
    assert np.isfinite(model.judge.scorer.raw_left_out).all()
