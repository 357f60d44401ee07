"""Training batches: which clips, which crops, which noise; each depends on its number only.

Nothing is remembered from batch to batch, so that training goes on at any of them, and several
processes share them out, with the same batches as one undisturbed process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import pandas as pd
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcase_asd.audio import Mapped, Samples, Waveform, as_waveform, read_clip, read_samples
from dcase_asd.embeddings.two_microphones import FILTERS
from dcase_asd.errors import AudioError, command
from dcase_asd.recipe.system import Far
from dcase_asd.recipe.training import Training
from dcase_asd.sources import INTEGER_SCALE
from dcase_asd.training.data import TrainingSet

BATCHES_AHEAD = 4
"""Batches that each thread reads before they are needed."""

Batch_co = TypeVar("Batch_co", bound=tuple[Any, ...], covariant=True)
"""A named tuple with tensors."""

_ORDER, _BATCH = 0, 1
"""Told to the random generators, so that no two purposes share their numbers."""


class Numbered(Protocol[Batch_co]):
    """Gives batches by number, to several threads at once."""

    def __getitem__(self, number: int) -> Batch_co:
        """Read a batch."""


class TrainingBatch(NamedTuple):
    """Clips with their classes and noise, as they were read: `on` gives what is trained on.

    Attributes:
        number: Which batch of the training.
        waveforms: (b, n), padded with zeros; int16 as the samples stand in the files, or float32
            where a clip of the batch has others.
        offsets: What is taken from each clip, (b,): the mean of one that is padded, so that this
            makes no step, else 0.
        lengths: Samples of each clip before padding, (b,).
        targets: Classes, (b,).
        noise: Noise of each clip that gets some, (k, n), as `waveforms`.
        snr: In dB, (b,); infinity for those that get none.
        files: Paths relative to the data folder.
    """

    number: int
    waveforms: Tensor
    offsets: Tensor
    lengths: Tensor
    targets: Tensor
    noise: Tensor
    snr: Tensor
    files: list[str]

    def on(self, device: torch.device) -> ClipsOnDevice:
        """Bring the batch to a device, and only there from int16 to float32."""
        waveforms, noise = _floats(self.waveforms, device), _floats(self.noise, device)
        offsets, lengths, targets, snr = (
            each.to(device, non_blocking=True)
            for each in (self.offsets, self.lengths, self.targets, self.snr)
        )
        if self.offsets.any():
            inside = torch.arange(waveforms.shape[1], device=device) < lengths[:, None]
            waveforms = torch.where(inside, waveforms - offsets[:, None], 0.0)
        places = self.snr.isfinite().nonzero()[:, 0].to(device, non_blocking=True)
        noise = torch.zeros_like(waveforms).index_copy_(0, places, noise)
        return ClipsOnDevice(waveforms, lengths, targets, noise, snr)


class ClipsOnDevice(NamedTuple):
    """A batch where it is computed with.

    Attributes:
        waveforms: (b, n), float32.
        lengths: Samples of each clip before padding, (b,).
        targets: Classes, (b,).
        noise: Noise for each clip, (b, n), float32; silence for those that get none.
        snr: In dB, (b,); infinity for those that get none.
    """

    waveforms: Tensor
    lengths: Tensor
    targets: Tensor
    noise: Tensor
    snr: Tensor


def _floats(samples: Tensor, device: torch.device) -> Tensor:
    """Samples on a device in float32, as `audio.as_waveform` makes them."""
    samples = samples.to(device, non_blocking=True)
    return samples.float().mul_(1 / INTEGER_SCALE) if samples.dtype == torch.int16 else samples


class TrainingBatches:
    """The batches of a training by number.

    Args:
        data: Data folder.
        chosen: What to train on.
        settings: The recipe.
        sample_rate: In Hz, of the batches.
        channel: Channel of recordings with several.
        far: How the other channel is taken out of it, as when embedding; noise stays as it is.
        packed: Recordings that are read from packs, by path.
    """

    def __init__(
        self,
        data: Path,
        chosen: TrainingSet,
        settings: Training,
        sample_rate: int,
        channel: int = 0,
        far: Far = "none",
        packed: Mapping[str, Mapped] | None = None,
    ) -> None:
        self.data, self.settings, self.packed = data, settings, packed or {}
        self.sample_rate, self.channel, self.far = sample_rate, channel, far
        self.samples = round(settings.seconds * sample_rate)
        self.clips = _Recordings(chosen.clips)
        self.noise = _Recordings(chosen.noise)
        self.targets: NDArray[np.int64] = chosen.clips["target"].to_numpy(dtype=np.int64)
        self.order = lru_cache(maxsize=2)(self._order)
        self.members = [np.flatnonzero(self.targets == c) for c in range(len(chosen.classes))]

    def __getitem__(self, number: int) -> TrainingBatch:
        """Read a batch."""
        settings, size = self.settings, self.settings.batch_size
        generator = np.random.default_rng([settings.seed, _BATCH, number])
        rows = self.rows(number, generator)
        room = np.empty((2, size, self.samples), dtype=np.int16)
        clips: list[Samples] = []
        noise: list[Samples] = []
        offsets, lengths = np.zeros(size, dtype=np.float32), np.empty(size, dtype=np.int64)
        snr = np.full(size, np.inf, dtype=np.float32)
        for place, row in enumerate(rows):
            clip = self._crop(self.clips, int(row), generator, room[0, place], self.far)
            clips.append(clip)
            lengths[place] = len(clip)
            if len(clip) < self.samples:
                offsets[place] = as_waveform(clip).mean()
            if len(self.noise.paths) and generator.random() < settings.noise_probability:
                other = int(generator.integers(len(self.noise.paths)))
                snr[place] = generator.choice(settings.noise_snrs)
                part = self._crop(self.noise, other, generator, room[1, len(noise)])
                noise.append(self._looped(part, generator))
        return TrainingBatch(
            number, _stacked(clips, room[0]), torch.from_numpy(offsets), torch.from_numpy(lengths),
            torch.from_numpy(self.targets[rows]), _stacked(noise, room[1]), torch.from_numpy(snr),
            [self.clips.paths[row] for row in rows],
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
            inside = places // count == epoch
            rows[inside] = self.order(int(epoch))[places[inside] % count]
        return rows

    def _order(self, epoch: int) -> NDArray[np.intp]:
        """All clips in the order of an epoch."""
        random = np.random.default_rng([self.settings.seed, _ORDER, epoch])
        return random.permutation(len(self.targets))

    def _crop(
        self,
        of: _Recordings,
        row: int,
        generator: np.random.Generator,
        room: NDArray[np.int16],
        far: Far = "none",
    ) -> Samples:
        """A random part of a recording, at most as long as a batch; as `read_samples` gives it."""
        rate, frames, path = of.rates[row], of.frames[row], of.paths[row]
        wanted = -(-self.samples * rate // self.sample_rate)
        start = int(generator.integers(max(frames - wanted, 0) + 1))
        source = self.packed.get(path) or self.data / path
        if far != "none":  # what goes is fitted to a whole clip, as when embedding, and cut then
            start = start * self.sample_rate // rate
            return self._without_far(source, far)[start : start + self.samples]
        if rate != self.sample_rate:
            room = np.empty(wanted, dtype=np.int16)
        clip = read_samples(source, start, room, self.channel)
        if not len(clip):
            again = command("prepare", "--data", self.data)
            raise AudioError(f"{self.data / path}: shorter than it was; run {again} again")
        if rate != self.sample_rate:
            clip = soxr.resample(as_waveform(clip), rate, self.sample_rate, quality="HQ").astype(
                np.float32
            )
        return clip[: self.samples]

    def _without_far(self, source: Path | Mapped, far: Far) -> Waveform:
        """A whole recording without what its far channel hears, as it is embedded."""
        channels, _ = read_clip(source, self.channel, self.sample_rate, both=True)
        near, other = torch.from_numpy(np.ascontiguousarray(channels.T))[:, None]
        try:
            cleaned: Waveform = FILTERS[far](near, other, self.sample_rate)[0].numpy()
        except AudioError as error:
            raise AudioError(f"{source}: {error}") from error
        return cleaned

    def _looped(self, noise: Samples, generator: np.random.Generator) -> Samples:
        """Repeat noise that is shorter than a batch, from a random place on."""
        if len(noise) == self.samples:
            return noise
        turned = np.roll(noise, -int(generator.integers(len(noise))))
        looped: NDArray[Any] = np.resize(turned, self.samples)
        return looped


class _Recordings:
    """Columns of the manifest as plain lists, which are faster to look into."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.paths: list[str] = list(rows["path"])
        self.frames: list[int] = [int(each) for each in rows["frames"]]
        self.rates: list[int] = [int(each) for each in rows["sample_rate"]]


