"""A monitor -> an ONNX file, written only after onnxruntime has given the scores of `check`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcase_asd.audio import Waveform
from dcase_asd.errors import ArtifactError, BackboneError, DataError
from dcase_asd.files import replacing
from dcase_asd.monitor.hearing import FrontEnd, hear, sound_of, waveforms
from dcase_asd.monitor.log_mel import INT16_SCALE, PREEMPHASIS
from dcase_asd.monitor.monitor import Monitor
from dcase_asd.monitor.normals import listed
from dcase_asd.monitor.verdict import Array, Verdict

if TYPE_CHECKING:
    from dcase_asd.monitor.onnx_nodes import Precision

Checked = dict[str, tuple[Waveform, Verdict]]
"""Recordings at the model's rate, and what `Monitor.check` says of them."""
TOLERANCE = 1e-4
"""Largest relative difference from the scores of `check` that a graph may have."""
MOST_CLIPS = 20
"""Recordings that are compared; of more some at equal distances."""
GENERATED = 6
TIMED = 5


@dataclass(frozen=True)
class Exported:
    """What was written, and how it compares with `Monitor.check`.

    Attributes:
        file: The ONNX file.
        opset: Of its operators.
        precision: How its matrices are stored.
        bytes: Its size.
        milliseconds: Median time in onnxruntime of a clip of one window, on this processor.
        clips: How many recordings were compared.
        difference: Largest relative difference of a score, of the float32 graph.
        change: The same of the graph that was written, and `median_change` the median over clips.
        other_verdicts: Clips that lie on another side of the threshold by it.
        left_out: Clips that `check` compares below some frequency alone, as the graph does not.
    """

    file: str
    opset: int
    precision: str
    bytes: int
    milliseconds: float
    clips: int
    difference: float
    change: float
    median_change: float
    other_verdicts: int
    left_out: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The values by name."""
        return asdict(self)


def export_monitor(
    monitor: Monitor,
    path: str | Path,
    *,
    clips: str | Path | None = None,
    precision: Precision = "float32",
    name: str = "the model",
) -> Exported:
    """Write a monitor as an ONNX graph; see `onnx_graph.monitor_graph` for its input and outputs.

    Args:
        monitor: The monitor.
        path: The file, which is replaced where it exists.
        clips: A recording or a folder of them to compare scores on; by default generated ones, some
            of them with the mean spectra of the normal ones.
        precision: How matrices are stored. Of float16 and int8 the change is measured, not limited.
        name: What the monitor is called in messages.

    Raises:
        BackboneError: It cannot be exported, or onnx or onnxruntime is not installed.
        ArtifactError: A score differs by more than `TOLERANCE`; nothing is written.
        AudioError: One of the clips cannot be read.
    """
    try:
        import onnxruntime

        from dcase_asd.monitor.onnx_graph import OPSET, is_exportable, monitor_graph
    except ImportError as error:
        raise BackboneError(
            f"{error.name} is not installed, which an ONNX file needs; install it with "
            "`pip install 'dcase-asd[onnx]'`"
        ) from error
    if not is_exportable(monitor):
        what = f"backbone {monitor.embedder.choice.plugin!r}" if monitor.embedder else (
            f"detector {monitor.choice.detector!r}")  # fmt: skip
        raise BackboneError(
            f"{name}: has the {what}, which cannot be exported; what can is the log-mel front end "
            "with the mahalanobis detector, which `fit` takes without --plugin and --recipe"
        )
    sounds = _generated(monitor) if clips is None else _read(monitor.front, clips)
    whole, left_out = _checked(monitor, sounds)
    exact = _Session(onnxruntime, monitor_graph(monitor).SerializeToString())
    differences, _ = exact.differences(monitor, whole)
    worst = int(differences.argmax())
    if not differences[worst] <= TOLERANCE:
        raise ArtifactError(
            f"{path}: not written, as the score of {list(whole)[worst]} differs by "
            f"{differences[worst]:.2g} relative from that of `check`, more than {TOLERANCE:g}"
        )
    chosen = exact
    if precision != "float32":
        chosen = _Session(onnxruntime, monitor_graph(monitor, precision).SerializeToString())
    changes, others = chosen.differences(monitor, whole)
    with replacing(path) as temporary:
        temporary.write_bytes(chosen.graph)
    return Exported(
        str(path), OPSET, precision, len(chosen.graph), chosen.milliseconds(monitor.front),
        len(whole), float(differences[worst]), float(changes.max()), float(np.median(changes)),
        others, tuple(left_out),
    )  # fmt: skip


class _Session:
    """A graph in onnxruntime."""

    def __init__(self, onnxruntime: Any, graph: bytes) -> None:
        self.graph = graph
        self.session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def scores(self, waveforms: Waveform) -> Array:
        """Scores of recordings (batch, n), (batch, windows)."""
        found = self.session.run(["score"], {"waveform": waveforms})[0]
        return np.asarray(found, dtype=np.float64)

    def differences(self, monitor: Monitor, checked: Checked) -> tuple[Array, int]:
        """Relative difference from `Monitor.check` of each clip, and how many verdicts differ."""
        found, others = [], 0
        calibration = monitor.judge.scorer.calibration
        for waveform, verdict in checked.values():
            twice = self.scores(np.stack([waveform, waveform]))  # a batch, too
            decided = [calibration.decide(each, monitor.false_alarms, None) for each in twice]
            scores = np.array([each.score for each in decided])
            found.append(np.abs(scores - verdict.score).max() / abs(verdict.score))
            others += (decided[0].word == "anomalous") != (verdict.score > verdict.threshold)
        return np.array(found), others

    def milliseconds(self, front: FrontEnd) -> float:
        """Median time of one window."""
        noise = np.random.default_rng(0).standard_normal(
            (1, round(front.window * front.sample_rate))
        )
        times = []
        for _ in range(TIMED):
            begun = time.perf_counter()
            self.scores((0.01 * noise).astype(np.float32))
            times.append(time.perf_counter() - begun)
        return 1000 * float(np.median(times))


def _read(front: FrontEnd, clips: str | Path) -> dict[str, Waveform]:
    """Recordings at the model's rate, by name."""
    opened = list(listed(clips, front.channel)[0].items())
    places = np.unique(np.linspace(0, len(opened) - 1, MOST_CLIPS).round().astype(int))
    found = {}
    for name, each in (opened[at] for at in places):
        found[name] = np.concatenate(list(waveforms(each(), front, front.sample_rate)))
    return found


