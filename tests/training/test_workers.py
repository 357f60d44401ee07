"""Threads that read batches: their order, how far they go ahead, and how an error ends them."""

import threading
import time
from itertools import islice
from typing import NamedTuple

import pytest
import torch

from dcase_asd.errors import AudioError
from dcase_asd.training.batches import BATCHES_AHEAD, load_batches

PATIENCE = 10.0
"""Seconds in which threads surely get to what they are waited for."""


class Numbered(NamedTuple):
    number: torch.Tensor
    files: list[str]


class Counted:
    """Batches that say their number; earlier ones take longer to read."""

    def __init__(self, broken=None):
        self.broken, self.begun, self.threads = broken, [], set()

    def __getitem__(self, number):
        self.begun.append(number)
        self.threads.add(threading.current_thread())
        time.sleep(0.002 * (3 - number % 4))
        if number == self.broken:
            raise AudioError(f"{number}.wav: broken")
        return Numbered(torch.tensor(number), [f"{number}.wav"])


def until(condition):
    """Wait for what threads do; whether it came."""
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_batches_come_in_their_order_however_many_threads_read_them(workers):
    loaded = list(load_batches(Counted(), range(5, 30), workers, pin=False))
    assert [int(number) for number, _ in loaded] == list(range(5, 30))
    assert loaded[3][1] == ["8.wav"]


def test_threads_read_ahead_and_no_further():
    source, workers = Counted(), 2
    batches = load_batches(source, range(100), workers, pin=False)
    assert source.begun == []
    next(batches)
    ahead = workers * BATCHES_AHEAD
    assert until(lambda: len(source.begun) == 1 + ahead)
    assert sorted(source.begun) == list(range(1 + ahead))
    assert len(source.threads) == workers
    assert threading.current_thread() not in source.threads
    batches.close()
    assert until(lambda: not any(thread.is_alive() for thread in source.threads))
    assert len(source.begun) == 1 + ahead


@pytest.mark.parametrize("workers", [0, 2])
def test_a_clip_that_cannot_be_read_is_told_at_its_batch_and_ends_the_threads(workers):
    source = Counted(broken=7)
    batches = load_batches(source, range(100), workers, pin=False)
    assert [int(number) for number, _ in islice(batches, 7)] == list(range(7))
    with pytest.raises(AudioError, match=r"^7\.wav: broken$"):
        next(batches)
    others = source.threads - {threading.current_thread()}
    assert until(lambda: not any(thread.is_alive() for thread in others))


def test_batches_for_a_gpu_are_put_into_page_locked_memory(monkeypatch):
    """Which there is none of without a GPU: tensors are asked for it, the rest stays as it is."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 100)
    loaded = list(load_batches(Counted(), [1, 2], 1, pin=True))
    assert [int(number) for number, _ in loaded] == [101, 102]
    assert [names for _, names in loaded] == [["1.wav"], ["2.wav"]]
