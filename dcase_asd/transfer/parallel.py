"""Several transfers at once, with one place where Ctrl-C arrives."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from dcase_asd.errors import DcaseAsdError

T = TypeVar("T")

SECONDS_TO_STOP = 2.0
"""How long threads may take to note where they are when the command is stopped."""


def run_parallel(
    tasks: Sequence[Callable[[], T]], workers: int, stop: threading.Event
) -> list[T | DcaseAsdError]:
    """Run tasks in at most `workers` threads.

    The threads are daemons: one that waits for a silent server does not hold up Ctrl-C. What they
    leave behind is what a killed process leaves, which the next run takes up.

    Args:
        tasks: Functions without arguments.
        workers: How many run at once.
        stop: Set when the caller is interrupted or a task fails unexpectedly, so that the others
            end soon.

    Returns:
        For each task, in order, its result or the error that ended it.

    Raises:
        BaseException: What interrupted the caller, or an error that is no `DcaseAsdError`.
    """
    pool = _Pool(tasks, stop)
    threads = [
        threading.Thread(target=pool.work, daemon=True) for _ in range(min(workers, len(tasks)))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        for thread in threads:
            thread.join(SECONDS_TO_STOP / len(threads))
        raise
    if pool.unexpected:
        raise pool.unexpected[0]
    return [pool.results[index] for index in range(len(tasks))]


class _Pool(Generic[T]):
    def __init__(self, tasks: Sequence[Callable[[], T]], stop: threading.Event) -> None:
        self.tasks, self.stop = tasks, stop
        self.waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in range(len(tasks)):
            self.waiting.put(index)
        self.results: dict[int, T | DcaseAsdError] = {}
        self.unexpected: list[BaseException] = []

    def work(self) -> None:
        while not self.stop.is_set():
            try:
                index = self.waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self.results[index] = self.tasks[index]()
            except DcaseAsdError as error:
                self.results[index] = error
            except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
                self.unexpected.append(error)
                self.stop.set()
