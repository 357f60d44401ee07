"""The contract suite finds every breach of the contract."""

import pytest
import torch

from dcase_asd.backbone import Backbone, read_checkpoint
from dcase_asd.testing import check_backbone


class Sound(Backbone):
    """Keeps the contract: energy and mean of a clip, times a weight."""

    name = "sound"

    def __init__(self):
        super().__init__()
        self.dimension, self.sample_rate, self.options = 2, 16000, {}
        self.weight = torch.nn.Parameter(torch.ones(2))

    @classmethod
    def from_checkpoint(cls, path=None):
        backbone = cls()
        if path is not None:
            backbone.load_state_dict(read_checkpoint(path, cls.name)[0])
        return backbone

    def tokens(self, waveforms, lengths=None, sample_rate=None):
        return waveforms.unfold(-1, 160, 160)

    def embed(self, waveforms, lengths=None, sample_rate=None):
        count = waveforms.shape[1] if lengths is None else lengths
        return (
            torch.stack([waveforms.square().sum(1) / count, waveforms.sum(1) / count], 1)
            * self.weight
        )


class Padded(Sound):
    def embed(self, waveforms, lengths=None, sample_rate=None):
        return super().embed(waveforms, None)


class Mixing(Sound):
    def embed(self, waveforms, lengths=None, sample_rate=None):
        found = super().embed(waveforms, lengths)
        return found - found.mean(0) * (len(found) > 1)


class Random(Sound):
    def embed(self, waveforms, lengths=None, sample_rate=None):
        return super().embed(waveforms, lengths) + torch.rand(1)


class Wide(Sound):
    def embed(self, waveforms, lengths=None, sample_rate=None):
        return super().embed(waveforms, lengths).repeat(1, 2)


class Silence(Sound):
    def embed(self, waveforms, lengths=None, sample_rate=None):
        return super().embed(waveforms, lengths).log()


class Constant(Sound):
    def embed(self, waveforms, lengths=None, sample_rate=None):
        return torch.ones(len(waveforms), 2)


class Forgetful(Sound):
    @classmethod
    def from_checkpoint(cls, path=None):
        backbone = cls()
        with torch.no_grad():
            backbone.weight.mul_(1 if path is None else 2)
        return backbone


class FlatTokens(Sound):
    def tokens(self, waveforms, lengths=None, sample_rate=None):
        return waveforms


def test_a_backbone_that_keeps_the_contract_passes(tmp_path):
    check_backbone(Sound.from_checkpoint(), tmp_path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Padded, "padding changes an embedding"),
        (Mixing, "a clip in a batch is embedded otherwise than alone"),
        (Random, "the same clip twice gives two embeddings"),
        (Wide, r"embed gives \(3, 4\), not \(3, 2\)"),
        (Silence, "not finite"),
        (Constant, "different clips give one embedding"),
        (Forgetful, "a saved and loaded backbone embeds otherwise"),
        (FlatTokens, r"tokens must be \(b, t, d\)"),
    ],
)
def test_each_breach_is_found(tmp_path, kind, message):
    with pytest.raises(AssertionError, match=message):
        check_backbone(kind.from_checkpoint(), tmp_path)


class FlatGrid(Sound):
    def token_grid(self, waveforms, lengths=None, sample_rate=None):
        tokens, mask = super().token_grid(waveforms, lengths, sample_rate)
        return tokens[:, :, 0], mask


class Unmasked(Sound):
    def token_grid(self, waveforms, lengths=None, sample_rate=None):
        tokens, mask = super().token_grid(waveforms, lengths, sample_rate)
        return tokens, mask.float()


class PaddedGrid(Sound):
    def token_grid(self, waveforms, lengths=None, sample_rate=None):
        return super().token_grid(waveforms)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (FlatGrid, r"token_grid must be \(b, t, f, d\)"),
        (Unmasked, r"the mask of token_grid must be \(b, t\), of truth values"),
        (PaddedGrid, "padding changes a pooled token_grid"),
    ],
)
def test_each_breach_of_the_grid_is_found(tmp_path, kind, message):
    with pytest.raises(AssertionError, match=message):
        check_backbone(kind.from_checkpoint(), tmp_path)
