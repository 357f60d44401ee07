"""`embed --far`: what the far microphone hears goes before the front end, and is told."""

import json
import re
from typing import get_args

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from dcase_asd import cancel_far, subtract_far
from dcase_asd.audio import read_clip
from dcase_asd.cli import app
from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.findings import NEARER_TOLD
from dcase_asd.embeddings.store import read_embeddings
from dcase_asd.embeddings.two_microphones import FILTERS, clean, nearer_share
from dcase_asd.errors import AudioError
from dcase_asd.progress import Silent
from dcase_asd.recipe.system import Embedding, Far, System
from dcase_asd.registry import load_backbone
from dcase_asd.scores.score import score

FAN = "dcase2025t2/dev_data/raw/fan"
YEAR = "dcase2025"
WAYS = {
    "cancel": cancel_far,
    "subtract": subtract_far,
    "wram": lambda near, far: cancel_far(near, far, hop=256, average=True),
}


def two_channels(seed, leak=0.0, samples=32000, loudness=0.2):
    """Near and far, (n, 2): a machine of one pitch, noise of the room in both, perhaps a leak."""
    random = np.random.default_rng(seed)
    machine = 0.3 * np.sin(2 * np.pi * (300 + seed) * np.arange(samples) / 16000)
    machine += 0.05 * random.standard_normal(samples)
    noise = loudness * random.standard_normal(samples)
    near = machine + np.convolve(noise, [0.6, 0.3, -0.2])[:samples]
    return np.stack([near, noise + leak * np.roll(machine, 20)], axis=1).astype(np.float32)


@pytest.fixture
def write(small_tree):
    """Put two channels into all clips of the small tree."""

    def into(leak=0.0, silent=()):
        for seed, path in enumerate(sorted((small_tree / FAN).rglob("*.wav"))):
            sound = two_channels(seed, leak, 32000 - 1000 * (seed % 3))
            if seed in silent:
                sound[:, 1] = 0
            soundfile.write(path, sound, 16000, subtype="FLOAT")
        prepare(small_tree)
        return small_tree

    return into


def system(**settings):
    return System("x", Embedding("spectral", **settings))


