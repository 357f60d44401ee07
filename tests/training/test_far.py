"""Training on recordings of two microphones: it hears what embedding hears."""

import dataclasses
import shutil

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from dcase_asd import cancel_far, subtract_far
from dcase_asd.audio import read_clip
from dcase_asd.backbone import read_tensors
from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.two_microphones import clean
from dcase_asd.errors import AudioError, DataError, TrainingError
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.progress import Silent
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.system import Embedding
from dcase_asd.recipe.training import Training
from dcase_asd.runs.recipes import Node
from dcase_asd.runs.requirements import missing
from dcase_asd.scores.score import score
from dcase_asd.training.batches import TrainingBatches
from dcase_asd.training.data import read_training_set
from dcase_asd.training.engine import Engine
from dcase_asd.training.finetune import finetune, planned_system

YEAR = "dcase2025"
FAN = f"{YEAR}t2/dev_data/raw/fan"
WAYS = {
    "cancel": cancel_far,
    "subtract": subtract_far,
    "wram": lambda near, far: cancel_far(near, far, hop=256, average=True),
}


@pytest.fixture(scope="module")
def pairs(data, tmp_path_factory):
    """The recordings with a far channel: noise of the room, which the near one hears as well."""
    folder = tmp_path_factory.mktemp("pairs") / "data"
    shutil.copytree(data, folder)
    for seed, path in enumerate(sorted(folder.rglob("*_normal_*.wav"), key=str)):
        put_noise(path, seed)
    for seed, path in enumerate(sorted(folder.rglob("*_anomaly_*.wav"), key=str)):
        put_noise(path, 1000 + seed)
    prepare(folder)
    return folder


def put_noise(path, seed):
    machine, rate = soundfile.read(path)
    noise = np.random.default_rng([1, seed]).standard_normal(len(machine)) * 0.1
    near = machine + np.convolve(noise, [0.6, 0.3, -0.2])[: len(machine)]
    soundfile.write(path, np.stack([near, noise], axis=1), rate, subtype="FLOAT")


@pytest.fixture
def two(make_system):
    """A system that takes out the far channel while it learns."""

    def make(far="cancel", pooling=None, bands="concat", **settings):
        settings = {"steps": 4, "eval_every": 0, "noise_probability": 0.0} | settings
        plain = make_system(**settings)
        heard = dataclasses.replace(plain.embed, far=far, pooling=pooling, bands=bands)
        return dataclasses.replace(plain, embed=heard)

    return make


