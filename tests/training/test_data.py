import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from dcase_asd.audio import read_span, read_waveform
from dcase_asd.clips.cache import content_hashes
from dcase_asd.clips.pack import packed_recordings
from dcase_asd.clips.prepare import prepare
from dcase_asd.errors import ArtifactError, AudioError, DataError
from dcase_asd.progress import Silent
from dcase_asd.recipe.training import Training
from dcase_asd.training.batches import TrainingBatches, load_batches
from dcase_asd.training.data import TrainingSet, read_training_set

RAW = "dcase2025t2/dev_data/raw"


def chosen_from(data, **settings):
    return read_training_set(data, Training(**settings))


@pytest.fixture
def copy(data, tmp_path):
    return shutil.copytree(data, tmp_path / "data", dirs_exist_ok=True)


def test_the_training_set_is_all_train_clips_of_machines(data):
    chosen = chosen_from(data)
    assert len(chosen.clips) == 24
    assert (chosen.clips["split"] == "train").all()
    assert [each.label for each in chosen.classes] == [
        f"{machine}/00/v_{value}/dcase2025"
        for machine in ("fan", "gearbox", "valve")
        for value in "01"
    ]
    labels = [each.label for each in chosen.classes]
    assert [labels[target] for target in chosen.clips["target"]] == list(chosen.clips["label"])
    assert (chosen.noise["role"] == "noise").all()
    assert len(chosen.noise) == 3
    assert not set(chosen.noise["path"]) & set(chosen.clips["path"])


def test_classes_tell_domains_apart_where_the_recipe_says_so(data):
    plain, chosen = chosen_from(data), chosen_from(data, with_domain=True)
    assert [each.label for each in chosen.classes if each.label.startswith("fan")] == [
        f"fan/00/v_{value}/dcase2025/{domain}" for value in "01" for domain in ("source", "target")
    ]
    labels = [each.label for each in chosen.classes]
    for label, row in zip(chosen.clips["target"].map(labels.__getitem__),
                          plain.clips.itertuples(), strict=True):  # fmt: skip
        assert label == f"{row.label}/{row.domain}"
    assert sum(each.clips for each in chosen.classes) == len(plain.clips)
    assert chosen.fingerprint() != plain.fingerprint()


def test_sub_centers_follow_the_editions_rule_or_the_recipe(copy):
    raw = copy / RAW / "fan" / "train"
    for path in list(raw.iterdir()):
        path.rename(raw / f"{path.stem.rpartition('_v_')[0]}_noAttribute.wav")
    for index in range(3):
        sound = np.random.default_rng(index).standard_normal(16000) * 0.1
        path = copy / "dcase2020t2/dev_data/raw/pump/train" / f"normal_id_00_{index:08d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sound, 16000)
    prepare(copy)
    chosen = chosen_from(copy)
    of = dict(zip([each.label for each in chosen.classes],
                  chosen.sub_centers(Training(sub_centers=5)), strict=True))  # fmt: skip
    assert of["fan/00/dcase2025"] == of["pump/00/dcase2020"] == 5
    assert of["valve/00/v_0/dcase2025"] == 1
    assert set(chosen.sub_centers(Training(sub_centered="all"))) == {16}
    assert set(chosen.sub_centers(Training(sub_centered="none"))) == {1}


def test_audio_of_test_sets_is_left_out_and_duplicates_are_used_once(copy):
    train, test = copy / RAW / "fan" / "train", copy / RAW / "fan" / "test"
    leaked, twice, *_ = sorted(train.iterdir())
    shutil.copy(leaked, test / "section_00_source_test_normal_0090_v_0.wav")
    old = copy / "dcase2024t2/dev_data/raw/fan/train"
    old.mkdir(parents=True)
    shutil.copy(twice, old / twice.name)
    prepare(copy)
    chosen = chosen_from(copy)
    paths = set(chosen.clips["path"])
    assert len(paths) == 23
    assert f"{RAW}/fan/train/{leaked.name}" not in paths
    assert f"{RAW}/fan/train/{twice.name}" in paths
    assert "1 train clip(s) also stand in a test set and are left out" in chosen.notes
    assert "1 train clip(s) stand in several places and are used once" in chosen.notes


def copied(folder, edition, name, machine="fan", sound=None):
    """Put audio into the train folder of an edition; the path that the manifest has for it."""
    path = folder / f"dcase{edition}t2/dev_data/raw/{machine}/train" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, 16000)
    return path.relative_to(folder).as_posix()