def _stacked(clips: list[Samples], room: NDArray[np.int16]) -> Tensor:
    """Clips as one tensor, (b, n), padded with zeros; in `room`, where most are, if all are int16.

    Args:
        clips: Clips of at most n samples.
        room: At least b times n, which clips that were read into it begin a row of.
    """
    exact = all(clip.dtype == room.dtype for clip in clips)
    stacked: Samples = room[: len(clips)]
    if not exact:
        stacked = np.empty(stacked.shape, dtype=np.float32)
    for row, clip in zip(stacked, clips, strict=True):
        if not np.may_share_memory(clip, row):
            row[: len(clip)] = clip if exact else as_waveform(clip)
        row[len(clip) :] = 0
    return torch.from_numpy(stacked)


def load_batches(
    batches: Numbered[Batch_co], numbers: Iterable[int], workers: int, pin: bool
) -> Iterator[Batch_co]:
    """Read batches in order, in threads (0: none), some batches ahead.

    Threads, as what takes time leaves the interpreter to the others: reading, decoding, resampling
    and copying. A batch that comes from another process has to be copied through memory whose every
    page is new, which takes longer than to read it.

    Args:
        batches: What to read from.
        numbers: Which batches.
        workers: Threads.
        pin: Whether to put them into page-locked memory, for a GPU.

    Raises:
        AudioError: A clip cannot be read.
    """

    def read(number: int) -> Batch_co:
        batch = batches[number]
        if not pin:
            return batch
        return type(batch)(*(x.pin_memory() if isinstance(x, Tensor) else x for x in batch))

    if not workers:
        yield from map(read, numbers)
        return
    left = iter(numbers)
    readers = ThreadPoolExecutor(workers, "reader")
    try:
        first = islice(left, workers * BATCHES_AHEAD)
        ahead = deque(readers.submit(read, number) for number in first)
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(readers.submit(read, number) for number in islice(left, 1))
            yield batch
    finally:
        readers.shutdown(wait=False, cancel_futures=True)