def test_a_recipe_names_the_filters():
    assert get_args(Far) == ("none", *FILTERS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channel", [0, 1])
def test_embeddings_are_those_of_what_the_far_channel_leaves(write, tmp_path, way, channel):
    data = write()
    embed(data, tmp_path / "run", YEAR, system(far=way, channel=channel), "cpu")
    (fan,) = read_embeddings(tmp_path / "run", YEAR)
    backbone, removed = load_backbone("spectral"), []
    for row, (split, file) in enumerate(fan.clips[["split", "file"]].itertuples(index=False)):
        sound = soundfile.read(data / FAN / split / file)[0].T
        near, far = sound[channel], sound[1 - channel]
        left = WAYS[way](near, far)  # in double precision, alone
        removed.append(1 - (left**2).sum() / (near**2).sum())
        expected = backbone.embed(torch.from_numpy(left).float()[None])[0]
        np.testing.assert_allclose(fan.vectors[row], expected, atol=2e-3)
    assert fan.provenance["far"] == way
    assert fan.provenance["far_channel"]["removed"] == pytest.approx(np.mean(removed), abs=2e-4)


def test_a_padded_clip_is_cleaned_as_alone():
    clips = [torch.from_numpy(two_channels(seed, samples=n)) for seed, n in ((0, 9000), (1, 7001))]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    together = clean(padded, torch.tensor([9000, 7001]), "cancel", 16000)
    for row, clip in enumerate(clips):
        alone = clean(clip[None], torch.tensor([len(clip)]), "cancel", 16000)
        torch.testing.assert_close(together.waveforms[row, : len(clip)], alone.waveforms[0])
        torch.testing.assert_close(together.removed[row], alone.removed[0])
        torch.testing.assert_close(together.nearer[row], alone.nearer[0])
    assert (together.waveforms[1, 7001:] == 0).all()


def test_how_much_went_is_told_and_no_leak_is_suspected_where_there_is_none(write, tmp_path):
    told = Silent()
    embed(write(), tmp_path / "run", YEAR, system(far="cancel"), "cpu", told)
    (note,) = told.notes
    found = re.fullmatch(
        r"dev fan: --far cancel removed (\S+)% of the near energy \((\S+)% to (\S+)% of a clip\)",
        note,
    )
    noise, machine = 0.2**2 * (0.6**2 + 0.3**2 + 0.2**2), 0.3**2 / 2 + 0.05**2
    assert float(found[1]) == pytest.approx(100 * noise / (noise + machine), abs=3)
    assert float(found[2]) < float(found[1]) < float(found[3])
    (fan,) = read_embeddings(tmp_path / "run", YEAR)
    assert fan.provenance["notes"] == []
    assert fan.provenance["far_channel"]["nearer"] < NEARER_TOLD / 2


def test_a_far_microphone_that_hears_the_machine_is_told_also_with_the_scores(write, tmp_path):
    told, scored = Silent(), Silent()
    embed(write(leak=0.3), tmp_path / "run", YEAR, system(far="cancel"), "cpu", told)
    (note,) = (each for each in told.notes if "seems to hear" in each)
    assert "compare with --far none in another --run" in note
    score(tmp_path / "run", YEAR, progress=scored)
    assert note in scored.notes


@pytest.mark.parametrize(
    ("leak", "loudness", "suspected"),
    [
        (0.0, 0.2, False), (0.0, 2.0, False), (0.0, 0.01, False),
        (0.1, 0.05, True), (0.3, 0.2, True), (0.5, 0.2, True),
        (0.1, 2.0, False),  # under the noise of the far channel, where little is lost
    ],
)  # fmt: skip
def test_a_leak_is_suspected_where_the_common_sound_is_louder_near(leak, loudness, suspected):
    near, far = torch.from_numpy(two_channels(0, leak, 160000, loudness).T)
    share = float(nearer_share(near[None], far[None])[0])
    assert (share >= NEARER_TOLD) == suspected
    clean_share = float(nearer_share(near[None], 0.3 * torch.randn(1, 160000))[0])
    assert clean_share < 0.01  # what has nothing in common is not nearer


@pytest.mark.parametrize(
    ("leak", "silent", "after"),
    [
        (0.0, (), ""),
        (0.0, range(99), "; the far channel of 4 is silent"),
        (0.3, (), r"; the far microphone seems to hear the machine \(\d\d% of that energy\)"),
    ],
)
def test_prepare_tells_of_two_channels_and_what_cancelling_would_remove(write, leak, silent, after):
    data = write(leak, silent)
    told = CliRunner().invoke(app, ["prepare", "--data", str(data)]).output
    (line,) = (each for each in told.splitlines() if "two channels" in each)
    beginning = "dcase2025 dev fan: two channels; of 4 clips, --far cancel removes "
    found = re.fullmatch(
        rf"{beginning}(\S+)% of the near energy \((\S+)% to (\S+)% of a clip\){after}", line
    )
    assert float(found[2]) <= float(found[1]) <= float(found[3])
    cancel = f"embed --plugin spectral --data {data} --edition dcase2025 --far cancel --run runs"
    assert f"`dcase-asd {cancel}/cancel` takes the far one out" in told
    as_json = CliRunner().invoke(app, ["prepare", "--data", str(data), "--json"]).output
    (machine,) = json.loads(as_json)["two_channels"]
    removed = machine["far_channel"]["removed"]
    assert removed == pytest.approx(float(found[1]) / 100, abs=1e-3)
    assert (removed == 0) == bool(silent)
    embed(data, data / "run", YEAR, system(far="cancel"), "cpu")
    (fan,) = read_embeddings(data / "run", YEAR)
    assert fan.provenance["far_channel"]["removed"] == pytest.approx(removed, abs=0.03)


def test_prepare_passes_over_clips_that_cannot_be_cleaned(small_tree):
    for path in (small_tree / FAN).rglob("*.wav"):
        soundfile.write(path, two_channels(0, samples=500), 16000)
    told = CliRunner().invoke(app, ["prepare", "--data", str(small_tree)])
    assert told.exit_code == 0
    assert "fan: two channels; none of the clips that were tried can be cleaned" in told.output


def test_prepare_says_nothing_of_two_channels_where_there_is_one(small_tree):
    told = CliRunner().invoke(app, ["prepare", "--data", str(small_tree)]).output
    assert "two channels" not in told
    assert "--far" not in told


def test_a_silent_far_channel_leaves_a_clip_as_it_is_and_is_told(write, tmp_path):
    data, told = write(silent=(0, 3)), Silent()
    embed(data, tmp_path / "run", YEAR, system(far="cancel"), "cpu", told)
    embed(data, tmp_path / "near", YEAR, system(), "cpu")
    cleaned, near = (read_embeddings(tmp_path / each, YEAR)[0] for each in ("run", "near"))
    silent = cleaned.provenance["far_channel"]["silent"]
    rows = cleaned.clips["file"].isin(silent).to_numpy()
    assert rows.sum() == len(silent) > 0
    np.testing.assert_allclose(cleaned.vectors[rows], near.vectors[rows], atol=1e-6)
    assert not np.allclose(cleaned.vectors[~rows], near.vectors[~rows], atol=1e-3)
    assert any(f"the far channel of {len(silent)} of 14 recordings is silent" in note
               for note in told.notes)  # fmt: skip


def test_one_channel_is_refused_before_anything_is_written(write, small_tree, tmp_path, write_clip):
    name = "section_00_source_train_normal_0000_m-n_W.wav"
    write()
    path = write_clip(small_tree / FAN / "train" / name)
    prepare(small_tree)
    with pytest.raises(AudioError, match=f"dcase2025: 1 of 14 clips have no near and far .*{name}"
                                         ".*give --far none to embed channel 0"):  # fmt: skip
        embed(small_tree, tmp_path / "run", YEAR, system(far="cancel"), "cpu")
    assert not (tmp_path / "run").exists()
    with pytest.raises(AudioError, match=r"has 1 channel\(s\), and there is a far microphone only"):
        read_clip(path, both=True)


def test_both_channels_are_read_the_chosen_one_first(tmp_path):
    sound = two_channels(0, samples=4410)
    soundfile.write(tmp_path / "x.wav", sound, 22050, subtype="FLOAT")
    np.testing.assert_array_equal(read_clip(tmp_path / "x.wav", 0, both=True)[0], sound)
    np.testing.assert_array_equal(read_clip(tmp_path / "x.wav", 1, both=True)[0], sound[:, ::-1])
    both = read_clip(tmp_path / "x.wav", 1, 16000, both=True)[0]
    for column, channel in enumerate((1, 0)):
        alone = read_clip(tmp_path / "x.wav", channel, 16000)[0]
        np.testing.assert_allclose(both[:, column], alone, atol=1e-6)
    sound[:, 0], sound[7, 1] = 0, np.nan
    soundfile.write(tmp_path / "x.wav", sound, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="sample 7 is nan, not a finite number"):
        read_clip(tmp_path / "x.wav", 0, both=True)


def test_a_clip_shorter_than_a_window_is_named(write, small_tree, tmp_path):
    write()
    name = "section_00_source_train_normal_0000_m-n_W.wav"
    soundfile.write(small_tree / FAN / "train" / name, two_channels(0, samples=500), 16000)
    prepare(small_tree)
    with pytest.raises(AudioError, match=f"{name}: a clip of 500 samples is shorter than half a w"):
        embed(small_tree, tmp_path / "run", YEAR, system(far="cancel"), "cpu")
