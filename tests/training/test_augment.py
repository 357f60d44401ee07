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
    np.testing.assert_allclose(levels(clips, added, lengths)[:4], snr[:4], atol=1e-3)
    assert not added[4].any()
    assert not added[3, 2500:].any()


def levels(clips, added, lengths):
    """SNR of each clip in dB from the variances of its own samples, in float64."""
    return [
        10 * torch.log10(clip[:length].double().var() / noise[:length].double().var()).item()
        for clip, noise, length in zip(clips, added, lengths, strict=True)
    ]


def test_a_constant_offset_of_clip_or_noise_is_no_sound_and_changes_no_snr():
    lengths, snr = torch.tensor([4000, 4000, 2500]), torch.tensor([10.0, 5.0, 20.0])
    clips = torch.randn(3, 4000, generator=generator()) * 0.05
    noise = torch.randn(3, 4000, generator=generator(1)) * 0.02
    plain = mix_at_snr(clips, lengths, noise, snr) - clips
    for clip_offset, noise_offset in ((0.4, 0.0), (0.0, 0.4), (-0.3, 0.7)):
        moved = clips + clip_offset
        added = mix_at_snr(moved, lengths, noise + noise_offset, snr) - moved
        np.testing.assert_allclose(levels(moved, added, lengths), snr, atol=1e-3)
        torch.testing.assert_close(added, plain, atol=1e-6, rtol=1e-3)
        assert added.mean(1).abs().max() < 1e-6


def test_silent_clips_and_silent_noise_stay_as_they_are():
    clips = torch.randn(2, 100, generator=generator())
    clips[0] = 0
    noise = torch.randn(2, 100, generator=generator(1))
    noise[1] = 0
    lengths, snr = torch.tensor([100, 100]), torch.tensor([5.0, 5.0])
    assert torch.equal(mix_at_snr(clips, lengths, noise, snr), clips)
    clips[0], noise[1] = 0.3, 0.7  # constant, though their mean is not exact in float32
    assert torch.equal(mix_at_snr(clips, lengths, noise, snr), clips)


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


def before_padding_was_known(spectrogram, largest, generator):
    """Masks of clips that fill their batch, by the rules alone: widths first, then places."""
    clips, *sizes = spectrogram.shape
    masked = torch.zeros(spectrogram.shape, dtype=torch.bool)
    for axis, size in enumerate(sizes):
        width, start = torch.rand(2, clips, generator=generator, dtype=torch.float64)
        for clip in range(clips):
            wide = int(width[clip] * (min(largest[axis], size) + 1))
            first = int(start[clip] * (size - wide + 1))
            masked[clip].movedim(axis, 0)[first : first + wide] = True
    return torch.where(masked, spectrogram.mean((1, 2), keepdim=True), spectrogram)


@pytest.mark.parametrize("size", [(30, 20), (6, 7), (98, 128)])
def test_clips_that_fill_their_batch_are_masked_to_the_last_bit_as_ever(size):
    spectrogram = torch.randn(40, *size, generator=generator())
    expected = before_padding_was_known(spectrogram, (8, 80), generator(5))
    assert torch.equal(mask_spectrogram(spectrogram, 8, 80, generator(5)), expected)
    inside = torch.ones(40, size[0], dtype=torch.bool)
    assert torch.equal(mask_spectrogram(spectrogram, 8, 80, generator(5), inside), expected)


def test_padding_is_neither_masked_nor_counted_in_the_mean():
    clips, frames, own = 4000, 50, torch.tensor([30, 50, 12, 20])
    spectrogram = torch.randn(clips, frames, 12, generator=generator()) + 3
    counts = own.repeat(clips // 4)
    inside = torch.arange(frames) < counts[:, None]
    spectrogram[~inside] = -100.0
    masked = mask_spectrogram(spectrogram, 10, 4, generator(2), inside)
    changed = masked != spectrogram
    assert not changed[~inside].any()
    for count in own.tolist():
        rows = counts == count
        part, found = spectrogram[rows, :count], masked[rows, :count]
        widths = masks(part, found)  # of one span and one band within the clip
        for axis, largest in enumerate((10, 4)):
            drawn = np.bincount(widths[:, axis], minlength=largest + 1)
            assert len(drawn) == largest + 1
            expected = rows.sum() / (largest + 1)
            assert np.abs(drawn - float(expected)).max() < 5 * np.sqrt(float(expected))
        # Spans of one frame reach from the clip's first frame to its last.
        starts = changed[rows].all(2).int().argmax(1)[torch.from_numpy(widths[:, 0] == 1)]
        assert (int(starts.min()), int(starts.max())) == (0, count - 1)
        own_mean = part.double().mean((1, 2)).float()[:, None, None].expand_as(part)
        torch.testing.assert_close(found[part != found], own_mean[part != found])


def test_frames_of_a_clip_need_not_stand_together():
    inside = torch.tensor([[True, True, False, False, True, True, True, False]])
    spectrogram = torch.arange(8.0)[None, :, None].expand(300, 8, 3)
    masked = mask_spectrogram(spectrogram, 3, 0, generator(), inside.expand(300, 8))
    spans = {tuple(row.nonzero()[:, 0].tolist()) for row in (masked != spectrogram).any(2)}
    places = [0, 1, 4, 5, 6]  # the mean is 16 / 5, which no frame is
    expected = {tuple(places[a : a + n]) for n in (1, 2, 3) for a in range(6 - n)} | {()}
    assert spans == expected


def test_the_same_generator_gives_the_same_masks():
    spectrogram = torch.randn(4, 30, 20, generator=generator())
    first, again, other = (mask_spectrogram(spectrogram, 9, 9, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_mixup_mixes_each_clip_with_its_partner_by_beta_shares():
    mixup = draw_mixup(4000, 0.5, generator(), torch.device("cpu"))
    assert sorted(mixup.partner.tolist()) == list(range(4000))
    assert float(mixup.lambda_.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(mixup.lambda_.var()) == pytest.approx(1 / 8, abs=0.01)  # of Beta(0.5, 0.5)
    values = torch.randn(4000, 3)
    mixed = mixup.mix(values)
    lambda_ = mixup.lambda_[:, None]
    torch.testing.assert_close(mixed, lambda_ * values + (1 - lambda_) * values[mixup.partner])


def test_mixup_leaves_the_other_clips_as_they_are():
    mixup = draw_mixup(4000, 0.5, generator(), torch.device("cpu"), probability=0.3)
    alone = mixup.lambda_ == 1
    assert float(alone.float().mean()) == pytest.approx(0.7, abs=0.03)
    assert float(mixup.lambda_[~alone].mean()) == pytest.approx(0.5, abs=0.05)
    values = torch.randn(4000, 3)
    assert torch.equal(mixup.mix(values)[alone], values[alone])
    assert not torch.equal(mixup.mix(values)[~alone], values[~alone])
    lengths = torch.randint(1, 9, (4000,))
    longer = torch.maximum(lengths, lengths[mixup.partner])
    assert torch.equal(mixup.lengths(lengths), torch.where(alone, lengths, longer))


def test_a_probability_of_one_draws_what_was_drawn_without():
    random = generator()
    draw_mixup(8, 0.5, random, torch.device("cpu"), probability=1.0)
    other = generator()
    draw_mixup(8, 0.5, other, torch.device("cpu"))
    assert torch.equal(random.get_state(), other.get_state())
