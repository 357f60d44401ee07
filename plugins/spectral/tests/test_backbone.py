import json

import numpy as np
import pytest
import torch
from dcase_asd_spectral import Spectral

from dcase_asd.backbone import CHECKPOINT_FORMAT, write_tensors
from dcase_asd.errors import AudioError, BackboneError
from dcase_asd.registry import load_backbone
from dcase_asd.testing import check_backbone


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sample_rate": 8000, "mel_bins": 40},
        {"statistics": ("max", "q5", "mean", "min", "std")},
    ],
)
def test_it_keeps_the_contract(tmp_path, options):
    check_backbone(Spectral.from_checkpoint(None, **options), tmp_path)


def test_statistics_may_be_named_with_commas_between_them():
    assert Spectral(statistics="max, min").statistics == ("max", "min")


def test_the_embedding_is_the_statistics_each_of_length_one():
    backbone = Spectral(statistics=("std", "mean"))
    clip = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    frames = backbone.tokens(clip)
    deviation, mean = backbone.embed(clip)[0].split(128)
    expected = frames[0].std(0, correction=0)
    torch.testing.assert_close(deviation, expected / expected.norm())
    torch.testing.assert_close(mean, frames[0].mean(0) / frames[0].mean(0).norm())


def test_quantiles_are_those_of_numpy_and_not_scaled():
    backbone = Spectral(statistics=("q25", "q10", "q95"))
    clip = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    expected = np.quantile(backbone.tokens(clip)[0].double(), [0.25, 0.1, 0.95], axis=0)
    np.testing.assert_allclose(backbone.embed(clip)[0].reshape(3, 128), expected, rtol=1e-6)


def test_clips_shorter_than_a_frame_or_of_another_rate_are_refused():
    backbone = Spectral()
    with pytest.raises(AudioError, match="a clip of 300 samples is shorter than one frame of 400"):
        backbone.embed(torch.zeros(1, 300))
    with pytest.raises(AudioError, match="a clip of 300 samples is shorter"):
        backbone.embed(torch.zeros(2, 1000), torch.tensor([1000, 300]))
    with pytest.raises(AudioError, match="clips of 48000 Hz, but this backbone takes 16000 Hz"):
        backbone.embed(torch.zeros(1, 1000), sample_rate=48000)


def test_options_saved_in_a_checkpoint_may_be_overridden(tmp_path):
    path = tmp_path / "backbone.safetensors"
    Spectral(mel_bins=64).save(path)
    assert Spectral.from_checkpoint(path).dimension == 3 * 64
    assert Spectral.from_checkpoint(path, statistics=("mean",)).dimension == 64


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "not a checkpoint that dcase-asd saved"),
        (
            {"format": CHECKPOINT_FORMAT, "plugin": "beats", "options": "{}"},
            "use --plugin beats",
        ),
        (
            {"format": CHECKPOINT_FORMAT, "plugin": "spectral", "options": "{}"},
            "its content does not fit .*weight",
        ),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(tmp_path, metadata, message):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"weight": torch.ones(2)}, metadata)
    with pytest.raises(BackboneError, match=message):
        Spectral.from_checkpoint(path)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(json.dumps({"no": "tensors"}).encode())
    with pytest.raises(BackboneError, match="not a readable checkpoint"):
        Spectral.from_checkpoint(path)


@pytest.mark.parametrize("options", [{"mel_bins": 0}, {"sample_rate": 100}, {"statistics": ()}])
def test_values_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"at least|no statistic"):
        Spectral(**options)


def test_the_grid_has_bands_of_neighboring_bins():
    clip = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    backbone = Spectral(mel_bins=40, bands=5)
    tokens, mask = backbone.token_grid(clip, torch.tensor([16000, 8000]))
    assert tokens.shape == (2, 98, 5, 8)
    assert torch.equal(tokens[:, :, 2], backbone.tokens(clip)[:, :, 16:24])
    assert mask.sum(1).tolist() == [98, 48]


def test_the_number_of_bands_divides_the_bins(tmp_path):
    assert [Spectral(mel_bins=bins).bands for bins in (128, 60, 7, 13)] == [8, 6, 7, 1]
    with pytest.raises(BackboneError, match="bands is 7; it must divide the 40 mel_bins: choose f"):
        load_backbone("spectral", mel_bins=40, bands=7)
    path = tmp_path / "old.safetensors"
    options = json.dumps({"sample_rate": 16000, "mel_bins": 64, "statistics": ["mean"]})
    write_tensors(
        path,
        {"no_weights": torch.zeros(1)},
        {"format": CHECKPOINT_FORMAT, "plugin": "spectral", "options": options},
    )
    assert Spectral.from_checkpoint(path).bands == 8
