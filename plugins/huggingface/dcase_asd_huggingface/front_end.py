"""What a model hears: its own feature extractor, on batches, and which frames are padding."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor

from dcase_asd.errors import AudioError, BackboneError
from dcase_asd.features import LogMel

KALDI_SHIFT_SECONDS = 0.010
"""Between frames, where an extractor does not say its `hop_length`."""
SHORTEST_SECONDS = 0.035
"""Two frames of 25 ms every 10 ms: some extractors divide by the deviation over time."""
VARIANCE_FLOOR = 1e-7
"""Of wav2vec 2.0's normalization."""
LENGTHS_KEPT = 256
"""Lengths of clips whose frames are remembered."""


class FrontEnd(nn.Module):
    """Waveforms to what the model takes, as its feature extractor gives it for each clip alone.

    Args:
        extractor: As `AutoFeatureExtractor` gives it.

    Attributes:
        raw: Whether the model takes (normalized) samples, and no spectrogram.
        fixed: Whether every clip gives the same number of frames, however short it is.
        longest: Samples that fill these frames; None where there is no limit.

    Raises:
        BackboneError: It is none for audio.
    """

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        rate = getattr(extractor, "sampling_rate", None)
        if not isinstance(rate, int) or rate < 1:
            raise BackboneError(
                f"{type(extractor).__name__} is no feature extractor for audio (it has no "
                "sampling_rate); choose a model that takes sound"
            )
        self.extractor = extractor
        self.sample_rate = rate
        self.shortest = math.ceil(SHORTEST_SECONDS * rate)
        accepted = inspect.signature(extractor.__call__).parameters
        self._accepts_device = "device" in accepted
        self._settings: dict[str, Any] = {"sampling_rate": rate, "return_tensors": "pt"}
        if "return_attention_mask" in accepted:
            self._settings["return_attention_mask"] = True
        one, _ = self._extract([torch.zeros(rate)])
        half, _ = self._extract([torch.zeros(rate // 2)])
        self.raw = one.ndim == 2  # noqa: PLR2004
        self.fixed = not self.raw and one.shape == half.shape
        bins = getattr(extractor, "num_mel_bins", getattr(extractor, "feature_size", None))
        self._bins_first = one.ndim == 3 and one.shape[1] == bins != one.shape[2]  # noqa: PLR2004
        self._views = one.shape[1] if one.ndim == 4 else 0  # noqa: PLR2004
        self.longest = self._longest(one.shape[-1 if self._bins_first else -2])
        self.log_mel: LogMel | None = None
        if isinstance(extractor, ASTFeatureExtractor):
            self.log_mel = LogMel(rate, extractor.num_mel_bins, window="hanning")
        self.frame_mask = lru_cache(LENGTHS_KEPT)(self._frame_mask)

    def forward(self, waveforms: Tensor, lengths: Sequence[int]) -> Tensor:
        """Extract the features of clips.

        Args:
            waveforms: Samples in [-1, 1], (b, n).
            lengths: Samples of each clip before padding; all alike unless the front end is `fixed`.

        Returns:
            Frames (b, t, f), float32; normalized samples (b, n) if `raw`.

        Raises:
            AudioError: A clip is too short, or too long for a `fixed` one.
        """
        self._check(min(lengths), max(lengths))
        if self.raw and isinstance(self.extractor, Wav2Vec2FeatureExtractor):
            return self._normalized(waveforms[:, : lengths[0]])
        if self.log_mel is not None:
            return self._filled_log_mel(self.log_mel, waveforms, lengths)
        clips = [clip[:length] for clip, length in zip(waveforms, lengths, strict=True)]
        return self._as_frames(self._extract(clips)[0].to(waveforms.device, torch.float32))

    def model_input(self, frames: Tensor) -> Tensor:
        """What `forward` gave, in the layout that the model takes."""
        if self._views:
            return frames.reshape(len(frames), self._views, -1, frames.shape[2])
        return frames.transpose(1, 2) if self._bins_first else frames

    def _as_frames(self, values: Tensor) -> Tensor:
        if self._views:  # several views of a clip, (b, v, t, f), one after the other
            return values.flatten(1, 2)
        return values.transpose(1, 2) if self._bins_first else values

    def _normalized(self, waveforms: Tensor) -> Tensor:
        """wav2vec 2.0's features of clips of one length, all at once on their device."""
        if not self.extractor.do_normalize:
            return waveforms.float()
        with torch.autocast(waveforms.device.type, enabled=False):
            variance, mean = torch.var_mean(waveforms.float(), 1, correction=0, keepdim=True)
            return (waveforms.float() - mean) / (variance + VARIANCE_FLOOR).sqrt()

    def _filled_log_mel(self, log_mel: LogMel, waveforms: Tensor, lengths: Sequence[int]) -> Tensor:
        """AST's features, all clips at once on their device: zeros after the end, then scaled."""
        found: Tensor = log_mel(waveforms)
        inside = log_mel.frame_mask(torch.tensor(lengths, device=found.device), found.shape[1])
        found.masked_fill_(~inside[..., None], 0)
        missing = self.extractor.max_length - found.shape[1]
        found = nn.functional.pad(found, (0, 0, 0, missing))
        if not self.extractor.do_normalize:
            return found
        scaled: Tensor = (found - self.extractor.mean) / (2 * self.extractor.std)
        return scaled

    def _frame_mask(self, samples: int) -> Tensor:
        """Which frames of a clip of so many samples its extractor calls no padding, (t,)."""
        values, mask = self._extract([torch.zeros(samples)])
        frames = self._as_frames(values).shape[1]
        return torch.ones(frames, dtype=torch.bool) if mask is None else mask[0].bool()

    def _extract(self, clips: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Features of each clip alone, and their mask where the extractor gives one."""
        settings = dict(self._settings)
        if self._accepts_device:
            settings["device"] = str(clips[0].device)
        arrays = [clip.float().cpu().numpy() for clip in clips]
        with torch.autocast(clips[0].device.type, enabled=False):
            found = self.extractor(arrays, **settings)
        values: Tensor = found[self.extractor.model_input_names[0]]
        mask = found.get("attention_mask")
        return values, mask if isinstance(mask, Tensor) else None

    def _longest(self, frames: int) -> int | None:
        if not self.fixed:
            return None
        for name in ("n_samples", "nb_max_samples"):
            samples = getattr(self.extractor, name, None)
            if isinstance(samples, int):
                return samples
        shift = getattr(self.extractor, "hop_length", None)
        return int(frames * (shift or self.sample_rate * KALDI_SHIFT_SECONDS))

    def _check(self, shortest: int, longest: int) -> None:
        if shortest < self.shortest:
            raise AudioError(
                f"a clip of {shortest} samples is too short for this model, which needs "
                f"{self.shortest} ({1000 * self.shortest / self.sample_rate:g} ms at "
                f"{self.sample_rate} Hz)"
            )
        if self.longest is not None and longest > self.longest:
            raise AudioError(
                f"a clip of {longest} samples is too long for this model, which takes "
                f"{self.longest} at once ({self.longest / self.sample_rate:g} s at "
                f"{self.sample_rate} Hz): fine-tune with --seconds of at most that, or cut it"
            )
