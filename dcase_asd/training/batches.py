"""Training batches: which clips, which crops, which noise; each depends on its number only.

Nothing is remembered from batch to batch, so that training goes on at any of them, and several
processes share them out, with the same batches as one undisturbed process.
"""

from __future__ import annotations

import ctypes
import errno
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from dcase_asd.audio import Waveform, read_clip, read_span
from dcase_asd.embeddings.two_microphones import FILTERS
from dcase_asd.errors import AudioError, DcaseAsdError, TrainingError, command
from dcase_asd.recipe.system import Far
from dcase_asd.recipe.training import Training
from dcase_asd.training.data import TrainingSet

BATCHES_AHEAD = 4
"""Batches that each worker process reads before they are needed."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - no file of ours is put there
"""Where Linux keeps what worker processes hand on."""
MEGABYTE = 1e6
LOST_WORKER = re.compile(r"(DataLoader worker|Too many open files)[^.\n]*")
"""What torch says of worker processes that ended or cannot hand on what they read."""
NO_WORKER = {errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOENT}
"""What Linux says, of no file, where a process cannot be started or is not there to talk to."""
END_WITH_PARENT = 1
"""Linux' PR_SET_PDEATHSIG."""

Batch = TypeVar("Batch", bound=tuple[Any, ...])
"""A named tuple with tensors."""

_ORDER, _BATCH = 0, 1
"""Told to the random generators, so that no two purposes share their numbers."""


class TrainingBatch(NamedTuple):
    """Clips of equal length with their classes and noise.

    Attributes:
        number: Which batch of the training.
        waveforms: (b, n), float32.
        lengths: Samples of each clip before padding, (b,).
        targets: Classes, (b,).
        noise: Noise for each clip, (b, n); silence for those that get none.
        snr: In dB, (b,); infinity for those that get none.
        files: Paths relative to the data folder.
    """

    number: int
    waveforms: Tensor
    lengths: Tensor
    targets: Tensor
    noise: Tensor
    snr: Tensor
    files: list[str]


