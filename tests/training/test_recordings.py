"""Recordings to pre-train on: folders, shards, and the batches made of them."""

import dataclasses
import io
import itertools
import tarfile

import numpy as np
import pytest
import soundfile
import torch

from dcase_asd.audio import read_header, read_span
from dcase_asd.errors import AudioError, DataError
from dcase_asd.progress import Silent
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.training.pretraining_batches import PretrainingBatches
from dcase_asd.training.recordings import expanded, find_recordings, write_shards

MEMBER = 512 + 8192
"""Bytes in a tar file of 4000 samples: a block of name and size, 8044 bytes in blocks of 512."""
SETTINGS = Pretraining(updates=10, warmup=1, batch_size=4, seconds=0.5, seed=3)


def tone(samples, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(samples)


@pytest.fixture
def audio(tmp_path):
    """Ten recordings of three rates and four formats, and what is none."""
    folder = tmp_path / "audio"
    (folder / "more" / ".hidden").mkdir(parents=True)
    for index in range(7):
        soundfile.write(folder / f"{index}.wav", tone(16000, index), 16000)
    soundfile.write(folder / "more" / "v1.2 motor.flac", tone(24000, 7), 48000)
    soundfile.write(folder / "more" / "8.ogg", tone(22050, 8), 22050)
    stereo = np.stack([tone(8000, 9), tone(8000, 10)], 1)
    soundfile.write(folder / "more" / "9.WAV", stereo, 16000, subtype="FLOAT", format="WAV")
    soundfile.write(folder / "more" / ".hidden" / "x.wav", tone(16000), 16000)
    (folder / "notes.txt").write_text("no audio")
    return folder


def test_recordings_of_folders_are_found_by_name(audio, tmp_path):
    found = find_recordings([audio])
    assert len(found) == 10
    assert found.parts == (10,)
    assert {found[n].name for n in range(10)} == {
        *(f"{n}.wav" for n in range(7)), "v1.2 motor.flac", "8.ogg", "9.WAV"
    }  # fmt: skip
    assert find_recordings([audio / "0.wav", audio / "more"]).parts == (4,)
    assert find_recordings([f"{audio}/[0-2].wav"]).parts == (3,)
    moved = tmp_path / "moved"
    audio.rename(moved)
    assert find_recordings([moved]).fingerprint == found.fingerprint
    (moved / "0.wav").unlink()
    assert find_recordings([moved]).fingerprint != found.fingerprint


@pytest.mark.parametrize("source", ["gone", "gone/*.wav", "gone-{00..03}.tar"])
def test_a_source_that_is_not_there_is_told(tmp_path, source):
    with pytest.raises(DataError, match="no such file or folder; say what to read with --audio"):
        find_recordings([tmp_path / source])


def test_a_folder_without_recordings_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("no audio")
    with pytest.raises(DataError, match="no recording here; WAV, FLAC"):
        find_recordings([tmp_path])


def test_ranges_stand_for_the_names_that_exist(tmp_path):
    for number in (8, 9, 11):
        (tmp_path / f"{number:03d}.tar").touch()
    names = [path.name for path in expanded(f"{tmp_path}/{{008..012}}.tar")]
    assert names == ["008.tar", "009.tar", "011.tar"]


def test_shards_hold_the_same_bytes_in_the_webdataset_form(audio, tmp_path):
    done = write_shards([audio], f"{tmp_path}/s/{{000..002}}.tar")
    assert (len(done.shards), done.recordings, done.skipped) == (3, 10, 0)
    contents = []
    for path in done.shards:
        with tarfile.open(path) as archive:
            for member in archive:
                key, _, kind = member.name.partition(".")  # how WebDataset splits a name
                assert key
                assert kind.lower() in ("wav", "flac", "ogg")
                contents.append(archive.extractfile(member).read())
    files = [
        path for path in audio.rglob("*.*") if path.suffix != ".txt" and "hidden" not in str(path)
    ]
    assert sorted(contents) == sorted(path.read_bytes() for path in files if path.is_file())


def test_a_recording_in_a_shard_reads_as_its_file(audio, tmp_path):
    write_shards([audio], f"{tmp_path}/s/{{000..002}}.tar")
    packed, files = find_recordings([tmp_path / "s"]), find_recordings([audio])
    assert sorted(packed.parts) == [3, 3, 4]

    def content(recordings, number):
        source = recordings[number]
        header = read_header(source)
        return header.sample_rate, read_span(source, 100, 5000, header.channels - 1).tobytes()

    def everything(recordings):
        return sorted(content(recordings, number) for number in range(10))

    assert everything(packed) == everything(files)
    assert str(packed[0]).startswith(f"{tmp_path}/s/000.tar: 0000")


def test_shards_and_files_together(audio, tmp_path):
    write_shards([audio / "more"], f"{tmp_path}/s/{{0..1}}.tar")
    both = find_recordings([audio, tmp_path / "s"])
    assert both.parts == (10, 2, 1)
    assert all(read_header(both[number]).frames for number in range(13))


def test_a_stopped_packing_goes_on(audio, tmp_path):
    out = f"{tmp_path}/s/{{000..002}}.tar"
    first = write_shards([audio], out)
    before = [path.read_bytes() for path in first.shards]
    first.shards[1].unlink()
    again = write_shards([audio], out)
    assert [path.read_bytes() for path in again.shards] == before
    assert again.recordings == 10


def test_what_is_no_audio_is_left_out_of_shards(audio, tmp_path):
    (audio / "bad.wav").write_bytes(b"RIFF")
    progress = Silent()
    done = write_shards([audio], f"{tmp_path}/{{0..1}}.tar", progress)
    assert (done.recordings, done.skipped) == (10, 1)
    assert any("left out" in note and "bad.wav" in note for note in progress.notes)


@pytest.mark.parametrize("out", ["one.tar", "{0..3}.zip", "{00..20}.tar"])
def test_shards_that_cannot_be_are_told(audio, tmp_path, out):
    with pytest.raises(DataError, match=r"write (--out|a smaller range)"):
        write_shards([audio], f"{tmp_path}/{out}")


def shard_of(path, *sizes):
    with tarfile.open(path, "w") as archive:
        for index, size in enumerate(sizes):
            file = io.BytesIO()
            soundfile.write(file, tone(size, index), 16000, format="WAV")
            member = tarfile.TarInfo(f"{index}.wav")
            member.size = file.tell()
            file.seek(0)
            archive.addfile(member, file)
    return path


@pytest.mark.parametrize(
    ("cut", "left", "said"),
    [
        (2 * MEMBER + 4000, 2, "ends in the middle"),
        (3 * MEMBER + 8000, 3, "ends in the middle"),
        (3 * MEMBER, 3, "without the mark of an end"),
        (200, 0, "is damaged"),
    ],
)
def test_a_shard_that_ends_in_the_middle_gives_what_is_whole(tmp_path, cut, left, said):
    path = shard_of(tmp_path / "a.tar", 4000, 4000, 4000, 4000)
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    whole = shard_of(tmp_path / "b.tar", 4000)
    progress = Silent()
    found = find_recordings([path, whole], progress)
    assert len(found) == left + 1
    assert any("a.tar" in note and said in note for note in progress.notes)


def test_every_recording_comes_once_in_each_epoch_and_stretches_stay_together(tmp_path):
    for index in range(40):
        shard_of(tmp_path / f"{index:02d}.tar", *[400] * (1 + index % 3))
    recordings = find_recordings([tmp_path])
    batches = PretrainingBatches(recordings, SETTINGS, 0)
    count = len(recordings)
    epochs = [[batches.row(place) for place in range(e * count, (e + 1) * count)] for e in (0, 1)]
    assert all(sorted(each) == list(range(count)) for each in epochs)
    assert epochs[0] != epochs[1]
    shards = np.repeat(range(40), recordings.parts)
    sixteen = sum(sorted(recordings.parts)[:16])
    assert len({int(shards[row]) for row in epochs[0][:sixteen]}) <= 17
    backwards = [batches.row(place) for place in reversed(range(2 * count))]
    assert backwards[::-1] == list(itertools.chain(*epochs))


def test_a_batch_depends_on_its_number_only(audio):
    recordings = find_recordings([audio])
    first, second = (PretrainingBatches(recordings, SETTINGS, 0) for _ in range(2))
    for number in (5, 0, 2):
        one, two = first[number], second[number]
        assert one.files == two.files
        assert torch.equal(one.waveforms, two.waveforms)
    other = PretrainingBatches(recordings, dataclasses.replace(SETTINGS, seed=4), 0)[0]
    assert not torch.equal(other.waveforms[0, :100], first[0].waveforms[0, :100])


def test_recordings_keep_their_rates_or_get_one(audio):
    recordings = find_recordings([audio])
    native = [PretrainingBatches(recordings, SETTINGS, 0)[number] for number in range(3)]
    rates = {rate for batch in native for rate in batch.rates.tolist()}
    assert rates == {16000, 22050, 48000}
    for batch in native:
        expected = torch.minimum(batch.rates // 2, batch.lengths)
        assert torch.equal(batch.lengths, expected)
    same = PretrainingBatches(recordings, SETTINGS, 16000)[0]
    assert same.rates.tolist() == [16000] * 4
    assert same.lengths.tolist() == [8000] * 4


def test_what_cannot_be_used_costs_a_line(audio):
    soundfile.write(audio / "silent.wav", np.full(16000, 0.25), 16000)
    soundfile.write(audio / "short.wav", tone(2000), 16000)
    soundfile.write(audio / "slow.wav", tone(2000), 500)
    (audio / "broken.wav").write_bytes((audio / "0.wav").read_bytes()[:5000])
    batches = PretrainingBatches(find_recordings([audio]), SETTINGS, 0)
    read = [batches[number] for number in range(4)]
    said = " ".join(line for batch in read for line in batch.skipped)
    for name, reason in {
        "silent.wav": "silent from", "short.wav": "2000 samples of 16000 Hz; 0.175 s",
        "slow.wav": "of 500 Hz", "broken.wav": "truncated",
    }.items():  # fmt: skip
        assert f"{name}: {reason}" in said or (name in said and reason in said)
    assert all(len(batch.files) == 4 for batch in read)
    assert not any("silent" in file for batch in read for file in batch.files)


def test_recordings_none_of_which_can_be_used_are_an_error(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    batches = PretrainingBatches(find_recordings([tmp_path]), SETTINGS, 0)
    with pytest.raises(AudioError, match=r"^none of 16 recordings .* silent from 0"):
        batches[0]


def test_padding_makes_no_step(audio):
    soundfile.write(audio / "loud.wav", 0.5 + tone(4000, 3), 16000)
    batches = PretrainingBatches(find_recordings([audio / "loud.wav"]), SETTINGS, 0)
    crop = batches[0].waveforms[0, :4000]
    assert batches[0].lengths.tolist() == [4000] * 4
    assert abs(float(crop.mean())) < 1e-6


def test_a_shard_that_is_taken_away_costs_a_line(tmp_path):
    for name in "ab":
        shard_of(tmp_path / f"{name}.tar", 16000, 16000)
    batches = PretrainingBatches(find_recordings([tmp_path]), SETTINGS, 0)
    (tmp_path / "a.tar").unlink()
    batch = batches[0]
    assert {line.partition(": ")[2] for line in batch.skipped} == {
        "cannot be read (No such file or directory)"
    }
    assert all("b.tar" in file for file in batch.files)
