"""What the far microphone hears is taken out, as an independent program computed it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dcase_asd.embeddings.two_microphones import cancel_far, removed_share, subtract_far
from dcase_asd.errors import AudioError

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "detectors" / "seed_0.npz")
NEAR, FAR = GOLDEN["near"], GOLDEN["far"]


def test_cancelling_gives_the_published_residuals():
    close = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(cancel_far(NEAR, FAR), GOLDEN["near_cancelled"], **close)
    of_wram = cancel_far(NEAR, FAR, hop=256, average=True)
    np.testing.assert_allclose(of_wram, GOLDEN["near_cancelled_hop256_mean"], **close)


def test_subtracting_gives_the_published_residual():
    np.testing.assert_allclose(
        subtract_far(NEAR, FAR), GOLDEN["near_subtracted"], rtol=1e-9, atol=1e-12
    )


def test_noise_through_a_filter_goes_and_the_machine_stays():
    generator = np.random.default_rng(0)
    far = generator.standard_normal(48000)
    noise = np.convolve(far, [0.5, 0.3, -0.2, 0.1])[:48000]
    machine = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48000) / 16000)
    left = cancel_far(machine + noise, far)
    assert np.std(left - machine) < 0.1 * np.std(noise)
    assert np.dot(left, machine) / np.dot(machine, machine) == pytest.approx(1, abs=0.02)
    share = removed_share(torch.from_numpy(machine + noise)[None], torch.from_numpy(left)[None])
    assert share.item() == pytest.approx(np.var(noise) / np.var(machine + noise), abs=0.03)


@pytest.mark.parametrize("way", [cancel_far, subtract_far])
def test_a_silent_far_channel_changes_nothing(way):
    np.testing.assert_allclose(way(NEAR, np.zeros_like(FAR)), NEAR, atol=1e-12)


@pytest.mark.parametrize("way", [cancel_far, subtract_far])
def test_a_batch_is_done_clip_by_clip(way):
    near = torch.from_numpy(np.stack([NEAR, FAR]))
    far = torch.from_numpy(np.stack([FAR, NEAR]))
    together = way(near, far)
    np.testing.assert_allclose(together[0], way(NEAR, FAR), atol=1e-12)
    np.testing.assert_allclose(together[1], way(FAR, NEAR), atol=1e-12)


def test_windows_last_as_long_at_another_rate():
    expected = cancel_far(NEAR, FAR, window=3072, hop=1536)
    np.testing.assert_array_equal(cancel_far(NEAR, FAR, sample_rate=48000), expected)


def test_silence_loses_nothing():
    assert removed_share(torch.zeros(1, 9), torch.zeros(1, 9)).item() == 0


def test_channels_of_other_lengths_and_short_clips_are_refused():
    with pytest.raises(AudioError, match="waveforms of one shape"):
        cancel_far(NEAR, FAR[:-1])
    with pytest.raises(AudioError, match="400 samples is shorter than half a window of 1024"):
        cancel_far(NEAR[:400], FAR[:400])
