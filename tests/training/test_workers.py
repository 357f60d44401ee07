"""Worker processes that read audio: how their end is told, and that they end with the training."""

import errno
import os
import signal
import subprocess
import sys
from multiprocessing import parent_process

import pytest
from torch import Tensor

from dcase_asd.errors import TrainingError
from dcase_asd.training import batches
from dcase_asd.training.batches import names_lost_workers
from dcase_asd.training.finetune import finetune

WAY_OUT = r"1 worker processes read audio, .*/dev/shm.*with none by --workers 0$"


def tune(data, folder, make_system):
    return finetune(data, folder / "run", make_system(), device="cpu", workers=1)


def test_a_killed_worker_is_named_and_the_same_command_goes_on_without(
    data, tmp_path, make_system, monkeypatch
):
    read = batches.read_span

    def killed(*arguments):
        if parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(*arguments)

    monkeypatch.setattr(batches, "read_span", killed)
    with pytest.raises(TrainingError, match=rf"^DataLoader worker \(pid[^\n]*: {WAY_OUT}"):
        tune(data, tmp_path, make_system)
    assert finetune(data, tmp_path / "run", make_system(), device="cpu", workers=0).changed


def test_too_little_shared_memory_is_told_by_the_worker(data, tmp_path, make_system, monkeypatch):
    """What torch says where /dev/shm is full, in a thread that nobody hears: training hung."""

    def full(_):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: (0)\nx")

    monkeypatch.setattr(Tensor, "share_memory_", full)
    said = rf"^worker 0: unable to allocate shared memory: {WAY_OUT}"
    with pytest.raises(TrainingError, match=said):
        tune(data, tmp_path, make_system)


def test_a_worker_that_cannot_be_started_is_told(data, tmp_path, make_system, monkeypatch):
    def fail():
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(os, "fork", fail)
    with pytest.raises(TrainingError, match=rf"^a worker process: Cannot allocate .*: {WAY_OUT}"):
        tune(data, tmp_path, make_system)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
         "a worker process: Connection reset by peer: "),
        (EOFError(), "a worker process: it ended: "),
        (ConnectionResetError(), "a worker process: it ended: "),
        (RuntimeError("Too many open files. Communication with the workers is"),
         "Too many open files: "),
    ],
)  # fmt: skip
def test_workers_that_do_not_answer_are_told(error, reason):
    with pytest.raises(TrainingError, match=f"^{reason}{WAY_OUT}"), names_lost_workers(1):
        raise error


@pytest.mark.parametrize(
    ("error", "workers"),
    [
        (RuntimeError("shapes"), 1),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.wav"), 1),
        (OSError(errno.ENOSPC, "No space left on device"), 1),  # of an open file: no name
        (EOFError(), 0),
    ],
)
def test_other_errors_stay_what_they_are(error, workers):
    with pytest.raises(type(error)) as raised, names_lost_workers(workers):
        raise error
    assert raised.value is error


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends processes with their parent")
def test_a_worker_gets_a_signal_when_the_training_ends_and_shows_no_traceback():
    program = """
import ctypes
from dcase_asd.training.batches import _begin_worker
_begin_worker(0)
signal = ctypes.c_int()
PR_GET_PDEATHSIG = 2
ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(signal))
print(signal.value)
raise ValueError
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert (int(done.stdout), done.stderr) == (signal.SIGKILL, "")
