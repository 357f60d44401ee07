"""Generated machine sounds for the miniature; none of them stands for a real machine.

Three families of sound, each with faults that are faults of the sound:

    tonal       a motor or gear: harmonics of a slowly drifting tone above a soft rustle
    impulsive   a valve or slider: two strikes a stroke, each the ringing of a few modes
    noisy       a fan or pump: turbulence with a tone at the rate of the blades

    knock       periodic impacts that make the housing ring, as of a damaged bearing
    detuned     one group of harmonics stands beside its place
    missing     one group of harmonics is weak
    leak        a hiss in a band of its own
    late        some strokes come late and weak

A clip is the machine at an operating point, among factory noise, through a microphone. All
arrays are float64 at `SAMPLE_RATE`; a machine has an RMS of about 1 until it is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
Generator = np.random.Generator
Family = Literal["tonal", "impulsive", "noisy"]
FaultKind = Literal["knock", "detuned", "missing", "leak", "late"]

SAMPLE_RATE = 16_000
"""Samples per second, as in every year of the challenge."""

FAULTS: dict[Family, tuple[FaultKind, ...]] = {
    "tonal": ("knock", "detuned", "missing"),
    "impulsive": ("late", "leak"),
    "noisy": ("leak", "knock"),
}
"""Which faults a family of machines can have."""

LEAK_BAND = (4_500.0, 7_000.0)
"""Where a leak hisses, in Hz."""

_LEVEL = 0.03
"""RMS of a recorded machine, full scale 1: leaves room for the peaks of strikes."""

_PATH_SAMPLES = 48
"""Length of the way from the far to the near microphone: 3 ms, much less than a window of `far`."""
_HARMONICS = 32
_FAULTY_HARMONICS = (3, 6, 9, 12, 15)
"""Harmonics (the first is number 1) that a detuned or missing tone takes with it."""


@dataclass(frozen=True)
class Voice:
    """What distinguishes one individual machine from others of its family.

    `rate` is the fundamental of a tonal machine, strokes of an impulsive one, or blade passes of a
    noisy one, in Hz at speed 1; `harmonics` complex amplitudes of its tones, (h,); `strikes` the
    ringing of the two strikes of a stroke; `hump` the middle of its noise in Hz; `knock_rate`
    impacts per second of a damaged bearing at speed 1; `knock` the ringing of one of them.
    """

    family: Family
    rate: float
    harmonics: ComplexArray
    strikes: tuple[Array, Array]
    hump: float
    knock_rate: float
    knock: Array


@dataclass(frozen=True)
class Operation:
    """Operating point: `speed` relative to nominal, `load` from 0 (none) to 1 (full)."""

    speed: float = 1.0
    load: float = 0.0


@dataclass(frozen=True)
class Fault:
    """What is wrong with the machine, and how much: `severity` in (0, 1]."""

    kind: FaultKind
    severity: float


@dataclass(frozen=True)
class Place:
    """Where a domain is recorded.

    `snr` of machine to factory noise in dB; `slope` of the noise in dB per octave; `hum` a tone of
    the factory in Hz; `tilt` of the microphone in dB per octave around 1 kHz.
    """

    snr: float
    slope: float
    hum: float
    tilt: float


@dataclass(frozen=True)
class FarMicrophone:
    """A second microphone, away from the machine and nearer to what else is heard.

    `leak` is the amplitude of the machine there, relative to the near microphone, and `delay` how
    many samples later it arrives; `path` is the way of the factory noise from the far microphone to
    the near one, an impulse response of energy 1/2, (k,).
    """

    leak: float
    delay: int
    path: Array


def draw_far_microphone(rng: Generator) -> FarMicrophone:
    """A microphone 0.4 to 1.3 m farther away, which hears the machine by 20 to 30 dB less."""
    time = np.arange(_PATH_SAMPLES)
    path = rng.standard_normal(_PATH_SAMPLES) * np.exp(-time / (_PATH_SAMPLES / 8))
    path[0] = 6.0  # the direct way
    leak = 10 ** (-rng.uniform(20, 30) / 20)
    path /= float(np.sqrt(2 * (path**2).sum()))
    return FarMicrophone(leak, int(rng.integers(20, 61)), path)


def draw_voice(family: Family, rate: float, rng: Generator) -> Voice:
    """An individual machine: what is not given is drawn."""
    order = np.arange(1, _HARMONICS + 1)
    strength = order**-0.6 * 10 ** (rng.uniform(-4, 4, _HARMONICS) / 20)
    strength /= np.sqrt((strength**2).sum() / 2)
    phase = rng.uniform(0, 2 * np.pi, _HARMONICS)
    return Voice(
        family=family,
        rate=rate,
        harmonics=strength * np.exp(1j * phase),
        strikes=(_ringing(rng, 600, 3_000, 0.02, rate), _ringing(rng, 1_200, 6_000, 0.01, rate)),
        hump=rng.uniform(500, 900),
        knock_rate=rng.uniform(9, 14),
        knock=_ringing(rng, 2_200, 3_800, 0.006, 10),
    )


def machine_sound(
    voice: Voice, operation: Operation, frames: int, rng: Generator, fault: Fault | None = None
) -> Array:
    """The machine alone, as if recorded in a silent room.

    Args:
        voice: Which machine.
        operation: At which operating point.
        frames: Length in samples.
        rng: Draws what differs from clip to clip.
        fault: What is wrong with it; None for a normal machine.

    Returns:
        Samples, (frames,), with an RMS of about 1.
    """
    sound = _BODIES[voice.family](voice, operation, frames, rng, fault)
    if fault is not None and fault.kind == "leak":
        low, high = LEAK_BAND
        # From 30 to 18 dB below the machine: audible where the machine itself has little energy.
        level = 10 ** ((-30 + 12 * fault.severity) / 20)
        sound += level * _noise(rng, frames, lambda hz: ((hz > low) & (hz < high)).astype(float))
    if fault is not None and fault.kind == "knock":
        period = 1 / (voice.knock_rate * operation.speed)
        times = np.arange(rng.uniform(0, period), frames / SAMPLE_RATE, period)
        times += rng.normal(0, 0.01 * period, times.size)
        # From 22 to 8 dB below the machine.
        level = 10 ** ((-22 + 14 * fault.severity) / 20)
        sound += _struck(voice.knock, times, level * rng.uniform(0.8, 1.2, times.size), frames)
    return sound


def factory_noise(place: Place, frames: int, rng: Generator) -> Array:
    """What is heard where the machine stands still: rumble, a hum and distant clanks, RMS 1."""
    seconds = frames / SAMPLE_RATE
    rumble = _noise(rng, frames, lambda hz: (np.maximum(hz, 60) / 1_000) ** (place.slope / 6.02))
    rumble *= 1 + 0.25 * _wander(rng, frames, 4)
    hum = np.sin(2 * np.pi * place.hum * np.arange(frames) / SAMPLE_RATE + rng.uniform(0, 6.28))
    clanks = rng.uniform(0, seconds, rng.poisson(0.7 * seconds))
    clank = _ringing(rng, 500, 2_500, 0.03, 1)
    force = rng.uniform(0.05, 0.25, clanks.size)
    return _unit_rms(rumble + 0.3 * hum + _struck(clank, clanks, force, frames))


def record(machine: Array | None, noise: Array | None, place: Place, rng: Generator) -> Array:
    """Put a machine among noise and a microphone before them.

    Args:
        machine: Samples of `machine_sound`, (n,), or None where it stands still.
        noise: Samples of `factory_noise`, (n,), or None in a silent room.
        place: Where it is recorded.
        rng: Draws the distance of the microphone and the loudness of the factory.

    Returns:
        Samples, (n,), within [-1, 1] by a wide margin.
    """
    gain, loudness = _levels(place, rng)
    parts = [machine] if machine is not None else []
    parts += [loudness * noise] if noise is not None else []
    return _heard(gain * np.sum(parts, axis=0), place)


def _levels(place: Place, rng: Generator) -> tuple[float, float]:
    """Gain of a microphone at a drawn distance, and a drawn loudness of the factory."""
    gain = _LEVEL * 10 ** (rng.uniform(-1.5, 1.5) / 20)
    return gain, 10 ** (-(place.snr + rng.uniform(-1.5, 1.5)) / 20)


def _heard(sound: Array, place: Place) -> Array:
    """What the microphone of a place makes of a sound, (n,)."""
    hz = np.fft.rfftfreq(sound.size, 1 / SAMPLE_RATE)
    response = (np.clip(hz, 100, 8_000) / 1_000) ** (place.tilt / 6.02)
    return np.fft.irfft(np.fft.rfft(sound) * response, sound.size)


def record_pair(
    machine: Array, noise: Array, place: Place, microphone: FarMicrophone, rng: Generator
) -> Array:
    """As `record`, by two microphones that run together.

    Returns:
        Near and far channel, (n, 2).
    """
    gain, loudness = _levels(place, rng)
    arriving = np.convolve(noise, microphone.path)[: noise.size]
    leaked = np.concatenate([np.zeros(microphone.delay), machine])[: machine.size]
    near = machine + loudness * arriving
    far = microphone.leak * leaked + loudness * noise
    return np.stack([_heard(gain * channel, place) for channel in (near, far)], axis=1)


def _tonal(
    voice: Voice, operation: Operation, frames: int, rng: Generator, fault: Fault | None
) -> Array:
    order = np.arange(1, _HARMONICS + 1)
    # Load makes the upper harmonics stronger, as a gear's mesh does.
    tones = voice.harmonics * (order / 8.0) ** (0.35 * operation.load)
    speed = operation.speed * (1 + 0.004 * _wander(rng, frames, 3))
    turn = np.exp(2j * np.pi * np.cumsum(voice.rate * speed) / SAMPLE_RATE)
    sound = _harmonics(tones, turn)
    if fault is not None and fault.kind in ("detuned", "missing"):
        faulty = np.where(np.isin(order, _FAULTY_HARMONICS), tones, 0)
        if fault.kind == "missing":
            # 20 to 90 % of their amplitude is gone.
            sound -= (0.2 + 0.7 * fault.severity) * _harmonics(faulty, turn)
        else:
            # By 0.6 to 3.6 % of their frequency.
            beside = 0.03 * (0.2 + fault.severity) * voice.rate * operation.speed
            slip = np.exp(2j * np.pi * beside * np.arange(frames) / SAMPLE_RATE)
            sound += _harmonics(faulty, turn * slip) - _harmonics(faulty, turn)
    return sound + 0.2 * _noise(rng, frames, lambda hz: 1 / (1 + (hz / voice.hump) ** 2))


def _impulsive(
    voice: Voice, operation: Operation, frames: int, rng: Generator, fault: Fault | None
) -> Array:
    period = 1 / (voice.rate * operation.speed)
    strokes = np.arange(rng.uniform(-period, 0), frames / SAMPLE_RATE, period)
    strokes += rng.normal(0, 0.01 * period, strokes.size)
    force = rng.uniform(0.9, 1.1, strokes.size)
    if fault is not None and fault.kind == "late":
        # Every second stroke comes late by up to a quarter of a period,
        # with a half to a twentieth of its force.
        weak = np.arange(strokes.size) % 2 == rng.integers(2)
        strokes[weak] += 0.25 * fault.severity * period
        force[weak] *= 0.5 - 0.45 * fault.severity
    back = strokes + (0.45 - 0.1 * operation.load) * period
    sound = _struck(voice.strikes[0], strokes, (1 + 0.4 * operation.load) * force, frames)
    sound += _struck(voice.strikes[1], back, force, frames)
    sliding = _noise(rng, frames, lambda hz: 1 / (1 + (hz / (2 * voice.hump)) ** 2))
    return sound + 0.15 * operation.speed * sliding


def _noisy(
    voice: Voice, operation: Operation, frames: int, rng: Generator, fault: Fault | None
) -> Array:
    del fault  # a leak or a knock adds to the sound, see `machine_sound`
    middle = voice.hump * operation.speed**1.5
    steepness = 1.6 - 0.4 * operation.load
    turbulence = _noise(rng, frames, lambda hz: 1 / (1 + (hz / middle) ** (2 * steepness)))
    speed = operation.speed * (1 + 0.004 * _wander(rng, frames, 3))
    turn = np.exp(2j * np.pi * np.cumsum(voice.rate * speed) / SAMPLE_RATE)
    turbulence *= 1 + 0.3 * turn.real
    return turbulence + 0.5 * _harmonics(voice.harmonics[:6], turn)


_BODIES = {"tonal": _tonal, "impulsive": _impulsive, "noisy": _noisy}


def _harmonics(amplitudes: ComplexArray, turn: ComplexArray) -> Array:
    """Sum of amplitude[h] * turn**(h + 1), real part, by Horner's rule: (n,)."""
    total = np.zeros_like(turn)
    for amplitude in amplitudes[::-1]:
        total += amplitude
        total *= turn
    return np.ascontiguousarray(total.real)


