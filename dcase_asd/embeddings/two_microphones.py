"""Two microphones (2026): what the far one hears is taken out of the near one's recording.

The far microphone hears the surroundings and little of the machine. Both ways work on the
short-time spectrum of a whole clip, in batches, on the device of the waveforms. Where the far
microphone hears the machine as well they remove some of it, the fault included: `removed_share`
tells how much of the near energy went.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dcase_asd.errors import AudioError

REFERENCE_RATE = 16000
"""Sample rate in Hz of the published windows; at another rate they last as long."""
PEAK = 0.9
"""Both channels are scaled so that the louder one peaks here, and back afterwards (W1)."""
SILENT = 1e-12
"""A far channel, or a spectrum's energy, at or below this is silence and explains nothing."""
SUBTRACT_WINDOW, SUBTRACT_HOP = 512, 256
FLOOR = 0.1
"""Share of the near magnitude that is left where the far one is larger (Chu and Qian, eq. 1)."""
COHERENT, LOUDER = 0.5, 1.6
"""What both microphones hear of a frequency: at least half of the near energy, and so many times (4
dB) the far magnitude where its source is nearer to the near microphone."""


def cancel_far(
    near: Any,
    far: Any,
    sample_rate: int = REFERENCE_RATE,
    window: int = 1024,
    hop: int = 512,
    *,
    average: bool = False,
) -> Any:
    """Subtract what a linear filter makes of the far channel, by least squares.

    H(f) = sum_t N(f, t) conj(F(f, t)) / (sum_t |F(f, t)|^2 + 1e-12), and the residual N - H F goes
    back to a waveform: the Wiener residual of the best systems of DCASE 2026 Task 2. WRAM's
    variant has a hop of 256 and means in place of sums (`average`), without scaling.

    Args:
        near: Waveforms of the near microphone, (n,) or (b, n), arrays or tensors.
        far: Those of the far microphone, of the same shape.
        sample_rate: In Hz.
        window: Of the Hann window, in samples at 16 kHz.
        hop: Between windows, in samples at 16 kHz.
        average: As in WRAM.

    Returns:
        The residual, as `near`; `near` itself where the far channel is silent.

    Raises:
        AudioError: The channels differ in shape, or a clip is shorter than half a window.
    """
    first, second, back = _prepare(near, far)
    peak = torch.maximum(first.abs().amax(1), second.abs().amax(1))
    gain = torch.where((peak > SILENT) & (not average), PEAK / peak.clamp(min=SILENT), 1.0)[:, None]
    spectra = _Spectra(first.shape[1], sample_rate, window, hop, first)
    one, two = spectra.of(first * gain), spectra.of(second * gain)
    combine = torch.mean if average else torch.sum
    cross = combine(one * two.conj(), dim=2, keepdim=True)
    power = combine(two.abs().square(), dim=2, keepdim=True)
    residual = spectra.back(one - cross / (power + SILENT) * two) / gain
    silent = second.abs().amax(1, keepdim=True) <= SILENT
    return back(torch.where(silent, first, residual))


def subtract_far(near: Any, far: Any, sample_rate: int = REFERENCE_RATE) -> Any:
    """Subtract the far magnitude from the near one, keeping the near phase (Chu and Qian, eq. 1).

    Where the far magnitude is the larger, a tenth of the near one is left.

    Args:
        near: As in `cancel_far`.
        far: As in `cancel_far`.
        sample_rate: In Hz.

    Returns:
        As `cancel_far`.

    Raises:
        AudioError: As `cancel_far`.
    """
    first, second, back = _prepare(near, far)
    spectra = _Spectra(first.shape[1], sample_rate, SUBTRACT_WINDOW, SUBTRACT_HOP, first)
    one = spectra.of(first)
    of_near, of_far = one.abs(), spectra.of(second).abs()
    left = torch.where(of_near > of_far, of_near - of_far, FLOOR * of_near)
    return back(spectra.back(torch.polar(left, one.angle())))


def removed_share(near: Tensor, result: Tensor) -> Tensor:
    """Share of the near energy that is gone, (b, n) twice -> (b,); 0 for silence."""
    before, after = near.square().sum(1), result.square().sum(1)
    return torch.where(before > 0, 1 - after / before.clamp(min=1e-30), 0.0)