def _generated(monitor: Monitor) -> dict[str, Waveform]:
    """Noise with the mean spectra of some normal windows, and a tone in noise; of three lengths."""
    front, random = monitor.front, np.random.default_rng(0)
    peaks = front.log_mel.hertz[1:-1][front.used]
    widths = front.log_mel.filters[:, front.used].sum(axis=0)
    power = (front.log_mel.window.astype(np.float64) ** 2).sum()
    emphasis = np.abs(1 - PREEMPHASIS * np.exp(-2j * np.pi * peaks / front.sample_rate)) ** 2
    found = {}
    for number, at in enumerate(np.linspace(0, len(monitor.normals) - 1, GENERATED).astype(int)):
        frames = round(front.window * front.sample_rate * (1.0, 0.5, 2.6)[number % 3])
        levels = monitor.normals.spectra[at, : front.bins].astype(np.float64)
        # Of white noise a bin holds the window's, the filter's and the pre-emphasis' energy.
        density = np.exp(levels) / (widths * power * emphasis * INT16_SCALE**2)
        hertz = np.fft.rfftfreq(frames, 1 / front.sample_rate)
        white = np.fft.rfft(random.standard_normal(frames))
        shaped = np.fft.irfft(white * np.sqrt(np.interp(hertz, peaks, density)), frames)
        found[f"generated noise {number}"] = shaped.astype(np.float32)
        tone = shaped.std() * np.sin(2 * np.pi * peaks[len(peaks) // 2] / front.sample_rate
                                     * np.arange(frames))  # fmt: skip
        found[f"generated tone {number}"] = (shaped + tone).astype(np.float32)
    return found


def _checked(monitor: Monitor, sounds: dict[str, Waveform]) -> tuple[Checked, list[str]]:
    """The recordings that `check` compares with all mel bins, and the names of the others.

    Raises:
        DataError: There is none.
    """
    judge = monitor.judge
    whole: Checked = {}
    for name, waveform in sounds.items():
        heard = hear(sound_of(waveform, monitor.front.sample_rate, name), monitor.front)
        vectors = np.stack([each.vector for each in heard.windows]).astype(np.float64)
        events = judge.events_in((each.grid for each in heard.windows), monitor.front.bins)
        scores = judge.scorer.score(vectors, events)
        decided = judge.scorer.calibration.decide(scores, monitor.false_alarms, None)
        verdict = monitor.check(waveform, name=name)
        if decided.score == verdict.score:
            whole[name] = waveform, verdict
    left_out = [name for name in sounds if name not in whole]
    if not whole:
        raise DataError(
            f"{left_out[0]}: as the other recordings to compare scores on, it has nothing at high "
            "frequencies; give normal recordings of the machine with --clips"
        )
    return whole, left_out
