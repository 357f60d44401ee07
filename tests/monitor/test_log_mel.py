"""The front end without torch is the one with torch."""

import numpy as np
import pytest
import torch

from dcase_asd import features
from dcase_asd.monitor import log_mel


@pytest.mark.parametrize(("rate", "bins"), [(16000, 128), (22050, 64), (8000, 128), (48000, 40)])
def test_it_equals_the_front_end_of_the_backbones(rate, bins):
    random = np.random.default_rng(rate)
    time = np.arange(2 * rate) / rate
    sound = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.01 * random.standard_normal(len(time))
    waveform = sound.astype(np.float32)
    ours = log_mel.LogMel(rate, bins)(waveform)
    scaled = torch.from_numpy(waveform)[None] * features.INT16_SCALE
    theirs = features.LogMel(rate, bins)(scaled)[0].numpy()
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_its_statistics_are_those_of_the_plugin_before_scaling():
    from dcase_asd.registry import load_backbone

    waveform = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    frames = log_mel.LogMel()(waveform)
    parts = [frames.mean(axis=0), frames.std(axis=0)]
    ours = np.concatenate([part / np.linalg.norm(part) for part in parts])
    backbone = load_backbone("spectral", statistics=("mean", "std"))
    plugin = backbone.embed(torch.from_numpy(waveform)[None])[0].numpy()
    np.testing.assert_allclose(ours, plugin, atol=1e-5)


def test_silence_is_at_the_floor_and_less_than_a_frame_gives_none():
    front = log_mel.LogMel()
    np.testing.assert_allclose(front(np.zeros(800, np.float32)), np.log(2.0**-23), rtol=1e-6)
    assert front(np.zeros(399, np.float32)).shape == (0, 128)
    assert front(np.zeros(400, np.float32)).shape == (1, 128)


def test_constants_are_those_of_the_backbones_front_end():
    for name in ("FRAME_SECONDS", "SHIFT_SECONDS", "PREEMPHASIS", "LOWEST_FREQUENCY",
                 "ENERGY_FLOOR", "INT16_SCALE"):  # fmt: skip
        assert getattr(log_mel, name) == getattr(features, name)
    assert log_mel.LogMel().hertz[[0, -1]] == pytest.approx([20, 8000])
