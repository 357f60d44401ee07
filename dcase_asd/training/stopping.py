"""Signals that ask a training to stop: it makes its update, saves, and ends."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What queues of clusters send before they take a machine away, and what their scripts choose."""


class StopSignals:
    """Notices the first of `SIGNALS` that comes; the next one ends the process as ever.

    Attributes:
        asked: Whether one has come.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may have handlers
            self._before = {each: signal.signal(each, self._ask) for each in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for each, handler in self._before.items():
            with suppress(TypeError):  # a handler that is not of Python cannot be put back
                signal.signal(each, handler)
        self._before = {}
