import pytest
import torch
from torchaudio.compliance import kaldi

from dcase_asd.errors import AudioError
from dcase_asd.features import INT16_SCALE, LogMel


def reference(waveforms, rate=16000, mel_bins=128, window="povey"):
    return torch.stack(
        [
            kaldi.fbank(
                waveform[None], num_mel_bins=mel_bins, sample_frequency=rate, frame_length=25,
                frame_shift=10, dither=0.0, window_type=window,
            )
            for waveform in waveforms
        ]
    )  # fmt: skip


def sounds(seconds=1.3, rate=16000):
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(int(seconds * rate)) / rate
    noise = 0.1 * torch.randn(3, len(time), generator=generator)
    hum = 0.3 * torch.sin(2 * torch.pi * 100 * time)
    quiet = 1e-4 * torch.sin(2 * torch.pi * 700 * time)
    return torch.stack([noise[0], hum + 0.01 * noise[1] + 0.2, quiet, torch.zeros_like(time)])


@pytest.mark.parametrize("scale", [1.0, INT16_SCALE])
@pytest.mark.parametrize("window", ["povey", "hanning"])
@pytest.mark.parametrize(("rate", "mel_bins"), [(16000, 128), (8000, 40), (48000, 128)])
def test_log_mel_equals_kaldis(scale, window, rate, mel_bins):
    waveforms = sounds(rate=rate) * scale
    found = LogMel(rate, mel_bins, window)(waveforms)
    torch.testing.assert_close(
        found, reference(waveforms, rate, mel_bins, window), atol=1e-4, rtol=0
    )


def test_clips_longer_than_a_block_are_the_same():
    waveforms = sounds(seconds=6.0)
    torch.testing.assert_close(LogMel()(waveforms), reference(waveforms), atol=1e-4, rtol=0)


def test_filters_are_triangles_on_htks_mel_scale():
    def mel(frequencies):
        return 1127 * torch.log1p(frequencies / 700)

    lines = mel(torch.arange(256, dtype=torch.float64) * 16000 / 512)
    edges = torch.linspace(*mel(torch.tensor([20.0, 8000.0], dtype=torch.float64)).tolist(), 130)
    left, peak, right = (edges[each : each + 128, None] for each in range(3))
    expected = torch.minimum((lines - left) / (peak - left), (right - lines) / (right - peak))
    filters = LogMel(16000, 128).filters
    torch.testing.assert_close(filters[:-1].T, expected.clamp(min=0).float(), atol=1e-4, rtol=0)
    assert not filters[-1].any()


def test_frame_counts_are_those_of_single_clips():
    front_end = LogMel()
    lengths = torch.tensor([100, 399, 400, 559, 560, 16000])
    assert front_end.frame_counts(lengths).tolist() == [0, 0, 1, 1, 2, 98]


def test_a_clip_shorter_than_a_frame_is_refused():
    with pytest.raises(AudioError, match="a clip of 399 samples is shorter than one frame of 400"):
        LogMel()(torch.zeros(1, 399))


def test_lower_precision_around_the_front_end_does_not_reach_it():
    waveforms = sounds()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = LogMel()(waveforms)
    assert torch.equal(found, LogMel()(waveforms))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_log_mel_on_a_gpu_stays_there_and_is_equal():
    waveforms = sounds() * INT16_SCALE
    found = LogMel().cuda()(waveforms.cuda())
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), reference(waveforms), atol=1e-3, rtol=0)
