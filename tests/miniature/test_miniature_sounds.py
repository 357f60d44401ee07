from __future__ import annotations

import numpy as np
import pytest

from dcase_asd.miniature.sounds import (
    FAULTS,
    LEAK_BAND,
    SAMPLE_RATE,
    Fault,
    Operation,
    Place,
    draw_voice,
    factory_noise,
    machine_sound,
    record,
)

FRAMES = 2 * SAMPLE_RATE
RATES = {"tonal": 100.0, "impulsive": 4.0, "noisy": 60.0}
PLACE = Place(snr=6, slope=-4, hum=100, tilt=0.5)


def voice_of(family, seed=0):
    return draw_voice(family, RATES[family], np.random.default_rng(seed))


def sound_of(voice, kind=None, severity=1.0, operation=None, seed=1):
    fault = None if kind is None else Fault(kind, severity)
    rng = np.random.default_rng(seed)
    return machine_sound(voice, operation or Operation(), FRAMES, rng, fault)


def power(sound, low, high):
    """Mean square of what lies between two frequencies."""
    spectrum = np.abs(np.fft.rfft(sound)) ** 2 * 2 / sound.size**2
    hz = np.fft.rfftfreq(sound.size, 1 / SAMPLE_RATE)
    return spectrum[(hz >= low) & (hz < high)].sum()


def decibels(ratio):
    return 10 * np.log10(ratio)


def envelope(sound, per_second=500):
    """Mean square in steps of 2 ms."""
    step = SAMPLE_RATE // per_second
    return (sound.reshape(-1, step) ** 2).mean(axis=1)


def similarity_after(curve, steps):
    return np.corrcoef(curve[:-steps], curve[steps:])[0, 1]


@pytest.mark.parametrize("family", FAULTS)
@pytest.mark.parametrize("speed", [0.7, 1.0, 1.35])
def test_a_normal_machine_is_finite_and_has_an_rms_of_about_one(family, speed):
    sound = sound_of(voice_of(family), operation=Operation(speed=speed, load=1.0))
    assert sound.shape == (FRAMES,)
    assert sound.dtype == np.float64
    assert np.isfinite(sound).all()
    assert 0.5 < np.sqrt(np.mean(sound**2)) < 2


def test_a_tonal_machine_sounds_at_the_harmonics_of_its_speed():
    voice = voice_of("tonal")
    for speed in (0.85, 1.15):
        sound = sound_of(voice, operation=Operation(speed=speed))
        on = power(sound, 97 * speed, 103 * speed)
        between = power(sound, 147 * speed, 153 * speed)
        assert decibels(on / between) > 20


def test_an_impulsive_machine_strikes_at_the_rate_of_its_speed():
    voice = voice_of("impulsive")
    curve = envelope(sound_of(voice, operation=Operation(speed=1.25)))
    assert similarity_after(curve, 100) > 0.5  # 500 steps a second, 5 strokes a second
    assert similarity_after(curve, 70) < 0.2


def test_a_noisy_machine_turns_brighter_with_speed():
    voice = voice_of("noisy")
    slow, fast = (sound_of(voice, operation=Operation(speed=speed)) for speed in (0.7, 1.35))
    slow_share, fast_share = (power(s, 1_500, 4_000) / power(s, 0, 1_500) for s in (slow, fast))
    assert decibels(fast_share / slow_share) > 3


@pytest.mark.parametrize("family", FAULTS)
def test_load_is_audible(family):
    voice = voice_of(family)
    idle, loaded = (sound_of(voice, operation=Operation(load=load)) for load in (0.0, 1.0))
    assert np.sqrt(np.mean((loaded - idle) ** 2)) > 0.05


@pytest.mark.parametrize("family", ["impulsive", "noisy"])
def test_a_leak_hisses_in_its_band_and_nowhere_else(family):
    voice = voice_of(family)
    normal, slight, plain = (sound_of(voice, *what) for what in ((), ("leak", 0.1), ("leak", 1.0)))
    low, high = LEAK_BAND
    powers = [power(sound, low, high) for sound in (normal, slight, plain)]
    assert powers[0] < powers[1] < powers[2]
    assert powers[2] - powers[0] == pytest.approx(10 ** (-18 / 10), rel=0.2)
    assert power(plain, 0, low - 50) == pytest.approx(power(normal, 0, low - 50), rel=1e-6)


