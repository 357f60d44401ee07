import numpy as np
import pytest
import torch

from dcase_asd.training.augment import draw_mixup, mask_spectrogram, mix_at_snr


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_snr_after_mixing_is_the_one_that_was_asked_for():
    clips = torch.randn(5, 4000, generator=generator()) * 0.1
    noise = torch.randn(5, 4000, generator=generator(1)) * torch.tensor(
        [[3.0], [0.1], [1], [1], [1]]
    )
    lengths = torch.tensor([4000, 4000, 4000, 2500, 4000])
    clips[3, 2500:] = 0
    snr = torch.tensor([5.0, 10.0, 15.0, 20.0, torch.inf])
    added = mix_at_snr(clips, lengths, noise, snr) - clips
    ratio = 10 * torch.log10(clips.square().sum(1) / added.square().sum(1))
    torch.testing.assert_close(ratio[:4], snr[:4], atol=1e-3, rtol=0)
    assert not added[4].any()
    assert not added[3, 2500:].any()


def test_silent_clips_and_silent_noise_stay_as_they_are():
    clips = torch.randn(2, 100, generator=generator())
    clips[0] = 0
    noise = torch.randn(2, 100, generator=generator(1))
    noise[1] = 0
    mixed = mix_at_snr(clips, torch.tensor([100, 100]), noise, torch.tensor([5.0, 5.0]))
    assert torch.equal(mixed, clips)


def masks(spectrogram, masked):
    """Width of the time span and of the band of each clip, -1 if not one block."""
    widths = []
    for clip, other in zip(spectrogram, masked, strict=True):
        changed = (clip != other).numpy()
        rows, columns = changed.all(axis=1), changed.all(axis=0)
        assert np.array_equal(changed, rows[:, None] | columns[None])
        for line in (rows, columns):
            assert (np.diff(line.astype(int)) == 1).sum() + line[0] <= 1
        widths.append((rows.sum(), columns.sum()))
    return np.array(widths)


def test_one_span_and_one_band_of_uniform_width_are_the_mean():
    spectrogram = torch.randn(3000, 30, 20, generator=generator())
    masked = mask_spectrogram(spectrogram, 8, 5, generator(4))
    widths = masks(spectrogram, masked)
    for axis, largest in enumerate((8, 5)):
        counts = np.bincount(widths[:, axis], minlength=largest + 1)
        assert len(counts) == largest + 1
        expected = len(spectrogram) / (largest + 1)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    changed = spectrogram != masked
    means = spectrogram.mean((1, 2), keepdim=True).expand_as(spectrogram)
    assert torch.equal(masked[changed], means[changed])


def test_masks_reach_both_ends_and_never_beyond():
    spectrogram = torch.randn(500, 6, 7, generator=generator())
    masked = mask_spectrogram(spectrogram, 2, 3, generator(1))
    widths, changed = masks(spectrogram, masked), (spectrogram != masked).numpy()
    assert widths.max(axis=0).tolist() == [2, 3]
    assert changed.any(axis=0).all()
    whole = mask_spectrogram(spectrogram, 80, 0, generator(1))
    assert bool((spectrogram != whole).all((1, 2)).any())
    untouched = mask_spectrogram(spectrogram, 0, 0, generator(1))
    assert torch.equal(untouched, spectrogram)


def test_the_same_generator_gives_the_same_masks():
    spectrogram = torch.randn(4, 30, 20, generator=generator())
    first, again, other = (mask_spectrogram(spectrogram, 9, 9, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_mixup_mixes_each_clip_with_its_partner_by_beta_shares():
    mixup = draw_mixup(4000, 0.5, generator(), torch.device("cpu"))
    assert sorted(mixup.partner.tolist()) == list(range(4000))
    assert float(mixup.share.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(mixup.share.var()) == pytest.approx(1 / 8, abs=0.01)  # of Beta(0.5, 0.5)
    values = torch.randn(4000, 3)
    mixed = mixup.mix(values)
    share = mixup.share[:, None]
    torch.testing.assert_close(mixed, share * values + (1 - share) * values[mixup.partner])