NAME = "section_00_source_train_normal_{:04d}_{}.wav"


@pytest.mark.parametrize(
    ("copies", "kept"),
    [
        ({2023: "v_1", 2025: "noAttribute"}, 2023),
        ({2022: "v_1", 2024: "noAttribute", 2025: "noAttribute"}, 2022),
        ({2023: "noAttribute", 2024: "v_1", 2025: "noAttribute"}, 2024),
        ({2023: "v_1_loc_A", 2025: "v_1"}, 2023),
        ({2023: "v_1", 2025: "v_1_loc_A"}, 2025),
        ({2023: "v_1", 2025: "w_2"}, 2025),
        ({2024: "noAttribute", 2025: "noAttribute"}, 2025),
        # Of 2021 the section is the class, whatever the name says beside it.
        ({2021: "strength_1_ambient_2", 2025: "noAttribute"}, 2025),
    ],
)
def test_of_audio_in_several_editions_the_copy_whose_class_says_most_is_kept(copy, copies, kept):
    sound = np.random.default_rng(0).standard_normal(16000) * 0.1
    paths = {
        year: copied(copy, year, NAME.format(70, attributes), sound=sound)
        for year, attributes in copies.items()
    }
    prepare(copy)
    chosen = chosen_from(copy)
    assert set(chosen.clips["path"]) & set(paths.values()) == {paths[kept]}
    assert len(chosen.clips) == 25
    label = chosen.clips.set_index("path").loc[paths[kept], "label"]
    assert (copies[kept] in label) == ("_" in copies[kept])
    said = f"{len(copies) - 1} train clip(s) stand in several places and are used once"
    assert said in chosen.notes
    if kept != 2025:  # of the editions that are trained on, not of all
        only = chosen_from(copy, editions=("2025",))
        assert set(only.clips["path"]) & set(paths.values()) == {paths[2025]}


def test_audio_of_a_test_set_is_left_out_however_much_its_other_copy_says(copy):
    sound = np.random.default_rng(0).standard_normal(16000) * 0.1
    paths = {
        copied(copy, 2023, NAME.format(70, "v_1"), sound=sound),
        copied(copy, 2025, NAME.format(70, "noAttribute"), sound=sound),
    }
    test = copy / RAW / "fan" / "test" / "section_00_source_test_normal_0090_v_0.wav"
    soundfile.write(test, sound, 16000)
    prepare(copy)
    assert not paths & set(chosen_from(copy).clips["path"])


def test_what_is_missing_is_told(copy, tmp_path):
    with pytest.raises(DataError, match="no clip of edition dcase2024; did you mean"):
        chosen_from(copy, editions=("2024",))
    with pytest.raises(DataError, match="no noise clip of 2024 to mix in"):
        chosen_from(copy, noise_editions=("2024",))
    assert chosen_from(copy, noise_editions=("2024",), noise_probability=0.0).noise.empty
    (copy / "clips.duplicates.csv").unlink()
    with pytest.raises(ArtifactError, match="dcase-asd prepare"):
        chosen_from(copy)
    for machine in ("gearbox", "valve"):
        shutil.rmtree(copy / RAW / machine)
    for path in (copy / RAW / "fan" / "train").glob("*v_1.wav"):
        path.unlink()
    prepare(copy)
    with pytest.raises(DataError, match=r"1 class\(es\) of train clips"):
        chosen_from(copy, noise_probability=0.0)


def batches(data, seconds=0.5, **settings):
    training = Training(**{"batch_size": 8, "seconds": seconds} | settings)
    return TrainingBatches(data, read_training_set(data, training), training, 16000)


def read(source, number):
    """A batch as it is computed with."""
    return source[number].on(torch.device("cpu"))


def test_every_clip_comes_once_in_each_epoch_in_another_order(data):
    source = batches(data)
    generator = np.random.default_rng()
    rows = np.concatenate([source.rows(number, generator) for number in range(9)])
    for epoch in range(3):
        assert sorted(rows[24 * epoch : 24 * (epoch + 1)]) == list(range(24))
    assert not np.array_equal(rows[:24], rows[24:48])


def test_balanced_batches_draw_every_class_equally_often(copy):
    for path in list((copy / RAW / "fan" / "train").glob("*v_0.wav"))[1:]:
        path.unlink()
    prepare(copy)
    source = batches(copy, balanced=True)
    generator = np.random.default_rng(0)
    rows = np.concatenate([source.rows(number, generator) for number in range(300)])
    counts = np.bincount(source.targets[rows])
    assert np.abs(counts - 400).max() < 100


