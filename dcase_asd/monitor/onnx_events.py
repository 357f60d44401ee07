"""The strongest deviation within each window as nodes of an ONNX graph; see `heat.deviations`.

Of what is seen in a view only the largest and the smallest can deviate most, so that the map itself
is not made.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from dcase_asd.monitor.hearing import CELL_FRAMES, DECIBELS, FrontEnd
from dcase_asd.monitor.heat import FAINT, LEAST_SPREAD, MEAN, SECOND, VIEWS
from dcase_asd.monitor.monitor import Monitor
from dcase_asd.monitor.onnx_nodes import Graph


def events(graph: Graph, bins: str, start: str, end: str, monitor: Monitor) -> str:
    """Deviations (batch, windows) of log-mel bins (batch, t, k).

    Args:
        graph: Gets the nodes.
        bins: Log-mel bins.
        start: First frame of each window, (windows, 1).
        end: The frame after its last.
        monitor: Whose normal recordings they are compared with.
    """
    mean, peak, cell, cells = _grid(graph, bins, start, end, monitor.front)
    whole, moving = _means(graph, mean, cell, cells)
    found = []
    for (value, length), usual in zip(VIEWS, monitor.judge.usual, strict=True):
        if length:
            seen = moving if length == SECOND else (mean if value == MEAN else peak)
            found.append(_deviation(graph, _most(graph, seen), _most(graph, seen, -1), usual))
        else:
            found.append(_lasting(graph, whole, moving, usual))
    strongest = graph("Max", *found)
    return graph("ReduceMax", strongest, graph.value(np.array([-1])), keepdims=0)


def _grid(
    graph: Graph, bins: str, start: str, end: str, front: FrontEnd
) -> tuple[str, str, str, str]:
    """Mean and peak in dB of the cells, (batch, windows, c, f), their numbers, (c,), and counts.

    Windows of fewer cells repeat their last one; the counts are (windows, 1).
    """
    value, wide, one = graph.value, np.float64, graph.value(np.float64(1))
    starts = front.band_starts
    widths = np.diff(np.append(starts, front.bins))
    averages = np.zeros((front.bins, len(starts)))
    averages[np.arange(starts[0], front.bins), np.repeat(np.arange(len(starts)), widths)] = (
        DECIBELS / np.repeat(widths, widths)
    )
    bands = graph("MatMul", bins, value(averages))
    length = value(wide(CELL_FRAMES))
    whole = graph("Floor", graph("Div", graph("Sub", end, start), length))
    cells = graph("Max", whole, one)
    most = graph("ReduceMax", cells, keepdims=0)
    cell = graph("Range", value(wide(0)), most, one)
    last = graph("Sub", cells, one)
    its = graph("Min", cell, last)  # (windows, c)
    begin = graph("Add", start, graph("Mul", its, length))
    until = graph("Where", graph("Less", its, last), graph("Add", begin, length), end)
    begin, until = (graph("Unsqueeze", each, value(np.array([-1]))) for each in (begin, until))
    # The last cell of a window has up to almost twice the frames; the others repeat their last one.
    frame = graph("Add", begin, value(np.arange(2 * CELL_FRAMES - 1, dtype=wide)))
    inside = graph("Cast", graph("Less", frame, until), to=TensorProto.DOUBLE)
    count = graph("ReduceSum", inside, value(np.array([-1])))
    frame = graph("Cast", graph("Min", frame, graph("Sub", until, one)), to=TensorProto.INT64)
    frames = graph("Gather", bands, frame, axis=1)  # (batch, windows, c, frames, f)
    shares = graph("Unsqueeze", graph("Div", inside, count), value(np.array([-1])))
    over = value(np.array([3]))
    mean = graph("ReduceSum", graph("Mul", frames, shares), over, keepdims=0)
    return mean, graph("ReduceMax", frames, over, keepdims=0), cell, cells


def _means(graph: Graph, mean: str, cell: str, cells: str) -> tuple[str, str]:
    """Mean of the whole windows, (batch, windows, 1, f), and all means of a second, (.., c, f)."""
    value, wide = graph.value, np.float64
    column = value(np.array([-1]))
    there = graph("Cast", graph("Less", cell, cells), to=TensorProto.DOUBLE)
    shares = graph("Unsqueeze", graph("Div", there, cells), column)
    whole = graph("ReduceSum", graph("Mul", mean, shares), value(np.array([2])))
    more = value(np.array([0, 0, 0, 0, 0, 0, SECOND - 1, 0]))
    padded = graph("Pad", mean, more, value(wide(0)))
    ends = [*range(1 - SECOND, 0), np.iinfo(np.int64).max]
    parts = [
        graph("Slice", padded, *(value(np.array([each])) for each in (at, until, 2)))
        for at, until in enumerate(ends)
    ]
    moving = graph("Div", graph("Sum", *parts), value(wide(SECOND)))
    # What reaches beyond the window is replaced by its first second, or all of a shorter one.
    first = graph("Slice", moving, *(value(np.array([each])) for each in (0, 1, 2)))
    tall = graph("Unsqueeze", cells, column)
    first = graph("Where", graph("Less", tall, value(wide(SECOND))), whole, first)
    after = graph("Add", cell, value(wide(SECOND)))
    inside = graph("Unsqueeze", graph("LessOrEqual", after, cells), column)
    return whole, graph("Where", inside, moving, first)


def _most(graph: Graph, seen: str, sign: int = 1) -> str:
    """The largest over time, or, with a sign of -1, the smallest: (batch, windows, f)."""
    kind = "ReduceMax" if sign > 0 else "ReduceMin"
    return graph(kind, seen, graph.value(np.array([2])), keepdims=0)


def _deviation(graph: Graph, high: str, low: str, usual: np.ndarray) -> str:
    """How far the largest and smallest are away, the farther of the two."""
    least, middle, most = usual
    above = graph("Sub", high, graph.value(middle))
    below = graph("Sub", graph.value(middle), low)
    up = graph("Div", above, graph.value(np.maximum(most - middle, LEAST_SPREAD)))
    return graph(
        "Max", up, graph("Div", below, graph.value(np.maximum(middle - least, LEAST_SPREAD)))
    )


def _lasting(graph: Graph, whole: str, moving: str, usual: np.ndarray) -> str:
    """How far the whole window is away where some second is; see `heat.deviations`."""
    whole, middle = _most(graph, whole), graph.value(usual[1])
    zero, faint = graph.value(np.float64(0)), graph.value(np.float64(FAINT))
    above = graph("Sub", _most(graph, moving), middle)
    below = graph("Sub", middle, _most(graph, moving, -1))
    farthest = graph("Where", graph("Less", whole, middle), below, above)
    present = graph("Div", graph("Max", farthest, zero), graph("Max", farthest, faint))
    return graph("Mul", present, _deviation(graph, whole, whole, usual))
