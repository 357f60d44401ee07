import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from embedded_run import contents, system
from wav_files import FILES

from dcase_asd.audio import Mapped
from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings import machines as module
from dcase_asd.embeddings import reading
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.store import read_embeddings
from dcase_asd.errors import ArtifactError, AudioError, BackboneError, DataError
from dcase_asd.progress import Silent
from dcase_asd.recipe.system import Embedding, System, read_system
from dcase_asd.scores.score import score

FAN = "dcase2025t2/dev_data/raw/fan"
TRAIN = "section_00_source_train_normal_0000_m-n_W.wav"
TINY_BEATS = Path(__file__).parents[2] / "plugins/beats/tests/data/beats_tiny_pretrain.pt"


def test_every_train_and_test_clip_is_embedded_and_no_other(data, tmp_path):
    run = tmp_path / "run"
    done = embed(data, run, "dcase2025", system())
    assert (done.made, done.kept, done.clips) == (1, 0, 14)
    (fan,) = read_embeddings(run, "dcase2025")
    assert (fan.stage, fan.machine, fan.vectors.shape) == ("dev", "fan", (14, 384))
    assert sorted(fan.clips["split"].unique()) == ["test", "train"]
    assert fan.provenance["backbone"] == "spectral"
    assert fan.provenance["parameters"] == 0
    from dcase_asd.audio import read_waveform
    from dcase_asd.registry import load_backbone

    row = 5
    clip = fan.clips.iloc[row]
    waveform = read_waveform(data / FAN / clip["split"] / clip["file"])
    expected = load_backbone("spectral").embed(torch.from_numpy(waveform)[None])[0]
    np.testing.assert_allclose(fan.vectors[row], expected, atol=1e-6)


def test_the_batch_size_does_not_matter(data, tmp_path):
    for size in (1, 16):
        embed(data, tmp_path / str(size), "dcase2025", system(batch_size=size))
    one, many = (read_embeddings(tmp_path / name, "dcase2025")[0] for name in ("1", "16"))
    assert one.clips.equals(many.clips)
    np.testing.assert_allclose(one.vectors, many.vectors, atol=1e-6)


def test_clips_of_other_lengths_rates_and_channels_are_taken(data, tmp_path, write_clip):
    train = data / FAN / "train"
    write_clip(train / "section_00_source_train_normal_0050_m-n_W.wav", 50, seconds=0.8, rate=44100)
    stereo = np.stack([np.zeros(9000), 0.3 * np.sin(np.arange(9000))], axis=1)
    soundfile.write(train / "section_00_source_train_normal_0051_m-n_W.wav", stereo, 16000)
    prepare(data)
    embed(data, tmp_path / "run", "dcase2025", system())
    (fan,) = read_embeddings(tmp_path / "run", "dcase2025")
    assert len(fan.clips) == 16
    assert np.isfinite(fan.vectors).all()


def test_a_manifest_that_was_edited_is_kept_while_the_recordings_are_the_same(data, tmp_path):
    manifest = data / "clips.csv"
    rows = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(row for row in rows if TRAIN not in row))
    assert embed(data, tmp_path / "run", "dcase2025", system()).clips == 13