def test_a_batch_depends_on_its_number_and_the_seed_only(data):
    first, again, other = batches(data)[3], batches(data)[3], batches(data, seed=1)[3]
    assert first.files == again.files
    assert torch.equal(first.waveforms, again.waveforms)
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.snr, again.snr)
    assert first.files != other.files
    for workers in (0, 1):
        loaded = list(load_batches(batches(data), [2, 3], workers, pin=False))
        assert [each.number for each in loaded] == [2, 3]
        assert torch.equal(loaded[1].waveforms, first.waveforms)


def test_clips_are_random_crops_of_their_files(data):
    source = batches(data, noise_probability=0.0)
    starts = []
    for number in range(6):
        batch = read(source, number)
        assert batch.waveforms.shape == (8, 8000)
        assert (batch.lengths == 8000).all()
        assert torch.isinf(batch.snr).all()
        assert not batch.noise.any()
        for clip, name in zip(batch.waveforms.numpy(), source[number].files, strict=True):
            whole = read_waveform(data / name)
            found = np.flatnonzero(
                (np.lib.stride_tricks.sliding_window_view(whole, 8000)[:, :50] == clip[:50]).all(1)
            )
            assert len(found) == 1
            np.testing.assert_array_equal(whole[found[0] : found[0] + 8000], clip)
            starts.append(found[0])
    assert len(set(starts)) > 40
    assert max(starts) > 7000


def test_short_clips_lose_their_mean_and_are_padded_with_zeros(data):
    batch = read(batches(data, seconds=1.5), 0)
    assert batch.waveforms.shape == (8, 24000)
    assert (batch.lengths == 16000).all()
    assert not batch.waveforms[:, 16000:].any()
    assert batch.waveforms[:, :16000].mean(1).abs().max() < 1e-7


@pytest.mark.parametrize("other", ["PCM_16", "PCM_24", "FLOAT"])
def test_batches_are_what_soundfile_reads_whatever_they_are_kept_in(copy, other):
    """Crops as long as the clips, of which one is shorter and one may have other samples."""
    train = copy / RAW / "fan" / "train"
    first, short, *_ = sorted(train.iterdir())
    sound = np.random.default_rng(0).uniform(-0.5, 0.6, (16000, 2))
    soundfile.write(first, sound, 16000, subtype=other)
    soundfile.write(short, sound[:9001], 16000, subtype="PCM_16")
    prepare(copy)
    training = Training(batch_size=24, seconds=1.0, noise_probability=0.5)
    source = TrainingBatches(copy, read_training_set(copy, training), training, 16000, channel=0)
    batch, clips = source[0], read(source, 0)
    kept = torch.int16 if other == "PCM_16" else torch.float32
    assert (batch.waveforms.dtype, batch.noise.dtype) == (kept, torch.int16)
    noises = [soundfile.read(copy / path, dtype="float32")[0] for path in source.noise.paths]
    for name, clip, length, noise, snr in zip(
        batch.files, clips.waveforms, clips.lengths, clips.noise, clips.snr, strict=True
    ):
        expected = soundfile.read(copy / name, dtype="float32", always_2d=True)[0][:, 0]
        assert length == len(expected)
        if copy / name == short:
            expected = np.pad(expected - np.ascontiguousarray(expected).mean(), (0, 6999))
        np.testing.assert_array_equal(clip.numpy(), expected)
        assert bool(noise.any()) == bool(torch.isfinite(snr))
        assert not noise.any() or any(np.isin(noise.numpy(), each).all() for each in noises)


def test_batches_are_the_same_from_packs_though_the_files_are_gone(copy):
    fan, train = copy / RAW / "fan/supplemental", copy / RAW / "valve/train"
    first, second, third, fourth, *_ = sorted(train.iterdir())
    sound = np.random.default_rng(0).uniform(-0.5, 0.6, (16000, 2))
    soundfile.write(first, sound, 16000, subtype="PCM_16")
    soundfile.write(second, sound[:9001, 0], 16000, subtype="PCM_16")
    soundfile.write(third, sound, 44100, subtype="PCM_16")
    soundfile.write(fourth.with_suffix(".flac"), sound[::-1], 16000, subtype="PCM_16")
    fourth.unlink()
    soundfile.write(next(fan.iterdir()), sound[:3000], 22050, subtype="PCM_16")
    prepare(copy, pack=True)
    training = Training(batch_size=8, seconds=0.7)
    chosen = read_training_set(copy, training)
    paths = [*chosen.clips["path"], *chosen.noise["path"]]
    packed = packed_recordings(copy, content_hashes(copy, paths, Silent()), Silent())
    plain = TrainingBatches(copy, chosen, training, 16000)
    expected = [read(plain, number) for number in range(12)]
    shutil.rmtree(copy / RAW)
    source = TrainingBatches(copy, chosen, training, 16000, packed=packed)
    for number, clips in enumerate(expected):
        assert all(map(torch.equal, read(source, number), clips))
        assert source[number].files == [plain.clips.paths[r] for r in source.rows(number, None)]


