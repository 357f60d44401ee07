"""Training batches: which clips, which crops, which noise; each depends on its number only.

Nothing is remembered from batch to batch, so that training goes on at any of them, and several
processes share them out, with the same batches as one undisturbed process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dcase_asd.audio import Waveform, read_span
from dcase_asd.errors import AudioError, command
from dcase_asd.training.dataset import TrainingSet
from dcase_asd.training.settings import Training

BATCHES_AHEAD = 4
"""Batches that each worker process reads before they are needed."""

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
    """

    def __init__(
        self,
        data: Path,
        chosen: TrainingSet,
        settings: Training,
        sample_rate: int,
        channel: int = 0,
    ) -> None:
        self.data, self.settings = data, settings
        self.sample_rate, self.channel = sample_rate, channel
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
            clip = self._crop(self.clips, int(row), generator)
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
            number=number,
            waveforms=clips,
            lengths=torch.from_numpy(lengths),
            targets=torch.from_numpy(self.targets[rows]),
            noise=noise,
            snr=torch.from_numpy(snr),
            files=[self.clips.paths[row] for row in rows],
        )

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

    def _crop(self, of: _Recordings, row: int, generator: np.random.Generator) -> Waveform:
        """A random part of a recording, at most as long as a batch."""
        rate, frames = of.rates[row], of.frames[row]
        wanted = -(-self.samples * rate // self.sample_rate)
        start = int(generator.integers(max(frames - wanted, 0) + 1))
        clip = read_span(self.data / of.paths[row], start, wanted, self.channel)
        if not len(clip):
            again = command("prepare", "--data", self.data)
            raise AudioError(f"{self.data / of.paths[row]}: shorter than it was; run {again} again")
        if rate != self.sample_rate:
            clip = soxr.resample(clip, rate, self.sample_rate, quality="HQ").astype(np.float32)
        return clip[: self.samples]

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
    batches: TrainingBatches, numbers: Sequence[int], workers: int, pin: bool
) -> Iterator[TrainingBatch]:
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
        _Reported(batches),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=BATCHES_AHEAD if workers else None,
    )
    for batch in loader:
        if isinstance(batch, AudioError):
            raise batch
        yield batch


class _Reported(Dataset[TrainingBatch | AudioError]):
    """Hands errors on as values: a worker process would turn their message into a traceback."""

    def __init__(self, batches: TrainingBatches) -> None:
        self.batches = batches

    def __getitem__(self, number: int) -> TrainingBatch | AudioError:
        try:
            return self.batches[number]
        except AudioError as error:
            return error
