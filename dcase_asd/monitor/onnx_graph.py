"""A monitor as an ONNX graph: samples in, a score for each window out, the front end included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from dcase_asd import __version__
from dcase_asd.monitor.hearing import FrontEnd
from dcase_asd.monitor.log_mel import ENERGY_FLOOR, INT16_SCALE, PREEMPHASIS
from dcase_asd.monitor.monitor import Monitor
from dcase_asd.monitor.onnx_events import events
from dcase_asd.monitor.onnx_nodes import Graph, Precision
from dcase_asd.monitor.scoring import SPECTRA
from dcase_asd.scores.composed import Standardized
from dcase_asd.scores.detectors import Mahalanobis

OPSET, IR_VERSION = 18, 8
"""Of the graph; onnxruntime 1.14 and newer run them."""
OUTPUTS = ("distance", "event", "score", "p_value")


def is_exportable(monitor: Monitor) -> bool:
    """Whether `monitor_graph` knows the front end and the detector."""
    known = replace(monitor.choice, standardize=True) == SPECTRA
    return monitor.embedder is None and known


def monitor_graph(monitor: Monitor, precision: Precision = "float32") -> onnx.ModelProto:
    """The graph of a monitor for which `is_exportable` is true.

    Its input ``waveform`` is (batch, samples), recordings of equal length at the model's rate in
    [-1, 1]. They are cut into windows as `check` cuts them. Its outputs, each (batch, windows), are
    ``distance``; ``event``, the strongest deviation within it; ``score``, their sum as `Scorer`
    weighs them; and ``p_value``, the share of normal windows that score as much, as far as can be
    said (`Calibration.p_value`).

    Args:
        monitor: The monitor.
        precision: How the matrices are stored; all is computed in float32, and from the log-mel
            bins on in float64.
    """
    graph = Graph(precision)
    samples = graph("Gather", graph("Shape", "waveform"), graph.value(np.int64(1)), axis=0)
    bins = _log_mel(graph, samples, monitor.front)
    start, end, frame = _bounds(graph, samples, monitor.front)
    vectors = _statistics(graph, bins, _shares(graph, start, end, frame))
    distance = _mahalanobis(graph, vectors, monitor)
    event = events(graph, bins, start, end, monitor)
    scorer = monitor.judge.scorer
    unit = scorer.scale[1]
    of_distance, of_event = (graph.value(np.float64(each * unit)) for each in scorer.spreads)
    score = graph("Add", graph("Div", distance, of_distance), graph("Div", event, of_event))
    p_value = _p_value(graph, score, scorer.calibration.scores)
    for name, found in zip(OUTPUTS, (distance, event, score, p_value), strict=True):
        graph.add("Cast", [found], [name], to=TensorProto.FLOAT)
    given = helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"])
    made = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "windows"])
        for name in OUTPUTS
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "monitor", [given], made, graph.values),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="dcase-asd",
        producer_version=__version__,
    )
    threshold = monitor.judge.scorer.calibration.threshold(monitor.false_alarms)
    known = {
        "sample_rate": monitor.front.sample_rate,
        "window": monitor.front.window,
        "channel": monitor.front.channel,
        "threshold": threshold,
        "false_alarms": monitor.false_alarms,
        "normal_windows": len(monitor.normals),
    }
    helper.set_model_props(model, {name: repr(value) for name, value in known.items()})
    onnx.checker.check_model(model, full_check=True)
    return model


def _log_mel(graph: Graph, samples: str, front: FrontEnd) -> str:
    """The used log-mel bins, (batch, t, k), in the order of `LogMel`; float64."""
    log_mel, single = front.log_mel, np.float32
    length, shift = log_mel.frame_length, log_mel.frame_shift
    last = graph("Sub", samples, graph.value(np.int64(length)))
    step = graph.value(np.int64(shift))
    end = graph("Add", last, graph.value(np.int64(1)))
    starts = graph("Range", graph.value(np.int64(0)), end, step)
    column = graph("Unsqueeze", starts, graph.value(np.array([1])))
    places = graph("Add", column, graph.value(np.arange(length)[None]))
    frames = graph("Gather", "waveform", places, axis=1)
    frames = graph("Mul", frames, graph.value(single(INT16_SCALE)))
    axis = graph.value(np.array([-1]))
    centered = graph("Sub", frames, graph("ReduceMean", frames, axis))
    earlier = graph.value(np.maximum(np.arange(length) - 1, 0))  # the first sample stands for it
    before = graph("Gather", centered, earlier, axis=2)
    emphasized = graph("Sub", centered, graph("Mul", before, graph.value(single(PREEMPHASIS))))
    windowed = graph("Mul", emphasized, graph.value(log_mel.window))
    filters = log_mel.filters[:, front.used].astype(np.float64)
    lines = np.flatnonzero((filters > 0).any(axis=1))
    angles = 2 * np.pi * np.outer(np.arange(length), lines) / log_mel.fft_length
    parts = graph("MatMul", windowed, graph.matrix(np.hstack([np.cos(angles), np.sin(angles)])))
    both = np.vstack([filters[lines]] * 2)  # of the squared real and imaginary parts
    # Filters in int8 shift each bin by some percent for good: scores then change 300-fold.
    energies = graph("MatMul", graph("Mul", parts, parts), graph.matrix(both, coarse=False))
    bins = graph("Log", graph("Max", energies, graph.value(single(ENERGY_FLOOR))))
    return graph("Cast", bins, to=TensorProto.DOUBLE)


def _bounds(graph: Graph, samples: str, front: FrontEnd) -> tuple[str, str, str]:
    """First frame of each window and the one after its last, (windows, 1), and all frames, (t,)."""
    wide, one = np.float64, graph.value(np.float64(1))
    zero = graph.value(wide(0))
    count = graph("Cast", samples, to=TensorProto.DOUBLE)
    seconds = graph("Div", count, graph.value(wide(front.sample_rate)))
    many = graph("Round", graph("Div", seconds, graph.value(wide(front.window))))
    windows = graph("Max", many, one)
    total = graph("Div", seconds, graph.value(wide(front.shift)))
    at = graph("Unsqueeze", graph("Range", zero, windows, one), graph.value(np.array([1])))
    start = graph("Round", graph("Div", graph("Mul", total, at), windows))
    end = graph("Round", graph("Div", graph("Mul", total, graph("Add", at, one)), windows))
    length, shift = front.log_mel.frame_length, front.log_mel.frame_shift
    last = graph("Sub", count, graph.value(wide(length)))
    shifts = graph("Floor", graph("Div", last, graph.value(wide(shift))))
    frames = graph("Add", shifts, one)
    return start, graph("Min", end, frames), graph("Range", zero, frames, one)


def _shares(graph: Graph, start: str, end: str, frame: str) -> str:
    """The share of each frame in the mean of each window, (windows, t); see `hearing`."""
    inside = graph("And", graph("GreaterOrEqual", frame, start), graph("Less", frame, end))
    ones = graph("Cast", inside, to=TensorProto.DOUBLE)
    return graph("Div", ones, graph("ReduceSum", ones, graph.value(np.array([-1]))))


def _statistics(graph: Graph, bins: str, shares: str) -> str:
    """Mean and deviation of each window's bins, (batch, windows, 2 k)."""
    mean = graph("MatMul", shares, bins)
    squares = graph("MatMul", shares, graph("Mul", bins, bins))
    variance = graph("Sub", squares, graph("Mul", mean, mean))
    deviation = graph("Sqrt", graph("Max", variance, graph.value(np.float64(0))))
    # `check` keeps vectors in float32, and normal windows may differ by little more than that.
    kept = graph("Cast", graph("Concat", mean, deviation, axis=-1), to=TensorProto.FLOAT)
    return graph("Cast", kept, to=TensorProto.DOUBLE)


