import pytest
import torch
import torchaudio

from dcase_asd.errors import AudioError
from dcase_asd.features import Spectrogram, without_mean


def reference(waveforms, rate):
    transform = torchaudio.transforms.Spectrogram(
        n_fft=25 * rate // 1000, hop_length=10 * rate // 1000, power=1, center=False
    )
    return transform(waveforms).transpose(1, 2)


def sounds(rate=16000, seconds=0.7):
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(int(seconds * rate)) / rate
    noise = 0.1 * torch.randn(2, len(time), generator=generator)
    hum = 0.3 * torch.sin(2 * torch.pi * 100 * time)
    return torch.stack([noise[0], hum + 0.01 * noise[1], torch.zeros_like(time)])


@pytest.mark.parametrize("rate", [2000, 8000, 16000, 22050, 44100, 48000, 96000])
def test_magnitudes_equal_torchaudios_at_every_rate(rate):
    waveforms = sounds(rate)
    front_end = Spectrogram(rate)
    found = front_end(waveforms)
    torch.testing.assert_close(found, reference(waveforms, rate), atol=1e-5, rtol=0)
    lengths = torch.full((3,), waveforms.shape[1])
    assert front_end.frame_counts(lengths).tolist() == [found.shape[1]] * 3
    assert front_end.bins == found.shape[2]


def test_a_bin_is_40_hz_wide():
    time = torch.arange(8000) / 8000
    spectrum = Spectrogram(8000)(torch.sin(2 * torch.pi * 1000 * time)[None])
    assert (spectrum.argmax(-1) == 25).all()


def test_a_clip_shorter_than_a_frame_is_refused():
    with pytest.raises(AudioError, match="a clip of 399 samples is shorter than one frame of 400"):
        Spectrogram(16000)(torch.zeros(2, 399))


def test_lower_precision_around_the_front_end_does_not_reach_it():
    waveforms = sounds()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = Spectrogram(16000)(waveforms)
    assert torch.equal(found, Spectrogram(16000)(waveforms))


def test_the_mean_of_a_clip_is_that_of_its_own_samples():
    clips = [torch.randn(100) + 0.5, torch.randn(60) - 2]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=7.0)
    found = without_mean(padded, torch.tensor([100, 60]))
    torch.testing.assert_close(found[0], clips[0] - clips[0].mean())
    torch.testing.assert_close(found[1, :60], clips[1] - clips[1].mean())
    assert not found[1, 60:].any()
    torch.testing.assert_close(without_mean(clips[0][None])[0], found[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_magnitudes_on_a_gpu_stay_there_and_are_equal():
    found = Spectrogram(16000).cuda()(sounds().cuda())
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), reference(sounds(), 16000), atol=1e-4, rtol=0)
