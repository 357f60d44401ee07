"""What the slow twins multiply with, and the floor that matrix products by themselves set."""

import time
from contextlib import contextmanager

from torch import nn

from dcase_asd.backbone.dense import Linear


@contextmanager
def plain_linear_layers():
    """Within this our dense layers are `nn.Linear`, as in the code that ours is compared with."""
    ours = Linear.forward
    Linear.forward = nn.Linear.forward
    try:
        yield
    finally:
        Linear.forward = ours


def plainly(compute, *arguments):
    with plain_linear_layers():
        return compute(*arguments)


def multiply(layer, rows, repeats=8):
    """Put rows through a dense layer; returns how many GFLOP that was."""
    for _ in range(repeats):
        layer(rows)
    return repeats * 2e-9 * rows.shape[0] * layer.weight.numel()


def seconds(compute, *arguments):
    started = time.perf_counter()
    compute(*arguments)
    return time.perf_counter() - started