def _mahalanobis(graph: Graph, vectors: str, monitor: Monitor) -> str:
    """The squared distances of vectors, (batch, windows)."""
    detector = monitor.judge.scorer.detector
    if isinstance(detector, Standardized):
        moved = graph("Sub", vectors, graph.value(detector.mean))
        vectors, detector = graph("Mul", moved, graph.value(detector.gain)), detector.inner
    assert isinstance(detector, Mahalanobis)  # noqa: S101 - see `is_exportable`
    centered = graph("Sub", vectors, graph.value(detector.mean))
    whitening = detector.whitening()
    white = graph("MatMul", centered, graph("Cast", graph.matrix(whitening), to=TensorProto.DOUBLE))
    return graph("ReduceSum", graph("Mul", white, white), graph.value(np.array([-1])), keepdims=0)


def _p_value(graph: Graph, score: str, normal: NDArray[np.float64]) -> str:
    """(1 + how many normal windows score as much) / (n + 1), (batch, windows)."""
    each = graph("Unsqueeze", score, graph.value(np.array([-1])))
    reached = graph(
        "Cast", graph("GreaterOrEqual", graph.value(normal), each), to=TensorProto.DOUBLE
    )
    count = graph("ReduceSum", reached, graph.value(np.array([-1])), keepdims=0)
    one_more = graph("Add", count, graph.value(np.float64(1)))
    return graph("Div", one_more, graph.value(np.float64(len(normal) + 1)))