@pytest.mark.parametrize("family", ["tonal", "noisy"])
def test_a_knock_is_periodic_at_the_rate_of_the_bearing(family):
    voice = voice_of(family)
    knocks = sound_of(voice, "knock") - sound_of(voice)
    curve = envelope(knocks)
    period = round(500 / voice.knock_rate)
    assert similarity_after(curve, period) > 0.3
    assert similarity_after(curve, period) > similarity_after(curve, period // 2) + 0.3
    kurtosis = np.mean(knocks**4) / np.mean(knocks**2) ** 2
    assert kurtosis > 8  # 3 for noise, 1.5 for a tone


@pytest.mark.parametrize("family", ["tonal", "noisy"])
def test_a_knock_makes_the_band_of_the_housing_burst(family):
    voice = voice_of(family)

    def burstiness(sound):
        spectrum = np.fft.rfft(sound)
        hz = np.fft.rfftfreq(sound.size, 1 / SAMPLE_RATE)
        spectrum[(hz < 1_900) | (hz > 4_300)] = 0
        curve = envelope(np.fft.irfft(spectrum, sound.size))
        return curve.max() / np.median(curve)

    normal, slight, plain = (
        burstiness(sound_of(voice, *what)) for what in ((), ("knock", 0.1), ("knock", 1.0))
    )
    assert normal < slight < plain
    assert plain > 2 * normal


def test_missing_harmonics_are_weak_and_the_others_stay():
    voice = voice_of("tonal")
    normal, slight, plain = (
        sound_of(voice, *what) for what in ((), ("missing", 0.1), ("missing", 1.0))
    )
    for harmonic in (3, 6, 9):
        line = (harmonic * 100 - 30, harmonic * 100 + 30)
        powers = [power(sound, *line) for sound in (plain, slight, normal)]
        assert powers[0] < powers[1] < powers[2]
        assert decibels(powers[2] / powers[0]) > 6  # a tenth of the amplitude, and the rustle
    for harmonic in (1, 2, 4, 5, 7):
        line = (harmonic * 100 - 30, harmonic * 100 + 30)
        assert abs(decibels(power(plain, *line) / power(normal, *line))) < 0.5


def test_detuned_harmonics_stand_beside_their_place_with_the_same_power():
    voice = voice_of("tonal")
    normal, plain = sound_of(voice), sound_of(voice, "detuned", 1.0)
    for harmonic in (6, 9):
        place = harmonic * 100
        shifted = place * 1.036
        assert (
            decibels(power(normal, place - 9, place + 9) / power(plain, place - 9, place + 9)) > 6
        )
        assert (
            decibels(
                power(plain, shifted - 12, shifted + 12) / power(normal, shifted - 12, shifted + 12)
            )
            > 6
        )
    assert power(plain, 0, 8_000) == pytest.approx(power(normal, 0, 8_000), rel=0.05)


def test_late_strokes_break_the_rhythm_and_are_weak():
    voice = voice_of("impulsive")
    normal, slight, plain = (sound_of(voice, *what) for what in ((), ("late", 0.1), ("late", 1.0)))
    period = 125  # steps of 2 ms at four strokes a second
    rhythm = [similarity_after(envelope(sound), period) for sound in (normal, slight, plain)]
    assert rhythm[0] > rhythm[1] > rhythm[2]
    assert similarity_after(envelope(plain), 2 * period) > rhythm[2] + 0.3
    # Half of the strokes have lost their force.
    assert decibels(np.mean(plain**2) / np.mean(normal**2)) < -1.5


def test_factory_noise_hums_and_has_an_rms_of_one():
    noise = factory_noise(PLACE, FRAMES, np.random.default_rng(3))
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1)
    assert power(noise, 98, 102) > 3 * power(noise, 104, 108)


def test_the_signal_to_noise_ratio_is_that_of_the_place():
    voice = voice_of("tonal")
    machine = sound_of(voice)
    noise = factory_noise(PLACE, FRAMES, np.random.default_rng(3))
    flat = Place(snr=6, slope=-4, hum=100, tilt=0)
    alone = record(machine, None, flat, np.random.default_rng(4))
    standing = record(None, noise, flat, np.random.default_rng(4))
    together = record(machine, noise, flat, np.random.default_rng(4))
    level = np.mean(machine**2)
    assert decibels(np.mean(alone**2) / np.mean(standing**2) / level) == pytest.approx(6, abs=1.5)
    np.testing.assert_allclose(together, alone + standing, atol=1e-12)


def test_the_microphone_colours_by_its_tilt():
    noise = np.random.default_rng(5).standard_normal(FRAMES)
    dull, bright = (
        record(noise, None, Place(6, -4, 100, tilt), np.random.default_rng(6)) for tilt in (0, 2)
    )
    assert decibels(power(bright, 1_900, 2_100) / power(dull, 1_900, 2_100)) == pytest.approx(
        2, abs=0.3
    )
    assert decibels(power(bright, 490, 510) / power(dull, 490, 510)) == pytest.approx(-2, abs=0.3)


def test_two_machines_of_a_family_differ_and_one_is_itself_again():
    one, again, other = (sound_of(voice_of("tonal", seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1
