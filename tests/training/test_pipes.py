"""Shards that commands print."""

import re

import numpy as np
import pytest
import soundfile
import torch
from pretraining_settings import stopped_at

from dcase_asd.errors import ArtifactError, AudioError, DataError
from dcase_asd.progress import Silent
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.training import pipes
from dcase_asd.training.pretrain import plan_pretraining, pretrain
from dcase_asd.training.pretraining_batches import PretrainingBatches
from dcase_asd.training.recordings import find_recordings, write_shards

SETTINGS = Pretraining(
    architecture={"embed_dim": 48, "depth": 1, "num_heads": 4}, seconds=0.5, updates=5, warmup=1,
    batch_size=2, accumulation=1, max_images=2, decoder_width=16, decoder_layers=1,
    decoder_kernel=3, save_every=2,
)  # fmt: skip


@pytest.fixture
def shards(tmp_path):
    """Three shards of four recordings each, and a file in which commands tell that they ran."""
    (tmp_path / "audio").mkdir()
    for index in range(12):
        noise = 0.1 * np.random.default_rng(index).standard_normal(8000)
        soundfile.write(tmp_path / "audio" / f"{index:02d}.wav", noise, 16000)
    write_shards([tmp_path / "audio"], f"{tmp_path}/s/{{0..2}}.tar")
    return tmp_path / "s"


def found(shards, *commands, progress=None):
    sources = [f"pipe:{command}" for command in commands]
    return find_recordings(sources, progress, shards.parent / "pipes")


def content(recordings):
    return [recordings[number].open().read() for number in range(len(recordings))]


def test_what_a_command_prints_is_a_shard(shards):
    printed = found(shards, f"cat {shards}/{{0..2}}.tar")
    files = find_recordings([shards])
    assert content(printed) == content(files)
    one, two = (PretrainingBatches(each, SETTINGS, 0)[3] for each in (printed, files))
    assert torch.equal(one.waveforms, two.waveforms)
    assert "0.tar" in str(printed[0])  # a message about a recording names the command


def test_a_command_is_not_run_again_for_what_is_kept(shards):
    command = f"echo ran >> {shards}/log; cat {shards}/0.tar"
    first = found(shards, command)
    pipes.remove_fetched(shards.parent / "pipes")
    again = found(shards, command)  # what the shard holds was written down
    assert again.fingerprint == first.fingerprint
    assert (shards / "log").read_text().count("ran") == 1
    content(again)
    content(again)
    assert (shards / "log").read_text().count("ran") == 2


def test_shards_that_were_used_longest_ago_make_room(shards, monkeypatch):
    monkeypatch.setattr(pipes, "KEPT", 1)
    printed = found(shards, f"cat {shards}/{{0..2}}.tar")
    assert len(list((shards.parent / "pipes").glob("*.tar"))) == 1
    assert content(printed) == content(find_recordings([shards]))


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("; echo no route >&2; exit 3", r"its command failed with status 3 \(no route\)"),
        ("; exit 4", "its command failed with status 4;"),
        ("", "ends in the middle of a recording"),
    ],
)
def test_a_command_that_prints_a_part_costs_a_line(shards, rest, said):
    progress = Silent()
    command = f"head -c 40000 {shards}/0.tar{rest}"
    printed = found(shards, command, f"cat {shards}/1.tar", progress=progress)
    (note,) = progress.notes
    assert note.startswith(f"pipe:{command}: ")
    assert note.endswith("; 2 recordings before that are used")
    assert re.search(said, note)
    assert len(content(printed)) == 6
    repeated = Silent()
    assert len(found(shards, command, progress=repeated)) == 2
    assert repeated.notes == progress.notes


def test_a_command_that_fails_at_once_costs_a_line_where_others_print(shards):
    progress = Silent()
    assert len(found(shards, "exit 7", f"cat {shards}/1.tar", progress=progress)) == 4
    assert "pipe:exit 7: its command failed with status 7; 0 recordings" in progress.notes[0]
    with pytest.raises(DataError, match="pipe:exit 7: no recording here"):
        found(shards, "exit 7")


def test_a_command_that_fails_later_costs_lines_and_others_take_its_place(shards):
    """A connection that breaks in the middle of the training."""
    flag = shards / "broken"
    command = f"test -e {flag} && head -c 20000 {shards}/0.tar && exit 5 || cat {shards}/0.tar"
    printed = found(shards, command, f"cat {shards}/1.tar")
    pipes.remove_fetched(shards.parent / "pipes")
    flag.touch()
    with pytest.raises(AudioError, match=r"^pipe:test .*: its command failed with status 5$"):
        content(printed)
    batches = PretrainingBatches(printed, SETTINGS, 0)
    read = [batches[number] for number in range(4)]
    assert all(len(batch.files) == 2 for batch in read)
    lines = {line for batch in read for line in batch.skipped}
    assert lines == {f"pipe:{command}: its command failed with status 5"}


def test_a_command_that_prints_less_without_failing_is_told(shards):
    flag = shards / "broken"
    printed = found(shards, f"test -e {flag} || cat {shards}/0.tar")
    pipes.remove_fetched(shards.parent / "pipes")
    flag.touch()
    with pytest.raises(AudioError, match="prints less than at first"):
        printed[0]


def test_a_stopped_run_goes_on_with_pipes_and_ends_with_the_same_bytes(shards, monkeypatch):
    sources, folder = [f"pipe:cat {shards}/{{0..2}}.tar"], shards.parent

    def train(name):
        return pretrain(sources, folder / name, SETTINGS, device="cpu", workers=0).checkpoint

    one = train("one")
    with stopped_at(3, monkeypatch):
        train("two")
    assert list((folder / "two" / "pipes").glob("*.tar"))
    pipes.remove_fetched(folder / "two" / "pipes")
    assert plan_pretraining(sources, folder / "two", SETTINGS).done == 2
    assert train("two").read_bytes() == one.read_bytes()
    assert not list((folder / "two" / "pipes").glob("*.tar"))
    assert not pretrain(sources, folder / "two", SETTINGS, device="cpu").changed


def test_a_dry_run_leaves_nothing_of_pipes(shards):
    run = shards.parent / "run"
    assert plan_pretraining([f"pipe:cat {shards}/0.tar"], run, SETTINGS).recordings == 4
    assert not run.exists()


def test_what_is_no_pipe_for_pretrain_is_told(shards):
    for source in ("-", "/dev/stdin"):
        with pytest.raises(DataError, match=r"standard input can be read but once.*pipe:cat"):
            find_recordings([source], None, shards)
    with pytest.raises(DataError, match=r"pipe:cat a\.tar: only pretrain reads pipes"):
        write_shards(["pipe:cat a.tar"], f"{shards}/x/{{0..1}}.tar")


def test_a_folder_that_cannot_be_written_is_told(shards):
    (shards / "file").touch()
    with pytest.raises(ArtifactError, match="cannot be written"):
        find_recordings([f"pipe:cat {shards}/0.tar"], None, shards / "file" / "pipes")
