"""Drift: its error rate with similar neighbors, its power, and what anomalies do not change."""

import itertools
import json
from random import Random

import numpy as np
import pytest
import soundfile
from located_faults import RATE
from scipy.signal import lfilter
from typer.testing import CliRunner

from dcase_asd.cli import app
from dcase_asd.errors import ArtifactError, DataError, DcaseAsdError, TooFewClipsError
from dcase_asd.monitor.arrivals import watch
from dcase_asd.monitor.drift import find_drift, read_log
from dcase_asd.monitor.monitor import Monitor


def series(random, count, alike):
    """Gaussian values, each correlated with the one before."""
    noise = random.standard_normal(count + 50) * np.sqrt(1 - alike**2)
    return lfilter([1], [1, -alike], noise)[50:]


def share_of(word, *, alike=0.0, shift=0.0, anomalies=0.0, normal=200, recent=200, times=200):
    random = np.random.default_rng(1)
    found = 0
    for _ in range(times):
        scores = series(random, recent, alike) + shift
        scores[random.random(recent) < anomalies] += 9
        found += find_drift(series(random, normal, alike), scores).word == word
    return found / times


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("anomalies", [0.0, 0.1])
def test_without_a_drift_one_is_seldom_told_however_alike_neighbors_are(alike, anomalies):
    assert share_of("higher", alike=alike, anomalies=anomalies) <= 0.03
    assert share_of("lower", alike=alike, anomalies=anomalies) <= 0.03


def test_a_drift_is_found_in_its_direction():
    assert share_of("higher", shift=1.0) > 0.98
    assert share_of("lower", shift=-1.0) > 0.98
    assert share_of("higher", shift=1.0, alike=0.5, normal=500, recent=500) > 0.95


def test_the_drift_that_is_said_to_be_found_is_found():
    random = np.random.default_rng(0)
    reach = np.median([
        find_drift(series(random, 200, 0), series(random, 200, 0)).found for _ in range(20)
    ])  # fmt: skip
    assert 0.82 <= share_of("higher", shift=reach) <= 0.97


def test_scores_as_alike_as_can_be_tell_nothing():
    random = np.random.default_rng(0)
    normal = random.standard_normal(100)
    assert find_drift(normal, np.cumsum(random.standard_normal(100))).word == "cannot tell"
    assert find_drift(normal[:6], normal).word == "cannot tell"
    assert find_drift(normal, np.ones(40)).word == "higher"
    equal = find_drift(np.ones(40), np.ones(40))
    assert (equal.word, equal.below) == ("unchanged", 0.5)


@pytest.fixture
def log_of(tmp_path):
    """Writes a log of scores; other lines may be added."""

    def write(monitor, scores, *lines, name="log.jsonl"):
        entries = [
            json.dumps({"file": f"{at}.wav", "level": float(each), "model": monitor.key,
                        "verdict": "anomalous" if each > 5 else "normal"})
            for at, each in enumerate(scores)
        ]  # fmt: skip
        path = tmp_path / name
        path.write_text("\n".join([*entries, *lines]) + "\n")
        return path

    return write


@pytest.fixture(scope="module")
def model(monitor, tmp_path_factory):
    path = tmp_path_factory.mktemp("m") / "fan.asd"
    monitor.save(path)
    return path


def drift(*words):
    done = CliRunner().invoke(app, ["drift", *map(str, words)])
    if isinstance(done.exception, DcaseAsdError):
        raise done.exception
    return done


