"""What goes wrong within torch, told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dcase_asd.errors import TrainingError

FILES_TOLD = 4
"""Files of a batch that an error message names; the others are counted."""

CPU_OUT_OF_MEMORY = "DefaultCPUAllocator"
"""Who torch says cannot allocate where there is no GPU; that error has no class of its own."""

GLOO = "gloo/transport"
"""Where errors come from of the library that connects processes without a GPU: it has no class."""


@contextmanager
def names_lost_processes(processes: int) -> Iterator[None]:
    """Tell in one line that another process of the training has ended.

    Args:
        processes: How many there are.

    Raises:
        TrainingError: One of them cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        of_others = isinstance(error, torch.distributed.DistError) or GLOO in str(error)
        if processes == 1 or not of_others:
            raise
        raise TrainingError(
            f"another of the {processes} processes has ended, whose own message says why; the same "
            "command goes on where it was"
        ) from error


def not_finite(loss: float, number: int, names: list[str], of: str = "") -> str:
    """What is said of a batch whose loss is not finite, where `of` says whose loss it is."""
    more = f" and {len(names) - FILES_TOLD} more" if len(names) > FILES_TOLD else ""
    return (
        f"{of or 'the loss'} of batch {number} is {loss}: a lower learning_rate or precision fp32 "
        f"may help, or one of its files is broken: {', '.join(names[:FILES_TOLD])}{more}"
    )


@contextmanager
def names_out_of_memory(advice: str) -> Iterator[None]:
    """Tell in one line, which is given, that the memory does not suffice.

    Raises:
        TrainingError: It does not.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(advice) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch says that the memory does not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or CPU_OUT_OF_MEMORY in str(error)
