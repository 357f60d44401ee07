"""What a backbone has by default, of what its plugin writes."""

import pytest
import torch
from tiny_backbone import Tiny

from dcase_asd.backbone import Backbone, masked_mean
from dcase_asd.backbone.finetuned import TO_FINE_TUNE
from dcase_asd.errors import AudioError, BackboneError


class Frames(Backbone):
    """Samples four by four, doubled."""

    name = "frames"

    def __init__(self, factor=2.0, sample_rate=16000):
        super().__init__()
        self.dimension, self.sample_rate = 4, sample_rate
        self.options = {"factor": factor, "sample_rate": sample_rate}
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def spectrogram(self, waveforms, lengths=None, sample_rate=None):
        self.check_rate(sample_rate)
        return waveforms.unfold(-1, 4, 4)

    def tokens_from_spectrogram(self, spectrogram, lengths=None):
        return spectrogram * self.factor


class Masked(Frames):
    def token_mask(self, lengths, samples):
        return torch.arange(samples // 4) < (lengths // 4)[:, None]


class Anything(Frames):
    @classmethod
    def from_checkpoint(cls, path=None, size=1, **more):
        return cls()


CLIPS = torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 9, 9, 9, 9]])


def test_the_masked_mean_takes_nothing_of_other_tokens():
    tokens = torch.tensor([[[1.0, 2], [3, 6], [torch.nan, torch.inf]]])
    mask = torch.tensor([[True, True, False]])
    assert masked_mean(tokens, mask).tolist() == [[2, 4]]
    assert masked_mean(tokens[:, :2]).tolist() == [[2, 4]]


@pytest.mark.parametrize("kind", [Frames, Masked])
def test_tokens_and_their_mean_follow_from_the_spectrogram(kind):
    backbone = kind()
    assert torch.equal(backbone.tokens(CLIPS), 2 * CLIPS.view(2, 2, 4))
    assert backbone.embed(CLIPS[:1]).tolist() == [[6, 8, 10, 12]]
    found = backbone.embed(CLIPS, torch.tensor([8, 4]))
    assert found.tolist() == [[6, 8, 10, 12], [2, 4, 6, 8]]
    assert torch.equal(backbone.embed(CLIPS, torch.tensor([8, 8])), backbone.embed(CLIPS))


def test_a_method_is_lacking_unless_it_follows_from_others():
    assert Backbone.lacks(["embed", "tokens"]) == ["embed", "tokens"]
    assert Frames.lacks(["embed", "tokens", *TO_FINE_TUNE]) == ["token_mask"]
    assert Masked.lacks(TO_FINE_TUNE) == []


def test_a_rate_is_checked_and_told():
    assert Frames().check_rate(None) == Frames().check_rate(16000) == 16000
    assert Frames(sample_rate=None).check_rate(8000) == 8000
    with pytest.raises(AudioError, match="clips of 8000 Hz, but this backbone takes 16000 Hz"):
        Frames().tokens(CLIPS, sample_rate=8000)
    with pytest.raises(AudioError, match="takes any rate, so the rate of the clips must be given"):
        Frames(sample_rate=None).embed(CLIPS)


def test_what_was_saved_is_loaded_and_what_does_not_fit_is_refused(tmp_path):
    Frames(factor=3.0, sample_rate=8000).save(tmp_path / "x")
    loaded = Frames.from_checkpoint(tmp_path / "x", sample_rate=4000)
    assert (loaded.factor.item(), loaded.sample_rate) == (3, 4000)
    assert Frames.from_checkpoint(factor=5.0).factor.item() == 5
    other = Frames()
    other.more = torch.nn.Parameter(torch.zeros(1))
    other.save(tmp_path / "x")
    with pytest.raises(BackboneError, match=r"x: its content does not fit \(.*more"):
        Frames.from_checkpoint(tmp_path / "x")


def test_options_are_named_where_the_class_says_which():
    assert Frames.option_names() == ["factor", "sample_rate"]
    assert Anything.option_names() is None


def test_frames_of_a_clip_are_by_default_those_that_it_has_alone():
    mask = Frames().frame_mask(torch.tensor([12, 7, 12, 4]), 3)
    assert mask.sum(1).tolist() == [3, 1, 3, 1]
    assert mask[:, 0].all()


def test_what_follows_from_nothing_is_not_made_up():
    backbone = Backbone()
    for method, arguments in (
        ("spectrogram", [CLIPS]),
        ("tokens_from_spectrogram", [CLIPS]),
        ("token_mask", [torch.tensor([4]), 4]),
    ):
        with pytest.raises(NotImplementedError):
            getattr(backbone, method)(*arguments)


class InBands(Tiny):
    """Its tokens taken for two bands of half as many times."""

    token_bands = 2


class MaskFree(Backbone):
    """Tokens without a mask: each clip of a padded batch is computed alone."""

    name = "mask-free"

    def tokens(self, waveforms, lengths=None, sample_rate=None):
        return waveforms.unfold(-1, 160, 160)


def test_the_grid_is_made_of_tokens_and_their_mask():
    clips = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    lengths = torch.tensor([16000, 12960])  # 98 and 79 frames: 12 and 9 patches
    backbone = InBands().eval()
    with torch.inference_mode():
        tokens, mask = backbone.token_grid(clips, lengths)
        flat = backbone.tokens(clips, lengths)
    assert tokens.shape == (2, 6, 2, 32)
    assert torch.equal(tokens[:, 2, 1], flat[:, 5])
    assert mask.sum(1).tolist() == [6, 5]
    tokens, mask = MaskFree().token_grid(clips, torch.tensor([16000, 8000]))
    assert tokens.shape == (2, 100, 1, 160)
    assert mask.sum(1).tolist() == [100, 50]


def test_what_has_no_tokens_cannot_be_pooled():
    class Whole(Backbone):
        name = "whole"

        def embed(self, waveforms, lengths=None, sample_rate=None):
            return waveforms[:, :2]

    with pytest.raises(BackboneError, match="'whole' has no tokens to pool; leave --pooling out"):
        Whole().token_grid(torch.zeros(1, 9))
