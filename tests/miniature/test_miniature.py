from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from dcase_asd.clips.name import parse_clip_name
from dcase_asd.editions.edition import STAGE_FOLDERS, load_edition
from dcase_asd.errors import DataError, EditionError
from dcase_asd.miniature import miniature
from dcase_asd.miniature.machines import EDITIONS, ClipCounts, plan, plan_clips
from dcase_asd.miniature.miniature import synthesise, write_miniature
from dcase_asd.miniature.sounds import FAULTS
from dcase_asd.progress import Silent

FEW = ClipCounts(source_train=2, target_train=1, test=2, supplemental=2)
TWO_YEARS = ["dcase2020", "dcase2024"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniature") / "data"
    write_miniature(folder, counts=FEW)
    return folder


def clips_of(data):
    """(edition folder, stage, machine, folder, path) of each clip on disk."""
    for path in sorted(data.rglob("*.wav")):
        edition, stage_folder, raw, machine, folder, _ = path.relative_to(data).parts
        assert raw == "raw"
        yield edition, STAGE_FOLDERS[stage_folder], machine, folder, path


def digests(data):
    return {
        path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def folder_of(edition, stage, machine):
    return next(
        folder
        for folder in plan([edition], None)
        if (folder.stage, folder.machine.name) == (stage, machine)
    )


def test_every_name_parses_in_its_folder_and_belongs_to_its_edition(data):
    clips = list(clips_of(data))
    assert len(clips) == len(set(clips))
    for edition, stage, machine, folder, path in clips:
        clip = parse_clip_name(path.name, folder)
        assert clip.section in load_edition(edition).machines[stage][machine]


def test_the_split_sizes_are_those_asked_for(data):
    found = Counter()
    for edition, stage, machine, folder, path in clips_of(data):
        clip = parse_clip_name(path.name, folder)
        found[edition, stage, machine, clip.section, clip.split, clip.domain, clip.condition] += 1
    fan = ("dcase2024t2", "dev", "fan", "00")
    assert found[*fan, "train", "source", "normal"] == 2
    assert found[*fan, "train", "target", "normal"] == 1
    assert found[*fan, "test", "target", "anomaly"] == 2
    assert found["dcase2020t2", "dev", "pump", "02", "train", "", "normal"] == 2
    assert found["dcase2020t2", "dev", "pump", "02", "test", "", "anomaly"] == 2
    assert found["dcase2025t2", "eval", "ToyPet", "00", "test", "", ""] == 8
    assert found["dcase2025t2", "dev", "valve", "00", "supplemental", "source", "normal"] == 2
    assert found["dcase2025t2", "dev", "fan", "00", "supplemental", "", ""] == 2
    assert not [key for key in found if key[0] != "dcase2025t2" and key[4] == "supplemental"]


def test_the_miniature_itself_is_imbalanced_as_the_challenge_and_complete_for_2025():
    folders = plan(None, None)
    assert (
        {folder.edition for folder in folders}
        == set(EDITIONS)
        == {
            "dcase2020",
            "dcase2024",
            "dcase2025",
        }
    )
    for stage in ("dev", "eval"):
        names = {f.machine.name for f in folders if (f.edition, f.stage) == ("dcase2025", stage)}
        assert names == set(load_edition("dcase2025").machines[stage])
    dev = [folder for folder in folders if (folder.edition, folder.stage) == ("dcase2025", "dev")]
    assert {folder.machine.family for folder in dev} == set(FAULTS)
    total = 0
    for folder in folders:
        clips = plan_clips(folder, 2025)
        total += len(clips)
        for clip in clips:
            parse_clip_name(clip.name, clip.folder)
        assert len({(clip.folder, clip.name) for clip in clips}) == len(clips)
        if folder.edition != "dcase2020":
            train = Counter(clip.domain for clip in clips if clip.folder == "train")
            test = Counter((c.domain, c.fault is not None) for c in clips if c.folder == "test")
            assert train["source"] >= 7 * train["target"] > 0
            assert len(test) == 4
            assert len(set(test.values())) == 1
    assert total < 1_400


def test_attributes_are_withheld_where_the_challenge_withholds_them():
    withheld = {
        ("dcase2024", "slider"),
        *(("dcase2025", name) for name in ("ToyTrain", "bearing", "slider")),
        *(("dcase2025", name) for name in ("AutoTrash", "Polisher", "ScrewFeeder", "ToyPet")),
    }
    for folder in plan(["dcase2024", "dcase2025"], FEW):
        named = {bool(clip.attributes) for clip in plan_clips(folder, 1) if clip.folder == "train"}
        assert named == {(folder.edition, folder.machine.name) not in withheld}


def test_source_and_target_share_no_operating_point():
    clips = plan_clips(folder_of("dcase2025", "dev", "gearbox"), 1)
    for what in ("operation", "attributes"):
        source, target = (
            {getattr(c, what) for c in clips if c.domain == domain and c.folder != "supplemental"}
            for domain in ("source", "target")
        )
        assert len(source) == 6
        assert len(target) == 4
        assert not source & target


def test_every_machine_has_every_fault_of_its_family_in_both_domains():
    for folder in plan(["dcase2025"], None):
        clips = [clip for clip in plan_clips(folder, 1) if clip.fault is not None]
        for domain in ("source", "target"):
            faults = [clip.fault for clip in clips if clip.domain == domain]
            assert {fault.kind for fault in faults} == set(FAULTS[folder.machine.family])
            assert all(0 < fault.severity <= 1 for fault in faults)
            gaps = np.diff(sorted(fault.severity for fault in faults))
            np.testing.assert_allclose(gaps, 1 / len(faults))


def test_blind_names_do_not_tell_the_labels_by_their_order():
    for folder in plan(["dcase2025"], None):
        if folder.stage == "eval":
            tests = [clip for clip in plan_clips(folder, 2025) if clip.folder == "test"]
            labels = [(clip.domain, clip.fault is None) for clip in tests]
            assert sum(one != next_ for one, next_ in pairwise(labels)) > 8


def test_the_ground_truth_has_the_form_of_the_evaluators_and_is_the_truth(data):
    truth = data / "ground_truth" / "dcase2025"
    machines = load_edition("dcase2025").machines["eval"]
    for folder in plan(["dcase2025"], FEW):
        if folder.stage != "eval":
            continue
        name = f"ground_truth_{folder.machine.name}_section_00_test.csv"
        labels = dict(rows_of(truth / "ground_truth_data" / name))
        domains = dict(rows_of(truth / "ground_truth_domain" / name))
        on_disk = {path.name for path in (data / folder.path / "test").iterdir()}
        assert set(labels) == set(domains) == on_disk
        for clip in plan_clips(folder, 2025):
            if clip.folder == "test":
                assert labels[clip.name] == ("1" if clip.fault else "0")
                assert domains[clip.name] == ("1" if clip.domain == "target" else "0")
        assert Counter(zip(labels.values(), domains.values(), strict=False)) == {
            (label, domain): 2 for label in "01" for domain in "01"
        }
    assert len(list((truth / "ground_truth_data").iterdir())) == len(machines)


def test_attribute_files_list_the_labelled_clips_with_their_values(data):
    raw = data / "dcase2025t2"
    header, *rows = rows_of(raw / "dev_data" / "raw" / "gearbox" / "attributes_00.csv")
    assert header == ["file_name", "d1p", "d1v", "d2p", "d2v"]
    assert len(rows) == 2 + 1 + 8
    for name, *values in rows:
        assert (raw / "dev_data" / "raw" / name).is_file()
        assert name.endswith("_" + "_".join(values) + ".wav")
    header, *rows = rows_of(raw / "dev_data" / "raw" / "bearing" / "attributes_00.csv")
    assert header == ["file_name"]
    assert len(rows) == 2 + 1 + 8
    header, *rows = rows_of(raw / "eval_data" / "raw" / "BandSealer" / "attributes_00.csv")
    assert len(rows) == 2 + 1  # the test set is blind
    assert not list((data / "dcase2020t2").rglob("*.csv"))


def test_clips_are_mono_16_bit_at_16_khz_of_sound_level_and_never_clip(data):
    for *_, path in clips_of(data):
        header = soundfile.info(path)
        assert (header.channels, header.samplerate, header.subtype) == (1, 16_000, "PCM_16")
        assert 2 <= header.duration <= 3
        sound, _ = soundfile.read(path)
        assert np.abs(sound).max() < 0.98
        assert 0.005 < np.sqrt(np.mean(sound**2)) < 0.15


def test_clean_supplements_have_no_factory_noise_and_noise_clips_no_machine(monkeypatch):
    car, train = (folder_of("dcase2025", "dev", name) for name in ("ToyCar", "ToyTrain"))
    clean = next(clip for clip in plan_clips(car, 1) if clip.folder == "supplemental")
    noise = next(clip for clip in plan_clips(train, 1) if clip.folder == "supplemental")
    busy = next(clip for clip in plan_clips(car, 1) if clip.folder == "train")
    silence = np.zeros(32_000)

    def change(folder, clip, part):
        with monkeypatch.context() as patch:
            patch.setattr(miniature, part, lambda *_: silence)
            without = synthesise(folder, clip, 1)
        return np.abs(synthesise(folder, clip, 1) - without).max()

    assert change(car, clean, "factory_noise") == 0 < change(car, clean, "machine_sound")
    assert change(train, noise, "machine_sound") == 0 < change(train, noise, "factory_noise")
    assert change(car, busy, "machine_sound") > 0
    assert change(car, busy, "factory_noise") > 0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, data):
    write_miniature(tmp_path / "again", editions=TWO_YEARS, counts=FEW)
    write_miniature(tmp_path / "other", seed=7, editions=TWO_YEARS, counts=FEW)
    again, other, whole = (digests(f) for f in (tmp_path / "again", tmp_path / "other", data))
    sounds = [name for name in again if name.endswith(".wav")]
    assert sounds
    # A clip does not depend on which other clips are made, nor in which order.
    assert {name: again[name] for name in sounds} == {name: whole[name] for name in sounds}
    assert set(again) == set(other)
    assert not {other[name] for name in sounds} & {again[name] for name in sounds}


def test_a_complete_miniature_is_left_as_it_is(tmp_path):
    first = write_miniature(tmp_path, editions=["dcase2020"], counts=FEW)
    removed = next(tmp_path.rglob("*.wav"))
    removed.unlink()
    (tmp_path / "clips.csv").write_text("made by a later step\n")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert write_miniature(tmp_path, editions=["dcase2020"], counts=FEW) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_summary_counts_what_is_on_disk(data):
    summary = write_miniature(data, counts=FEW)
    found = Counter(edition.removesuffix("t2") for edition, *_ in clips_of(data))
    assert summary.clips == found
    assert summary.machines == len(plan(None, FEW))
    assert summary.seconds == 2 * sum(found.values())
    assert json.loads((data / "miniature.json").read_text())["clips"] == found


def test_a_folder_that_holds_anything_else_is_refused_and_not_touched(tmp_path):
    (tmp_path / "dcase2025t2").mkdir()
    (tmp_path / "dcase2025t2" / "mine.wav").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"dcase2025t2.*no generated miniature.*empty folder"):
        write_miniature(tmp_path, counts=FEW)
    assert [path.name for path in tmp_path.rglob("*")] == ["dcase2025t2", "mine.wav"]