def test_the_log_that_watching_keeps_is_read(monitor, machine, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(21):
        soundfile.write(tmp_path / f"in/{number}.wav", machine.normal(), RATE)
    (tmp_path / "in/bad.wav").write_bytes(b"RIFF")
    now = itertools.count(step=5.0)
    found = list(watch(monitor, tmp_path / "in", tmp_path / "l", idle=40, sleep=lambda _: None,
                       clock=lambda: next(now)))  # fmt: skip
    log = read_log(tmp_path / "l", monitor)
    assert sorted(log.scores) == sorted(each.level for each in found if not isinstance(each, str))
    assert (len(log.scores), log.failed, log.damaged, log.others) == (21, 1, 0, 0)


def test_whatever_was_damaged_in_a_log_is_counted_or_told(monitor, log_of):
    path = log_of(monitor, np.linspace(0.5, 2, 30))
    whole, chance = path.read_bytes(), Random(0)
    odd = [b"null", b"1e999", b"1" + b"0" * 400, b"[" * 5000, b'"x"', b"{}", b"\xff", b"\0", b"\n"]
    damaged, told = 0, []
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(3):
            at = chance.randrange(len(content))
            content[at : at + chance.randrange(20)] = chance.choice(odd)
        path.write_bytes(content)
        try:
            log = read_log(path, monitor)
        except DcaseAsdError as error:
            told.append(str(error))
            continue
        damaged += log.damaged
        assert np.isfinite(log.scores).all()
        assert np.isfinite(find_drift(np.linspace(0, 1, 50), log.scores).p_value)
    assert damaged > 200
    assert all(each.startswith(f"{path}: ") for each in told)


def test_a_model_keeps_its_key_and_another_has_another(monitor, model, machine):
    again = Monitor.load(model)
    assert again.key == monitor.key
    assert Monitor.fit([machine.normal() for _ in range(4)], sample_rate=RATE).key != monitor.key


def test_the_level_of_several_windows_is_their_median(monitor, machine):
    parts = [machine.normal() for _ in range(3)]
    single = [monitor.check(each).level for each in parts]
    assert monitor.check(np.concatenate(parts)).level == pytest.approx(np.median(single), rel=0.05)
    assert monitor.check(parts[0]).level == monitor.check(parts[0]).score


def test_drift_says_what_it_found_and_leaves_the_model_alone(monitor, model, log_of, tmp_path):
    normal = monitor.judge.scorer.calibration.scores
    content = model.read_bytes()
    same = log_of(monitor, np.random.default_rng(0).choice(normal, 100), name="same")
    done = drift(model, same)
    assert done.stdout.startswith("no drift is seen: ")
    assert "--update" not in done.stdout
    moved = log_of(
        monitor, [*normal * 3 + 3, *normal * 3 + 3], '{"file": "cut o', "[]", '{"file": 3}',
        '{"file": "x", "level": NaN, "model": "", "verdict": ""}',
        '{"file": "x", "error": "no audio"}',
        '{"file": "y", "level": 1.0, "model": "other", "verdict": "normal"}',
    )  # fmt: skip
    done = drift(model, moved, "--last", 50)
    text = done.stdout
    assert text.startswith("the normal level is higher: 0 % of the last 50 recordings")
    assert "4 damaged line(s), the first is line 61" in text
    assert "1 recording(s) could not be checked" in text
    assert "1 recording(s) were judged by another model" in text
    assert "a fault that lasts looks like a drift" in text
    assert f"dcase-asd fit recordings/new-normal --update {model}" in text
    found = json.loads(drift(model, moved, "--json").stdout)
    assert (found["verdict"], found["recordings"], found["compared"]) == ("higher", 60, 60)
    assert (found["damaged"], found["failed"], found["others"]) == (4, 1, 1)
    assert found["p_value"] < found["error_rate"] == 0.01
    assert model.read_bytes() == content


def test_a_picture_is_written_and_none_replaced_unasked(monitor, model, log_of, tmp_path):
    log = log_of(monitor, [*np.linspace(0.8, 1.2, 40), 100.0])
    out = tmp_path / "drift.svg"
    drift(model, log, "--out", out)
    first = out.read_bytes()
    assert first.startswith(b"<?xml")
    with pytest.raises(DcaseAsdError, match="--force"):
        drift(model, log, "--out", out)
    drift(model, log, "--out", out, "--force")
    assert out.read_bytes() == first
    drift(model, log, "--out", tmp_path / "drift.PNG")
    assert (tmp_path / "drift.PNG").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(DcaseAsdError, match=r"drift\.svg or drift\.png"):
        drift(model, log, "--out", tmp_path / "drift.pdf")


def test_logs_that_tell_nothing_are_refused(monitor, model, log_of, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    watching = r"`dcase-asd check fan\.asd inbox --watch`"
    with pytest.raises(DataError, match=rf"empty\.jsonl: empty; write one with {watching}"):
        drift(model, empty)
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ArtifactError, match="cannot be read"):
            drift(model, path)
    binary = tmp_path / "x.jsonl"
    binary.write_bytes(model.read_bytes()[:5000])
    with pytest.raises(DataError, match="is a verdict; write one with"):
        drift(model, binary)
    other = log_of(monitor, np.ones(30))
    other.write_text(other.read_text().replace(monitor.key, "0123"))
    with pytest.raises(DataError, match=r"of another model \(30 recording\(s\)\); give the one"):
        drift(model, other)
    with pytest.raises(TooFewClipsError, match=r"19 recording.* takes 20; go on watching"):
        drift(model, log_of(monitor, np.ones(19)))
