"""A monitor as an ONNX graph: the scores of `check`, for every length, rate and batch."""

import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from located_faults import RATE, Machine
from scipy.signal import butter, sosfilt

from dcase_asd.errors import ArtifactError, BackboneError, DataError
from dcase_asd.monitor import onnx as export
from dcase_asd.monitor.backbones import BackboneChoice, Embedder
from dcase_asd.monitor.hearing import hear, sound_of
from dcase_asd.monitor.heat import deviations
from dcase_asd.monitor.monitor import Monitor
from dcase_asd.monitor.onnx_graph import OPSET, monitor_graph
from dcase_asd.monitor.scoring import SPECTRA
from dcase_asd.scores.detectors import Mahalanobis


def expected_of(monitor, sound, rate=RATE):
    """Distance, event and score of each window."""
    judge, heard = monitor.judge, hear(sound_of(sound, rate), monitor.front).windows
    vectors = np.stack([each.vector for each in heard]).astype(np.float64)
    distances = judge.scorer.detector.score(vectors)
    events = [np.abs(deviations(each.grid, judge.usual)[0]).max() for each in heard]
    raw, normal = judge.scorer.raw_left_out, judge.events
    unit = np.median(raw / raw.std() + normal / normal.std())
    return distances, events, (distances / raw.std() + events / normal.std()) / unit


def session_of(graph):
    return onnxruntime.InferenceSession(
        graph if isinstance(graph, str) else graph.SerializeToString()
    )


@pytest.fixture(scope="module")
def session(monitor):
    return session_of(monitor_graph(monitor))


@pytest.mark.parametrize("seconds", [0.5, 1.234, 3.0, 4.4, 4.6, 7.77, 16.5])
def test_each_window_has_the_score_that_check_computes(monitor, session, machine, seconds):
    long = np.concatenate([machine.normal() for _ in range(6)])[: int(seconds * RATE)]
    distance, event, score, p_value = session.run(None, {"waveform": long[None]})
    distances, events, scores = expected_of(monitor, long)
    assert score.shape == distance.shape == (1, max(1, round(seconds / 3)))
    np.testing.assert_allclose(score[0], scores, rtol=1e-4)
    np.testing.assert_allclose(distance[0], distances, rtol=1e-4)
    np.testing.assert_allclose(event[0], events, rtol=1e-4)
    normal = monitor.judge.scorer.calibration.scores
    expected = [(1 + sum(normal >= each)) / 31 for each in score[0]]
    np.testing.assert_allclose(p_value[0], expected, rtol=1e-6)


@pytest.mark.parametrize("fault", ["knock", "tone", "leak"])
def test_a_fault_has_the_score_that_check_prints(monitor, session, machine, fault):
    sound = machine.faulty(fault, 25).samples
    (score,) = session.run(["score"], {"waveform": sound[None]})
    assert score[0, 0] == pytest.approx(monitor.check(sound).score, rel=1e-4)


def test_recordings_of_a_batch_are_scored_by_themselves(session, machine):
    batch = np.stack([machine.normal(), machine.faulty("leak", 25).samples, machine.normal()])
    (together,) = session.run(["score"], {"waveform": batch})
    alone = [session.run(["score"], {"waveform": each[None]})[0][0] for each in batch]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    assert together[1, 0] > 5 * together[[0, 2], 0].max()


@pytest.mark.parametrize(("rate", "window"), [(8000, 1.0), (11025, 2.5), (44100, 0.7)])
def test_other_rates_and_windows_are_exported_too(rate, window):
    random = np.random.default_rng(1)
    normal = [0.1 * random.standard_normal(2 * rate + 7) for _ in range(20)]
    monitor = Monitor.fit(normal, sample_rate=rate, window=window)
    sound = (0.13 * random.standard_normal(int(4.321 * rate))).astype(np.float32)
    (score,) = session_of(monitor_graph(monitor)).run(["score"], {"waveform": sound[None]})
    expected = expected_of(monitor, sound, rate)[2]
    np.testing.assert_allclose(score[0], expected, rtol=1e-4)


def test_a_minute_is_summed_exactly_enough(tmp_path):
    random, rate = np.random.default_rng(0), 4000
    normal = [0.05 * random.standard_normal(60 * rate).astype(np.float32) for _ in range(12)]
    monitor = Monitor.fit(normal, sample_rate=rate, window=60)
    for number, each in enumerate(normal):
        soundfile.write(tmp_path / f"{number}.wav", each, rate, subtype="FLOAT")
    done = export.export_monitor(monitor, tmp_path / "a.onnx", clips=tmp_path)
    assert done.difference < 5e-5


def test_the_file_says_what_it_is(monitor, session):
    graph = monitor_graph(monitor)
    assert [(each.domain, each.version) for each in graph.opset_import] == [("", OPSET)]
    known = session.get_modelmeta().custom_metadata_map
    assert (int(known["sample_rate"]), float(known["window"]), known["channel"]) == (RATE, 3, "0")
    assert float(known["threshold"]) == monitor.check(np.zeros(RATE), name="z").threshold
    (given,) = graph.graph.input
    names = [each.dim_param for each in given.type.tensor_type.shape.dim]
    assert names == ["batch", "samples"]


@pytest.mark.parametrize(("count", "dimension"), [(50, 6), (5, 12)])
def test_whitened_lengths_are_the_distances(count, dimension):
    random = np.random.default_rng(2)
    train = random.standard_normal((count, dimension)) * np.arange(dimension)  # one never changes
    test = 3 * random.standard_normal((9, dimension))
    detector = Mahalanobis().fit(train)
    white = (test - train.mean(axis=0)) @ detector.whitening()
    np.testing.assert_allclose((white**2).sum(axis=1), detector.score(test), rtol=1e-9)


