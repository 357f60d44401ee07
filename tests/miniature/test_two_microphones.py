"""The miniature of a year with two microphones, which is made only where it is asked for."""

import numpy as np
import pytest
import soundfile
from folder_contents import tree

from dcase_asd import cancel_far
from dcase_asd.clips.name import parse_clip_name
from dcase_asd.editions.edition import STAGE_FOLDERS, load_edition
from dcase_asd.miniature import miniature
from dcase_asd.miniature.machines import EDITIONS, ClipCounts, plan, plan_clips
from dcase_asd.miniature.miniature import synthesise, write_miniature

FEW = ClipCounts(source_train=2, target_train=1, test=2)
PAIRS = ["dcase2026"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "data"
    write_miniature(folder, editions=PAIRS, counts=FEW)
    return folder


def clips_of(data):
    """Stage, machine type and path of each clip on disk."""
    for path in sorted(data.rglob("*.wav")):
        _, stage, _, machine, *_ = path.relative_to(data).parts
        yield STAGE_FOLDERS[stage], machine, path


def folder_of(machine):
    return next(each for each in plan(PAIRS, None) if each.machine.name == machine)


def test_two_microphones_are_only_where_they_are_asked_for(pairs):
    assert set(EDITIONS) == {folder.edition for folder in plan(None, None)}
    assert not {*PAIRS} & {*EDITIONS}
    assert {path.name for path in pairs.iterdir() if path.is_dir()} == {
        "dcase2026t2", "ground_truth",
    }  # fmt: skip


def test_the_year_with_two_microphones_is_whole_and_named_as_the_challenge_does(pairs):
    names = {(stage, machine) for stage, machine, _ in clips_of(pairs)}
    listed = load_edition("dcase2026").machines
    assert names == {(stage, machine) for stage in listed for machine in listed[stage]}
    for *_, path in clips_of(pairs):
        parse_clip_name(path.name, path.parent.name)
        header = soundfile.info(path)
        assert (header.channels, header.samplerate, header.subtype) == (2, 16_000, "PCM_16")
        assert np.abs(soundfile.read(path)[0]).max() < 0.98
    withheld = {"ToyCar", "bearingEmu", "sliderEmu", "valveEmu", "SewingMachine", "ToothBrush"}
    for folder in plan(PAIRS, FEW):
        named = {bool(clip.attributes) for clip in plan_clips(folder, 1) if clip.folder == "train"}
        assert named == {folder.machine.name not in withheld}


def test_the_same_seed_gives_the_same_two_channels(pairs, tmp_path):
    write_miniature(tmp_path / "again", editions=PAIRS, counts=FEW)
    write_miniature(tmp_path / "other", editions=PAIRS, counts=FEW, seed=7)
    first, again, other = (tree(each) for each in (pairs, tmp_path / "again", tmp_path / "other"))
    sounds = [name for name in first if name.endswith(".wav")]
    assert {name: again[name] for name in sounds} == {name: first[name] for name in sounds}
    assert not {other[name] for name in sounds} & {first[name] for name in sounds}


def parts_of(folder, clip, monkeypatch):
    """What the machine and what the factory put into a clip, (n, 2) each."""
    silence, whole = np.zeros(32_000), synthesise(folder, clip, 1)
    parts = []
    for other in ("factory_noise", "machine_sound"):
        with monkeypatch.context() as patch:
            draw = getattr(miniature, other)  # what follows is drawn as before
            patch.setattr(miniature, other, lambda *given, draw=draw: 0 * draw(*given) + silence)
            parts.append(synthesise(folder, clip, 1))
    np.testing.assert_allclose(sum(parts), whole, atol=1e-12)
    return parts


@pytest.mark.parametrize("name", ["bearingEmu", "valveEmu"])
def test_the_far_channel_holds_the_noise_and_a_late_and_weak_leak_of_the_machine(name, monkeypatch):
    folder = folder_of(name)
    clip = next(clip for clip in plan_clips(folder, 1) if clip.folder == "train")
    machine, noise = parts_of(folder, clip, monkeypatch)
    level = np.sqrt((machine**2).mean(0))
    assert 0.02 < level[1] / level[0] < 0.11  # 20 to 30 dB less
    lags = np.fft.irfft(np.fft.rfft(machine[:, 1]) * np.fft.rfft(machine[:, 0]).conj())
    assert 20 <= int(np.argmax(lags)) <= 60  # samples later
    power = (noise**2).mean(0)
    assert power[1] > power[0]  # the noise is nearer to the far microphone
    ratio = 10 * np.log10((machine[:, 0] ** 2).mean() / power[0])
    assert -8 < ratio < 4


def test_taking_the_far_channel_out_leaves_the_machine(monkeypatch):
    folder = folder_of("gearboxEmu")
    clip = next(clip for clip in plan_clips(folder, 1) if clip.folder == "train")
    machine, noise = parts_of(folder, clip, monkeypatch)
    near, far = (machine + noise).T
    left = cancel_far(near, far) - machine[:, 0]
    assert (left**2).mean() < 0.3 * (noise[:, 0] ** 2).mean()