def test_noise_comes_as_often_and_as_loud_as_the_recipe_says(data):
    source = batches(data, noise_probability=0.3, noise_snrs=(5.0, 20.0))
    drawn = [read(source, number) for number in range(60)]
    snr = torch.cat([batch.snr for batch in drawn])
    noisy = torch.isfinite(snr)
    assert abs(float(noisy.float().mean()) - 0.3) < 0.08
    assert set(snr[noisy].tolist()) == {5.0, 20.0}
    noise = torch.cat([batch.noise for batch in drawn])
    assert bool(noise[noisy].any(1).all())
    assert not noise[~noisy].any()
    plain = batches(data, noise_probability=0.0)
    assert all(torch.equal(plain[n].targets, drawn[n].targets) for n in range(60))


def test_noise_is_only_from_noise_clips_looped_where_it_is_short(data):
    source = batches(data, seconds=0.9, noise_probability=1.0)
    recordings = [read_waveform(data / path) for path in source.noise.paths]
    for noise in read(source, 0).noise.numpy():
        # Files of 0.5 s: 0.9 s hold one whole turn and a part of the next.
        np.testing.assert_array_equal(noise[8000:], noise[: len(noise) - 8000])
        turns = [np.isin(noise[:8000], whole).all() for whole in recordings]
        assert any(turns)


def test_clips_of_other_rates_are_resampled(copy):
    path = next((copy / RAW / "fan" / "train").iterdir())
    sound = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    soundfile.write(path, 0.3 * sound, 44100)
    prepare(copy)
    source = batches(copy, noise_probability=0.0)
    row = source.clips.paths.index(path.relative_to(copy).as_posix())
    clip = source._crop(source.clips, row, np.random.default_rng(0), np.empty(8000, np.int16))
    assert len(clip) == 8000
    assert np.argmax(np.abs(np.fft.rfft(clip))) == 220


def test_a_file_that_shrank_since_it_was_prepared_is_told(copy):
    source = batches(copy, noise_probability=0.0)
    for path in (copy / RAW / "fan" / "train").iterdir():
        soundfile.write(path, np.zeros(1), 16000)
    seed = next(s for s in range(50) if np.random.default_rng(s).integers(8001) > 1)
    with pytest.raises(AudioError, match=r"run `dcase-asd prepare --data \S+` again") as raised:
        source._crop(source.clips, 0, np.random.default_rng(seed), np.empty(8000, np.int16))
    assert f"--data {copy}` again" in str(raised.value)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_span_is_that_part_of_the_whole(tmp_path, subtype):
    path = tmp_path / "clip.wav"
    sound = np.random.default_rng(0).uniform(-1, 1, (1000, 2))
    soundfile.write(path, sound, 16000, subtype=subtype)
    for channel in (0, 1):
        whole = read_waveform(path, channel)
        np.testing.assert_array_equal(read_span(path, 100, 50, channel), whole[100:150])
        np.testing.assert_array_equal(read_span(path, 990, 50, channel), whole[990:])
    assert read_span(path, 1000, 5).shape == (0,)
    with pytest.raises(AudioError, match="there is no channel 2, the file has 2"):
        read_span(path, 0, 5, 2)


def test_a_span_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav: cannot be read"):
        read_span(tmp_path / "gone.wav", 0, 5)
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.full(100, np.nan, dtype=np.float32), 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"clip\.wav: holds a sample that is not a finite number"):
        read_span(path, 0, 5)


def test_the_fingerprint_tells_training_sets_apart(data):
    chosen = chosen_from(data)
    assert chosen.fingerprint() == chosen_from(data).fingerprint()
    fewer = dataclasses.replace(chosen, clips=chosen.clips.iloc[1:])
    quiet = TrainingSet(chosen.clips, chosen.classes, pd.DataFrame({"path": []}), [])
    assert len({each.fingerprint() for each in (chosen, fewer, quiet)}) == 3