def _noise(rng: Generator, frames: int, gain: Callable[[Array], Array]) -> Array:
    """Gaussian noise of RMS 1 whose spectrum has the shape `gain(hz)`."""
    shape = gain(np.fft.rfftfreq(frames, 1 / SAMPLE_RATE).astype(np.float64))
    spectrum = rng.standard_normal(2 * shape.size).view(np.complex128) * shape
    return _unit_rms(np.fft.irfft(spectrum, frames))


def _unit_rms(sound: Array) -> Array:
    return sound / float(np.sqrt(np.mean(sound**2)))


def _wander(rng: Generator, frames: int, per_second: int) -> Array:
    """A slow random curve within [-1, 1]."""
    knots = int(per_second * frames / SAMPLE_RATE) + 2
    return np.interp(np.linspace(0, knots - 1, frames), np.arange(knots), rng.uniform(-1, 1, knots))


def _ringing(rng: Generator, low: float, high: float, decay: float, rate: float) -> Array:
    """A strike: six modes between `low` and `high` Hz that decay within about `decay` seconds.

    Scaled so that `rate` strikes a second have an RMS of 1 / sqrt(2): two kinds make 1.
    """
    time = np.arange(int(6 * decay * SAMPLE_RATE)) / SAMPLE_RATE
    modes = np.geomspace(low, high, 6) * rng.uniform(0.9, 1.1, 6)
    decays = decay * rng.uniform(0.6, 1.4, 6)
    waves = np.sin(2 * np.pi * modes[:, None] * time) * np.exp(-time / decays[:, None])
    strike: Array = rng.uniform(0.5, 1, 6) @ waves
    return strike / float(np.sqrt(2 * rate * (strike**2).sum() / SAMPLE_RATE))


def _struck(strike: Array, times: Array, force: Array, frames: int) -> Array:
    """Strikes of a given force at given times in seconds: (frames,)."""
    sound = np.zeros(frames + strike.size)
    for start, strength in zip((times * SAMPLE_RATE).round().astype(int), force, strict=True):
        if 0 <= start < frames:
            sound[start : start + strike.size] += strength * strike
    return sound[:frames]