class TrainingBatches(Dataset[TrainingBatch]):
    """The batches of a training by number.

    Args:
        data: Data folder.
        chosen: What to train on.
        settings: The recipe.
        sample_rate: In Hz, of the batches.
        channel: Channel of recordings with several.
        far: How the other channel is taken out of it, as when embedding; noise stays as it is.
    """

    def __init__(
        self,
        data: Path,
        chosen: TrainingSet,
        settings: Training,
        sample_rate: int,
        channel: int = 0,
        far: Far = "none",
    ) -> None:
        self.data, self.settings = data, settings
        self.sample_rate, self.channel, self.far = sample_rate, channel, far
        self.samples = round(settings.seconds * sample_rate)
        self.clips = _Recordings(chosen.clips)
        self.noise = _Recordings(chosen.noise)
        self.targets: NDArray[np.int64] = chosen.clips["target"].to_numpy(dtype=np.int64)
        self.members = [np.flatnonzero(self.targets == c) for c in range(len(chosen.classes))]

    def __getitem__(self, number: int) -> TrainingBatch:
        """Read a batch."""
        settings, size = self.settings, self.settings.batch_size
        generator = np.random.default_rng([settings.seed, _BATCH, number])
        rows = self.rows(number, generator)
        waveforms = np.zeros((2, size, self.samples), dtype=np.float32)
        lengths = np.empty(size, dtype=np.int64)
        snr = np.full(size, np.inf, dtype=np.float32)
        for place, row in enumerate(rows):
            clip = self._crop(self.clips, int(row), generator, self.far)
            lengths[place] = len(clip)
            if len(clip) < self.samples:
                clip = clip - clip.mean()  # so that padding with zeros makes no step
            waveforms[0, place, : len(clip)] = clip
            if len(self.noise.paths) and generator.random() < settings.noise_probability:
                other = int(generator.integers(len(self.noise.paths)))
                snr[place] = generator.choice(settings.noise_snrs)
                waveforms[1, place] = self._looped(
                    self._crop(self.noise, other, generator), generator
                )
        clips, noise = torch.from_numpy(waveforms)
        return TrainingBatch(
            number=number, waveforms=clips, lengths=torch.from_numpy(lengths),
            targets=torch.from_numpy(self.targets[rows]), noise=noise, snr=torch.from_numpy(snr),
            files=[self.clips.paths[row] for row in rows],
        )  # fmt: skip

    def rows(self, number: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """Which clips a batch consists of.

        Without balance every clip comes once in each epoch, and a batch may span two epochs.
        """
        size, count = self.settings.batch_size, len(self.targets)
        if self.settings.balanced:
            classes = generator.integers(len(self.members), size=size)
            return np.array([generator.choice(self.members[each]) for each in classes])
        places = number * size + np.arange(size)
        rows = np.empty(size, dtype=np.intp)
        for epoch in np.unique(places // count):
            order = np.random.default_rng([self.settings.seed, _ORDER, int(epoch)])
            inside = places // count == epoch
            rows[inside] = order.permutation(count)[places[inside] % count]
        return rows

    def _crop(
        self, of: _Recordings, row: int, generator: np.random.Generator, far: Far = "none"
    ) -> Waveform:
        """A random part of a recording, at most as long as a batch."""
        rate, frames, path = of.rates[row], of.frames[row], self.data / of.paths[row]
        wanted = -(-self.samples * rate // self.sample_rate)
        start = int(generator.integers(max(frames - wanted, 0) + 1))
        if far == "none":
            clip = read_span(path, start, wanted, self.channel)
        else:  # what goes is fitted to a whole clip, as when embedding, and cut afterwards
            clip = self._without_far(path, far)[start * self.sample_rate // rate :]
        if not len(clip):
            again = command("prepare", "--data", self.data)
            raise AudioError(f"{path}: shorter than it was; run {again} again")
        if far == "none" and rate != self.sample_rate:
            clip = soxr.resample(clip, rate, self.sample_rate, quality="HQ").astype(np.float32)
        return clip[: self.samples]

    def _without_far(self, path: Path, far: Far) -> Waveform:
        """A whole recording without what its far channel hears, as it is embedded."""
        channels, _ = read_clip(path, self.channel, self.sample_rate, both=True)
        near, other = torch.from_numpy(np.ascontiguousarray(channels.T))[:, None]
        try:
            cleaned: Waveform = FILTERS[far](near, other, self.sample_rate)[0].numpy()
        except AudioError as error:
            raise AudioError(f"{path}: {error}") from error
        return cleaned

    def _looped(self, noise: Waveform, generator: np.random.Generator) -> Waveform:
        """Repeat noise that is shorter than a batch, from a random place on."""
        if len(noise) == self.samples:
            return noise
        return np.resize(np.roll(noise, -int(generator.integers(len(noise)))), self.samples)


class _Recordings:
    """Columns of the manifest as plain lists, which worker processes share."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.paths: list[str] = list(rows["path"])
        self.frames: list[int] = [int(each) for each in rows["frames"]]
        self.rates: list[int] = [int(each) for each in rows["sample_rate"]]


def load_batches(
    batches: Dataset[Batch], numbers: Sequence[int], workers: int, pin: bool
) -> Iterator[Batch]:
    """Read batches in order, in worker processes (0: none), some batches ahead.

    Args:
        batches: What to read from.
        numbers: Which batches.
        workers: Processes.
        pin: Whether to put them into page-locked memory, for a GPU.

    Raises:
        AudioError: A clip cannot be read.
    """
    loader = DataLoader(
        _Reported(batches), batch_size=None, sampler=numbers, num_workers=workers, pin_memory=pin,
        prefetch_factor=BATCHES_AHEAD if workers else None, worker_init_fn=_begin_worker,
    )  # fmt: skip
    for batch in loader:
        if isinstance(batch, DcaseAsdError):
            raise batch
        yield batch


def _begin_worker(_: int) -> None:
    """Have a worker process end with a training that was killed, and without a word.

    It would live on for seconds and keep the lock of the run folder, so that the same command could
    not go on at once; and its thread that hands on batches would show a traceback.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(END_WITH_PARENT, signal.SIGKILL)
    sys.excepthook = _say_nothing


def _say_nothing(*_: object) -> None:
    """What went wrong is told by the process that trains."""


class _Reported(Dataset[Batch | DcaseAsdError]):
    """Hands errors on as values: a worker process would turn their message into a traceback."""

    def __init__(self, batches: Dataset[Batch]) -> None:
        self.batches = batches

    def __getitem__(self, number: int) -> Batch | DcaseAsdError:
        try:
            batch = self.batches[number]
        except AudioError as error:
            return error
        worker = get_worker_info()
        if worker is None:
            return batch
        try:  # else a thread does so, whose error is printed while training waits forever
            for tensor in (each for each in batch if isinstance(each, Tensor)):
                tensor.share_memory_()  # type: ignore[no-untyped-call] # torch's
        except RuntimeError as error:
            reason = str(error).splitlines()[0].partition("(shm)")[0]
            return _too_little_memory(f"worker {worker.id}: {reason}", worker.num_workers)
        return batch


@contextmanager
def names_lost_workers(workers: int) -> Iterator[None]:
    """Tell in one line that a worker process ended, which torch says wherever the program is.

    Args:
        workers: Processes that read audio.

    Raises:
        TrainingError: One was killed, or could not be started.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        lost = LOST_WORKER.match(str(error)) if isinstance(error, RuntimeError) else None
        if lost:
            reason = lost[0]
        elif isinstance(error, (ConnectionError, EOFError)) or (
            isinstance(error, OSError) and error.errno in NO_WORKER and error.filename is None
        ):
            reason = f"a worker process: {getattr(error, 'strerror', None) or 'it ended'}"
        else:
            raise
        if not workers:
            raise
        raise _too_little_memory(reason, workers) from error


def _too_little_memory(reason: str, workers: int) -> TrainingError:
    """What a worker process failed for is in most cases memory."""
    shared = str(SHARED_MEMORY)
    if SHARED_MEMORY.is_dir():
        shared += f" ({shutil.disk_usage(SHARED_MEMORY).free / MEGABYTE:.1f} MB free)"
    return TrainingError(
        f"{reason}: {workers} worker processes read audio, for which memory, {shared} or open "
        "files (ulimit -n) may not suffice; the same command goes on with fewer, or with none by "
        "--workers 0"
    )