def test_a_lock_or_litter_beside_it_is_nothing_foreign(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / "desktop.ini").touch()
    write_miniature(tmp_path, editions=["dcase2024"], counts=ClipCounts(1, 1, 1))
    assert (tmp_path / "miniature.json").is_file()


def test_a_miniature_of_other_arguments_is_refused(tmp_path):
    write_miniature(tmp_path, editions=["dcase2024"], counts=ClipCounts(1, 1, 1))
    before = digests(tmp_path)
    for other in ({"seed": 1}, {"editions": TWO_YEARS}, {"counts": FEW}):
        arguments = {"editions": ["dcase2024"], "counts": ClipCounts(1, 1, 1), **other}
        with pytest.raises(DataError, match=r"miniature\.json.*made differently.*another folder"):
            write_miniature(tmp_path, **arguments)
    assert digests(tmp_path) == before


def test_a_damaged_marker_is_not_taken_for_a_miniature(tmp_path):
    (tmp_path / "miniature.json").write_text("{")
    with pytest.raises(DataError, match=r"miniature\.json"):
        write_miniature(tmp_path, counts=FEW)


def test_a_generation_killed_half_way_is_finished_to_the_same_bytes(tmp_path, monkeypatch):
    write_miniature(tmp_path / "whole", editions=TWO_YEARS, counts=FEW)
    broken = tmp_path / "broken"
    done = []

    def killed(*arguments):
        if len(done) == 25:
            raise KeyboardInterrupt
        done.append(arguments)
        return synthesise(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(miniature, "synthesise", killed)
        with pytest.raises(KeyboardInterrupt):
            write_miniature(broken, editions=TWO_YEARS, counts=FEW)
    assert not (broken / "miniature.json").exists()
    assert (broken / "dcase2020t2" / "dev_data" / "raw" / "pump").is_dir()
    assert (broken / "dcase2024t2" / "dev_data" / "raw" / ".writing-fan").is_dir()
    assert not (broken / "dcase2024t2" / "dev_data" / "raw" / "fan").exists()

    write_miniature(broken, editions=TWO_YEARS, counts=FEW)
    assert digests(broken) == digests(tmp_path / "whole")


def test_a_generation_killed_while_it_claims_the_folder_can_begin_again(tmp_path):
    (tmp_path / ".writing-miniature.unfinished.json").write_text('{"se')
    write_miniature(tmp_path, editions=["dcase2024"], counts=ClipCounts(1, 1, 1))
    assert (tmp_path / "miniature.json").is_file()
    assert not (tmp_path / ".writing-miniature.unfinished.json").exists()


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(miniature, "synthesise", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)") as caught:
        write_miniature(tmp_path / "data", editions=["dcase2024"], counts=FEW)
    assert "\n" not in str(caught.value)


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataError, match="cannot be written"):
        write_miniature(tmp_path / "data", counts=FEW)