def test_whatever_prepare_accepts_can_be_embedded(tmp_path):
    train = tmp_path / "own/dev_data/raw/pump/train"
    train.mkdir(parents=True)
    for index, (content, _) in enumerate(FILES.values()):
        (train / f"{index:02}.wav").write_bytes(content)
    for container, subtype in (
        ("W64", "PCM_16"), ("RF64", "PCM_24"), ("AIFF", "FLOAT"), ("FLAC", "PCM_16"),
        ("MP3", "MPEG_LAYER_III"), ("WAV", "ULAW"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"),
    ):  # fmt: skip
        sound = 0.1 * np.sin(np.arange(4000))
        name = f"{container}_{subtype}.WAV"
        soundfile.write(train / name, sound, 16000, subtype=subtype, format=container)
    found = prepare(tmp_path)
    assert len(found.clips) == len(FILES) + 8
    assert embed(tmp_path, tmp_path / "run", "own", system()).clips == len(FILES) + 8
    (pump,) = read_embeddings(tmp_path / "run", "own")
    same = pump.vectors[pump.clips["file"].str.len() == len("00.wav")]
    np.testing.assert_allclose(same, same[:1].repeat(len(FILES), axis=0), atol=1e-6)


def test_recordings_without_sound_are_named_with_the_channel_that_has_some(
    data, tmp_path, write_clip
):
    for path in (data / FAN).rglob("*.wav"):
        sound, rate = soundfile.read(path)
        soundfile.write(path, np.stack([np.full_like(sound, 0.2), sound], axis=1), rate)
    progress = Silent()
    embed(data, tmp_path / "run", "dcase2025", system(), progress=progress)
    (note,) = (note for note in progress.notes if "silent" in note)
    (fan,) = read_embeddings(tmp_path / "run", "dcase2025")
    assert fan.provenance["silent"] == sorted(fan.clips["file"])
    assert note.startswith("dev fan: 14 of 14 recordings are silent or constant on channel 0 (")
    assert "channel 1 has sound: embed it with --channel 1 into another --run" in note
    scored = Silent()
    score(tmp_path / "run", "dcase2025", progress=scored)
    assert scored.notes == [
        note,
        "dev fan section 00: train clips do not differ: their embeddings are not standardized",
        "dev fan section 00: all embeddings are the same, so that its scores say nothing",
    ]
    other = Silent()
    embed(data, tmp_path / "other", "dcase2025", system(channel=1), progress=other)
    score(tmp_path / "other", "dcase2025", progress=other)
    assert other.notes == []


def test_one_silent_recording_of_one_channel_is_named(data, tmp_path):
    soundfile.write(data / FAN / "train" / TRAIN, np.zeros(8000), 16000)
    prepare(data)
    progress = Silent()
    embed(data, tmp_path / "run", "dcase2025", system(), progress=progress)
    assert progress.notes == [
        f"dev fan: 1 of 14 recordings are silent or constant on channel 0 ({TRAIN}; all are named "
        "in fan.json), so that their scores say nothing"
    ]


def test_the_batch_size_of_a_run_may_change_at_any_time(data, tmp_path, write_clip):
    run, whole = tmp_path / "run", tmp_path / "whole"
    embed(data, run, "dcase2025", system(batch_size=16))
    before = contents(run)
    assert embed(data, run, "dcase2025", system(batch_size=8)).kept == 1
    changed = {path.name for path, content in contents(run).items() if content != before[path]}
    assert changed == {"recipe.toml"}
    assert read_system(run).embed.batch_size == 8
    # Machines that were embedded with several sizes are as if they were with one.
    for seed in range(4):
        name = f"section_00_source_train_normal_{seed:04d}_noAttribute.wav"
        write_clip(data / f"dcase2025t2/dev_data/raw/slider/train/{name}", 60 + seed)
    prepare(data)
    assert embed(data, run, "dcase2025", system(batch_size=3)).made == 1
    embed(data, whole, "dcase2025", system())
    for one, other in zip(
        read_embeddings(run, "dcase2025"), read_embeddings(whole, "dcase2025"), strict=True
    ):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)
        assert one.provenance == other.provenance


@pytest.mark.parametrize(("name", "value", "least"), [("channel", -1, 0), ("batch_size", 0, 1)])
def test_numbers_that_cannot_be_are_refused(name, value, least):
    with pytest.raises(ValueError, match=f"^{name} must be at least {least}, not {value}$"):
        Embedding("spectral", **{name: value})


def test_a_run_folder_is_never_mixed(data, tmp_path):
    embed(data, tmp_path / "run", "dcase2025", system())
    with pytest.raises(ArtifactError, match=r"options was \{\} and is \{'mel_bins': 64\}"):
        embed(data, tmp_path / "run", "dcase2025", system(options={"mel_bins": 64}))


def test_unreadable_clips_are_named_after_all_others_are_embedded(data, tmp_path, write_clip):
    for machine in ("gearbox", "slider"):
        for seed in range(3):
            name = f"section_00_source_train_normal_{seed:04d}_noAttribute.wav"
            write_clip(data / f"dcase2025t2/dev_data/raw/{machine}/train/{name}", seed)
    gearbox = data / "dcase2025t2/dev_data/raw/gearbox/train"
    bad = gearbox / "section_00_source_train_normal_0001_noAttribute.wav"
    stereo = np.full((8000, 2), (np.nan, 0.1), dtype=np.float32)
    soundfile.write(bad, stereo, 16000, subtype="FLOAT")  # the other channel could be embedded
    short = gearbox / "section_00_source_train_normal_0002_noAttribute.wav"
    soundfile.write(short, np.zeros(200), 16000)
    prepare(data)
    with pytest.raises(AudioError) as error:
        embed(data, tmp_path / "run", "dcase2025", system())
    assert f"{bad}: sample 0 is nan" in str(error.value)
    assert f"{short}: a clip of 200 samples is shorter than one frame" in str(error.value)
    with pytest.raises(
        ArtifactError, match=r"1 of 3 machine.* are not embedded yet \(dev gearbox\)"
    ):
        read_embeddings(tmp_path / "run", "dcase2025")
    bad.unlink()
    short.unlink()
    done = embed(data, tmp_path / "run", "dcase2025", system())
    assert (done.made, done.kept) == (1, 2)