def nearer_share(near: Tensor, far: Tensor, sample_rate: int = REFERENCE_RATE) -> Tensor:
    """Share of the near energy that the far microphone hears too, though the source is nearer.

    Noise of the surroundings comes to both microphones about equally loud, the machine several
    times louder to the near one. So the energy is counted that a filter of the far channel explains
    (coherence times near energy) at frequencies that are coherent and louder near (`COHERENT`,
    `LOUDER`). In simulated rooms (0.3 s of reverberation, noise from 10 dB above the machine to 20
    dB below it) it was at most 0.07 without a leak; with the machine at 0.1 to 0.3 of its level in
    the far channel mostly above 0.1 where more than half of the machine was cancelled. It cannot
    see a leak below the noise of the far channel, of which little is cancelled, nor one nearly as
    loud as the machine itself; microphones of unequal gain deceive it.

    Args:
        near: Waveforms, (b, n).
        far: As `near`.
        sample_rate: In Hz.

    Returns:
        (b,), from 0 to 1.
    """
    spectra = _Spectra(near.shape[1], sample_rate, 1024, 512, near)
    one, two = spectra.of(near), spectra.of(far)
    of_near, of_far = (each.abs().square().sum(2).clamp(min=SILENT) for each in (one, two))
    cross = (one * two.conj()).sum(2).abs()
    coherence, gain = cross / of_near * (cross / of_far), cross / of_far
    nearer = (coherence >= COHERENT) & (gain >= LOUDER)
    return (coherence * of_near * nearer).sum(1) / of_near.sum(1)


FILTERS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "cancel": cancel_far,
    "subtract": subtract_far,
    "wram": partial(cancel_far, hop=256, average=True),
}
"""Name in a recipe -> what makes near, far, (b, n) each, and the rate the near one alone."""


@dataclass(frozen=True)
class Cleaned:
    """Clips without what their far channel hears.

    Attributes:
        waveforms: (b, n).
        removed: Share of the near energy that went, (b,).
        nearer: As `nearer_share`, (b,).
        silent: Whether the far channel is, so that nothing was done, (b,).
    """

    waveforms: Tensor
    removed: Tensor
    nearer: Tensor
    silent: Tensor


def clean(channels: Tensor, lengths: Tensor, way: str, sample_rate: int) -> Cleaned:
    """Take the far channel out of a padded batch, each clip as if it were alone.

    Args:
        channels: Near and far waveforms, (b, n, 2).
        lengths: Samples of each clip before padding, (b,).
        way: One of `FILTERS`.
        sample_rate: In Hz.

    Raises:
        AudioError: A clip is shorter than half a window.
    """
    near, far = channels.unbind(2)
    result = torch.zeros_like(near)
    removed, nearer = near.new_zeros(len(near)), near.new_zeros(len(near))
    for length in set(lengths.tolist()):
        rows = lengths == length
        one, two = near[rows, :length], far[rows, :length]
        found = FILTERS[way](one, two, sample_rate)
        result[rows, :length] = found
        removed[rows] = removed_share(one, found)
        nearer[rows] = nearer_share(one, two, sample_rate)
    return Cleaned(result, removed, nearer, far.abs().amax(1) <= SILENT)


def _prepare(near: Any, far: Any) -> tuple[Tensor, Tensor, Any]:
    first, second = torch.as_tensor(near), torch.as_tensor(far)
    if first.shape != second.shape or first.ndim not in (1, 2):
        raise AudioError(
            f"near {tuple(first.shape)} and far {tuple(second.shape)} must be waveforms of one "
            "shape, (n,) or (b, n)"
        )
    alone, is_tensor = first.ndim == 1, isinstance(near, Tensor)

    def back(result: Tensor) -> Any:
        result = result[0] if alone else result
        return result if is_tensor else result.numpy()

    shape = (-1, first.shape[-1])
    return first.reshape(shape), second.reshape(shape), back


class _Spectra:
    """Short-time spectra of waveforms of one length and the way back."""

    def __init__(self, samples: int, rate: int, window: int, hop: int, like: Tensor) -> None:
        width = 2 * round(window * rate / REFERENCE_RATE / 2)
        if samples <= width // 2:
            raise AudioError(
                f"a clip of {samples} samples is shorter than half a window of {width}; "
                "leave such clips out, or set far to none"
            )
        self.samples = samples
        self.settings: dict[str, Any] = {
            "n_fft": width,
            "hop_length": round(hop * rate / REFERENCE_RATE),
            "window": torch.hann_window(width, dtype=like.dtype, device=like.device),
        }

    def of(self, waveforms: Tensor) -> Tensor:
        """(b, n) -> (b, frequencies, times), centered and reflected at the ends."""
        return torch.stft(waveforms, **self.settings, pad_mode="reflect", return_complex=True)

    def back(self, spectra: Tensor) -> Tensor:
        """(b, frequencies, times) -> (b, n)."""
        return torch.istft(spectra, **self.settings, length=self.samples)
