"""Batches of recordings without labels: which, and which crop; each depends on its number only."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcase_asd.audio import Packed, Waveform, read_header, read_span
from dcase_asd.errors import AudioError
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.training.recordings import Recordings

SHORTEST = 0.175
"""Seconds of a row of patches: 16 frames of 25 ms, every 10 ms."""
LOWEST_RATE = 1000
"""In Hz; below, a frame holds no more samples than a patch has bins."""
TRIES = 16
"""Recordings that are drawn for a place in a batch before it is given up."""

_SHUFFLE, _CROP = 4, 5
"""Told to the random generators; the numbers before are those of fine-tuning."""


class PretrainingBatch(NamedTuple):
    """Crops of recordings, each at its own rate.

    Attributes:
        number: Which batch of the training.
        waveforms: Of mean 0 where shorter than the batch, (b, n), float32.
        lengths: Samples of each before padding, (b,).
        rates: In Hz, (b,).
        files: What they are of.
        skipped: Why recordings could not be used that were drawn as well.
    """

    number: int
    waveforms: Tensor
    lengths: Tensor
    rates: Tensor
    files: list[str]
    skipped: list[str]


class PretrainingBatches:
    """The batches of a pre-training by number.

    Args:
        recordings: What to train on.
        settings: The recipe.
        sample_rate: In Hz, what all are resampled to; 0 leaves each at its own.
    """

    def __init__(self, recordings: Recordings, settings: Pretraining, sample_rate: int) -> None:
        self.recordings, self.settings, self.sample_rate = recordings, settings, sample_rate
        self._stretch: tuple[int, int, NDArray[np.int64]] = (-1, 0, np.zeros(0, np.int64))

    def __getitem__(self, number: int) -> PretrainingBatch:
        """Read a batch.

        Raises:
            AudioError: Of many recordings that were drawn for one place none can be used.
        """
        settings, size = self.settings, self.settings.batch_size
        random = np.random.default_rng([settings.seed, _CROP, number])
        crops: list[Waveform] = []
        rates, files, skipped = [], [], []
        for place in range(number * size, (number + 1) * size):
            stretch, index = self._stretch_at(place)
            row, reason = int(stretch[index]), ""
            for _ in range(TRIES):
                try:
                    source = self.recordings[row]
                    crop, rate = self._crop(source, random)
                    break
                except AudioError as error:
                    reason = str(error)
                    skipped.append(reason)
                    row = int(random.choice(stretch))  # of a shard that is at hand
            else:
                raise AudioError(
                    f"none of {TRIES} recordings that were drawn can be used, the last because: "
                    f"{reason}"
                )
            crops.append(crop)
            rates.append(rate)
            files.append(str(source))
        waveforms = torch.zeros(size, max(map(len, crops)))
        for row, crop in enumerate(crops):
            waveforms[row, : len(crop)] = torch.from_numpy(crop)
        lengths = torch.tensor([len(crop) for crop in crops])
        return PretrainingBatch(number, waveforms, lengths, torch.tensor(rates), files, skipped)

    def row(self, place: int) -> int:
        """Which recording comes at a place: every one once in each epoch."""
        stretch, index = self._stretch_at(place)
        return int(stretch[index])

    def _stretch_at(self, place: int) -> tuple[NDArray[np.int64], int]:
        """Recordings that come one after the other, and which of them comes at a place."""
        epoch, place = divmod(place, len(self.recordings))
        known, first, numbers = self._stretch
        if known != epoch or not first <= place < first + len(numbers):
            for first, inside in self.recordings.order(epoch, self.settings.seed):
                if first <= place < first + len(inside):
                    seed = [self.settings.seed, _SHUFFLE, epoch, first]
                    numbers = np.random.default_rng(seed).permutation(inside)
                    self._stretch = epoch, first, numbers
                    break
        return numbers, place - first

    def _crop(self, source: Path | Packed, random: np.random.Generator) -> tuple[Waveform, int]:
        """A random part of a recording, and its rate in Hz.

        Raises:
            AudioError: It cannot be read, is too short or of too low a rate, or is silent.
        """
        header, settings = read_header(source), self.settings
        rate, frames = header.sample_rate, header.frames
        if frames < SHORTEST * rate or rate < LOWEST_RATE:
            raise AudioError(
                f"{source}: {frames} samples of {rate} Hz; {SHORTEST:g} s of {LOWEST_RATE} Hz are "
                "the least to learn from"
            )
        wanted = round(settings.seconds * rate)
        start = int(random.integers(max(frames - wanted, 0) + 1))
        crop = read_span(source, start, wanted, settings.channel)
        if not len(crop) or (crop == crop[0]).all():
            raise AudioError(f"{source}: silent from {start / rate:.1f} s on; nothing to learn")
        if len(crop) < wanted:
            crop = crop - crop.mean()  # so that padding with zeros makes no step
        if self.sample_rate and rate != self.sample_rate:
            crop = soxr.resample(crop, rate, self.sample_rate, quality="HQ").astype(np.float32)
            rate = self.sample_rate
        return crop, rate