def test_many_problems_are_counted(data, tmp_path):
    with pytest.raises(AudioError, match=r"there is no channel 1.* and 11 more\. The other"):
        embed(data, tmp_path / "run", "dcase2025", system(channel=1))


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(data, tmp_path, write_clip, monkeypatch):
    for seed in range(3):
        name = f"section_00_source_train_normal_{seed:04d}_noAttribute.wav"
        write_clip(data / f"dcase2025t2/dev_data/raw/slider/train/{name}", seed)
    prepare(data)
    embed(data, tmp_path / "undisturbed", "dcase2025", system())
    whole = module._embed_batch

    def killed(batch, *rest):
        if "slider" in str(batch.paths[0]):
            raise KeyboardInterrupt
        return whole(batch, *rest)

    run = tmp_path / "again" / "undisturbed"
    monkeypatch.setattr(module, "_embed_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        embed(data, run, "dcase2025", system())
    monkeypatch.setattr(module, "_embed_batch", whole)
    assert embed(data, run, "dcase2025", system()).kept == 1
    assert contents(run) == contents(tmp_path / "undisturbed")


def test_two_processes_never_write_one_run(data, tmp_path):
    from dcase_asd.files import only_writer

    run = tmp_path / "run"
    held, end = threading.Event(), threading.Event()

    def hold():
        with only_writer(run):
            held.set()
            end.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        with pytest.raises(
            ArtifactError, match="another dcase-asd is writing this folder right now"
        ):
            embed(data, run, "dcase2025", system())
    finally:
        end.set()
        thread.join()


def test_wrong_editions_plugins_and_devices_are_told(data, tmp_path):
    with pytest.raises(DataError, match=r"no clip of edition dcase2024; did you mean 'dcase2025'?"):
        embed(data, tmp_path / "a", "dcase2024", system())
    with pytest.raises(BackboneError, match="no backbone plugin is called 'spektral'"):
        embed(data, tmp_path / "b", "dcase2025", System("x", Embedding("spektral")))
    with pytest.raises(BackboneError, match="cannot compute on the device 'gpu'"):
        embed(data, tmp_path / "c", "dcase2025", system(), device="gpu")


def test_machines_that_are_gone_from_the_data_are_gone_from_the_run(data, tmp_path, write_clip):
    name = "section_00_source_train_normal_0000_noAttribute.wav"
    clip = write_clip(data / f"dcase2025t2/dev_data/raw/slider/train/{name}")
    prepare(data)
    embed(data, tmp_path / "run", "dcase2025", system())
    clip.unlink()
    prepare(data)
    embed(data, tmp_path / "run", "dcase2025", system())
    assert [each.machine for each in read_embeddings(tmp_path / "run", "dcase2025")] == ["fan"]


def test_nothing_to_embed_is_told(tmp_path, write_clip):
    write_clip(tmp_path / FAN / "supplemental/section_00_noise_0000_noAttribute.wav")
    prepare(tmp_path)
    with pytest.raises(DataError, match="no train or test clip of dcase2025"):
        embed(tmp_path, tmp_path / "run", "dcase2025", system())


def test_a_recipe_that_nothing_was_made_with_may_be_replaced(data, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(BackboneError, match="no statistic"):
        embed(data, run, "dcase2025", system(options={"statistics": "men"}))
    right = system(options={"statistics": "mean"})
    embed(data, run, "dcase2025", right)
    assert read_system(run).embed == right.embed


def test_what_a_model_of_the_hub_gave_is_not_taken_for_that_of_another():
    found = {
        module._backbone_fingerprint(Embedding("huggingface", checkpoint))
        for checkpoint in (None, "owner/model", "owner/other")
    }
    assert len(found) == 3


def test_published_weights_are_embedded_with_by_their_name(data, tmp_path, monkeypatch):
    monkeypatch.setenv("DCASE_ASD_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "cache" / "beats" / "BEATs_iter3" / "BEATs_iter3.pt"
    place.parent.mkdir(parents=True)
    shutil.copy(TINY_BEATS, place)
    for name, checkpoint in (("named", "BEATs_iter3"), ("path", str(place))):
        embed(data, tmp_path / name, "dcase2025", System(name, Embedding("beats", checkpoint)))
    named, path = (read_embeddings(tmp_path / name, "dcase2025")[0] for name in ("named", "path"))
    assert np.array_equal(named.vectors, path.vectors)
    assert named.provenance == path.provenance
    system = System("named", Embedding("beats", "BEATs_iter3"))
    assert embed(data, tmp_path / "named", "dcase2025", system).kept == 1
    content = torch.load(place, weights_only=True)
    content["model"]["layer_norm.bias"] += 1
    torch.save(content, place)
    assert embed(data, tmp_path / "named", "dcase2025", system).made == 1


@pytest.mark.parametrize("far", ["none", "cancel"])
def test_embeddings_are_the_same_from_packs(small_tree, tmp_path, monkeypatch, far):
    for path in (small_tree / FAN).rglob("*.wav"):
        sound, rate = soundfile.read(path)
        soundfile.write(path, np.stack([sound, 0.3 * sound[::-1]], 1), rate, subtype="PCM_16")
    prepare(small_tree)
    embed(small_tree, tmp_path / "files", "dcase2025", system(far=far))
    prepare(small_tree, pack=True)
    read, sources = reading.read_clip, []

    def watched(source, *arguments, **options):
        sources.append(type(source))
        return read(source, *arguments, **options)

    monkeypatch.setattr(reading, "read_clip", watched)
    embed(small_tree, tmp_path / "packed", "dcase2025", system(far=far))
    assert sources == [Mapped] * 14
    found, expected = (contents(tmp_path / name) for name in ("packed", "files"))
    arrays = [path for path in expected if path.suffix == ".npy"]
    assert arrays
    assert all(found[path] == expected[path] for path in arrays)
