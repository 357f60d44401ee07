import threading
import time

import pytest

from dcase_asd.downloads.http import run_parallel
from dcase_asd.errors import DownloadError


def test_results_and_errors_come_in_the_order_of_the_tasks():
    def fail():
        raise DownloadError("no")

    results = run_parallel([lambda: 1, fail, lambda: 3], 2, threading.Event())
    assert results[0] == 1
    assert str(results[1]) == "no"
    assert results[2] == 3


def test_no_more_tasks_than_workers_run_at_once():
    running, most = [], []

    def task():
        running.append(1)
        most.append(len(running))
        time.sleep(0.01)
        running.pop()

    run_parallel([task] * 12, 3, threading.Event())
    assert max(most) <= 3


def test_nothing_to_do_is_done():
    assert run_parallel([], 3, threading.Event()) == []


def test_an_unexpected_error_stops_the_others_and_is_raised():
    stop = threading.Event()

    def fail():
        raise KeyError("bug")

    started = []
    with pytest.raises(KeyError, match="bug"):
        run_parallel([fail, *[lambda: started.append(1)] * 50], 1, stop)
    assert stop.is_set()
    assert not started


def test_an_interruption_stops_the_workers(monkeypatch):
    stop = threading.Event()
    seen = []

    def task():
        stop.wait(10)
        seen.append("stopped")

    def interrupted(self, timeout=None):
        if timeout is None:
            raise KeyboardInterrupt
        join(self, timeout)

    join = threading.Thread.join
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_parallel([task] * 5, 2, stop)
    assert seen == ["stopped", "stopped"]
