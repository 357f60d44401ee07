import pytest
import torch
from dcase_asd_eat import Eat
from dcase_asd_eat.network import Architecture

from dcase_asd.errors import AudioError, BackboneError
from dcase_asd.registry import load_backbone
from dcase_asd.testing import check_backbone

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 4}


def small(**options):
    return Eat.from_checkpoint(random_weights=0, architecture=SMALL, **options).eval()


def clips(samples=20000, count=2):
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "options",
    [
        {"target_length": 256},
        {"target_length": 96, "representation": "mean"},
        {"target_length": 256, "representation": "frame_mean", "layer": 1},
    ],
)
def test_it_keeps_the_contract(tmp_path, options):
    check_backbone(small(**options), tmp_path)


def test_it_is_installed_under_its_name():
    backbone = load_backbone("eat", random_weights=0, architecture=SMALL)
    assert isinstance(backbone, Eat)
    assert (backbone.dimension, backbone.sample_rate, backbone.pooling) == (48, 16000, "cls")


def test_random_weights_are_those_of_their_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    one, same = small(), small()
    other = Eat.from_checkpoint(random_weights=1, architecture=SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    clip = clips()
    assert torch.equal(one.embed(clip), same.embed(clip))
    assert not torch.allclose(one.embed(clip), other.embed(clip), atol=1e-3)


def test_eat_base_is_the_default_size():
    backbone = Eat(Architecture())
    assert sum(each.numel() for each in backbone.parameters()) == 85_254_144
    assert backbone.token_mask(torch.tensor([160000]), 160000).shape == (1, 513)


def test_a_clip_is_cropped_to_its_first_frames_after_its_mean_is_removed():
    clip = clips(30000, 1)
    clip[:, 20000:] += 1.0
    found = small(target_length=96).spectrogram(clip)
    assert found.shape[1] == 96
    torch.testing.assert_close(found, small(target_length=176).spectrogram(clip)[:, :96])


def test_padding_is_seen_by_the_network():
    clip = clips()
    short, long = small(target_length=128), small(target_length=256)
    assert not torch.allclose(short.embed(clip), long.embed(clip), atol=1e-3)


def test_what_lies_beyond_a_clip_is_not_looked_at():
    backbone = small(target_length=128)
    padded, lengths = clips(), torch.tensor([20000, 9000])
    dirty = padded.clone()
    padded[1, 9000:] = 0
    assert torch.equal(backbone.tokens(padded, lengths), backbone.tokens(dirty, lengths))


def test_fine_tuning_sees_the_same_tokens_with_a_gradient():
    backbone = small(target_length=128)
    clip = clips()
    spectrogram = backbone.spectrogram(clip).requires_grad_()
    tokens = backbone.tokens_from_spectrogram(spectrogram)
    assert torch.equal(tokens, backbone.tokens(clip))
    cls = backbone.cls_from_spectrogram(spectrogram)
    torch.testing.assert_close(cls, tokens[:, 0])
    cls.square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert spectrogram.grad.abs().sum() > 0
    mask = backbone.token_mask(torch.tensor([20000, 9000]), 20000)
    assert mask.shape == tokens.shape[:2]
    assert mask.all()


@pytest.mark.parametrize("representation", ["cls", "mean"])
def test_lower_precision_stays_close(representation):
    backbone = small(target_length=128, representation=representation)
    expected = backbone.embed(clips())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = backbone.embed(clips())
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0)


def test_clips_that_it_cannot_take_are_refused():
    backbone = small()
    with pytest.raises(AudioError, match="a clip of 399 samples is shorter than one frame of 400"):
        backbone.embed(torch.zeros(1, 399))
    with pytest.raises(AudioError, match="a clip of 300 samples is shorter"):
        backbone.embed(torch.zeros(2, 1000), torch.tensor([1000, 300]))
    with pytest.raises(AudioError, match="clips of 48000 Hz, but this backbone takes 16000 Hz"):
        backbone.embed(torch.zeros(1, 1000), sample_rate=48000)