def test_an_export_tells_size_time_and_differences(monitor, tmp_path, normal_folder):
    file = tmp_path / "new" / "fan.onnx"
    done = export.export_monitor(monitor, file, clips=normal_folder)
    assert (done.bytes, done.opset, done.precision) == (file.stat().st_size, OPSET, "float32")
    assert (done.clips, done.left_out, done.other_verdicts) == (20, (), 0)
    assert 0 < done.difference == done.change < 1e-4
    assert done.milliseconds > 0
    onnx.checker.check_model(onnx.load(file), full_check=True)


def test_clips_of_other_rates_are_compared_at_the_models(monitor, machine, tmp_path):
    (tmp_path / "clips").mkdir()
    sound = np.repeat(machine.normal(), 2)
    soundfile.write(tmp_path / "clips/a.wav", sound, 2 * RATE)
    done = export.export_monitor(monitor, tmp_path / "a.onnx", clips=tmp_path / "clips")
    assert (done.clips, done.difference < 1e-4) == (1, True)


def test_generated_clips_sound_like_the_normal_ones(monitor):
    sounds = export._generated(monitor)
    assert sorted({len(each) for each in sounds.values()}) == [24000, 48000, 124800]
    spectra = monitor.normals.spectra[:, : monitor.front.bins]
    for number in range(export.GENERATED):
        sound = sounds[f"generated noise {number}"]
        vector = hear(sound_of(sound, RATE), monitor.front).windows[0].vector
        away = vector[: monitor.front.bins] - spectra.mean(axis=0)
        assert abs(np.median(away)) * 10 / np.log(10) < 3  # in dB


@pytest.mark.parametrize(("precision", "share", "most"), [("fp16", 0.6, 0.02), ("int8", 0.4, 1)])
def test_smaller_files_tell_how_much_their_scores_change(
    monitor, machine, tmp_path, precision, share, most
):
    soundfile.write(tmp_path / "a.wav", machine.normal(), RATE, subtype="FLOAT")
    whole = export.export_monitor(monitor, tmp_path / "a.onnx", clips=tmp_path / "a.wav")
    done = export.export_monitor(
        monitor, tmp_path / "b.onnx", clips=tmp_path / "a.wav", precision=precision
    )
    assert done.bytes < share * whole.bytes
    sound, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    (score,) = session_of(str(tmp_path / "b.onnx")).run(["score"], {"waveform": sound[None]})
    expected = monitor.check(sound).score
    assert done.change == pytest.approx(abs(score[0, 0] / expected - 1), rel=1e-3)
    assert whole.change < done.change < most
    assert done.difference == whole.difference


def test_nothing_is_written_where_a_score_differs(monitor, machine, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", machine.normal(), RATE)
    unit = replace(monitor)  # a graph of another monitor, whose scores are 0.02 % larger
    zero, usual = monitor.judge.scorer.scale
    unit.judge.scorer.__dict__["scale"] = zero, usual / 1.0002
    monkeypatch.setattr(
        "dcase_asd.monitor.onnx_graph.monitor_graph", lambda *_: monitor_graph(unit)
    )
    with pytest.raises(ArtifactError, match=r"fan.onnx: not written, .* a.wav differs by 0.0002 "):
        export.export_monitor(monitor, tmp_path / "out/fan.onnx", clips=tmp_path / "a.wav")
    assert [each.name for each in tmp_path.iterdir()] == ["a.wav"]


def test_recordings_that_check_compares_in_part_are_told_of(monitor, machine, tmp_path):
    (tmp_path / "clips").mkdir()
    narrow = sosfilt(butter(12, 3000, fs=RATE, output="sos"), machine.normal())
    soundfile.write(tmp_path / "clips/narrow.wav", narrow, RATE)
    with pytest.raises(DataError, match=r"narrow.wav: .* give normal recordings .* --clips"):
        export.export_monitor(monitor, tmp_path / "a.onnx", clips=tmp_path / "clips")
    soundfile.write(tmp_path / "clips/whole.wav", machine.normal(), RATE)
    done = export.export_monitor(monitor, tmp_path / "a.onnx", clips=tmp_path / "clips")
    assert (done.clips, done.left_out) == (1, ("narrow.wav",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedder": Embedder(BackboneChoice("beats"))}, "fan.asd: has the backbone 'beats'"),
        ({"choice": replace(SPECTRA, detector="nearest")}, "fan.asd: has the detector 'nearest'"),
    ],
)
def test_what_cannot_be_exported_names_what_can(monitor, tmp_path, change, message):
    with pytest.raises(BackboneError, match=rf"{message}.*without --plugin"):
        export.export_monitor(replace(monitor, **change), tmp_path / "a.onnx", name="fan.asd")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_names_the_extra(monitor, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "dcase_asd.monitor.onnx_graph", raising=False)
    with pytest.raises(BackboneError, match=rf"{package} is not .*pip install 'dcase-asd\[onnx\]'"):
        export.export_monitor(monitor, tmp_path / "a.onnx")


def test_a_detector_without_standardizing_is_exported(machine):
    other = Machine(5, 1.0, "noisy")
    made = Monitor.fit([other.normal() for _ in range(9)], sample_rate=RATE)
    plain = replace(made, choice=replace(SPECTRA, standardize=False))
    sound = machine.normal()[:RATE]
    (score,) = session_of(monitor_graph(plain)).run(["score"], {"waveform": sound[None]})
    assert score[0, 0] == pytest.approx(plain.check(sound).score, rel=1e-4)