def test_an_edition_that_the_miniature_lacks_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(EditionError, match="no edition 'dcase2021'; did you mean 'dcase202"):
        write_miniature(tmp_path / "data", editions=["dcase2021"])
    assert not (tmp_path / "data").exists()


def test_the_progress_bar_ends_at_its_total(tmp_path):
    shown, advanced = [], []

    class Recorder(Silent):
        def bar(self, description, total, unit):
            shown.append((description, total, unit))
            return nullcontext(advanced.append)

    write_miniature(tmp_path, progress=Recorder(), editions=["dcase2024"], counts=FEW)
    assert shown == [("Generating sounds", sum(advanced), "clips")]


def test_a_simple_detector_does_well_above_chance_and_better_in_the_source_domain():
    """Mean and deviation of a coarse log spectrum, cosine to the nearest train clip."""

    def embed(sound):
        frames = np.lib.stride_tricks.sliding_window_view(sound, 400)[::160] * np.hanning(400)
        spectrum = np.abs(np.fft.rfft(frames, 512)[:, 1:]) ** 2
        log = np.log(spectrum.reshape(len(frames), 64, 4).mean(axis=2) + 1e-9) + 21
        vector = np.concatenate([log.mean(axis=0), log.std(axis=0)])
        return vector / np.linalg.norm(vector)

    areas = {"source": [], "target": []}
    for machine in ("gearbox", "fan", "valve"):
        folder = folder_of("dcase2025", "dev", machine)
        clips = [c for c in plan_clips(folder, 2025) if c.folder != "supplemental"]
        vectors = np.array([embed(synthesise(folder, clip, 2025)) for clip in clips])
        train = np.array([clip.folder == "train" for clip in clips])
        scores = 1 - (vectors[~train] @ vectors[train].T).max(axis=1)
        tests = [clip for clip in clips if clip.folder == "test"]
        faulty = np.array([clip.fault is not None for clip in tests])
        for domain, found in areas.items():
            normal = np.array([clip.domain == domain for clip in tests]) & ~faulty
            found.append((scores[faulty][:, None] > scores[normal]).mean())  # AUC, no ties
    assert min(areas["target"]) > 0.55
    assert 0.75 < np.mean(areas["source"]) < 1
    assert 0.6 < np.mean(areas["target"]) < np.mean(areas["source"])