@pytest.mark.parametrize("target_length", [0, 100, 16 * 769, 96.0])
def test_numbers_of_frames_without_positions_are_refused(target_length):
    with pytest.raises(ValueError, match="target_length must be a multiple of 16 frames"):
        small(target_length=target_length)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"representation": "csl"}, "no representation is called 'csl'; did you mean 'cls'"),
        ({"layer": 3}, "no layer 3; choose from 1 to 2"),
        ({"layer": 0}, "no layer 0"),
        ({"representation": "logits"}, "logits need all layers of fine-tuned weights"),
        ({"architecture": {"dpeth": 2}}, "no 'dpeth'; did you mean 'depth'"),
        ({"architecture": {"num_heads": 5}}, "a multiple of 4 and of num_heads"),
        ({"architecture": {"depth": 0}}, "depth must be a whole number of at least 1, not 0"),
        ({"architecture": {"norm_eps": 0}}, "norm_eps must be a number above 0, not 0"),
        ({"random_weights": None}, "the checkpoint says the architecture"),
        ({"path": "x.pt"}, "x.pt: leave out either this checkpoint or random_weights"),
    ],
)
def test_wrong_options_are_refused(options, message):
    given = {"random_weights": 0, "architecture": SMALL} | options
    with pytest.raises(BackboneError, match=message):
        Eat.from_checkpoint(**given)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_gives_the_same(tmp_path):
    check_backbone(small(target_length=256), tmp_path, device="cuda")
    backbone = small(target_length=256)
    expected = backbone.embed(clips())
    found = backbone.cuda().embed(clips().cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("target_length", [96, 256])
def test_frames_of_a_clip_are_told_from_those_that_fill_the_target_length(target_length):
    backbone = small(target_length=target_length)
    waveforms, lengths = clips(32000, 3), torch.tensor([32000, 16000, 8080])
    frames = backbone.spectrogram(waveforms, lengths)
    mask = backbone.frame_mask(lengths, frames.shape[1])
    assert mask.shape == frames.shape[:2]
    assert mask.sum(1).tolist() == [min(each, target_length) for each in (198, 98, 49)]
    padding = frames[~mask]
    assert bool((padding == padding.flatten()[:1]).all())  # zeros, normalised
    assert bool((frames[mask].std(1) > 0).all())


def test_the_grid_leaves_out_the_class_token_and_the_padding_to_a_fixed_length():
    backbone = small(target_length=256)
    with torch.inference_mode():
        tokens, mask = backbone.token_grid(clips(32000), torch.tensor([32000, 300 + 16 * 160]))
        alone, counts = backbone.token_grid(clips(100_000))
        flat = backbone.tokens(clips(32000))
    assert tokens.shape == (2, 16, 8, 48)
    assert torch.equal(tokens[0, 5, 3], flat[0, 1 + 5 * 8 + 3])
    assert mask.sum(1).tolist() == [12, 1]  # 198 and 15 frames: at least one patch
    assert alone.shape == (2, 16, 8, 48)
    assert counts.all()  # longer clips are cropped


def test_tokens_are_the_mean_of_several_layers_or_one_after_the_other(tmp_path):
    first, last = (small(layer=layer) for layer in (1, 2))
    merged, joined = small(layers=[2, 1]), small(layers=[1, 2], merge="concat")
    with torch.inference_mode():
        one, two = (each.token_grid(clips())[0] for each in (first, last))
        torch.testing.assert_close(merged.token_grid(clips())[0], (one + two) / 2)
        torch.testing.assert_close(joined.token_grid(clips())[0], torch.cat([one, two], -1))
        torch.testing.assert_close(
            merged.embed(clips()), (first.embed(clips()) + last.embed(clips())) / 2
        )
    check_backbone(joined, tmp_path)
    assert "layers" not in first.options
    with pytest.raises(BackboneError, match="there is no layer 3; choose from 1 to 2"):
        small(layers=[1, 3])
    with pytest.raises(BackboneError, match="no merge is called 'sum'"):
        small(layers=[1, 2], merge="sum")
