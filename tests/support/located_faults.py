"""Generated machines with a fault of known time and band."""

from dataclasses import dataclass

import numpy as np

from dcase_asd.miniature.sounds import Operation, draw_voice, machine_sound

RATE = 16000
SECONDS = 10.0
FAULTS = ("knock", "tone", "missing", "leak", "dropout")


@dataclass(frozen=True)
class Located:
    """Samples, and when and where the fault is: seconds and Hz."""

    samples: np.ndarray
    start: float
    end: float
    low: float
    high: float


class Machine:
    """A tonal machine among noise, another for each seed."""

    def __init__(self, seed: int, seconds: float = SECONDS, family: str = "tonal"):
        self.random = np.random.default_rng(seed)
        self.rate = self.random.uniform(180, 320)
        self.voice = draw_voice(family, self.rate, np.random.default_rng(seed + 1))
        self.frames = int(seconds * RATE)
        self.time = np.arange(self.frames) / RATE

    def normal(self) -> np.ndarray:
        speed = self.random.uniform(0.99, 1.01)
        sound = machine_sound(self.voice, Operation(speed), self.frames, self.random)
        sound += 0.1 * self.random.standard_normal(self.frames)
        return (0.03 * 10 ** (self.random.uniform(-1, 1) / 20) * sound).astype(np.float32)

    def faulty(self, kind: str, snr: float) -> Located:
        """A normal recording with a fault, `snr` dB above the machine's own sound in its band.

        A tone is compared with a third of an octave around it, a knock over 50 ms.
        Of a missing harmonic and a dropout it says by how many dB the machine's sound is lowered.
        """
        sound = self.normal().astype(np.float64)
        seconds = self.frames / RATE
        length = {"knock": 0.05, "dropout": 0.3}.get(
            kind, self.random.uniform(1, min(3, seconds - 1.2))
        )
        start = self.random.uniform(0.5, seconds - 0.5 - length)
        end = start + length
        inside = (self.time >= start) & (self.time < end)
        if kind == "dropout":
            sound[inside] *= 10 ** (-snr / 20)
            return Located(sound.astype(np.float32), start, end, 0, 8000)
        middle = np.exp(self.random.uniform(np.log(600), np.log(6000)))
        if kind == "missing":
            number = int(self.random.integers(2, 13))
            low, high = (number - 0.45) * self.rate, (number + 0.45) * self.rate
        else:
            width = 0.02 if kind == "tone" else 0.15
            low, high = middle * (1 - width), middle * (1 + width)
        around = (low, high) if kind != "tone" else (middle * 2 ** (-1 / 6), middle * 2 ** (1 / 6))
        own = _band(sound, *around)
        ramp = np.clip(np.minimum(self.time - start, end - self.time) / 0.02, 0, 1)
        if kind == "missing":
            sound -= ramp * own * (1 - 10 ** (-snr / 20))
            return Located(sound.astype(np.float32), start, end, low, high)
        level = np.sqrt(np.mean(own[inside] ** 2)) * 10 ** (snr / 20)
        if kind == "tone":
            added = np.sqrt(2) * np.sin(2 * np.pi * middle * self.time) * ramp
        else:
            added = _band(self.random.standard_normal(self.frames), low, high)
            added /= added.std()
            added *= (
                np.exp(-np.maximum(self.time - start, 0) / 0.01) * inside
                if kind == "knock"
                else ramp
            )
        if kind == "knock":
            added /= np.sqrt(np.mean(added[inside] ** 2))
        return Located((sound + level * added).astype(np.float32), start, end, low, high)


def _band(sound, low, high):
    hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
    return np.fft.irfft(np.fft.rfft(sound) * ((hertz >= low) & (hertz < high)), len(sound))


def overlaps(fault: Located, span) -> bool:
    """Whether a span and the true one have some time and some band in common."""
    in_time = span.start < fault.end and span.end > fault.start
    return in_time and span.low < fault.high and span.high > fault.low