def tune(data, run, system, **options):
    return finetune(data, run, system, device="cpu", workers=0, **options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channel", [0, 1])
def test_a_crop_is_cut_out_of_the_whole_clip_without_its_far_channel(pairs, way, channel):
    settings = Training(seconds=0.8, batch_size=4, noise_probability=0.0)
    chosen = read_training_set(pairs, settings)
    cleaned = TrainingBatches(pairs, chosen, settings, 16000, channel, way)[0]
    plain = TrainingBatches(pairs, chosen, settings, 16000, channel)[0]
    assert cleaned.files == plain.files
    plain_waveforms = plain.on(torch.device("cpu")).waveforms.numpy()
    for row, file in enumerate(cleaned.files):
        sound = soundfile.read(pairs / file)[0].T
        whole = WAYS[way](sound[channel], sound[1 - channel])  # in double precision
        places = [
            np.abs(sound[channel, start : start + 12800] - plain_waveforms[row]).max()
            for start in range(len(sound[0]) - 12800 + 1)
        ]
        start = int(np.argmin(places))  # where the same crop of the near channel begins
        np.testing.assert_allclose(cleaned.waveforms[row], whole[start : start + 12800], atol=2e-5)


def test_training_hears_the_very_samples_that_are_embedded(pairs):
    settings = Training(seconds=1.0, batch_size=4, noise_probability=0.0)  # the clips' length
    batch = TrainingBatches(pairs, read_training_set(pairs, settings), settings, 16000, 0, "cancel")
    for row, file in enumerate(batch[0].files):
        channels = torch.from_numpy(read_clip(pairs / file, 0, 16000, both=True)[0])
        embedded = clean(channels[None], torch.tensor([len(channels)]), "cancel", 16000)
        assert torch.equal(batch[0].waveforms[row], embedded.waveforms[0])


def test_another_rate_is_resampled_before_the_far_channel_is_taken_out(pairs):
    settings = Training(seconds=0.8, batch_size=4, noise_probability=0.0)
    chosen = read_training_set(pairs, settings)
    found = TrainingBatches(pairs, chosen, settings, 8000, 0, "cancel")[0]
    for row, file in enumerate(found.files):
        near, far = read_clip(pairs / file, 0, 8000, both=True)[0].T
        whole = cancel_far(near, far, 8000)
        gaps = [
            np.abs(whole[start : start + 6400] - found.waveforms[row].numpy()).max()
            for start in range(len(whole) - 6400 + 1)
        ]
        assert min(gaps) < 1e-6


def test_the_same_clips_places_and_noise_are_drawn_with_and_without(pairs):
    settings = Training(seconds=0.8, batch_size=8)
    chosen = read_training_set(pairs, settings)
    one, other = (
        TrainingBatches(pairs, chosen, settings, 16000, 0, far)[3] for far in ("none", "cancel")
    )
    assert one.files == other.files
    assert torch.equal(one.noise, other.noise)
    assert torch.equal(one.snr, other.snr)
    assert not torch.equal(one.waveforms, other.waveforms)


@pytest.mark.parametrize(("pooling", "bands"), [(None, "concat"), ("rdp", "apart")])
def test_checkpoints_are_compared_by_what_is_scored(pairs, tmp_path, two, pooling, bands):
    run, system = tmp_path / "run", two(pooling=pooling, bands=bands)
    done = tune(pairs, run, system)
    embed(pairs, run, YEAR, system, "cpu")
    score(run, YEAR)
    report = evaluate_run_or_folder(run, YEAR, resamples=0)
    assert report.evaluation.official_score == pytest.approx(done.checkpoints[-1].score, abs=1e-6)


def test_what_is_heard_changes_the_weights_and_is_written_into_the_checkpoint(
    pairs, tmp_path, two, make_system
):
    weights = {}
    for far in ("none", "cancel"):
        (path,) = tune(pairs, tmp_path / far, two(far)).scored
        weights[far] = load_file(path)
        assert read_tensors(path)[1].get("far", "none") == far
    assert not all(torch.equal(weights["none"][k], v) for k, v in weights["cancel"].items())


def test_a_run_is_embedded_as_it_was_trained_and_otherwise_only_with_a_note(pairs, tmp_path, two):
    run, told = tmp_path / "run", Silent()
    tune(pairs, run, two())
    system = planned_system(run)
    assert system.embed.far == "cancel"
    embed(pairs, run, YEAR, system, "cpu", told)
    assert not any("fine-tuned on" in note for note in told.notes)
    near = dataclasses.replace(system, embed=dataclasses.replace(system.embed, far="none"))
    note = (
        "fine-tuned on recordings with far = cancel and embedded with far = none; --far cancel "
        "embeds them as they were heard in training"
    )
    for act in (
        lambda: embed(pairs, run, YEAR, near, "cpu", told),
        lambda: finetune(pairs, run, near, device="cpu", progress=told),
    ):
        told.notes.clear()
        act()
        assert note in told.notes


def test_clips_of_one_channel_are_refused_before_anything_is_written(data, tmp_path, two):
    said = r"24 of 24 clips have no near and far .*; give --far none to train on channel 0 as it is"
    with pytest.raises(DataError, match=rf"{said}$"):
        tune(data, tmp_path / "run", two())
    assert not (tmp_path / "run").exists()
    problems = missing([Node(tmp_path / "x.toml", two())], data, tmp_path / "runs", [YEAR])
    assert any("to train on channel 0" in problem for problem in problems)


def test_the_editions_with_two_channels_are_named(data, pairs, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(data, both)
    shutil.copytree(pairs / f"{YEAR}t2", both / "dcase2026t2")
    prepare(both)
    heard = Embedding("tiny", far="cancel")
    with pytest.raises(DataError, match=r"as it is, or --editions dcase2026$"):
        read_training_set(both, Training(noise_probability=0.0), heard)
    allowed = Training(noise_probability=0.0, editions=("dcase2026",))
    assert len(read_training_set(both, allowed, heard).clips) == 24


def test_a_development_set_of_one_channel_is_refused(data, pairs, tmp_path, two):
    both = tmp_path / "both"
    shutil.copytree(data, both)
    shutil.copytree(pairs / f"{YEAR}t2", both / "dcase2026t2")
    prepare(both)
    system = two(editions=("dcase2026",), dev_edition=YEAR)
    with pytest.raises(DataError, match=f"dev set of {YEAR}: .* to compare checkpoints by channel"):
        tune(both, tmp_path / "run", system)


def test_a_silent_far_channel_leaves_the_clip_and_a_short_one_is_named(pairs, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(pairs, copy)
    settings = Training(seconds=1.0, batch_size=24, noise_probability=0.0)
    silent, short = sorted((copy / FAN / "train").iterdir())[:2]
    sound, rate = soundfile.read(silent)
    soundfile.write(silent, sound * [1, 0], rate, subtype="FLOAT")
    prepare(copy)
    batches = TrainingBatches(copy, read_training_set(copy, settings), settings, 16000, 0, "cancel")
    batch = batches[0]
    row = batch.files.index(silent.relative_to(copy).as_posix())
    np.testing.assert_array_equal(batch.waveforms[row], sound[:, 0].astype(np.float32))
    soundfile.write(short, sound[:400], rate)
    with pytest.raises(AudioError, match=f"{short.name}: a clip of 400 samples is shorter than ha"):
        batches[0]


class Stopped(BaseException):
    """Ends a run at once, as a kill does."""


def test_a_run_goes_on_with_the_same_weights_and_not_with_another_far(
    pairs, tmp_path, two, monkeypatch
):
    system, run, whole, calls = two(save_every=2), tmp_path / "run", Engine.update, []
    undisturbed = tune(pairs, tmp_path / "undisturbed", system)

    def stopping(self, *arguments):
        calls.append(None)
        if len(calls) == 2:
            raise Stopped
        return whole(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "update", stopping)
        with pytest.raises(Stopped):
            tune(pairs, run, system)
    state = torch.load(run / "checkpoints/state.pt", weights_only=True)
    earlier = {name: value for name, value in state.items() if name != "far"}
    torch.save(earlier, run / "checkpoints/state.pt")  # as before training took anything out
    with pytest.raises(TrainingError, match=r"begun with far = none, .* says cancel; give another"):
        tune(pairs, run, system)
    torch.save(state, run / "checkpoints/state.pt")
    assert tune(pairs, run, system).scored[0].read_bytes() == undisturbed.scored[0].read_bytes()


def test_the_detector_of_bands_sees_bands(pairs, tmp_path, two):
    system = dataclasses.replace(two(pooling="rdp", bands="apart"), score=Detector("varmin"))
    assert 0 < tune(pairs, tmp_path / "run", system).checkpoints[-1].score <= 1
