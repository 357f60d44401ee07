"""The model's file: what comes back, and what is refused with one clear line."""

import json
import zipfile

import numpy as np
import pytest

from dcase_asd.errors import ArtifactError
from dcase_asd.monitor.model_file import ARRAYS, TABLE
from dcase_asd.monitor.monitor import Monitor


@pytest.fixture
def saved(monitor, tmp_path):
    monitor.save(tmp_path / "fan.asd")
    return tmp_path / "fan.asd"


def rewrite(path, **changes):
    """Write the file's entries anew, some with other content; None leaves one out."""
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    entries |= {name.replace("__", "."): content for name, content in changes.items()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            if content is not None:
                file.writestr(name, content)


def table(path):
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read(TABLE))


def test_a_saved_model_gives_the_same_verdict(monitor, saved, machine):
    sound = machine.faulty("leak", 10).samples
    expected, found = monitor.check(sound), Monitor.load(saved).check(sound)
    assert found.score == pytest.approx(expected.score, rel=1e-12)
    assert found.as_json() | {"spans": 0} == expected.as_json() | {"spans": 0}
    # The grids are kept in half precision.
    for one, other in zip(found.spans, expected.spans, strict=True):
        assert (one.start, one.low) == (other.start, other.low)
        assert one.decibels == pytest.approx(other.decibels, abs=0.1)


def test_the_same_model_gives_the_same_bytes_and_says_what_it_is(monitor, saved, tmp_path):
    monitor.save(tmp_path / "again.asd")
    assert saved.read_bytes() == (tmp_path / "again.asd").read_bytes()
    told = table(saved)
    assert told["version"] == 2
    assert told["made_by"].startswith("dcase-asd ")
    assert len(told["recordings"]) == 30
    assert told["threshold"] == monitor.judge.scorer.calibration.threshold(0.05)


def test_an_older_version_is_named(saved):
    older = table(saved) | {"version": 1, "made_by": "dcase-asd 0.1"}
    rewrite(saved, model__json=json.dumps(older))
    with pytest.raises(ArtifactError, match=r"an older version \(dcase-asd 0.1.*make one with `dc"):
        Monitor.load(saved)


def test_a_newer_version_is_named(saved):
    newer = table(saved) | {"version": 3, "made_by": "dcase-asd 9.9"}
    rewrite(saved, model__json=json.dumps(newer))
    with pytest.raises(ArtifactError, match=r"newer version \(dcase-asd 9.9.*upgrade"):
        Monitor.load(saved)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("format", "another"),
        ("version", None),
        ("version", 0),
        ("recordings", []),
        ("recordings", [{"name": "x"}]),
        ("front", {"sample_rate": 8000}),
        ("front", {"code": "x"}),
        ("front", {"mel_bins": 10**9}),
        ("front", {"window": -1}),
        ("front", {"sample_rate": "x"}),
        ("front", None),
        ("detector", {"detector": "none such"}),
        ("detector", {"name": "nearest"}),
        ("detector", {"detector": "nearest", "options": {"neighbor": 1}}),
        ("detector", {"domains": "all"}),
        ("detector", []),
        ("false_alarms", "x"),
        ("false_alarms", 1.5),
    ],
)
def test_a_table_that_does_not_fit_is_refused(saved, name, change):
    rewrite(saved, model__json=json.dumps(table(saved) | {name: change}))
    with pytest.raises(ArtifactError, match=r"dcase-asd fit recordings/normal --out fan\.asd"):
        Monitor.load(saved)


def test_foreign_and_damaged_files_are_refused(saved, tmp_path):
    whole = saved.read_bytes()
    for content in (b"", b"RIFF", whole[:1000], whole[:-30], whole.replace(b"grids", b"gridz")):
        saved.write_bytes(content)
        with pytest.raises(ArtifactError, match=r"fan\.asd: "):
            Monitor.load(saved)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    saved.write_bytes(flipped)
    with pytest.raises(ArtifactError, match="damaged"):
        Monitor.load(saved)
    with pytest.raises(ArtifactError, match="no such model"):
        Monitor.load(tmp_path / "none.asd")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Monitor.load(tmp_path)


def test_entries_of_another_kind_are_refused_unread(saved):
    with zipfile.ZipFile(saved, "a") as file:
        file.writestr("../run.py", b"x")
    with pytest.raises(ArtifactError, match="as no model does"):
        Monitor.load(saved)


def test_a_compressed_entry_is_refused_so_that_none_can_grow(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.asd", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(TABLE, b" " * 10_000_000)
    with pytest.raises(ArtifactError, match="as no model does"):
        Monitor.load(tmp_path / "bomb.asd")


def test_arrays_that_are_not_finite_are_refused(monitor, saved):
    from safetensors.numpy import load, save

    with zipfile.ZipFile(saved) as file:
        arrays = load(file.read(ARRAYS))
    arrays["spectra"] = np.full_like(arrays["spectra"], np.nan)
    rewrite(saved, arrays__safetensors=save(arrays))
    with pytest.raises(ArtifactError, match="spectra holds a number that is not finite"):
        Monitor.load(saved)


def test_an_existing_file_is_kept_where_it_may_not_be_replaced(monitor, saved):
    before = saved.read_bytes()
    with pytest.raises(ArtifactError, match="--force"):
        monitor.save(saved, replace=False)
    assert saved.read_bytes() == before
